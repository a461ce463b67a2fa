"""Bottlenecks: what lies between an encoder's output and the latents that are kept.

``encode(h, noise)`` gives latents and ``decode(z, noise)`` what the decoder reads, both (B, T, C).  Without ``noise``
every bottleneck is deterministic: a VAE gives its mean, and the noise that the reference adds at inference is zero.
"""

from dataclasses import dataclass
from typing import ClassVar

import mlx.core as mx
import mlx.nn as nn

from ..layers.quantize import ResidualVectorQuantize, ResidualVQ, unit

MAX_CODEBOOKS, MAX_ENTRIES, MAX_DIM = 256, 1 << 20, 1 << 14


class Bottleneck(nn.Module):
    """``in_channels`` from the encoder, ``latent_dim`` kept, ``out_channels`` to the decoder; by itself no change."""

    discrete = False

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
    """Latents that are one of finitely many: ``quantize`` and ``dequantize`` go to integer codes (B, n, T) and back."""

    discrete = True

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


@dataclass(frozen=True)
class DACRVQConfig:
    n_codebooks: int
    codebook_size: int
    input_dim: int = 512
    codebook_dim: int | tuple[int, ...] = 8
    quantize_on_decode: bool = False
    noise_augment_dim: int = 0

    IGNORED: ClassVar = ("quantizer_dropout",)

    def __post_init__(self):
        check_counts(
            n_codebooks=(self.n_codebooks, 1, MAX_CODEBOOKS),
            codebook_size=(self.codebook_size, 1, MAX_ENTRIES),
            input_dim=(self.input_dim, 1, MAX_DIM),
            noise_augment_dim=(self.noise_augment_dim, 0, MAX_DIM),
        )
        if isinstance(self.codebook_dim, tuple) and len(self.codebook_dim) != self.n_codebooks:
            raise ValueError(f"codebook_dim lists {len(self.codebook_dim)} sizes for {self.n_codebooks} codebooks")
        for dim in self.dims:
            check_counts(codebook_dim=(dim, 1, MAX_DIM))

    @property
    def dims(self) -> tuple[int, ...]:
        """The codebooks' dimensions."""
        if isinstance(self.codebook_dim, tuple):
            return self.codebook_dim
        return (self.codebook_dim,) * self.n_codebooks


class DACRVQBottleneck(DiscreteBottleneck):
    """Residual vector quantiser of the Descript codec."""

    Config = DACRVQConfig
    VARIATIONAL = False

    def __init__(self, cfg: DACRVQConfig, latent_dim: int):
        super().__init__(latent_dim, in_channels=latent_dim * (1 + self.VARIATIONAL), extra=cfg.noise_augment_dim)
        if cfg.input_dim != latent_dim:
            raise ValueError(f"input_dim is {cfg.input_dim}, but latent_dim is {latent_dim}")
        self.codebooks, self.codebook_size = cfg.n_codebooks, cfg.codebook_size
        self.on_decode = cfg.quantize_on_decode
        self.quantizer = ResidualVectorQuantize(cfg.input_dim, cfg.codebook_size, cfg.dims)

    def quantize(self, h: mx.array, noise: mx.array | None = None) -> tuple[mx.array, mx.array]:
        """h: (B, T, in_channels) -> latents (B, T, C) and codes (B, n, T) int32"""
        return self.quantizer.encode(sample(h, noise) if self.VARIATIONAL else h)

    def dequantize(self, codes: mx.array) -> mx.array:
        """codes: (B, n, T) -> (B, T, C)"""
        return self.quantizer.decode(codes)

    def encode(self, h: mx.array, noise: mx.array | None = None) -> mx.array:
        """h: (B, T, in_channels) -> (B, T, C)"""
        if self.on_decode:
            return sample(h, noise) if self.VARIATIONAL else h
        return super().encode(h, noise)

    def decode(self, z: mx.array, noise: mx.array | None = None) -> mx.array:
        """z: (B, T, C), noise: (B, T, extra) -> (B, T, C + extra)"""
        return super().decode(self.quantizer.encode(z)[0] if self.on_decode else z, noise)


class DACRVQVAEBottleneck(DACRVQBottleneck):
    """A VAE sample (its mean without noise), then the quantiser."""

    VARIATIONAL = True


@dataclass(frozen=True)
class RVQConfig:
    dim: int = 128
    codebook_size: int = 1024
    num_quantizers: int = 8
    codebook_dim: int | None = None

    IGNORED: ClassVar = (
        "decay",
        "kmeans_init",
        "kmeans_iters",
        "threshold_ema_dead_code",
        "commitment_weight",
        "quantize_dropout",
        "quantize_dropout_cutoff_index",
        "quantize_dropout_multiple_of",
    )

    def __post_init__(self):
        check_counts(
            dim=(self.dim, 1, MAX_DIM),
            codebook_size=(self.codebook_size, 1, MAX_ENTRIES),
            num_quantizers=(self.num_quantizers, 1, MAX_CODEBOOKS),
            codebook_dim=(self.codebook_dim or self.dim, 1, MAX_DIM),
        )


class RVQBottleneck(DiscreteBottleneck):
    """Residual vector quantiser with Euclidean distances."""

    Config = RVQConfig
    VARIATIONAL = False

    def __init__(self, cfg: RVQConfig, latent_dim: int):
        super().__init__(latent_dim, in_channels=latent_dim * (1 + self.VARIATIONAL))
        if cfg.dim != latent_dim:
            raise ValueError(f"dim is {cfg.dim}, but latent_dim is {latent_dim}")
        self.codebooks, self.codebook_size = cfg.num_quantizers, cfg.codebook_size
        self.quantizer = ResidualVQ(cfg.dim, cfg.codebook_size, cfg.num_quantizers, cfg.codebook_dim or cfg.dim)

    def quantize(self, h: mx.array, noise: mx.array | None = None) -> tuple[mx.array, mx.array]:
        """h: (B, T, in_channels) -> latents (B, T, C) and codes (B, n, T) int32"""
        return self.quantizer.encode(sample(h, noise) if self.VARIATIONAL else h)

    def dequantize(self, codes: mx.array) -> mx.array:
        """codes: (B, n, T) -> (B, T, C)"""
        return self.quantizer.decode(codes)


class RVQVAEBottleneck(RVQBottleneck):
    """A VAE sample (its mean without noise), then the quantiser."""

    VARIATIONAL = True


def check_counts(**counts: tuple[int, int, int]) -> None:
    """Raise ValueError for a ``name=(value, least, most)`` outside of its range."""
    for name, (value, least, most) in counts.items():
        if not least <= value <= most:
            raise ValueError(f"{name} must be {least} to {most}, got {value}")
