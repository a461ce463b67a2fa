"""Absolute positions added to a sequence; rotary ones belong to attention."""

import mlx.core as mx
import mlx.nn as nn

from ..errors import OptionError


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
