"""Absolute positions added to a sequence, and rotary ones of queries and keys (https://arxiv.org/abs/2104.09864)."""

from functools import lru_cache

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ..cpu import fast_forms
from ..errors import OptionError


def rotary(x: mx.array, dims: int) -> mx.array:
    """x: (B, H, T, D) with the first ``dims`` features turned by their position -> (B, H, T, D)"""
    length, width = x.shape[2:]
    if not fast_forms() or x.dtype != mx.float32 or width % dims:
        return mx.fast.rope(x, dims, traditional=False, base=10000.0, scale=1.0, offset=0)
    cos, sin = rotations(length, dims, width)
    pairs = x.reshape(*x.shape[:3], -1, 2, dims // 2)
    return x * cos + (pairs[..., ::-1, :] * sin).reshape(x.shape)  # nothing is cut and joined, which costs more


@lru_cache(maxsize=4)
def rotations(length: int, dims: int, width: int) -> tuple[mx.array, mx.array]:
    """What each feature and its partner are multiplied by, cosines (T, D) and sines (T, D / dims, 2, dims / 2).

    Every block of every step uses the same.  Features after the first ``dims`` stay: 1 and 0.
    """
    frequencies = np.float32(10000) ** -(np.arange(0, dims, 2, dtype=np.float32) / np.float32(dims))
    angles = np.arange(length, dtype=np.float32)[:, None] * frequencies
    still = np.zeros((length, width - dims), dtype=np.float32)
    sines = np.concatenate([-np.sin(angles), np.sin(angles), still], axis=1)
    cosines = np.concatenate([np.cos(angles), np.cos(angles), still + 1], axis=1)
    return mx.array(cosines), mx.array(sines.reshape(length, -1, 2, dims // 2))


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
