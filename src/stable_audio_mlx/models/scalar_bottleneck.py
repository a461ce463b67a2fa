"""Bottlenecks that round each channel to a grid: finite scalar quantisation (https://arxiv.org/abs/2309.15505)."""

import math
from dataclasses import dataclass
from typing import ClassVar

import mlx.core as mx
import mlx.nn as nn

from ..layers.quantize import ScalarGrid
from .bottleneck import MAX_CODEBOOKS, MAX_DIM, DiscreteBottleneck, check_counts


@dataclass(frozen=True)
class FSQConfig:
    levels: tuple[int, ...]
    dim: int | None = None
    num_codebooks: int = 1
    projection_has_bias: bool = True
    noise_augment_dim: int = 0

    IGNORED: ClassVar = ("keep_num_codebooks_dim", "scale", "return_indices")

    def __post_init__(self):
        check_counts(
            levels=(len(self.levels), 1, MAX_DIM),
            dim=(self.dim or 1, 1, MAX_DIM),
            num_codebooks=(self.num_codebooks, 1, MAX_CODEBOOKS),
            noise_augment_dim=(self.noise_augment_dim, 0, MAX_DIM),
        )


class FSQ(nn.Module):
    """Projections to and from the grid's channels, where their numbers differ."""

    def __init__(self, dim: int, channels: int, bias: bool):
        super().__init__()
        self.project_in = nn.Linear(dim, channels, bias) if dim != channels else nn.Identity()
        self.project_out = nn.Linear(channels, dim, bias) if dim != channels else nn.Identity()


class FSQBottleneck(DiscreteBottleneck):
    """Each channel is squashed to its number of levels and rounded."""

    Config = FSQConfig

    def __init__(self, cfg: FSQConfig, latent_dim: int):
        super().__init__(latent_dim, extra=cfg.noise_augment_dim)
        channels = len(cfg.levels) * cfg.num_codebooks
        if (cfg.dim or channels) != latent_dim:
            raise ValueError(f"dim is {cfg.dim or channels}, but latent_dim is {latent_dim}")
        self.codebooks, self.codebook_size = cfg.num_codebooks, math.prod(cfg.levels)
        self._grid = ScalarGrid(cfg.levels)
        # Slightly wider than the grid, so that tanh reaches the outer levels; even counts are centred by a shift.
        self._half = mx.array([(n - 1) * (1 + 1e-3) / 2 for n in cfg.levels])
        self._offset = mx.array([0.0 if n % 2 else 0.5 for n in cfg.levels])
        self._width = mx.array([n // 2 for n in cfg.levels], dtype=mx.float32)
        self.quantizer = FSQ(latent_dim, channels, cfg.projection_has_bias)

    def quantize(self, h: mx.array, noise: mx.array | None = None) -> tuple[mx.array, mx.array]:
        """h: (B, T, C) -> latents (B, T, C) and codes (B, n, T)"""
        x = mx.round(self.bounded(h))
        codes = self._grid.join(x + self._width)
        return self.quantizer.project_out((x / self._width).flatten(2)), codes.swapaxes(1, 2)

    def bounded(self, h: mx.array) -> mx.array:
        """h: (B, T, C) -> (B, T, n, C / n) on the grid's scale, before rounding"""
        x = split_codebooks(self.quantizer.project_in(h), self.codebooks)
        return mx.tanh(x + mx.arctanh(self._offset / self._half)) * self._half - self._offset

    def dequantize(self, codes: mx.array) -> mx.array:
        """codes: (B, n, T) -> (B, T, C)"""
        x = (self._grid.split(codes.swapaxes(1, 2)) - self._width) / self._width
        return self.quantizer.project_out(x.flatten(2))


@dataclass(frozen=True)
class DitheredFSQConfig:
    dim: int
    levels: int | tuple[int, ...]
    num_codebooks: int = 1

    IGNORED: ClassVar = ("dither_inference", "noise_dropout")

    def __post_init__(self):
        check_counts(dim=(self.dim, 1, MAX_DIM), num_codebooks=(self.num_codebooks, 1, MAX_CODEBOOKS))
        if isinstance(self.levels, tuple) and len(self.levels) != self.dim:
            raise ValueError(f"levels lists {len(self.levels)} numbers for dim {self.dim}")


class DitheredFSQBottleneck(DiscreteBottleneck):
    """tanh, then the nearest of ``levels`` equally spaced values from -1 to 1."""

    Config = DitheredFSQConfig

    def __init__(self, cfg: DitheredFSQConfig, latent_dim: int):
        super().__init__(latent_dim)
        levels = cfg.levels if isinstance(cfg.levels, tuple) else (cfg.levels,) * cfg.dim
        if cfg.dim * cfg.num_codebooks != latent_dim:
            raise ValueError(f"dim * num_codebooks is {cfg.dim * cfg.num_codebooks}, but latent_dim is {latent_dim}")
        self.codebooks, self.codebook_size = cfg.num_codebooks, math.prod(levels)
        self._grid = ScalarGrid(levels)
        self._step = mx.array([2 / (n - 1) for n in levels])

    def quantize(self, h: mx.array, noise: mx.array | None = None) -> tuple[mx.array, mx.array]:
        """h: (B, T, C) -> latents (B, T, C) and codes (B, n, T)"""
        x = mx.round((mx.tanh(split_codebooks(h, self.codebooks)) + 1) / self._step)
        return (x * self._step - 1).flatten(2), self._grid.join(x).swapaxes(1, 2)

    def dequantize(self, codes: mx.array) -> mx.array:
        """codes: (B, n, T) -> (B, T, C)"""
        return (self._grid.split(codes.swapaxes(1, 2)) * self._step - 1).flatten(2)


def split_codebooks(x: mx.array, count: int) -> mx.array:
    """x: (B, T, C) -> (B, T, count, C / count)"""
    return x.reshape(*x.shape[:2], count, -1)
