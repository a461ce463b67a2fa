"""One training loop for every network here: a group of parameters, or two in turn, resumable to the bit."""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
from mlx.utils import tree_flatten, tree_map, tree_unflatten

from ..cpu import on_linux_cpu
from ..errors import OptionError, SanityError
from .interrupt import deferred_interrupt
from .state import load_state, save_state

log = logging.getLogger(__name__)

Losses = tuple[mx.array, dict[str, mx.array]]


class Objective(Protocol):
    """What is trained and what it is to become.

    ``model``: its trainable parameters are trained.  ``batch(step)``: arrays whose first axis is the batch (or of no
    axis), a function of the seed and the step alone.  ``loss(model, *batch)``: a scalar and named parts of it, a mean
    over the clips of the batch.  It may draw from ``mx.random``, which is seeded for every step.

    May also have ``buffers``, names of parameters of ``model`` that are not trained but change in training, and for a
    second group ``discriminator`` (a module), ``discriminator_loss(discriminator, *batch)`` and
    ``discriminates(step)``: whether this step trains it instead of the model.
    """

    @property
    def model(self) -> Any: ...

    def batch(self, step: int) -> tuple[mx.array, ...]: ...

    def loss(self, model: Any, *batch: mx.array) -> Losses: ...


@dataclass
class Group:
    """How the parameters of a module are trained: rate(update) -> learning rate; ``clip``: largest norm, 0: any."""

    optimizer: optim.Optimizer
    rate: Callable[[int], float]
    clip: float = 0.0


@dataclass(frozen=True)
class Loop:
    """``accumulate``: in how many parts a batch is computed; ``average(update)``: how much the average keeps of itself.

    ``fuse``: whether MLX compiles the step, by default where that takes no C++ compiler.
    """

    steps: int
    save_every: int = 500
    log_every: int = 1
    accumulate: int = 1
    seed: int = 0
    average: Callable[[int], float] | None = None
    fuse: bool | None = None

    def __post_init__(self):
        for name in ("steps", "save_every", "log_every", "accumulate"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name}: {getattr(self, name)}, but it is at least 1")


class Report(NamedTuple):
    """Means over the steps since the last one; ``pace``: seconds a step; ``left``: seconds to the end of the run."""

    step: int
    values: dict[str, float]
    pace: float
    left: float


@dataclass
class Track:
    """A module with its group, and its update as MLX runs it."""

    module: nn.Module
    group: Group
    loss: Callable[..., Losses]
    update: Callable[..., tuple[mx.array, dict[str, mx.array], mx.array]] = field(init=False)

    @property
    def updates(self) -> int:
        return int(self.group.optimizer.state["step"])


