"""Bottlenecks: what lies between an encoder's output and the latents that are kept.

``encode(h, noise)`` gives latents and ``decode(z, noise)`` what the decoder reads, both (B, T, C).  Without ``noise``
every bottleneck is deterministic: a VAE gives its mean, and the noise that the reference adds at inference is zero.
"""

from dataclasses import dataclass
from typing import ClassVar

import mlx.core as mx
import mlx.nn as nn

from ..layers.quantize import unit

MAX_CODEBOOKS, MAX_DIM = 256, 1 << 14


class Bottleneck(nn.Module):
    """``in_channels`` from the encoder, ``latent_dim`` kept, ``out_channels`` to the decoder; by itself no change."""

    def __init__(self, latent_dim: int, in_channels: int | None = None, extra: int = 0):
        super().__init__()
        self.latent_dim, self.in_channels = latent_dim, latent_dim if in_channels is None else in_channels
        self.extra, self.out_channels = extra, latent_dim + extra

    def encode(self, h: mx.array, noise: mx.array | None = None) -> mx.array:
        """h: (B, T, in_channels) -> (B, T, latent_dim)"""
        return h

    def decode(self, z: mx.array, noise: mx.array | None = None) -> mx.array:
        """z: (B, T, latent_dim), noise: (B, T, extra) -> (B, T, out_channels)"""
        if not self.extra:
            return z
        return mx.concatenate([z, mx.zeros((*z.shape[:2], self.extra), z.dtype) if noise is None else noise], axis=-1)


class DiscreteBottleneck(Bottleneck):
    """Latents that are one of finitely many: ``quantize`` and ``dequantize`` go to integer codes (B, n, T) and back.

    ``codebooks`` is the most that n can be, ``codebook_size`` how many values a code has.
    """

    codebooks: int
    codebook_size: int

    def quantize(self, h: mx.array, noise: mx.array | None = None) -> tuple[mx.array, mx.array]:
        """h: (B, T, in_channels) -> latents (B, T, latent_dim) and codes (B, n, T)"""
        raise NotImplementedError

    def dequantize(self, codes: mx.array) -> mx.array:
        """codes: (B, n, T) -> latents (B, T, latent_dim)"""
        raise NotImplementedError

    def encode(self, h: mx.array, noise: mx.array | None = None) -> mx.array:
        """h: (B, T, in_channels) -> (B, T, latent_dim)"""
        return self.quantize(h, noise)[0]


def moments(h: mx.array) -> tuple[mx.array, mx.array]:
    """h: (B, T, 2 C) -> mean and standard deviation, (B, T, C) each"""
    mean, scale = mx.split(h, 2, axis=-1)
    return mean, nn.softplus(scale) + 1e-4


def sample(h: mx.array, noise: mx.array | None) -> mx.array:
    """h: (B, T, 2 C), noise: (B, T, C) or None for the mean -> (B, T, C)"""
    mean, deviation = moments(h)
    return mean if noise is None else mean + deviation * noise


@dataclass(frozen=True)
class EmptyConfig:
    """A bottleneck without settings."""


class VAEBottleneck(Bottleneck):
    """The encoder's channels are mean and scale; a sample is mean + (softplus(scale) + 1e-4) * noise."""

    Config = EmptyConfig

    def __init__(self, cfg: EmptyConfig, latent_dim: int):
        super().__init__(latent_dim, in_channels=2 * latent_dim)

    def moments(self, h: mx.array) -> tuple[mx.array, mx.array]:
        """h: (B, T, 2 C) -> mean and standard deviation, (B, T, C) each"""
        return moments(h)

    def encode(self, h: mx.array, noise: mx.array | None = None) -> mx.array:
        """h: (B, T, 2 C), noise: (B, T, C) -> (B, T, C)"""
        return sample(h, noise)


@dataclass(frozen=True)
class TanhConfig:
    scale: float = 1.0

    def __post_init__(self):
        if not self.scale > 0:
            raise ValueError(f"scale must be positive, got {self.scale}")


class TanhBottleneck(Bottleneck):
    """scale * tanh(h / scale)"""

    Config = TanhConfig

    def __init__(self, cfg: TanhConfig, latent_dim: int):
        super().__init__(latent_dim)
        self.scale = cfg.scale

    def encode(self, h: mx.array, noise: mx.array | None = None) -> mx.array:
        """h: (B, T, C) -> (B, T, C)"""
        return self.scale * mx.tanh(h / self.scale)


