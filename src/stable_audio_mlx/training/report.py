"""What a training tells of its losses: a table, and its curve."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..files import written_whole
from .loop import Report

SMOOTH = 50  # points over which the bold line of a curve is a mean


class Table:
    """A CSV file with one row a report.  Rows behind ``step`` are dropped: they will come again."""

    def __init__(self, path: Path, step: int):
        self.path, self.columns, self.rows = path, ["step"], []
        if path.is_file():
            with open(path, newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file)
                self.rows = [row for row in reader if int(row["step"]) <= step]
                self.columns = list(reader.fieldnames or self.columns)

    def add(self, report: Report, memory: int) -> None:
        """One row more.  ``memory``: bytes at the peak."""
        row: dict[str, Any] = {"step": report.step, **report.values}
        row |= {"seconds_per_step": round(report.pace, 4), "memory_mb": round(memory / 1e6)}
        self.rows.append(row)
        fresh = [key for key in row if key not in self.columns]
        self.columns += fresh
        if fresh or not self.path.is_file():
            self.write()
        else:
            with open(self.path, "a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, self.columns, restval="").writerow(row)

    def write(self) -> None:
        text = io.StringIO()
        table = csv.DictWriter(text, self.columns, restval="")
        table.writeheader()
        table.writerows(self.rows)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(self.path) as part, open(part, "w", newline="", encoding="utf-8") as file:
            file.write(text.getvalue())

    def values(self, column: str) -> tuple[np.ndarray, np.ndarray]:
        """(steps, values) of a column where it has any."""
        found = [(int(row["step"]), float(row[column])) for row in self.rows if row.get(column) not in (None, "")]
        steps, values = zip(*found, strict=True) if found else ((), ())
        return np.array(steps), np.array(values)


def draw_losses(path: Path, table: Table) -> bool:
    """The losses of a table over the steps, thin as they were and bold as running means; False without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    names = [c for c in table.columns if c.rpartition("/")[2] == "loss"]
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axis = figure.subplots()
    for i, name in enumerate(names):
        steps, values = table.values(name)
        axis.plot(steps, values, color=f"C{i}", alpha=0.3, linewidth=0.8)
        axis.plot(*smooth(steps, values), color=f"C{i}", label=name)
    if all((table.values(name)[1] > 0).all() for name in names):
        axis.set_yscale("log")
    axis.set_xlabel("steps")
    axis.set_ylabel("loss")
    axis.grid(alpha=0.3)
    if names:
        axis.legend()
    with written_whole(path) as part:
        figure.savefig(part, dpi=120)
    return True


def smooth(steps: np.ndarray, values: Sequence[float] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Running means over ``SMOOTH`` points, fewer where there are few."""
    width = max(1, min(SMOOTH, len(values) // 10))
    means = np.convolve(values, np.ones(width) / width, mode="valid") if len(values) else np.array([])
    return steps[width - 1 :], means
