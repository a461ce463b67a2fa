"""One training loop for every network here: AdamW, clipped gradients, averaged weights, resumable."""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
from mlx.utils import tree_flatten, tree_map, tree_map_with_path

from ..cpu import can_fuse
from ..errors import SanityError

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


class Trainer:
    """Trains ``model`` on ``loss(model, *arrays)``; ``averaged`` is what to ship.

    Batch ``i`` must depend on ``i`` alone, so that a run that was stopped goes on as if it had not been.
    """

    def __init__(self, model: nn.Module, loss: Callable[..., mx.array], schedule: Schedule, checkpoint: Path):
        self.model, self.schedule, self.checkpoint = model, schedule, Path(checkpoint)
        # MLX leaves the bias of the moments in unless it is told not to.
        self.optimizer = optim.AdamW(schedule.learning_rate, betas=[0.9, 0.99], weight_decay=0.01, bias_correction=True)
        self.optimizer.init(model.trainable_parameters())
        self.averaged = tree_map(mx.array, model.trainable_parameters())
        self.step = 0
        self._update = self._compiled(loss)

    def _compiled(self, loss: Callable[..., mx.array]) -> Callable[..., mx.array]:
        gradient = nn.value_and_grad(self.model, loss)

        def update(*batch):
            value, grads = gradient(self.model, *batch)
            grads, _ = optim.clip_grad_norm(grads, self.schedule.clip)
            self.optimizer.update(self.model, grads)
            return value

        state = [self.model.state, self.optimizer.state]
        return mx.compile(update, inputs=state, outputs=state) if can_fuse() else update

    def run(self, batch: Callable[[int], tuple[mx.array, ...]], report: Callable[[int], None] | None = None) -> None:
        """Train to the end of the schedule; Ctrl-C saves first.  Raises SanityError when the loss is not finite."""
        began, first, recent = time.perf_counter(), self.step, []
        try:
            while self.step < self.schedule.steps:
                self.optimizer.learning_rate = mx.array(self.schedule.rate(self.step))
                value = self._update(*batch(self.step))
                self._average()
                mx.eval(value, self.model.state, self.optimizer.state, self.averaged)
                recent.append(float(np.array(value)))
                if not math.isfinite(recent[-1]):
                    raise SanityError(f"loss is {recent[-1]} at step {self.step}; lower the learning rate and resume")
                self.step += 1
                if self.step % self.schedule.save_every == 0:
                    pace = (time.perf_counter() - began) / (self.step - first)
                    log.info("step %d loss %.4f %.3f s a step", self.step, sum(recent) / len(recent), pace)
                    recent = []
                    self.save()
                    if report:
                        report(self.step)
        except KeyboardInterrupt:
            self.save()
            raise

    def _average(self) -> None:
        """Exponential average that starts fast, so that early results are not those of the random start."""
        keep = min(self.schedule.ema, (self.step + 1) / (self.step + 10))
        now = self.model.trainable_parameters()
        self.averaged = tree_map(lambda a, b: a + (1 - keep) * (b - a), self.averaged, now)

    def save(self) -> None:
        """Write model, averaged weights and optimiser to the checkpoint file, which is replaced only when complete."""
        arrays: dict[str, mx.array] = {}
        for name, tree in (
            ("model", self.model.trainable_parameters()),
            ("averaged", self.averaged),
            ("optimizer", self.optimizer.state),
        ):
            arrays |= {f"{name}.{key}": value for key, value in dict(tree_flatten(tree)).items()}
        part = self.checkpoint.with_suffix(".part.safetensors")
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        mx.save_safetensors(str(part), arrays, {"step": str(self.step)})
        part.replace(self.checkpoint)

    def resume(self) -> bool:
        """Go on from the checkpoint file if there is one."""
        if not self.checkpoint.exists():
            return False
        loaded: Any = mx.load(str(self.checkpoint), return_metadata=True)
        arrays, metadata = loaded

        def read(name: str, tree: Any) -> Any:
            """The stored arrays in the shape of ``tree``, also where a part of it has no parameters."""
            return tree_map_with_path(lambda path, _: arrays[f"{name}.{path}"], tree)

        self.model.update(read("model", self.model.trainable_parameters()))
        self.averaged = read("averaged", self.averaged)
        self.optimizer.state.update(read("optimizer", self.optimizer.state))
        self.step = int(metadata["step"])
        return True
