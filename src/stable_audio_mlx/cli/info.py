"""``stable-audio-mlx info FILE ...``: what sound files are and how they were made."""

import argparse
import json
from typing import Any

from ..errors import OptionError, StableAudioError
from .common import Parser, complain, note, run, show

DESCRIPTION = "Format, length, loudness, loop and tempo of sound files, and how they were made if they say so."
LONG = 60  # characters of a value that is shown as it is


def parser() -> argparse.ArgumentParser:
    p = Parser("stable-audio-mlx info", description=DESCRIPTION)
    p.add_argument("files", nargs="+", metavar="FILE", help="sounds, or the .json that --metadata wrote")
    p.add_argument("--json", action="store_true", help="one line of JSON for each file")
    p.add_argument("--plot", metavar="FILE.png", help="draw waveform and spectrogram; needs matplotlib")
    p.add_argument("--overwrite", action="store_true", help="replace an existing picture")
    return p


def main(argv: list[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    return run(lambda: info(arguments))


def info(arguments: argparse.Namespace) -> int:
    """-> the exit code of the first file that could not be read, 0 if there was none."""
    if arguments.plot is not None:
        check_plot(arguments)
    from ..sound.inspection import inspect

    failed = []
    for file in arguments.files:
        try:
            facts = inspect(file)
            show(facts, "\n".join(lines(facts)), arguments.json)
            if arguments.plot is not None:
                draw(file, arguments)
        except StableAudioError as error:
            complain(str(error))
            failed.append(error.exit_code)
    return next(iter(failed), 0)


def check_plot(arguments: argparse.Namespace) -> None:
    from ..plots import check_plot

    if len(arguments.files) > 1:
        raise OptionError("--plot draws one sound; give one file")
    check_plot(arguments.plot, arguments.overwrite)


def draw(file: str, arguments: argparse.Namespace) -> None:
    from ..audio import read
    from ..plots import draw_sound

    note(f"written: {draw_sound(arguments.plot, file, *read(file), arguments.overwrite)}")


def lines(facts: dict[str, Any]) -> list[str]:
    """The facts for people."""
    found = [facts["path"]]
    if "format" in facts:
        form = f"{facts['format']} {facts['encoding']}, {facts['sample_rate']} Hz, {facts['channels']} channels"
        found += [f"  {form}, {facts['seconds']:.3f} s", f"  {levels(facts)}"]
    for first, last in facts.get("loops", ()):
        found.append(f"  loop from sample {first} to {last}")
    if tempo := facts.get("tempo"):
        beat, unit = tempo["meter"]
        kind = "loop" if tempo["loop"] else "one-shot"
        found.append(f"  {tempo['bpm']:g} BPM, {tempo['beats']} beats, {beat}/{unit}, {kind}")
    record = facts.get("record") or facts.get("tags") or {}
    found += [f"  {name}: {value(item)}" for name, item in record.items()]
    return found


def levels(facts: dict[str, Any]) -> str:
    units = {"lufs": "LUFS", "peak_dbfs": "dBFS peak", "true_peak_dbtp": "dBTP true peak"}
    return ", ".join(f"{'-inf' if facts[key] is None else f'{facts[key]:.1f}'} {unit}" for key, unit in units.items())


def value(item: Any) -> str:
    """Text as it is; of hashes and other long things the beginning."""
    if isinstance(item, dict):
        parts = {name: value(one) for name, one in item.items()}
        return ", ".join(f"{name} {text[:12] if len(text) > LONG else text}" for name, text in parts.items())
    return item if isinstance(item, str) else json.dumps(item, ensure_ascii=False)
