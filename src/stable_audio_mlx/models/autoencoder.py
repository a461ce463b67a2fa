"""Autoencoder: encoder, bottleneck, decoder and an optional pretransform, as a config puts them together."""

from dataclasses import dataclass
from typing import Any, ClassVar

import mlx.core as mx
import mlx.nn as nn

from ..config import build, lookup
from ..errors import ConfigError
from .bottleneck import VAEBottleneck
from .oobleck import OobleckDecoder, OobleckEncoder
from .pretransform import PatchedPretransform

ENCODERS = {"oobleck": OobleckEncoder}
DECODERS = {"oobleck": OobleckDecoder}
BOTTLENECKS = {"vae": VAEBottleneck}
PRETRANSFORMS = {"patched": PatchedPretransform}


@dataclass(frozen=True)
class PartSection:
    """One part: its type and that type's settings."""

    type: str
    config: Any = None
    soft_clip: bool = False

    IGNORED: ClassVar = ("requires_grad", "enable_grad")


@dataclass(frozen=True)
class AutoencoderConfig:
    """The ``model`` object of an autoencoder; ``latent_dim`` counts channels after the bottleneck."""

    encoder: dict
    decoder: dict
    latent_dim: int
    downsampling_ratio: int
    io_channels: int
    bottleneck: dict | None = None
    pretransform: dict | None = None
    in_channels: int | None = None
    out_channels: int | None = None


class Autoencoder(nn.Module):
    """Audio (B, L, C) to latents (B, T, latent_dim) and back; ``downsampling_ratio`` samples per latent frame."""

    Config = AutoencoderConfig
    KEYS = [(r"^(decoder\.layers\.\d+\.layers\.1)\.1\.", r"\1.conv.")]  # the nearest-upsample variant
    IGNORE = [r"\.filter$"]  # fixed low-pass taps of anti-aliased activations

    @classmethod
    def from_section(cls, section: dict, path: str) -> "Autoencoder":
        """Build from the config's autoencoder object; raises ConfigError with the JSON path."""
        return cls(build(AutoencoderConfig, section, path), path)

    def __init__(self, cfg: AutoencoderConfig, path: str = "model"):
        super().__init__()
        self.latent_dim, self.downsampling_ratio = cfg.latent_dim, cfg.downsampling_ratio
        self.in_channels = cfg.io_channels if cfg.in_channels is None else cfg.in_channels
        self.out_channels = cfg.io_channels if cfg.out_channels is None else cfg.out_channels
        self.encoder = make(ENCODERS, cfg.encoder, f"{path}.encoder")
        self.decoder = make(DECODERS, cfg.decoder, f"{path}.decoder")
        self.soft_clip = bool(cfg.decoder.get("soft_clip", False))
        self.bottleneck = self.pretransform = None
        if cfg.bottleneck is not None:
            self.bottleneck = make(BOTTLENECKS, cfg.bottleneck, f"{path}.bottleneck", cfg.latent_dim)
        if cfg.pretransform is not None:
            self.pretransform = make(PRETRANSFORMS, cfg.pretransform, f"{path}.pretransform")

    def encode(self, audio: mx.array, noise: mx.array | None = None) -> mx.array:
        """audio: (B, L, C), noise: (B, T, latent_dim) -> (B, T, latent_dim)"""
        h = self.features(audio)
        return h if self.bottleneck is None else self.bottleneck.encode(h, noise)

    def features(self, audio: mx.array) -> mx.array:
        """audio: (B, L, C) -> what the bottleneck reads, (B, T, C')"""
        return self.encoder(audio if self.pretransform is None else self.pretransform.encode(audio))

    def decode(self, z: mx.array, noise: mx.array | None = None) -> mx.array:
        """z: (B, T, latent_dim) -> (B, L, C)"""
        h = z if self.bottleneck is None else self.bottleneck.decode(z, noise)
        return self.samples(self.decoder(h))

    def samples(self, y: mx.array) -> mx.array:
        """y: (B, T', C') of the decoder -> audio (B, L, C)"""
        y = y if self.pretransform is None else self.pretransform.decode(y)
        return mx.tanh(y) if self.soft_clip else y


def make(table: dict, section: Any, path: str, *arguments: Any) -> nn.Module:
    """The module that ``{"type": ..., "config": {...}}`` describes."""
    cls = lookup(table, section, path)
    part = build(PartSection, section, path)
    cfg = build(cls.Config, {} if part.config is None else part.config, f"{path}.config")
    try:
        return cls(cfg, *arguments)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None
