"""Pieces of work that do not depend on each other, side by side on the cores of a Linux CPU.

MLX computes an operation on one core there, and the BLAS uses the others for products alone.  With a stream and one
BLAS thread each, whole pieces keep every core busy.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import cache
from itertools import islice
from typing import TypeVar

import mlx.core as mx

from .. import cpu

T = TypeVar("T")
MOST = 8  # pieces at a time: each needs memory of its own


def width() -> int:
    """How many pieces to compute at a time."""
    return min(cpu.blas_threads(), MOST)


def batches(items: Sequence[T]) -> Iterator[list[T]]:
    """The items, ``width()`` at a time."""
    rest = iter(items)
    while batch := list(islice(rest, width())):
        yield batch


def together(jobs: Sequence[Callable[[], mx.array]]) -> list[mx.array]:
    """What the jobs return, evaluated and without what it was cut from."""
    results = []
    with cpu.one_blas_thread() if len(jobs) > 1 else nullcontext():
        for job, stream in zip(jobs, streams(len(jobs)), strict=True):
            with mx.stream(stream):
                results.append(mx.contiguous(job()))
        mx.eval(results)
    return results


def streams(count: int) -> list[mx.Stream | mx.ThreadLocalStream]:
    """So many streams; the first is the usual one."""
    device = mx.default_device()
    return [mx.default_stream(device), *(another(device.type, i) for i in range(1, count))]


@cache
def another(kind: mx.DeviceType, index: int) -> mx.ThreadLocalStream:
    """A stream works only in the thread that made it, so this one is another in every thread.

    Each has a thread of its own, which stays: never one more than needed.  (A device would be a new key every time.)
    """
    return mx.new_thread_local_stream(kind)
