"""``stable-audio-mlx train``: a diffusion model or an autoencoder on sounds of your own, or from a config alone."""

import argparse
import dataclasses
from typing import Any

from ..errors import OptionError
from . import training
from .pre_encode import find

DESCRIPTION = "Train a diffusion model or an autoencoder; DIR/NAME is then a model folder as convert makes them."


def parser() -> training.Parser:
    p = training.parser("train", DESCRIPTION)
    p.add_argument("model", metavar="MODEL|CONFIG", help="a model to go on from, or a model_config.json to begin with")
    training.add_options(p, "model")
    p.add_argument(
        "--pretransform",
        metavar="NAME|DIR",
        help="model whose autoencoder the config means; needed where a model_config.json stands alone",
    )
    return p


def main(argv: list[str] | None = None) -> int:
    return training.command(parser(), argv, train)


def train(arguments: argparse.Namespace) -> int:
    options = training.job_options(arguments)
    from ..training.job import Job
    from ..training.live import Opened

    if Opened(arguments.model, arguments.pretransform).is_codec:
        return train_codec(arguments, options)
    return training.work(arguments, Job(model=arguments.model, pretransform=arguments.pretransform, **options))


def train_codec(arguments: argparse.Namespace, options: dict[str, Any]) -> int:
    """An autoencoder is trained on sounds, without captions."""
    for option in ("encoded_dir", "demo_prompt", "pretransform", "gradient_checkpointing"):
        if getattr(arguments, option):
            raise OptionError(f"--{option.replace('_', '-')} is for diffusion models, and {arguments.model} is a codec")
    from ..training.codec.job import CodecJob, CodecTraining

    training.tell_notes()
    arguments.output_path = options["latents"]
    names = {field.name for field in dataclasses.fields(CodecJob)}
    given = {name: value for name, value in options.items() if name in names}
    job = CodecJob(**given, model=arguments.model, items=find(arguments))
    return training.train(arguments, CodecTraining(job))
