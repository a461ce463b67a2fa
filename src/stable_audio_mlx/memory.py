"""How much memory long sounds may take: one budget, read wherever something is computed piece by piece.

Every budget gives the same numbers but for rounding; a larger one is faster.  Weights, and the sound or the latents
themselves, come on top.  A budget holds for the thread that asked for it; how much freed memory MLX keeps is one number
per process.
"""

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Budget:
    """What is in memory at once, and what stays there for later."""

    cpu_tile: int  # bytes of the widest activation of a convolution's tile: a CPU core's cache is small,
    gpu_tile: int  # a GPU wants large kernels
    least: int  # frames of such a tile at least: many times what a residual unit shares with its neighbours (27)
    block: int  # latents that pass through a convolutional codec's lowest rates at once
    window: int  # latents of a transformer codec's tile, many times what neighbours share,
    piece: int  # and how many of them go through its blocks at once
    factors: bool  # whether convolutions keep what ``winograd`` makes of their weights, which is twice as large
    kept: int | None = None  # bytes of freed memory that MLX keeps; None: as the process has it


NORMAL = Budget(cpu_tile=4 << 20, gpu_tile=64 << 20, least=2048, block=256, window=512, piece=48, factors=True)
LOW = Budget(
    cpu_tile=1 << 20, gpu_tile=8 << 20, least=512, block=64, window=256, piece=16, factors=False, kept=64 << 20
)

_current: ContextVar[Budget] = ContextVar("budget", default=NORMAL)


def budget() -> Budget:
    """The budget that holds here."""
    return _current.get()


@contextmanager
def spending(budget: Budget) -> Iterator[None]:
    """Within the block ``budget`` holds; afterwards the one that did before."""
    import mlx.core as mx

    token, kept = _current.set(budget), None
    try:
        if budget.kept is not None:
            kept = mx.set_cache_limit(budget.kept)
            mx.clear_cache()
        yield
    finally:
        if kept is not None:
            mx.set_cache_limit(kept)
        _current.reset(token)


def within(budget: Budget, items: Iterator[T]) -> Generator[T, None, None]:
    """The items, each made within ``budget``; what the caller does between two of them is not."""
    while True:
        with spending(budget):
            try:
                item = next(items)
            except StopIteration:
                return
        yield item


MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")  # of a container, where it has its own


def available() -> int:
    """Bytes of main memory that can be taken without anything else having to give way; 0 where nobody knows.

    On Linux what the kernel estimates, within the limit of a container; elsewhere three quarters of all there is.
    """
    try:
        text = MEMINFO.read_text(encoding="ascii", errors="replace")
        free = next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return total() * 3 // 4
    try:
        limit, used = ((CGROUP / f"memory.{name}").read_text().strip() for name in ("max", "current"))
        return min(free, int(limit) - int(used))
    except (OSError, ValueError):  # no limit is "max"
        return free


def total() -> int:
    """Bytes of main memory in this computer; 0 where nobody knows."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return 0
