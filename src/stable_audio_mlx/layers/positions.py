"""Absolute positions added to a sequence, and rotary ones of queries and keys (https://arxiv.org/abs/2104.09864)."""

from functools import lru_cache

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ..cpu import fast_forms
from ..errors import OptionError


def rotary(x: mx.array, dims: int) -> mx.array:
    """x: (B, H, T, D) with the first ``dims`` features turned by their position -> (B, H, T, D)"""
    if not fast_forms() or x.dtype != mx.float32:
        return mx.fast.rope(x, dims, traditional=False, base=10000.0, scale=1.0, offset=0)
    cos, sin = rotations(x.shape[2], dims)
    first, second, rest = mx.split(x, [dims // 2, dims], axis=-1)
    return mx.concatenate([first * cos - second * sin, second * cos + first * sin, rest], axis=-1)


@lru_cache(maxsize=4)
def rotations(length: int, dims: int) -> tuple[mx.array, mx.array]:
    """Cosine and sine of every position's angles, (length, dims / 2): every block of every step uses the same."""
    frequencies = np.float32(10000) ** -(np.arange(0, dims, 2, dtype=np.float32) / np.float32(dims))
    angles = np.arange(length, dtype=np.float32)[:, None] * frequencies
    return mx.array(np.cos(angles)), mx.array(np.sin(angles))


class SinusoidalPositions(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.scale = mx.full((1,), dim**-0.5)
        self._frequencies = 10000.0 ** -(mx.arange(dim // 2) / (dim // 2))

    def __call__(self, length: int) -> mx.array:
        """-> (length, D)"""
        phase = mx.arange(length)[:, None] * self._frequencies
        return mx.concatenate([mx.sin(phase), mx.cos(phase)], axis=-1).astype(self.scale.dtype) * self.scale


class LearnedPositions(nn.Module):
    def __init__(self, dim: int, max_length: int):
        super().__init__()
        self.emb = nn.Embedding(max_length, dim)

    def __call__(self, length: int) -> mx.array:
        """-> (length, D)"""
        table = self.emb.weight
        if length > table.shape[0]:
            raise OptionError(f"{length} latents and tokens are more than the {table.shape[0]} positions of the model")
        return table[:length] * table.shape[1] ** -0.5
