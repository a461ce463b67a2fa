"""``python -m tests.parity.make_golden [--output DIR] [NAME ...]``: write the golden files (all, or the named ones)."""

import argparse
from pathlib import Path

from tests.parity.case import FOLDER, save


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="cases to make; all when none is named")
    parser.add_argument("--output", type=Path, default=FOLDER)
    options = parser.parse_args()
    from . import families

    for case, record in families.cases():
        if options.names and case.name not in options.names:
            continue
        save(record(case), options.output)
        print(f"{case.name}: {(options.output / (case.name + '.npz')).stat().st_size} bytes")


if __name__ == "__main__":
    main()
