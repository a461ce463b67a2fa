"""Bottlenecks that look vectors up in codebooks: residual vector quantisers, of a VAE's samples too."""

from dataclasses import dataclass
from typing import ClassVar

import mlx.core as mx

from ..layers.quantize import ResidualVectorQuantize, ResidualVQ
from .bottleneck import MAX_CODEBOOKS, MAX_DIM, DiscreteBottleneck, check_counts, sample

MAX_ENTRIES = 1 << 20


class VectorBottleneck(DiscreteBottleneck):
    """Base of those whose ``quantizer`` looks vectors up; a variational one draws them as a VAE does."""

    VARIATIONAL = False
    quantizer: ResidualVectorQuantize | ResidualVQ

    def __init__(self, latent_dim: int, extra: int = 0):
        super().__init__(latent_dim, latent_dim * (1 + self.VARIATIONAL), extra)

    def drawn(self, h: mx.array, noise: mx.array | None) -> mx.array:
        """h: (B, T, in_channels), noise: (B, T, C) or None -> (B, T, C)"""
        return sample(h, noise) if self.VARIATIONAL else h

    def quantize(self, h: mx.array, noise: mx.array | None = None) -> tuple[mx.array, mx.array]:
        """h: (B, T, in_channels) -> latents (B, T, C) and codes (B, n, T) int32"""
        return self.quantizer.encode(self.drawn(h, noise))

    def dequantize(self, codes: mx.array) -> mx.array:
        """codes: (B, n, T) -> (B, T, C)"""
        return self.quantizer.decode(codes)


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


class DACRVQBottleneck(VectorBottleneck):
    """Residual vector quantiser of the Descript codec."""

    Config = DACRVQConfig

    def __init__(self, cfg: DACRVQConfig, latent_dim: int):
        super().__init__(latent_dim, extra=cfg.noise_augment_dim)
        if cfg.input_dim != latent_dim:
            raise ValueError(f"input_dim is {cfg.input_dim}, but latent_dim is {latent_dim}")
        self.codebooks, self.codebook_size = cfg.n_codebooks, cfg.codebook_size
        self.on_decode = cfg.quantize_on_decode
        self.quantizer = ResidualVectorQuantize(cfg.input_dim, cfg.codebook_size, cfg.dims)

    def encode(self, h: mx.array, noise: mx.array | None = None) -> mx.array:
        """h: (B, T, in_channels) -> (B, T, C)"""
        if self.on_decode:
            return self.drawn(h, noise)
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


class RVQBottleneck(VectorBottleneck):
    """Residual vector quantiser with Euclidean distances."""

    Config = RVQConfig

    def __init__(self, cfg: RVQConfig, latent_dim: int):
        super().__init__(latent_dim)
        if cfg.dim != latent_dim:
            raise ValueError(f"dim is {cfg.dim}, but latent_dim is {latent_dim}")
        self.codebooks, self.codebook_size = cfg.num_quantizers, cfg.codebook_size
        self.quantizer = ResidualVQ(cfg.dim, cfg.codebook_size, cfg.num_quantizers, cfg.codebook_dim or cfg.dim)


class RVQVAEBottleneck(RVQBottleneck):
    """A VAE sample (its mean without noise), then the quantiser."""

    VARIATIONAL = True
