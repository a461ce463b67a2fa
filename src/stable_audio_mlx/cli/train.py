"""``stable-audio-mlx train``: a diffusion model on sounds of your own, from a model or from its config alone."""

import argparse
import sys

from . import training
from .common import run
from .pre_encode import hyphens

DESCRIPTION = "Train a diffusion model; DIR/NAME is then a model folder as convert makes them."


def parser() -> argparse.ArgumentParser:
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
    arguments = parser().parse_args([hyphens(word) for word in (sys.argv[1:] if argv is None else argv)])
    return run(lambda: train(arguments))


def train(arguments: argparse.Namespace) -> int:
    options = training.job_options(arguments)
    from ..training.job import Job

    return training.work(arguments, Job(model=arguments.model, pretransform=arguments.pretransform, **options))
