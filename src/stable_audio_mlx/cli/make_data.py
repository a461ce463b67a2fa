"""``stable-audio-mlx make-data``: captioned sounds made by code, to train and to try things on."""

import argparse

from ..errors import OptionError
from .common import Parser, note, progress, run, show

EPILOG = """\
OUT gets 000000.flac with 000000.txt and so on, and manifest.jsonl with tempo, key, pitch and the like: what pre-encode
and train read.  The same seed gives the same bytes.  The same command goes on where it was interrupted; a larger
--count adds clips.  Kinds: drum, roll, note, chord, chords, bass line, arpeggio, melody, beat, groove, texture."""


def parser() -> argparse.ArgumentParser:
    p = Parser(
        "stable-audio-mlx make-data",
        description="Make captioned sounds by code: drums, notes, chords, beats, music, weather, effects.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = p.add_argument
    add("output", metavar="OUT", help="folder for the sounds")
    add("--count", type=int, default=100, metavar="N", help="clips in all (%(default)s)")
    add("--seed", type=int, default=0, metavar="S", help="which clips (%(default)s)")
    add(
        "--seconds",
        default="4",
        metavar="S|MIN-MAX",
        help="length of a clip, or its range (%(default)s)",
    )
    add("--kinds", metavar="A,B,...", help="only these kinds, with commas between them")
    add("--format", default="flac", metavar="EXT", help="flac or wav, 16 bits (%(default)s)")
    add("--jobs", type=int, default=1, metavar="N", help="processes (%(default)s)")
    add("--json", action="store_true", help="one line of JSON for each clip")
    return p


def main(argv: list[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    return run(lambda: make_data(arguments))


def seconds_range(text: str) -> tuple[float, float]:
    """ "4" or "2-8" as the shortest and the longest clip; OptionError for anything else."""
    low, dash, high = text.partition("-")
    try:
        return float(low), float(high if dash else low)
    except ValueError:
        raise OptionError(f"seconds: {text!r} is neither a number of seconds nor a range like 2-8") from None


def make_data(arguments: argparse.Namespace) -> None:
    shortest, longest = seconds_range(arguments.seconds)
    from ..data.maker.dataset import Dataset, Settings

    kinds = {"kinds": tuple(k.strip() for k in arguments.kinds.split(","))} if arguments.kinds else {}
    settings = Settings(arguments.seed, shortest, longest, format=arguments.format, **kinds)
    data = Dataset(arguments.output, arguments.count, settings)
    missing, made = len(data.missing), 0
    try:
        with progress(missing, "clip") as bar:
            for path in data.run(arguments.jobs):
                show(data.rows[path.name], path, arguments.json)
                made += 1
                bar.update()
    finally:
        note(f"{data.folder}: {made} made, {arguments.count - missing} were there")
