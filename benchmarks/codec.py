"""Time and memory of an autoencoder over the length of the sound: cost in proportion, memory within a budget.

    python -m benchmarks.codec --model same-s --seconds 5 30 120 380 --low-memory

Each line is a process of its own.  CPU-seconds per second of sound are the same in every line where the cost is linear;
what memory grows by from line to line is the sound itself.  Compare runs with OPENBLAS_NUM_THREADS=1.
"""

import argparse
import json
from typing import Any

from .run import child

SECONDS = (5, 30, 120)
DIRECTIONS = ("decode", "encode")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.codec", description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="name or folder of an autoencoder, or of a model with one")
    parser.add_argument("--seconds", type=float, nargs="+", default=SECONDS, help="lengths (default: 5 30 120)")
    parser.add_argument("--only", choices=DIRECTIONS, help="one direction (default: both)")
    parser.add_argument("--low-memory", action="store_true", help="within the smaller memory budget")
    parser.add_argument("--json", action="store_true", help="print the measurements as JSON")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    rows = []
    for direction in [options.only] if options.only else DIRECTIONS:
        for seconds in options.seconds:
            request = {"model": options.model, "direction": direction, "seconds": seconds}
            row = child("measure_codec", request | {"low_memory": options.low_memory})
            if row is None:
                return 1
            rows.append(row)
            if not options.json:
                print("\n".join([*(header(row) if len(rows) == 1 else []), line(row)]), flush=True)
    if options.json:
        print(json.dumps(rows, indent=2))
    return 0


def header(row: dict[str, Any]) -> list[str]:
    """What holds for all lines, and the names of the columns."""
    return [
        f"{row['model']}{', low memory' if row['low_memory'] else ''}: {row['device']}, {row['blas']}",
        f"{'':<8}{'sound s':>9}{'wall s':>9}{'CPU s':>9}{'CPU s per s':>13}{'peak MB':>9}{'before MB':>11}",
    ]


def line(row: dict[str, Any]) -> str:
    """One measurement as text."""
    return (
        f"{row['direction']:<8}{row['seconds']:9.1f}{row['wall']:9.2f}{row['cpu']:9.2f}"
        f"{row['cpu'] / row['seconds']:13.3f}{row['memory'] / 1e6:9.0f}{row['memory_before'] / 1e6:11.0f}"
    )


if __name__ == "__main__":
    raise SystemExit(main())
