"""What a training tells: a table of losses, their curve, and sounds made on the way."""

import csv
import io
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..audio import write
from ..errors import OptionError, SanityError
from ..files import written_whole
from ..options import GenerateOptions
from ..pipeline import StableAudioPipeline
from ..plots import check_plot, draw_spectrograms
from ..weights.source import ModelSource
from .loop import Report

log = logging.getLogger(__name__)
SMOOTH = 100  # points over which the bold line of a curve is a mean
EXTRA = ("seconds_per_step", "memory_mb")


class Table:
    """A CSV file with one row a report; rows behind ``step`` are from a run that did not get as far as it was saved."""

    def __init__(self, path: Path, step: int):
        self.path, self.rows = path, []
        if path.is_file():
            with open(path, newline="", encoding="utf-8") as file:
                self.rows = [row for row in csv.DictReader(file) if int(row["step"]) <= step]
        self._write()

    def add(self, report: Report, memory: int) -> None:
        """Append a report; the file is written anew only when there is a new column."""
        row: dict[str, Any] = {"step": report.step, **{k: repr(v) for k, v in report.values.items()}}
        row |= {"seconds_per_step": f"{report.pace:.4f}", "memory_mb": f"{memory / 1e6:.0f}"}
        known = self.columns
        self.rows.append(row)
        if self.columns != known or not self.path.exists():
            self._write()
            return
        with open(self.path, "a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, known).writerow(row)

    @property
    def columns(self) -> list[str]:
        names = dict.fromkeys(key for row in self.rows[-1:] + self.rows[:2] for key in row)
        return ["step", *(key for key in names if key not in ("step", *EXTRA)), *EXTRA]

    def _write(self) -> None:
        text = io.StringIO()
        columns = list(dict.fromkeys([*self.columns, *(key for row in self.rows for key in row)]))
        table = csv.DictWriter(text, columns, restval="")
        table.writeheader()
        table.writerows(self.rows)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(self.path) as part:
            part.write_text(text.getvalue(), encoding="utf-8", newline="")
