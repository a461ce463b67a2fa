"""Bottlenecks as they are trained: with noise, gradients through rounding, and losses of their own.

What ``models`` has is the same without noise and losses; these wrap it and hold no parameters.  Noise comes as arrays
whose first axis is the batch, drawn by ``noise``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import mlx.core as mx
import numpy as np

from ...config import build
from ...errors import ConfigError
from ...models.bottleneck import Bottleneck, moments
from ...models.scalar_bottleneck import split_codebooks
from .quantizers import AverageSettings, begin, over_processes, quantize_by_average, quantize_by_direction, straight

Losses = dict[str, mx.array]
LEAST_VARIANCE = 1e-4


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, dtype=np.float32)


def variational(h: mx.array, noise: mx.array) -> tuple[mx.array, mx.array]:
    """A sample and its divergence from normal numbers.  h: (B, T, 2 C), noise: (B, T, C) -> (B, T, C), scalar

    The divergence is summed over channels and averaged over frames, twice that of the textbook.
    """
    mean, deviation = moments(h)
    variance = deviation.square()
    divergence = mean.square() + variance - mx.log(variance) - 1
    return mean + deviation * noise, divergence.sum(axis=-1).mean()


@dataclass(frozen=True)
class Nothing:
    """A bottleneck's config that says nothing of training."""


class Training:
    """Base: the bottleneck as it is, with noise for what it adds to the latents before decoding.

    ``WEIGHTS``: losses with the weight they have without ``loss_configs.bottleneck``; ``NAMES``: how that names them.
    ``buffers``: parameters that change in training without being trained.
    """

    WEIGHTS: ClassVar[dict[str, float]] = {}
    NAMES: ClassVar[dict[str, str]] = {}
    Settings: ClassVar[type] = Nothing
    buffers: tuple[str, ...] = ()

    def __init__(self, bottleneck: Bottleneck, settings: Any):
        self.bottleneck, self.settings = bottleneck, settings

    def noise(self, rng: np.random.Generator, batch: int, frames: int) -> list[np.ndarray]:
        """What a step needs, in a fixed order: of ``encode``, then of ``decode``."""
        extra = self.bottleneck.extra
        return [normal(rng, batch, frames, extra)] if extra else []

    def encode(self, h: mx.array, noise: Sequence[mx.array]) -> tuple[mx.array, Losses]:
        """h: (B, T, in_channels) -> latents (B, T, C) and the losses, without their weights"""
        return self.bottleneck.encode(h), {}

    def decode(self, z: mx.array, noise: Sequence[mx.array]) -> mx.array:
        """z: (B, T, C) -> what the decoder reads"""
        return self.bottleneck.decode(z, noise[-1] if self.bottleneck.extra else None)

    def begin(self, h: mx.array) -> None:
        """Look at the first batch before training begins.  h: (B, T, in_channels)"""


class VAE(Training):
    WEIGHTS: ClassVar = {"kl_loss": 1e-6}
    NAMES: ClassVar = {"kl": "kl_loss"}

    def noise(self, rng: np.random.Generator, batch: int, frames: int) -> list[np.ndarray]:
        return [normal(rng, batch, frames, self.bottleneck.latent_dim), *super().noise(rng, batch, frames)]

    def encode(self, h: mx.array, noise: Sequence[mx.array]) -> tuple[mx.array, Losses]:
        z, divergence = variational(h, noise[0])
        return z, {"kl_loss": divergence}


@dataclass(frozen=True)
class Discrepancy:
    bypass_mmd: bool = False

    IGNORED: ClassVar = ("noise_augment_dim", "use_tanh", "tanh_scale")


class Wasserstein(Training):
    """Latents are drawn to normal numbers by the maximum mean discrepancy (https://arxiv.org/abs/1711.01558)."""

    WEIGHTS: ClassVar = {"mmd_loss": 100.0}
    NAMES: ClassVar = {"mmd": "mmd_loss"}
    Settings = Discrepancy

    def noise(self, rng: np.random.Generator, batch: int, frames: int) -> list[np.ndarray]:
        return [normal(rng, batch, frames, self.bottleneck.latent_dim), *super().noise(rng, batch, frames)]

    def encode(self, h: mx.array, noise: Sequence[mx.array]) -> tuple[mx.array, Losses]:
        x, y = h.flatten(0, 1), noise[0].flatten(0, 1)
        loss = mx.zeros(()) if self.settings.bypass_mmd else kernel(x, x) + kernel(y, y) - 2 * kernel(x, y)
        return self.bottleneck.encode(h), {"mmd_loss": loss}


