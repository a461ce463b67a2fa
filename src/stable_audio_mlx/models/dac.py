"""Encoder and decoder of the Descript Audio Codec (https://arxiv.org/abs/2306.06546) as stable-audio-tools has them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import mlx.core as mx
import mlx.nn as nn

from ..layers.conv import Chain, Conv1d, ConvTranspose1d, PlainConv1d, ResidualUnit, lay_out_weights
from ..layers.snake import Snake
from ..layers.tiling import decode_tiled, encode_tiled
from .oobleck import DILATIONS, MAX_BLOCKS, check_sizes


@dataclass(frozen=True)
class DACEncoderConfig:
    """``d_model`` channels at the audio's rate, twice as many after each stride."""

    d_model: int
    strides: tuple[int, ...]
    in_channels: int = 1
    latent_dim: int | None = None

    def __post_init__(self):
        ends = (self.in_channels, 1 if self.latent_dim is None else self.latent_dim)
        check_sizes(
            self.d_model, tuple(2 ** (i + 1) for i in range(len(self.strides[:MAX_BLOCKS]))), self.strides, ends
        )


@dataclass(frozen=True)
class DACDecoderConfig:
    """``channels`` at the latents' rate, half as many after each of ``rates``, which are in the decoder's order."""

    latent_dim: int
    channels: int
    rates: tuple[int, ...]
    out_channels: int = 1

    def __post_init__(self):
        check_sizes(self.channels, (1,) * len(self.rates), self.rates, (self.latent_dim, self.out_channels))
        if self.channels % 2 ** len(self.rates):
            raise ValueError(f"channels are halved {len(self.rates)} times, {self.channels} cannot be")


class DACResidualUnit(ResidualUnit):
    NAME = "block"


class EncoderBlock(Chain):
    """Three residual units, then a convolution that divides the rate by ``stride``."""

    NAME = "block"

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__(
            *(DACResidualUnit(in_channels, dilation, Snake) for dilation in DILATIONS),
            Snake(in_channels),
            Conv1d(in_channels, out_channels, 2 * stride, stride, padding=math.ceil(stride / 2)),
        )


class DecoderBlock(Chain):
    """Upsampling by ``stride``, then three residual units."""

    NAME = "block"

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__(
            Snake(in_channels),
            ConvTranspose1d(in_channels, out_channels, stride),
            *(DACResidualUnit(out_channels, dilation, Snake) for dilation in DILATIONS),
        )


class EncoderChain(Chain):
    NAME = "block"


class DecoderChain(Chain):
    NAME = "model"


class DACEncoder(nn.Module):
    """Audio to latents: (B, L, in_channels) -> (B, L / ratio, latent_dim)."""

    Config = DACEncoderConfig

    def __init__(self, cfg: DACEncoderConfig):
        super().__init__()
        widths = [cfg.d_model * 2**i for i in range(len(cfg.strides) + 1)]
        self.encoder = EncoderChain(
            Conv1d(cfg.in_channels, widths[0], 7, padding=3),
            *(EncoderBlock(*w, s) for w, s in zip(pairwise(widths), cfg.strides, strict=True)),
            Snake(widths[-1]),
            Conv1d(widths[-1], widths[-1], 3, padding=1),
        )
        self.in_channels, self.out_channels = cfg.in_channels, cfg.latent_dim or widths[-1]
        self.proj_out = nn.Identity() if cfg.latent_dim is None else PlainConv1d(widths[-1], cfg.latent_dim, 1)
        self.strides, self.widths = cfg.strides, widths

    def __call__(self, x: mx.array) -> mx.array:
        """x: (B, L, in_channels) -> (B, T, latent_dim)"""
        return self.proj_out(self.encoder(x))

    def tiled(self, x: mx.array) -> Iterator[mx.array]:
        """The same, evaluated piece by piece in bounded memory.  x: (B, L, in_channels) -> (B, t, latent_dim) each"""
        lay_out_weights(self)
        return encode_tiled([*self.encoder.block, self.proj_out], self.strides, self.widths, x)


class DACDecoder(nn.Module):
    """Latents to audio, through a tanh: (B, T, latent_dim) -> (B, T * ratio, out_channels)."""

    Config = DACDecoderConfig

    def __init__(self, cfg: DACDecoderConfig):
        super().__init__()
        widths = [cfg.channels // 2**i for i in range(len(cfg.rates) + 1)]
        self.decoder = DecoderChain(
            Conv1d(cfg.latent_dim, widths[0], 7, padding=3),
            *(DecoderBlock(*w, s) for w, s in zip(pairwise(widths), cfg.rates, strict=True)),
            Snake(widths[-1]),
            Conv1d(widths[-1], cfg.out_channels, 7, padding=3),
            nn.Tanh(),
        )
        self.in_channels, self.out_channels = cfg.latent_dim, cfg.out_channels
        self.strides, self.widths = cfg.rates, widths

    def __call__(self, x: mx.array) -> mx.array:
        """x: (B, T, latent_dim) -> (B, L, out_channels)"""
        return self.decoder(x)

    def reach(self, start: int, stop: int) -> tuple[int, int]:
        """The latents that the samples [start, stop) are made of."""
        return self.decoder.reach(start, stop)

    def tiled(self, x: mx.array) -> Iterator[mx.array]:
        """The same, evaluated piece by piece in bounded memory.  x: (B, T, latent_dim) -> (B, l, out_channels) each"""
        lay_out_weights(self)
        return decode_tiled(self.decoder.model, self.strides, self.widths, x)
