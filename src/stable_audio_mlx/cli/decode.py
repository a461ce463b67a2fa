"""``stable-audio-mlx decode``: latents (.npy) or codes (.npz) into sounds."""

import argparse
from pathlib import Path

from ..files import SOUNDS
from . import codec
from .common import run, save, show


def parser() -> argparse.ArgumentParser:
    return codec.parser(
        "decode",
        "Latents or codes into sounds.",
        "latents (.npy) or codes (.npz), as encode writes them",
        f"{', '.join(SOUNDS)}; default output/NAME.wav",
    )


def main(argv: list[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    return run(lambda: decode(arguments))


def decode(arguments: argparse.Namespace) -> int:
    chunks = codec.chunk_options(arguments)
    codec.check_given(arguments, SOUNDS)
    from .. import latents

    for file in arguments.files:
        latents.read(file)
    model = codec.load(arguments)
    paths = codec.output_paths(arguments, ".wav", SOUNDS)

    def one(file: str, path: Path) -> None:
        item = latents.read(file)
        if isinstance(item, latents.Codes):
            model.check_origin(item.model, item.fingerprint)
            clip = model.decode_codes(item.codes)[0]
        else:
            clip = model.decode(item, **chunks)[0]
        written = save(path, clip, model.sample_rate, arguments.overwrite)
        record = {
            "path": str(written),
            "input": file,
            "model": model.name,
            "seconds": clip.shape[1] / model.sample_rate,
            "sample_rate": model.sample_rate,
        }
        show(record, written, arguments.json)

    return codec.each(arguments.files, paths, one)