def kernel(x: mx.array, y: mx.array) -> mx.array:
    """Mean of exp(-|x - y|^2 / C^2) over all pairs of rows.  x: (N, C), y: (M, C) -> scalar"""
    squares = x.square().sum(axis=1)[:, None] + y.square().sum(axis=1) - 2 * (x @ y.T)
    return mx.exp(-squares / x.shape[1] ** 2).mean()


@dataclass(frozen=True)
class Freezing:
    freeze: bool = False

    IGNORED: ClassVar = ("dim", "noise_augment_dim", "noise_regularize", "auto_scale")


class SoftNorm(Training):
    """Moments over time and over channels are drawn to those of normal numbers; noise is added before decoding."""

    WEIGHTS: ClassVar = {"softnorm_loss": 0.0}
    NAMES: ClassVar = {"softnorm": "softnorm_loss"}
    Settings = Freezing
    KEEP, REGULARIZE, OVER_CHANNELS = 0.999, 5e-2, 0.4

    def __init__(self, bottleneck: Bottleneck, settings: Freezing):
        super().__init__(bottleneck, settings)
        if settings.freeze:
            bottleneck.freeze()
        if "running_std" in bottleneck:
            bottleneck.freeze(keys="running_std")
            self.buffers = ("running_std",)

    def noise(self, rng: np.random.Generator, batch: int, frames: int) -> list[np.ndarray]:
        b: Any = self.bottleneck
        return [normal(rng, batch, frames, b.out_channels)] if b.regularize or b.extra else []

    def encode(self, h: mx.array, noise: Sequence[mx.array]) -> tuple[mx.array, Losses]:
        b: Any = self.bottleneck
        if "running_std" in b and not self.settings.freeze:
            z = mx.stop_gradient(h * b.scaling_factor[:, :, 0] + b.bias[:, :, 0])
            deviation = over_processes(mx.std(z, ddof=1)) / mx.distributed.init().size()
            b.running_std = mx.maximum(self.KEEP * b.running_std + (1 - self.KEEP) * deviation, LEAST_VARIANCE)
        z = b.encode(h)
        return z, {"softnorm_loss": spread(z, 1) + self.OVER_CHANNELS * spread(z, 2)}

    def decode(self, z: mx.array, noise: Sequence[mx.array]) -> mx.array:
        b: Any = self.bottleneck
        if not noise:
            return b.decode(z)
        own = noise[-1] * (self.REGULARIZE / b.REGULARIZE)
        return b.decode(z, mx.concatenate([own[..., : b.latent_dim], noise[-1][..., b.latent_dim :]], axis=-1))


def spread(z: mx.array, axis: int) -> mx.array:
    """How far mean and variance along ``axis`` are from 0 and 1: mean of m^2 + v - ln v - 1 -> scalar"""
    mean = z.mean(axis=axis)
    variance = mx.maximum(mx.var(z, axis=axis, ddof=1), LEAST_VARIANCE)
    return (mean.square() + variance - mx.log(variance) - 1).mean()


@dataclass(frozen=True)
class Dropout:
    quantizer_dropout: float = 0.0

    IGNORED: ClassVar = (
        "n_codebooks",
        "codebook_size",
        "input_dim",
        "codebook_dim",
        "quantize_on_decode",
        "noise_augment_dim",
    )

    def __post_init__(self):
        if not 0 <= self.quantizer_dropout <= 1:
            raise ValueError(f"quantizer_dropout {self.quantizer_dropout} is no share, 0 to 1")


class DACRVQ(Training):
    """Codebooks are trained by their loss; for a share of the batch a random number of them is heard."""

    WEIGHTS: ClassVar = {"codebook_loss": 1.0, "commitment_loss": 0.25}
    Settings = Dropout
    VARIATIONAL = False

    def __init__(self, bottleneck: Bottleneck, settings: Any):
        super().__init__(bottleneck, settings)
        if getattr(bottleneck, "on_decode", False):
            raise ValueError("quantize_on_decode cannot be trained (nor in stable-audio-tools)")

    def noise(self, rng: np.random.Generator, batch: int, frames: int) -> list[np.ndarray]:
        b: Any = self.bottleneck
        depth = np.full(batch, b.codebooks + 1, np.float32)
        share = int(batch * self.settings.quantizer_dropout)
        depth[:share] = rng.integers(1, b.codebooks + 1, batch)[:share]
        drawn = [normal(rng, batch, frames, b.latent_dim)] if self.VARIATIONAL else []
        return [depth, *drawn, *super().noise(rng, batch, frames)]

    def encode(self, h: mx.array, noise: Sequence[mx.array]) -> tuple[mx.array, Losses]:
        losses: Losses = {}
        if self.VARIATIONAL:
            h, losses["kl_loss"] = variational(h, noise[1])
        b: Any = self.bottleneck
        z, losses["commitment_loss"], losses["codebook_loss"] = quantize_by_direction(b.quantizer, h, noise[0])
        return z, losses


