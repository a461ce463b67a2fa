"""``{"type": ..., "config": {...}}``: how a config names a part of an autoencoder and gives its settings."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class PartSection:
    """An encoder or bottleneck."""

    type: str
    config: dict | None = None

    IGNORED: ClassVar[tuple[str, ...]] = ("requires_grad",)  # training


@dataclass(frozen=True)
class DecoderSection(PartSection):
    """``soft_clip``: the sound goes through a tanh."""

    soft_clip: bool = False


@dataclass(frozen=True)
class PretransformSection(PartSection):
    """Latents of an autoencoder are divided by ``scale`` after encoding and multiplied before decoding."""

    scale: float = 1.0

    # Training, and how the reference spends memory; here batching and tiling are decided when a clip is decoded.
    IGNORED: ClassVar[tuple[str, ...]] = ("enable_grad", "model_half", "iterate_batch", "chunked")

    def __post_init__(self):
        if not self.scale > 0:
            raise ValueError(f"scale must be positive, got {self.scale}")
