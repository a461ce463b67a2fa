"""What surrounds the loop of every training: going on, the table and curve of losses, what is written at each save."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import OptionError
from ..events import peak_memory
from .loop import Report, Trainer
from .report import Table, draw_losses

log = logging.getLogger(__name__)
BETWEEN_CURVES = 60.0  # seconds
Hook = tuple[int, Callable[[int], None]]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What a user asks of any training; ``batch_size`` is of each process, ``duration`` the seconds of a clip.

    ``training``: the section, instead of the model's own; ``demo_every`` None: as it says, 0: no demos.
    """

    model: str
    output: Path
    training: dict[str, Any] | None = None
    name: str = "train"
    lr: float | None = None
    steps: int = 10_000
    batch_size: int = 1
    accumulate: int = 1
    duration: float | None = None
    seed: int = 42
    checkpoint_every: int = 500
    log_every: int = 10
    demo_every: int | None = None

    def __post_init__(self):
        if self.batch_size < 1 or self.batch_size % self.accumulate:
            raise OptionError(f"batch size {self.batch_size} must be a multiple of {self.accumulate}, its parts")
        if self.demo_every is not None and self.demo_every < 0:
            raise OptionError(f"demo_every: {self.demo_every} must not be negative; 0 makes none")


class Runner:
    """A trainer and the folder that it fills; subclasses say what is saved and what is made in the end.

    Only the first of several processes writes.
    """

    def __init__(self, trainer: Trainer, folder: Path, name: str):
        self.trainer, self.folder, self.name = trainer, folder, name
        self._drawn = 0.0

    @staticmethod
    def state_path(folder: Path, name: str) -> Path:
        """Where a run of this name keeps what it goes on from."""
        return folder / f"{name}.state.safetensors"

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.trainer.world.rank() == 0

    def hooks(self) -> Sequence[Hook]:
        """(every so many steps, what is done then)."""
        return ()

    def saved(self, step: int) -> None:
        """What is written beside the state at each save."""

    def finish(self) -> Path:
        """Write the result; returns where it is."""
        raise NotImplementedError

    def run(self, report: Callable[[Report], None] | None = None) -> Path:
        """Train to the end, going on where the folder's state is; returns what was made.

        On Ctrl-C everything is saved first.  Raises SanityError where numbers are not finite.
        """
        if self.trainer.resume():
            log.info("going on from step %d", self.trainer.step)
        self._table = Table(self.folder / f"{self.name}.csv", self.trainer.step)
        if self.first:
            self._table.write()
        self.trainer.run(partial(self._report, report), self.hooks() if self.first else (), self._saved)
        return self.finish()

    def _report(self, report: Callable[[Report], None] | None, found: Report) -> None:
        if self.first:
            self._table.add(found, peak_memory())
            if report:
                report(found)

    def _saved(self, step: int) -> None:
        if not self.first:
            return
        if step == self.trainer.loop.steps or time.monotonic() - self._drawn > BETWEEN_CURVES:
            draw_losses(self.folder / f"{self.name}.png", self._table)
            self._drawn = time.monotonic()
        self.saved(step)