class DACRVQVAE(DACRVQ):
    WEIGHTS: ClassVar = {"kl_loss": 1e-6, **DACRVQ.WEIGHTS}
    NAMES: ClassVar = {"kl": "kl_loss"}
    VARIATIONAL = True


class RVQ(Training):
    """Codebooks follow running averages; from a random one on, they are not heard if the config says so."""

    WEIGHTS: ClassVar = {"quantizer_loss": 1.0}
    Settings = AverageSettings
    VARIATIONAL = False

    def noise(self, rng: np.random.Generator, batch: int, frames: int) -> list[np.ndarray]:
        b: Any = self.bottleneck
        last = np.array(self.settings.last(rng, b.codebooks), np.float32)
        drawn = [normal(rng, batch, frames, b.latent_dim)] if self.VARIATIONAL else []
        return [last, *drawn, *super().noise(rng, batch, frames)]

    def encode(self, h: mx.array, noise: Sequence[mx.array]) -> tuple[mx.array, Losses]:
        losses: Losses = {}
        if self.VARIATIONAL:
            h, losses["kl_loss"] = variational(h, noise[1])
        b: Any = self.bottleneck
        z, losses["quantizer_loss"] = quantize_by_average(b.quantizer, h, noise[0], self.settings)
        return z, losses

    def begin(self, h: mx.array) -> None:
        b: Any = self.bottleneck
        begin(b.quantizer, moments(h)[0] if self.VARIATIONAL else h, self.settings)
        names = ("embed", "embed_avg", "cluster_size")
        self.buffers = tuple(f"quantizer.layers.{i}.codebook.{n}" for i in range(b.codebooks) for n in names)


class RVQVAE(RVQ):
    WEIGHTS: ClassVar = {"kl_loss": 1e-6, **RVQ.WEIGHTS}
    NAMES: ClassVar = {"kl": "kl_loss"}
    VARIATIONAL = True


class FSQ(Training):
    """Rounding passes gradients on."""

    def encode(self, h: mx.array, noise: Sequence[mx.array]) -> tuple[mx.array, Losses]:
        b: Any = self.bottleneck
        x = b.bounded(h)
        return b.quantizer.project_out((straight(x, mx.round(x)) / b._width).flatten(2)), {}


@dataclass(frozen=True)
class Dither:
    noise_dropout: float = 0.05

    IGNORED: ClassVar = ("dim", "levels", "num_codebooks", "dither_inference")

    def __post_init__(self):
        if not 0 <= self.noise_dropout <= 1:
            raise ValueError(f"noise_dropout {self.noise_dropout} is no share, 0 to 1")


class DitheredFSQ(Training):
    """Noise as wide as a step in place of rounding; for a share of the batch rounding, for a share of that neither."""

    Settings = Dither

    def noise(self, rng: np.random.Generator, batch: int, frames: int) -> list[np.ndarray]:
        share = self.settings.noise_dropout
        kept = (rng.random((batch, 2)) < share).astype(np.float32)
        uniform = rng.random((batch, frames, self.bottleneck.latent_dim), dtype=np.float32) - 0.5
        return [kept, uniform, *super().noise(rng, batch, frames)]

    def encode(self, h: mx.array, noise: Sequence[mx.array]) -> tuple[mx.array, Losses]:
        b: Any = self.bottleneck
        kept, uniform = noise[0][:, :, None, None, None] > 0, split_codebooks(noise[1], b.codebooks)
        z = mx.tanh(split_codebooks(h, b.codebooks))
        steps = (z + 1) / b._step
        rounded = straight(steps, mx.round(steps)) * b._step - 1
        chosen = mx.where(kept[:, 1], mx.where(kept[:, 0], z, rounded), z + uniform * b._step)
        return chosen.flatten(2), {}


TRAININGS: dict[str, type[Training]] = {
    "vae": VAE,
    "tanh": Training,
    "l2_norm": Training,
    "wasserstein": Wasserstein,
    "softnorm": SoftNorm,
    "dac_rvq": DACRVQ,
    "dac_rvq_vae": DACRVQVAE,
    "rvq": RVQ,
    "rvq_vae": RVQVAE,
    "fsq": FSQ,
    "dithered_fsq": DitheredFSQ,
}


def training_of(bottleneck: Bottleneck, section: dict[str, Any], path: str) -> Training:
    """How the bottleneck of a config's section is trained; ConfigError with the JSON path."""
    cls = TRAININGS[section["type"]]
    given = section.get("config") or {} if cls.Settings is not Nothing else {}
    try:
        return cls(bottleneck, build(cls.Settings, given, f"{path}.config"))
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{path}.config: {error}") from None
