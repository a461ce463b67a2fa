"""How the embedded model's networks are trained: AdamW, a warm-up and half a cosine, clipped gradients, an average."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim

from ..cpu import can_fuse
from .loop import Group, Loop, Losses, Report, Trainer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Schedule:
    """Warm-up, then half a cosine from ``learning_rate`` down to a fiftieth of it."""

    steps: int
    learning_rate: float
    warmup: int = 100
    clip: float = 1.0
    ema: float = 0.999
    save_every: int = 500

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        fall = 0.5 * (1 + math.cos(math.pi * min(1.0, step / self.steps)))
        return self.learning_rate * min(1.0, (step + 1) / self.warmup) * (0.02 + 0.98 * fall)

    def keep(self, update: int) -> float:
        """Of the average: starts fast, so that early results are not those of the random start."""
        return min(self.ema, update / (update + 9))


@dataclass(frozen=True)
class Recipe:
    """An objective of plain functions: ``cost(model, *arrays)`` -> scalar, ``batch(step)`` -> arrays."""

    model: nn.Module
    cost: Callable[..., mx.array]
    batch: Callable[[int], tuple[mx.array, ...]]

    def loss(self, model: nn.Module, *batch: mx.array) -> Losses:
        return self.cost(model, *batch), {}


def recipe_trainer(recipe: Recipe, schedule: Schedule, checkpoint: Path) -> Trainer:
    """A trainer for ``recipe`` that reports and saves every ``schedule.save_every`` steps."""
    optimizer = optim.AdamW(schedule.learning_rate, betas=[0.9, 0.99], weight_decay=0.01, bias_correction=True)
    every = schedule.save_every
    loop = Loop(schedule.steps, save_every=every, log_every=every, average=schedule.keep, fuse=can_fuse())
    return Trainer(recipe, Group(optimizer, schedule.rate, schedule.clip), loop, checkpoint)


def progress(report: Report) -> None:
    log.info("step %d loss %.4f %.3f s a step", report.step, report.values["loss"], report.pace)