class Trainer:
    """Trains an objective; ``averaged`` are the parameters to ship.

    ``signature`` is what a resumed run must have in common with the one before.  Under ``mlx.launch`` each process
    gives its own batches and gradients are averaged; the first process writes.
    """

    def __init__(
        self,
        objective: Objective,
        group: Group,
        loop: Loop,
        checkpoint: str | Path,
        discriminator: Group | None = None,
        signature: Mapping[str, Any] | None = None,
    ):
        self.objective, self.loop, self.checkpoint = objective, loop, Path(checkpoint)
        self.signature = dict(signature or {})
        self.step = 0
        self.window: dict[str, list[float]] = {}
        self.world = mx.distributed.init()
        self._tracks = [Track(objective.model, group, objective.loss)]
        second: Any = objective
        if discriminator is not None:
            self._tracks.append(Track(second.discriminator, discriminator, second.discriminator_loss))
        for track in self._tracks:
            track.group.optimizer.init(track.module.trainable_parameters())
            mx.eval(track.group.optimizer.state)
        self.averaged: Any = None
        if loop.average is not None:
            self.averaged = tree_map(mx.array, objective.model.trainable_parameters())
        for track in self._tracks:
            track.update = self._update(track)

    @property
    def model(self) -> nn.Module:
        return self.objective.model

    @property
    def shipped(self) -> Any:
        """The averaged parameters, or the trained ones where nothing is averaged."""
        return self.model.trainable_parameters() if self.averaged is None else self.averaged

    def _update(self, track: Track) -> Callable:
        """One update of a track: batch -> loss, its parts, norm of the gradients before they are clipped."""
        gradient, group, count = nn.value_and_grad(track.module, track.loss), track.group, self.loop.accumulate
        fuse = self.loop.fuse if self.loop.fuse is not None else not on_linux_cpu() and self.world.size() == 1
        state = [[t.module.state, t.group.optimizer.state] for t in self._tracks] + [mx.random.state]

        def compiled(function: Callable) -> Callable:
            return mx.compile(function, inputs=state, outputs=state) if fuse else function

        def compute(*batch: mx.array) -> tuple[tuple[mx.array, dict], Any]:
            (value, parts), grads = gradient(track.module, *batch)
            return (value, parts), grads

        def apply(grads: Any) -> mx.array:
            grads = nn.average_gradients(grads, self.world)
            flat: dict[str, mx.array] = dict(tree_flatten(grads))
            norm = mx.sqrt(mx.stack([g.astype(mx.float32).square().sum() for g in flat.values()]).sum())
            if group.clip:
                scale = mx.minimum(group.clip / (norm + 1e-6), 1.0)
                grads = tree_map(lambda g: (g * scale).astype(g.dtype), grads)
            group.optimizer.update(track.module, grads)
            return norm

        if count == 1:

            def whole(*batch: mx.array) -> tuple[mx.array, dict, mx.array]:
                (value, parts), grads = compute(*batch)
                return value, parts, apply(grads)

            return compiled(whole)
        part, rest = compiled(compute), compiled(apply)

        def gathered(*batch: mx.array) -> tuple[mx.array, dict, mx.array]:
            sums: Any = None
            for piece in pieces(batch, count):
                found = part(*piece)
                sums = found if sums is None else tree_map(mx.add, sums, found)
                mx.eval(sums)
            (value, parts), grads = tree_map(lambda a: a / count, sums)
            return value, parts, rest(grads)

        return gathered

    def run(
        self,
        report: Callable[[Report], None] | None = None,
        hooks: Sequence[tuple[int, Callable[[int], None]]] = (),
        saved: Callable[[int], None] | None = None,
    ) -> None:
        """Train to the end of the loop.

        ``hooks``: (every so many steps, what is done then, given the step); ``saved``: what is done at each save.

        Ctrl-C ends the step, saves and raises KeyboardInterrupt.  Raises SanityError, with the step, where a loss or a
        gradient is not finite; the file that was saved last stays.
        """
        began, first = time.perf_counter(), self.step
        with deferred_interrupt() as interrupted:
            while self.step < self.loop.steps:
                try:
                    batch = self.objective.batch(self.step)
                except KeyboardInterrupt:
                    self._keep(saved)
                    raise
                values, stop = self._advance(batch, interrupted)
                for key, value in values.items():
                    self.window.setdefault(key, []).append(value)
                if report and self.step % self.loop.log_every == 0:
                    pace = (time.perf_counter() - began) / (self.step - first)
                    means = {key: sum(found) / len(found) for key, found in self.window.items()}
                    self.window = {}
                    report(Report(self.step, means, pace, pace * (self.loop.steps - self.step)))
                if stop or self.step % self.loop.save_every == 0 or self.step == self.loop.steps:
                    self._keep(saved)
                if stop and self.step < self.loop.steps:
                    raise KeyboardInterrupt
                for every, hook in hooks:
                    if self.step % every == 0:
                        hook(self.step)

    def _advance(self, batch: tuple[mx.array, ...], interrupted: Callable[[], bool]) -> tuple[dict[str, float], bool]:
        """One step: what happened, the mean over all processes, and whether one of them was asked to stop."""
        second: Any = self.objective
        track = self._tracks[len(self._tracks) > 1 and second.discriminates(self.step)]
        updates = track.updates
        rate = track.group.rate(updates)
        track.group.optimizer.learning_rate = rate
        mx.random.seed(seed_of(self.loop.seed, self.step, self.world.rank()))
        value, parts, norm = track.update(*batch)
        name = "discriminator/" if track is not self._tracks[0] else ""
        names = ["loss", *parts, "gradient"]
        found = mx.stack([value, *parts.values(), norm]).astype(mx.float32)
        if not name and self.averaged is not None:
            self._average(updates + 1)
        mx.eval(found, [[t.module.state, t.group.optimizer.state] for t in self._tracks], self.averaged or [])
        *means, stops = self._mean([*np.array(found).tolist(), float(interrupted())])
        values = dict(zip(names, means, strict=True))
        if wrong := next((key for key in ("loss", *names) if not math.isfinite(values[key])), None):
            raise SanityError(
                f"the {wrong} is not finite at step {self.step}; lower the learning rate and resume from "
                f"{self.checkpoint}, which is from before"
            )
        self.step += 1
        return {f"{name}{key}": value for key, value in (values | {"lr": rate}).items()}, stops > 0

    def _mean(self, values: list[float]) -> list[float]:
        """The means over all processes."""
        if self.world.size() == 1:
            return values
        total = mx.distributed.all_sum(mx.array(values), group=self.world, stream=mx.cpu)
        return (np.array(total) / self.world.size()).tolist()

    def _keep(self, saved: Callable[[int], None] | None) -> None:
        self.save()
        if saved:
            saved(self.step)

    def _average(self, update: int) -> None:
        keep = self.loop.average(update) if self.loop.average else 0.0
        now = self.model.trainable_parameters()
        self.averaged = tree_map(lambda a, b: a + (1 - keep) * (b - a), self.averaged, now)

    def _trees(self) -> dict[str, Any]:
        """What a file holds: parameters, optimisers, averages and buffers."""
        trees: dict[str, Any] = {}
        for name, track in zip(("model", "discriminator"), self._tracks, strict=False):
            trees[name] = track.module.trainable_parameters()
            trees[f"{name}_optimizer"] = track.group.optimizer.state
        names = set(getattr(self.objective, "buffers", ()))
        if names:
            flat = dict(tree_flatten(self.model.parameters()))
            trees["buffers"] = tree_unflatten([(key, flat[key]) for key in flat if key in names])
        if self.averaged is not None:
            trees["averaged"] = self.averaged
        return trees

    def save(self) -> None:
        """Write everything that the rest of the run depends on to the checkpoint file."""
        if self.world.rank() == 0:
            facts = {"step": self.step, "window": self.window}
            save_state(self.checkpoint, self._trees(), facts, self.signature)

    def resume(self) -> bool:
        """Go on from the checkpoint file if there is one; OptionError and WeightsError as ``load_state``."""
        if not self.checkpoint.exists():
            return False
        trees, facts = load_state(self.checkpoint, self._trees(), self.signature)
        for name, track in zip(("model", "discriminator"), self._tracks, strict=False):
            track.module.update(trees[name])
            track.group.optimizer.state.update(trees[f"{name}_optimizer"])
        self.model.update(trees.get("buffers", {}))
        self.averaged = trees.get("averaged")
        self.step, self.window = int(facts["step"]), dict(facts["window"])
        return True


def pieces(batch: tuple[mx.array, ...], count: int) -> Iterator[tuple[mx.array, ...]]:
    """``count`` equal parts of a batch; arrays without an axis go into each.  OptionError if it cannot be divided."""
    size = next(a.shape[0] for a in batch if a.ndim)
    if size % count:
        raise OptionError(f"a batch of {size} cannot be computed in {count} equal parts")
    step = size // count
    for i in range(0, size, step):
        yield tuple(a[i : i + step] if a.ndim else a for a in batch)


def seed_of(*numbers: int) -> int:
    """A seed for MLX from whole numbers that are not negative."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
