"""``stable-audio-mlx doctor``: is everything here that a generation needs, and what to do if not."""

import argparse
import json

from .common import Parser, note, run

DESCRIPTION = (
    "Looks at system, MLX, libraries, models, downloads, memory and disk; exit code 1: something is in the way."
)


def parser() -> argparse.ArgumentParser:
    p = Parser("stable-audio-mlx doctor", description=DESCRIPTION)
    p.add_argument("--json", action="store_true", help="one line of JSON for each finding")
    return p


def main(argv: list[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    return run(lambda: doctor(arguments.json))


def doctor(as_json: bool) -> int:
    from ..diagnosis import PROBLEM, findings

    problems = 0
    for one in findings():
        problems += one.state == PROBLEM
        if as_json:
            print(json.dumps(vars(one), ensure_ascii=False), flush=True)
        else:
            print(
                f"{one.state:<9}{one.name:<14}{one.found}" + (f"\n{'':<23}{one.advice}" if one.advice else ""),
                flush=True,
            )
    if problems:
        note(f"{problems} problem{'s' if problems > 1 else ''} to solve before sounds can be made")
    return 1 if problems else 0