class L2Bottleneck(Bottleneck):
    """Latents of length one, again before decoding."""

    Config = EmptyConfig

    def __init__(self, cfg: EmptyConfig, latent_dim: int):
        super().__init__(latent_dim)

    def encode(self, h: mx.array, noise: mx.array | None = None) -> mx.array:
        """h: (B, T, C) -> (B, T, C)"""
        return unit(h)

    def decode(self, z: mx.array, noise: mx.array | None = None) -> mx.array:
        """z: (B, T, C) -> (B, T, C)"""
        return unit(z)


@dataclass(frozen=True)
class WassersteinConfig:
    noise_augment_dim: int = 0
    use_tanh: bool = False
    tanh_scale: float = 5.0

    IGNORED: ClassVar = ("bypass_mmd",)

    def __post_init__(self):
        check_counts(noise_augment_dim=(self.noise_augment_dim, 0, MAX_DIM))
        if not self.tanh_scale > 0:
            raise ValueError(f"tanh_scale must be positive, got {self.tanh_scale}")


class WassersteinBottleneck(Bottleneck):
    """Latents as they are (or through a tanh), noise channels for the decoder."""

    Config = WassersteinConfig

    def __init__(self, cfg: WassersteinConfig, latent_dim: int):
        super().__init__(latent_dim, extra=cfg.noise_augment_dim)
        self.scale = cfg.tanh_scale if cfg.use_tanh else None

    def encode(self, h: mx.array, noise: mx.array | None = None) -> mx.array:
        """h: (B, T, C) -> (B, T, C)"""
        return h if self.scale is None else self.scale * mx.tanh(h / self.scale)


@dataclass(frozen=True)
class SoftNormConfig:
    dim: int = 32
    noise_augment_dim: int = 0
    noise_regularize: bool = False
    auto_scale: bool = False

    IGNORED: ClassVar = ("freeze",)

    def __post_init__(self):
        check_counts(dim=(self.dim, 1, MAX_DIM), noise_augment_dim=(self.noise_augment_dim, 0, MAX_DIM))


class SoftNormBottleneck(Bottleneck):
    """A learned scale and shift per channel and one running deviation (Stable Audio 3's SAME)."""

    Config = SoftNormConfig
    REGULARIZE = 1e-3  # of the deviation: noise that the reference adds before decoding

    def __init__(self, cfg: SoftNormConfig, latent_dim: int):
        super().__init__(latent_dim, extra=cfg.noise_augment_dim)
        if cfg.dim != latent_dim:
            raise ValueError(f"dim is {cfg.dim}, but latent_dim is {latent_dim}")
        self.scaling_factor = mx.ones((1, cfg.dim, 1))
        self.bias = mx.zeros((1, cfg.dim, 1))
        if cfg.noise_augment_dim:
            self.noise_scaling_factor = mx.ones((1, cfg.noise_augment_dim, 1))
        if cfg.auto_scale:
            self.running_std = mx.ones((1,))
        self.regularize = cfg.noise_regularize

    def checkpoint_buffers(self) -> dict[str, tuple[int, ...]]:
        """What checkpoints hold and this class does not: key -> shape."""
        return {} if self.extra else {"noise_scaling_factor": (1, 0, 1)}

    def encode(self, h: mx.array, noise: mx.array | None = None) -> mx.array:
        """h: (B, T, C) -> (B, T, C)"""
        z = h * self.scaling_factor[:, :, 0] + self.bias[:, :, 0]
        return z / self.running_std if "running_std" in self else z

    def decode(self, z: mx.array, noise: mx.array | None = None) -> mx.array:
        """z: (B, T, C), noise: (B, T, C + extra) -> (B, T, C + extra)"""
        h = z * self.running_std if "running_std" in self else z
        added = extra = None
        if noise is not None:
            added, extra = noise[..., : self.latent_dim], noise[..., self.latent_dim :]
        if self.regularize and added is not None:
            deviation = self.running_std if "running_std" in self else mx.std(h, axis=1, keepdims=True, ddof=1)
            h = h + added * deviation * self.REGULARIZE
        if self.extra and extra is not None:
            extra = extra * self.noise_scaling_factor[:, :, 0]
        return super().decode(h, extra)


def check_counts(**counts: tuple[int, int, int]) -> None:
    """Raise ValueError for a ``name=(value, least, most)`` outside of its range."""
    for name, (value, least, most) in counts.items():
        if not least <= value <= most:
            raise ValueError(f"{name} must be {least} to {most}, got {value}")
