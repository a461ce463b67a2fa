"""Noise that is the same on every device: NumPy's Philox generator, one stream per clip of a batch."""

from collections.abc import Iterable, Sequence

import mlx.core as mx
import numpy as np


class ClipNoise:
    """Each call gives fresh standard normal noise (B, T, C).

    Clip b draws (C, lengths[b]) from its own stream and is zero behind its length, so that it can be made again alone.
    Each window of a long clip has a ``number`` and streams of its own.
    """

    def __init__(self, seeds: Sequence[int], channels: int, lengths: Sequence[int], number: int = 0):
        keys = [np.random.SeedSequence(seed, spawn_key=(number,) if number else ()) for seed in seeds]
        self._streams = [np.random.Generator(np.random.Philox(key)) for key in keys]
        self._channels, self._lengths = channels, lengths

    def __call__(self) -> mx.array:
        out = np.zeros((len(self._streams), max(self._lengths), self._channels), np.float32)
        for clip, stream, length in zip(out, self._streams, self._lengths, strict=True):
            clip[:length] = stream.standard_normal((self._channels, length), dtype=np.float32).T
        return mx.array(out)


class GivenNoise:
    """Arrays (B, T, C) in turn, for comparing with another program's draws."""

    def __init__(self, arrays: Iterable[mx.array]):
        self._arrays = iter(arrays)

    def __call__(self) -> mx.array:
        return next(self._arrays)
