"""What a run tells while it goes on: shared by the command line, notebooks and the server."""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .completion import Completed
from .options import GenerateOptions


@dataclass(frozen=True)
class Event:
    """One thing that happened in a run.

    ``kind``: "options" (completed, in ``options``), "note" (``message`` for the user), "text" (prompts are encoded),
    "step" (``step`` of ``total``, which may be unknown; ``value`` latents (B, T, C), ``estimate`` the same without
    noise, as this step sees them), "decode" (begins), "result"
    (``value`` as ``generate`` returns it, ``seconds`` of wall time by phase, ``peak_memory`` of the process in bytes,
    ``given``: the options as they were asked for, ``loras`` that acted: file and strength).
    """

    kind: str
    message: str = ""
    step: int = 0
    total: int | None = None
    options: Completed | None = None
    value: Any = None  # mx.array
    estimate: Any = None  # mx.array, not computed before it is used
    seconds: Mapping[str, float] = field(default_factory=dict)
    peak_memory: int = 0
    given: GenerateOptions | None = None
    loras: Sequence[tuple[Path, float]] = ()


class Clock:
    """Wall time of the phases of a run."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, phase: str) -> None:
        """Everything since the last lap was ``phase``."""
        now = time.perf_counter()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._last
        self._last = now


def peak_memory() -> int:
    """The most bytes that this process has held in memory; 0 where the system does not say."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as lines:
            # getrusage would do, but on Linux it begins with the peak of the process that started this one.
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
