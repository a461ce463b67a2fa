"""``convert.py SOURCE``: a PyTorch checkpoint into a model folder, once."""

import argparse
from pathlib import Path
from typing import Any

from .common import DTYPES, Parser, ProgressBar, note, run, size_text

DESCRIPTION = "Convert a Stable Audio checkpoint (PyTorch layout) for this program."
SOURCE_HELP = "known name, Hugging Face id owner/name, checkpoint folder, or one weights file with its config beside it"


def parser() -> argparse.ArgumentParser:
    p = Parser("convert.py", description=DESCRIPTION, epilog="known names: see docs/weights.md")
    p.add_argument("source", metavar="SOURCE", help=SOURCE_HELP)
    p.add_argument("-o", "--output", type=Path, metavar="DIR", help="default: model/NAME")
    p.add_argument(
        "--dtype",
        choices=DTYPES,
        default="float32",
        help="of transformer and text encoder as stored; the autoencoder stays float32",
    )
    p.add_argument("--quantize", type=int, choices=(8, 4), metavar="8|4", help="bits of their large matrices")
    p.add_argument(
        "--no-measure", action="store_true", help="skip the signal-to-noise ratio of what --dtype and --quantize store"
    )
    p.add_argument("--overwrite", action="store_true", help="replace a model that was converted before")
    p.add_argument("--revision", help="branch, tag or commit of the Hugging Face repository")
    p.add_argument("--offline", action="store_true", help="download nothing")
    p.add_argument(
        "--allow-pickle", action="store_true", help="read a PyTorch .ckpt (its tensors only, nothing is run)"
    )
    return p


def main(argv: list[str] | None = None) -> int:
    options = parser().parse_args(argv)
    return run(lambda: convert(options))


def convert(options: argparse.Namespace) -> int:
    from ..weights import hub, registry
    from ..weights.convert import convert_folder

    source = hub.find_source(options.source, options.revision, not options.offline)
    known = registry.find(options.source)
    local = Path(options.source).expanduser().exists()
    name = known.name if known and not local else name_of(options.source, source)
    output = options.output or hub.default_output(name)
    with ProgressBar() as bar:
        conversion = convert_folder(
            source,
            output,
            options.dtype,
            quantize=options.quantize,
            measure=not options.no_measure,
            autoencoder=bool(known and known.inside and not local),
            name=output.name if local else name,
            overwrite=options.overwrite,
            allow_pickle=options.allow_pickle,
            download=not options.offline,
            progress=bar.update,
        )
    note("\n".join(table(conversion.manifest)))
    if not conversion.fresh:
        note("converted before from the same file, left as it is (--overwrite does it again)")
    print(output)
    return 0


def name_of(given: str, source: Path) -> str:
    """A name for a model that is not known: the last part of a repository id, folder or file."""
    path = Path(given).expanduser()
    return (source.stem if source.is_file() else path.resolve().name) if path.exists() else given.rpartition("/")[2]


def table(manifest: dict[str, Any]) -> list[str]:
    """What was written, one line per file and the sum."""
    rows = [(n, f.get("tensors"), f.get("parameters"), f["bytes"]) for n, f in manifest["files"].items()]
    sums = [sum(row[i] or 0 for row in rows) for i in (1, 2, 3)]
    lines = [f"{'part':<26}{'tensors':>9}{'parameters':>15}{'size':>12}"]
    for name, tensors, parameters, size in (*rows, ("total", *sums)):
        numbers = (f"{n:,}" if n is not None else "" for n in (tensors, parameters))
        lines.append(f"{name:<26}{next(numbers):>9}{next(numbers):>15}{size_text(size):>12}")
    return lines + notes(manifest["files"])


def notes(files: dict[str, Any]) -> list[str]:
    """What else is known of the files: quantised matrices, and what storage did to the velocity."""
    lines = [f"{name}: {item['quantized']} matrices quantised" for name, item in files.items() if "quantized" in item]
    for name, item in files.items():
        if "velocity_snr_db" in item:
            lines.append(f"{name}: velocity {item['velocity_snr_db']:.1f} dB above its error against float32")
    return lines
