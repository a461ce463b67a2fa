"""``stable-audio-mlx models``: which models are here, which can be had, their limits and licences."""

import argparse
import json
from typing import Any

from .common import Parser, run, size_text

DESCRIPTION = "The models on this computer and those that can be had: size, licence, account, limits."


def parser() -> argparse.ArgumentParser:
    p = Parser("stable-audio-mlx models", description=DESCRIPTION)
    p.add_argument("--installed", action="store_true", help="only what is on this computer")
    p.add_argument("--json", action="store_true", help="one line of JSON for each model")
    return p


def main(argv: list[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    return run(lambda: models(arguments))


def models(arguments: argparse.Namespace) -> int:
    from ..weights import catalog

    here = list(catalog.installed())
    known = [] if arguments.installed else list(catalog.obtainable())
    if arguments.json:
        for record in here:
            print(json.dumps({**record, "installed": True}, ensure_ascii=False))
        for record in known:
            print(json.dumps({**record, "installed": False}, ensure_ascii=False))
        return 0
    print("On this computer (* is taken unasked):" if here else "There is no model on this computer.")
    for record in here:
        print(f"{'*' if record['default'] else ' '} {line(record)}\n    {record['folder']}")
        if "problem" in record:
            print(f"    cannot be used: {record['problem']}")
    if known:
        print("\nTo be had with stable-audio-mlx convert NAME:")
    for record in known:
        print(f"  {line(record)}\n    {terms(record)}")
    return 0


def line(record: dict[str, Any]) -> str:
    """Name, kind, longest clip, steps and size."""
    steps = record.get("steps", 0)
    length = f"up to {record['seconds']:.0f} s, {steps} step{'s' if steps > 1 else ''}" if steps else ""
    license = record.get("license", "") if "folder" in record else ""
    return f"{record['name']:<44}{record.get('kind', ''):<15}{length:<24}{big(record['bytes']):>8}  {license}".rstrip()


def terms(record: dict[str, Any]) -> str:
    account = "an account that accepts the licence (hf auth login)" if record["gated"] else "no account"
    return f"{record['license']}; {'is downloaded already' if record['downloaded'] else account}"


def big(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else size_text(size)
