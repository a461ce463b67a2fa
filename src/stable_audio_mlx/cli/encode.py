"""``stable-audio-mlx encode``: sounds into latents (.npy) or codes (.npz)."""

import argparse
from pathlib import Path

from ..errors import OptionError
from ..files import CODES, LATENTS
from . import codec
from .common import run, show


def parser() -> argparse.ArgumentParser:
    return codec.parser(
        "encode",
        "Sounds into latents, float32 (latent_dim, frames), or into the codes of a model that has codebooks.",
        "sounds: whatever libsndfile reads, at any rate",
        ".npy for latents, .npz for codes; default output/NAME, .npz if the model has codebooks",
    )


def main(argv: list[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    return run(lambda: encode(arguments))


def encode(arguments: argparse.Namespace) -> int:
    chunks = codec.chunk_options(arguments)
    codec.check_given(arguments, (LATENTS, CODES))
    codec.probe(arguments.files)
    from .. import latents

    model = codec.load(arguments)
    paths = codec.output_paths(arguments, CODES if model.discrete else LATENTS, (LATENTS, CODES))
    if chunks and paths[0].suffix.lower() == CODES:
        raise OptionError("--chunked: codes are always those of the whole sound; leave it out, or write .npy")

    def one(file: str, path: Path) -> None:
        audio, rate = codec.read_sound(file, model)
        if path.suffix.lower() == CODES:
            array = model.encode_codes(audio, rate)[0]
            latents.write_codes(path, array, model.name, model.fingerprint(), arguments.overwrite)
        else:
            array = model.encode(audio, rate, **chunks)[0]
            latents.write_latents(path, array, arguments.overwrite)
        record = {"path": str(path), "input": file, "model": model.name, "shape": list(array.shape)}
        show(record, path, arguments.json)

    return codec.each(arguments.files, paths, one)
