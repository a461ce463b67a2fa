"""``training.loss_configs`` of an autoencoder, read strictly."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from ...config import build, lookup
from ...errors import ConfigError
from ..config import known
from .discriminators import DISCRIMINATORS
from .discriminators.base import Discriminator
from .stft_loss import STFTLossConfig

SIZES = (2048, 1024, 512, 256, 128, 64, 32)


def default_losses() -> dict[str, Any]:
    """What stable-audio-tools trains on where a config has no ``loss_configs``."""
    hops = [size // 4 for size in SIZES]
    sizes: dict[str, Any] = {"hop_sizes": hops, "win_lengths": list(SIZES)}
    return {
        "discriminator": {
            "type": "encodec",
            "config": {"filters": 32, "n_ffts": list(SIZES), "hop_lengths": hops, "win_lengths": list(SIZES)},
            "weights": {"adversarial": 0.1, "feature_matching": 5.0},
        },
        "spectral": {
            "type": "mrstft",
            "config": {"fft_sizes": list(SIZES), **sizes, "perceptual_weighting": True},
            "weights": {"mrstft": 1.0},
        },
    }


@dataclass(frozen=True)
class Weighted:
    """``weights``: by the name of a loss; ``decay``: by what they are multiplied at each update of the autoencoder."""

    weights: dict
    type: str = ""
    config: dict | None = None
    decay: float = 1.0

    NAMES: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self):
        for name, weight in self.weights.items():
            if name not in self.NAMES:
                raise ValueError(f"weights: unknown loss {name!r}, known: {', '.join(self.NAMES) or 'none'}")
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < float("inf"):
                raise ValueError(f"weights.{name}: {weight!r} is no weight")
        if not 0 < self.decay <= 1:
            raise ValueError(f"decay {self.decay} must be above 0 and at most 1")

    def weight(self, name: str) -> float:
        return float(self.weights.get(name, 0.0))


@dataclass(frozen=True)
class SpectralSection(Weighted):
    NAMES = ("mrstft",)

    def __post_init__(self):
        super().__post_init__()
        if self.type not in ("mrstft", ""):
            raise ValueError(f"type {self.type!r} is not supported, only 'mrstft'")
        if self.config is None:
            raise ValueError("missing 'config'")


@dataclass(frozen=True)
class TimeSection(Weighted):
    NAMES = ("l1", "l2")


@dataclass(frozen=True)
class AdversarialSection(Weighted):
    NAMES = ("adversarial", "feature_matching")

    def __post_init__(self):
        super().__post_init__()
        if self.decay != 1:
            raise ValueError("decay is not supported")
        if missing := [name for name in self.NAMES if name not in self.weights]:
            raise ValueError(f"weights: missing {', '.join(missing)}")


@dataclass(frozen=True)
class LossSection:
    """``bottleneck``: weights of the losses that the autoencoder's bottleneck has."""

    spectral: SpectralSection
    time: TimeSection = TimeSection({})
    discriminator: AdversarialSection | None = None
    bottleneck: dict | None = None


@dataclass(frozen=True)
class Losses:
    """What is minimised, with its weights."""

    section: LossSection
    spectral: STFTLossConfig
    bottleneck: dict[str, float]
    discriminator: Discriminator | None


def read_losses(section: dict | None, channels: int, training: Any, path: str) -> Losses:
    """``training``: of the bottleneck, or None.  ConfigError with the JSON path for what is not done here."""
    raw = default_losses() if section is None else section
    found = build(LossSection, raw, path)
    spectral = build(STFTLossConfig, found.spectral.config, f"{path}.spectral.config")
    weights = dict(training.WEIGHTS) if training else {}
    if found.bottleneck is not None:
        names = training.NAMES if training else {}
        weights |= bottleneck_weights(found.bottleneck, names, f"{path}.bottleneck")
    discriminator = None
    if found.discriminator is not None:
        discriminator = make_discriminator(raw["discriminator"], channels, f"{path}.discriminator")
    return Losses(found, spectral, weights, discriminator)


def bottleneck_weights(section: dict, names: dict[str, str], path: str) -> dict[str, float]:
    """The section's weights by the name of the loss."""
    known(section, ("type", "weights"), path)

    @dataclass(frozen=True)
    class Section(Weighted):
        NAMES = tuple(names)

    found = build(Section, section, path)
    return {names[name]: found.weight(name) for name in found.weights}


def make_discriminator(section: dict, channels: int, path: str) -> Discriminator:
    cls = lookup(DISCRIMINATORS, section, path)
    cfg: Any = build(cls.Config, section.get("config") or {}, f"{path}.config")
    try:
        return cls(cfg, channels)
    except ValueError as error:
        raise ConfigError(f"{path}.config: {error}") from None


def frozen_parts(sections: dict[str, Any], parts: Iterable[str]) -> set[str]:
    """The parts of an autoencoder's section that are not trained: ``requires_grad`` is false."""
    return {part for part in parts if (sections.get(part) or {}).get("requires_grad", True) is False}
