"""``stable-audio-mlx roundtrip``: what an autoencoder loses of a sound."""

import argparse
from pathlib import Path
from typing import Any

from ..errors import OptionError
from ..files import SOUNDS
from . import codec
from .common import note, run, save, show


def parser() -> argparse.ArgumentParser:
    p = codec.parser(
        "roundtrip",
        "Sounds through an autoencoder and back, compared with what went in.",
        "sounds: whatever libsndfile reads, at any rate",
        f"write what comes back: {', '.join(SOUNDS)}",
        "Only the measures",
    )
    p.add_argument("--plot", metavar="FILE.png", help="draw both spectrograms; needs matplotlib")
    return p


def main(argv: list[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    return run(lambda: roundtrip(arguments))


def roundtrip(arguments: argparse.Namespace) -> int:
    chunks = codec.chunk_options(arguments)
    if arguments.output is not None:
        codec.check_given(arguments, SOUNDS)
    if arguments.plot is not None:
        check_plot(arguments)
    codec.probe(arguments.files)
    from ..metrics import compare

    model = codec.load(arguments)
    wanted = arguments.output is not None
    paths = codec.output_paths(arguments, ".wav", SOUNDS) if wanted else [None] * len(arguments.files)

    def one(file: str, path: Path | None) -> None:
        before, after = model.roundtrip(*codec.read_sound(file, model), **chunks)
        distances = vars(compare(before, after))
        if path is not None:
            note(f"written: {save(path, after, model.sample_rate, arguments.overwrite)}")
        if arguments.plot is not None:
            from ..plots import draw_spectrograms

            sounds = {Path(file).name: before, f"through {model.name}": after}
            drawn = draw_spectrograms(arguments.plot, sounds, model.sample_rate, arguments.overwrite)
            note(f"written: {drawn}")
        record = {"input": file, "model": model.name, **distances, "path": path and str(path), "plot": arguments.plot}
        show(record, sentence(file, distances), arguments.json)

    return codec.each(arguments.files, paths, one)


def check_plot(arguments: argparse.Namespace) -> None:
    from ..plots import check_plot

    if len(arguments.files) > 1:
        raise OptionError("--plot draws one sound; give one file")
    check_plot(arguments.plot, arguments.overwrite)


def sentence(file: str, distances: dict[str, Any]) -> str:
    """The measures for people."""
    ratio, sides = distances["si_sdr_db"], distances["stft_sum_difference"]
    words = [f"SI-SDR {'-' if ratio is None else f'{ratio:.2f} dB'}", f"STFT distance {distances['stft']:.3f}"]
    if sides is not None:
        words.append(f"of sum and difference {sides:.3f}")
    return f"{file}: {', '.join(words)}"
