"""How the embedded model's networks are trained: an optimizer, its learning rate, clipped gradients, an average."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn

from ..cpu import can_fuse
from .loop import Group, Loop, Losses, Report, Trainer
from .muon import MuonAdamW
from .report import Table, draw_losses

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Schedule:
    """Warm-up, then ``learning_rate``, which falls to nothing straight over the last ``fall`` of the steps."""

    steps: int
    learning_rate: float
    warmup: int = 100
    clip: float = 1.0
    ema: float = 0.999
    save_every: int = 500
    fall: float = 0.5

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        left = (1 - step / self.steps) / self.fall
        return self.learning_rate * min(1.0, (step + 1) / self.warmup, max(0.0, left))

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


def recipe_trainer(
    recipe: Recipe, schedule: Schedule, checkpoint: Path, hidden: Callable[[str, mx.array], bool] | None = None
) -> Trainer:
    """A trainer for ``recipe`` that reports and saves every ``schedule.save_every`` steps.

    AdamW, or Muon for the matrices that are ``hidden``.
    """
    optimizer = MuonAdamW(schedule.learning_rate, hidden or (lambda *_: False), betas=[0.9, 0.99], weight_decay=0.01)
    every = schedule.save_every
    loop = Loop(schedule.steps, save_every=every, log_every=every, average=schedule.keep, fuse=can_fuse())
    return Trainer(recipe, Group(optimizer, schedule.rate, schedule.clip), loop, checkpoint)


def reporter(trainer: Trainer) -> Callable[[Report], None]:
    """Logs each report and writes the losses beside the checkpoint, as a table and as a curve."""
    table = Table(trainer.checkpoint.with_suffix(".csv"), trainer.step)

    def tell(report: Report) -> None:
        log.info("step %d loss %.4f %.3f s a step", report.step, report.values["loss"], report.pace)
        table.add(report, mx.get_peak_memory())
        draw_losses(trainer.checkpoint.with_suffix(".png"), table)

    return tell
