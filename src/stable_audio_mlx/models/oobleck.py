"""Oobleck: the convolutional encoder and decoder of Stable Audio Open's autoencoder (https://arxiv.org/abs/2407.14358).

Attribute names follow the checkpoints (``layers.0.weight``), so no key is renamed but one of the nearest variant.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import mlx.core as mx
import mlx.nn as nn

from ..layers.conv import Chain, Conv1d, ConvTranspose1d, NearestUpsample, ResidualUnit, lay_out_weights
from ..layers.snake import AntiAliased, SnakeBeta
from ..layers.tiling import decode_tiled, encode_tiled

DILATIONS = (1, 3, 9)
MAX_BLOCKS, MAX_WIDTH, MAX_STRIDE, MAX_RATIO = 16, 1 << 14, 256, 1 << 20


@dataclass(frozen=True)
class OobleckConfig:
    """What both have; ``c_mults`` and ``strides`` from the audio side to the latent side, also a decoder's."""

    channels: int = 128
    latent_dim: int = 32
    c_mults: tuple[int, ...] = (1, 2, 4, 8)
    strides: tuple[int, ...] = (2, 4, 8, 8)
    use_snake: bool = False
    antialias_activation: bool = False


@dataclass(frozen=True)
class OobleckEncoderConfig(OobleckConfig):
    in_channels: int = 2

    def __post_init__(self):
        check_sizes(self.channels, self.c_mults, self.strides, (self.in_channels, self.latent_dim))


@dataclass(frozen=True)
class OobleckDecoderConfig(OobleckConfig):
    out_channels: int = 2
    use_nearest_upsample: bool = False
    final_tanh: bool = True

    def __post_init__(self):
        check_sizes(self.channels, self.c_mults, self.strides, (self.out_channels, self.latent_dim))


def check_sizes(channels: int, c_mults: tuple[int, ...], strides: tuple[int, ...], ends: tuple[int, ...]) -> None:
    """Raise ValueError for sizes that no codec has, before anything is allocated."""
    if not 1 <= len(strides) <= MAX_BLOCKS or len(c_mults) != len(strides):
        raise ValueError(
            f"c_mults and strides must have one entry for each of 1 to {MAX_BLOCKS} blocks, "
            f"got {len(c_mults)} and {len(strides)}"
        )
    if not all(1 <= s <= MAX_STRIDE for s in strides) or math.prod(strides) > MAX_RATIO:
        raise ValueError(f"strides must be 1 to {MAX_STRIDE} with a product of at most {MAX_RATIO}, got {strides}")
    widths = (channels, *(channels * m for m in c_mults), *ends)
    if not all(1 <= w <= MAX_WIDTH for w in widths):
        raise ValueError(f"channel counts must be 1 to {MAX_WIDTH}, got {widths}")


def activation(channels: int, use_snake: bool, antialias: bool = False) -> nn.Module:
    act = SnakeBeta(channels) if use_snake else nn.ELU()
    return AntiAliased(act) if antialias else act


class EncoderBlock(Chain):
    """Three residual units, then a convolution that divides the rate by ``stride``."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, use_snake: bool):
        super().__init__(
            *(ResidualUnit(in_channels, dilation, partial(activation, use_snake=use_snake)) for dilation in DILATIONS),
            activation(in_channels, use_snake),
            Conv1d(in_channels, out_channels, 2 * stride, stride, padding=math.ceil(stride / 2)),
        )


class DecoderBlock(Chain):
    """Upsampling by ``stride``, then three residual units."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, cfg: OobleckDecoderConfig):
        act = partial(activation, use_snake=cfg.use_snake)
        upsample = NearestUpsample if cfg.use_nearest_upsample else ConvTranspose1d
        super().__init__(
            activation(in_channels, cfg.use_snake, cfg.antialias_activation),
            upsample(in_channels, out_channels, stride),
            *(ResidualUnit(out_channels, dilation, act) for dilation in DILATIONS),
        )


class OobleckEncoder(Chain):
    """Audio to latents: (B, L, in_channels) -> (B, L / ratio, latent_dim)."""

    Config = OobleckEncoderConfig

    def __init__(self, cfg: OobleckEncoderConfig):
        widths = [cfg.channels * m for m in (1, *cfg.c_mults)]
        super().__init__(
            Conv1d(cfg.in_channels, widths[0], 7, padding=3),
            *(EncoderBlock(*w, s, cfg.use_snake) for w, s in zip(pairwise(widths), cfg.strides, strict=True)),
            activation(widths[-1], cfg.use_snake, cfg.antialias_activation),
            Conv1d(widths[-1], cfg.latent_dim, 3, padding=1),
        )
        self.in_channels, self.out_channels = cfg.in_channels, cfg.latent_dim
        self.strides, self.widths = cfg.strides, widths

    def tiled(self, x: mx.array) -> Iterator[mx.array]:
        """The same, evaluated piece by piece in bounded memory.  x: (B, L, in_channels) -> (B, t, latent_dim) each"""
        lay_out_weights(self)
        return encode_tiled(self.layers, self.strides, self.widths, x)


class OobleckDecoder(Chain):
    """Latents to audio: (B, T, latent_dim) -> (B, T * ratio, out_channels); odd strides lose a sample each."""

    Config = OobleckDecoderConfig

    def __init__(self, cfg: OobleckDecoderConfig):
        widths = [cfg.channels * m for m in (1, *cfg.c_mults)][::-1]
        super().__init__(
            Conv1d(cfg.latent_dim, widths[0], 7, padding=3),
            *(DecoderBlock(*w, s, cfg) for w, s in zip(pairwise(widths), cfg.strides[::-1], strict=True)),
            activation(widths[-1], cfg.use_snake, cfg.antialias_activation),
            Conv1d(widths[-1], cfg.out_channels, 7, padding=3, bias=False),
            *([nn.Tanh()] if cfg.final_tanh else []),
        )
        self.in_channels, self.out_channels = cfg.latent_dim, cfg.out_channels
        self.strides, self.widths = cfg.strides[::-1], widths

    def tiled(self, x: mx.array) -> Iterator[mx.array]:
        """The same, evaluated piece by piece in bounded memory.  x: (B, T, latent_dim) -> (B, l, out_channels) each"""
        lay_out_weights(self)
        return decode_tiled(self.layers, self.strides, self.widths, x)
