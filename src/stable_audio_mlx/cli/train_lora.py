"""``stable-audio-mlx train-lora``: a LoRA on sounds of your own, with the options of Stable Audio 3's trainer."""

import argparse

from . import training
from .common import default_model, note

DESCRIPTION = "Train a LoRA: a small file for generate --lora, and for Stable Audio 3's own tools."
KINDS = ("dora-rows", "dora-cols", "bora", "lora", "lora-xs", "dora-rows-xs", "dora-cols-xs", "bora-xs", "dora")


def parser() -> training.Parser:
    p = training.parser("train-lora", DESCRIPTION)
    p.add_argument("-m", "--model", metavar="NAME|DIR", help="to train on; default: the best in model/")
    training.add_options(p, "lora")
    add = p.add_argument_group("LoRA").add_argument
    add("--rank", type=int, default=16, metavar="N", help="more: more can be learned, larger files (%(default)s)")
    add("--lora-alpha", type=float, metavar="X", help="the update is scaled by alpha / rank; default: the rank")
    add("--adapter-type", choices=KINDS, default="dora-rows", help="(%(default)s; dora is dora-rows)")
    add("--dropout", type=float, default=0.0, metavar="P", help="of columns of lora_A, in training (%(default)s)")
    text = "layers whose name contains one of these, such as transformer.layers or layers[0-11]"
    add("--include", nargs="+", default=[], metavar="PATTERN", help=f"only {text}")
    add("--exclude", nargs="+", default=[], metavar="PATTERN", help=f"not {text}")
    precisions = ("auto", "float32", "bf16", "bfloat16", "fp16", "float16")
    add("--base-precision", choices=precisions, default="auto", help="of the frozen base; auto: bf16, on a CPU float32")
    add("--lora-checkpoint", metavar="FILE", help="a LoRA to begin with")
    return p


def main(argv: list[str] | None = None) -> int:
    return training.command(parser(), argv, train)


def train(arguments: argparse.Namespace) -> int:
    options = training.job_options(arguments)
    from ..training.adapters import LoraSettings
    from ..training.job import Job
    from ..weights.registry import KNOWN

    model = str(arguments.model or default_model())
    if f"{model}-base" in KNOWN:
        note(
            f"{model} was trained further after its base; LoRAs are usually trained on {model}-base and used on {model}"
        )
    lora = LoraSettings(
        rank=arguments.rank,
        alpha=arguments.lora_alpha,
        adapter_type=arguments.adapter_type,
        dropout=arguments.dropout,
        include=tuple(arguments.include),
        exclude=tuple(arguments.exclude),
    )
    job = Job(
        model=model,
        lora=lora,
        lora_checkpoint=arguments.lora_checkpoint,
        base_precision=arguments.base_precision,
        **options,
    )
    return training.work(arguments, job)
