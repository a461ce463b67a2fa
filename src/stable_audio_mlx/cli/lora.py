"""``stable-audio-mlx lora info|fuse|convert``: what a LoRA file is, a model with LoRAs merged, another layout."""

import argparse
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..takes import file_and_strength
from .common import DTYPES, Parser, ProgressBar, note, run, show

if TYPE_CHECKING:
    from ..lora.adapter import Adapter

DESCRIPTION = "LoRA files: look at one, merge some into a model, write one in another layout."
FILE_HELP = "a .safetensors file or a PEFT folder; strength 1 is as trained, 0 is off"


def parser() -> argparse.ArgumentParser:
    p = Parser("stable-audio-mlx lora", description=DESCRIPTION)
    commands = p.add_subparsers(dest="name", metavar="info|fuse|convert", required=True)
    parsers = [info_parser(commands), fuse_parser(commands), convert_parser(commands)]
    p.epilog = "\n".join(one.format_usage().removeprefix("usage: ").replace("\n" + " " * 7, "\n") for one in parsers)
    p.formatter_class = argparse.RawDescriptionHelpFormatter
    return p


def info_parser(commands: Any) -> argparse.ArgumentParser:
    text = "What a LoRA file holds; with --model, whether it fits."
    p = commands.add_parser("info", help="what a file holds, and whether it fits a model", description=text)
    p.add_argument("file", metavar="FILE", help="a .safetensors file or a PEFT folder")
    p.add_argument(
        "-m", "--model", metavar="NAME|DIR", help="say whether it fits this model (exit code 3: it does not)"
    )
    add_patterns(p)
    p.add_argument("--layers", action="store_true", help="every layer by name")
    p.add_argument("--json", action="store_true", help="one line of JSON")
    p.set_defaults(command=info)
    return p


def fuse_parser(commands: Any) -> argparse.ArgumentParser:
    text = "Write a model with LoRAs merged into its weights; it is used like any converted model."
    p = commands.add_parser("fuse", help="a model folder with merged weights", description=text)
    p.add_argument("model", metavar="MODEL", help="known name, converted model, or checkpoint folder")
    p.add_argument("--lora", action="append", required=True, metavar="FILE[:STRENGTH]", help=FILE_HELP + "; repeatable")
    p.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    p.add_argument("--dtype", choices=DTYPES, help="of the stored transformer; default: the base's")
    p.add_argument(
        "--quantize", type=int, choices=(8, 4), metavar="8|4", help="bits of the large matrices, packed after merging"
    )
    p.add_argument("--overwrite", action="store_true", help="replace a model that is there")
    p.add_argument("--offline", action="store_true", help="download nothing")
    p.set_defaults(command=fuse)
    return p


def convert_parser(commands: Any) -> argparse.ArgumentParser:
    text = "Write a LoRA in the native layout (one file) or as a PEFT folder."
    p = commands.add_parser("convert", help="another layout, or some of the layers", description=text)
    p.add_argument("file", metavar="FILE", help="a .safetensors file or a PEFT folder")
    p.add_argument("-o", "--output", required=True, metavar="FILE|DIR")
    p.add_argument("--to", choices=("native", "peft"), required=True)
    p.add_argument(
        "--base", metavar="MODEL", help="the model it was trained on: -xs kinds take along what they need of it"
    )
    add_patterns(p)
    p.add_argument("--overwrite", action="store_true", help="replace existing files")
    p.set_defaults(command=convert)
    return p


def add_patterns(p: argparse.ArgumentParser) -> None:
    text = "layers whose name contains one of these, such as transformer.layers or layers[0-11]"
    p.add_argument("--include", nargs="+", default=[], metavar="PATTERN", help=f"only {text}")
    p.add_argument("--exclude", nargs="+", default=[], metavar="PATTERN", help=f"not {text}")


def main(argv: list[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    return run(lambda: arguments.command(arguments))


def info(arguments: argparse.Namespace) -> int:
    from ..lora.files import read_lora
    from ..lora.patterns import chosen

    adapter = read_lora(arguments.file)
    names = chosen(adapter.layers, arguments.include, arguments.exclude)
    record = facts(adapter, names)
    if arguments.model:
        from ..lora.stack import LoraStack
        from ..weights.source import open_model

        source = open_model(arguments.model)
        fit = LoraStack(source).read(arguments.file)
        record["fits"] = {"model": source.name, "layers": len(fit.keys), "of": fit.total}
    if arguments.json:
        show(record | {"layers": names}, "", True)
        return 0
    for key, value in record.items():
        text = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
        print(f"{key:<14}{printable(text)}")
    if adapter.kind.needs_bases and not all("U" in layer.tensors for layer in adapter.layers.values()):
        note("made from the weights of the model it was trained on; before use on another: convert --base")
    lines = names if arguments.layers else [f"{kind} x{n}" for kind, n in kinds_of(names).items()]
    print("\n".join(f"  {printable(line)}" for line in lines))
    return 0


def printable(text: str) -> str:
    """What a file says, safe for a terminal."""
    return (text if text.isprintable() else repr(text))[:200]


def facts(adapter: "Adapter", names: list[str]) -> dict[str, Any]:
    layers = [adapter.layers[name] for name in names]
    tensors = [tensor for layer in layers for tensor in layer.tensors.values()]
    record = {
        "file": str(adapter.path),
        "format": adapter.format,
        "type": adapter.type,
        "rank": adapter.rank,
        "alpha": adapter.alpha,
        "layers": len(layers),
        "tensors": len(tensors),
        "parameters": sum(t.size for t in tensors),
        "dtype": ", ".join(sorted({str(t.dtype).rpartition(".")[2] for t in tensors})),
    }
    return record | {k: v for k, v in adapter.extra.items() if v not in (None, "", [], 0.0) and k not in record}


def kinds_of(names: list[str]) -> Counter[str]:
    """Layer names with their numbers left out, counted."""
    return Counter(".".join("*" if part.isdigit() else part for part in name.split(".")) for name in names)


def fuse(arguments: argparse.Namespace) -> int:
    from ..lora.fuse import fuse_model

    loras = [file_and_strength(text) for text in arguments.lora]
    with ProgressBar() as bar:
        _, fits = fuse_model(
            arguments.model,
            loras,
            arguments.output,
            dtype=arguments.dtype,
            quantize=arguments.quantize,
            overwrite=arguments.overwrite,
            download=not arguments.offline,
            progress=bar.update,
        )
    for fit, (_, strength) in zip(fits, loras, strict=True):
        note(f"{fit} at strength {strength:g}")
    print(arguments.output)
    return 0


def convert(arguments: argparse.Namespace) -> int:
    from ..lora.fuse import convert_lora

    output = Path(arguments.output).expanduser()
    if arguments.to == "native" and (arguments.output.endswith("/") or output.is_dir()):
        output /= f"{Path(arguments.file).resolve().stem}.safetensors"
    written = convert_lora(
        arguments.file,
        output,
        arguments.to,
        base=arguments.base,
        include=arguments.include,
        exclude=arguments.exclude,
        overwrite=arguments.overwrite,
    )
    print(output if arguments.to == "peft" else written)
    return 0
