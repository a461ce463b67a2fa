"""Autoencoder: encoder, bottleneck, decoder and an optional pretransform, as a config puts them together."""

import math
from dataclasses import dataclass
from itertools import chain
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from ..config import build, lookup
from ..errors import ConfigError, OptionError
from ..layers.chunks import join_chunks
from .bottleneck import (
    DiscreteBottleneck,
    L2Bottleneck,
    SoftNormBottleneck,
    TanhBottleneck,
    VAEBottleneck,
    WassersteinBottleneck,
)
from .dac import DACDecoder, DACEncoder
from .oobleck import OobleckDecoder, OobleckEncoder
from .pretransform import PatchedPretransform
from .same import SAMEDecoder, SAMEEncoder
from .scalar_bottleneck import DitheredFSQBottleneck, FSQBottleneck
from .sections import DecoderSection, PartSection, PretransformSection
from .vector_bottleneck import DACRVQBottleneck, DACRVQVAEBottleneck, RVQBottleneck, RVQVAEBottleneck

MAX_NESTING = 3
Noise = mx.array | dict[str, mx.array] | None


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
    """Audio (B, L, C) to latents (B, T, latent_dim) and back; ``downsampling_ratio`` samples per latent frame.

    ``encode`` and ``decode`` are plain functions of the weights, for training and short clips; the ``_tiled`` ones
    give the same numbers in bounded memory and evaluate as they go.
    """

    Config = AutoencoderConfig

    @classmethod
    def from_section(cls, section: dict, path: str) -> "Autoencoder":
        """Build from the config's autoencoder object; raises ConfigError with the JSON path."""
        return cls(build(AutoencoderConfig, section, path), path)

    def __init__(self, cfg: AutoencoderConfig, path: str = "model"):
        super().__init__()
        if path.count("pretransform") > MAX_NESTING:
            raise ConfigError(f"{path}: autoencoders within autoencoders, more than {MAX_NESTING} deep")
        self.latent_dim, self.downsampling_ratio = cfg.latent_dim, cfg.downsampling_ratio
        self.in_channels = cfg.io_channels if cfg.in_channels is None else cfg.in_channels
        self.out_channels = cfg.io_channels if cfg.out_channels is None else cfg.out_channels
        self.encoder = make(ENCODERS, cfg.encoder, f"{path}.encoder")
        self.decoder = make(DECODERS, cfg.decoder, f"{path}.decoder", kind=DecoderSection)
        self.soft_clip = build(DecoderSection, cfg.decoder, f"{path}.decoder").soft_clip
        self.bottleneck = self.pretransform = None
        if cfg.bottleneck is not None:
            self.bottleneck = make(BOTTLENECKS, cfg.bottleneck, f"{path}.bottleneck", cfg.latent_dim)
        if cfg.pretransform is not None:
            self.pretransform = make(PRETRANSFORMS, cfg.pretransform, f"{path}.pretransform", kind=PretransformSection)
        check_fit(self, path)

    @property
    def discrete(self) -> bool:
        """Whether latents have integer codes."""
        return isinstance(self.bottleneck, DiscreteBottleneck)

    def encode(self, audio: mx.array, noise: mx.array | None = None) -> mx.array:
        """audio: (B, L, C), noise: (B, T, latent_dim) -> (B, T, latent_dim)

        A VAE gives its mean, or with ``noise`` the sample mean + deviation * noise.
        """
        return self._latents(self.features(audio), noise)

    def features(self, audio: mx.array, **options: mx.array) -> mx.array:
        """audio: (B, L, C) -> what the bottleneck reads, (B, T, C'); ``options``: an encoder's noise"""
        return self.encoder(audio if self.pretransform is None else self.pretransform.encode(audio), **options)

    def decode(self, z: mx.array, noise: Noise = None) -> mx.array:
        """z: (B, T, latent_dim) -> (B, L, C)

        ``noise``: what a bottleneck adds, or {"bottleneck": ..., "tokens": ...} for a decoder that takes some too.
        """
        h, options = self._hidden(z, noise)
        return self.sound(h, **options)

    def sound(self, h: mx.array, **options: mx.array) -> mx.array:
        """h: (B, T, C'), what the bottleneck gives -> (B, L, C); ``options``: noise, where the decoder takes some"""
        y = self.decoder(h, **options)
        return self._clipped(y if self.pretransform is None else self.pretransform.decode(y))

    def encode_tiled(self, audio: mx.array, noise: mx.array | None = None) -> mx.array:
        """``encode`` in memory that does not depend on L.  audio: (B, L, C) -> (B, T, latent_dim)"""
        return self._latents(self._features_tiled(audio), noise)

    def decode_tiled(self, z: mx.array, noise: Noise = None) -> mx.array:
        """``decode`` in memory that does not depend on T.  z: (B, T, latent_dim) -> (B, L, C)"""
        h, options = self._hidden(z, noise)
        y = evaluate(self.decoder, h, h.shape[1] * math.prod(self.decoder.strides), **options)
        return self._clipped(y if self.pretransform is None else self.pretransform.decode_tiled(y))

    def latents_for(self, samples: int) -> int:
        """How many latents the first ``samples`` of the decoded sound depend on."""
        frames = samples if self.pretransform is None else self.pretransform.frames_for(samples)
        return self.decoder.reach(0, frames)[1]

    def encode_chunked(
        self, audio: mx.array, chunk_size: int = 128, overlap: int = 32, noise: mx.array | None = None
    ) -> mx.array:
        """Encode chunks of ``chunk_size`` latents that share ``overlap``, joined in the middle of what they share.

        audio: (B, L, C) -> (B, ceil(L / ratio), latent_dim).  Equal to ``encode`` once the overlap covers the
        network's reach; ``encode_tiled`` always is, this one reproduces what stable-audio-tools does.
        """
        ratio = self.downsampling_ratio
        audio = mx.pad(audio, [(0, 0), (0, -audio.shape[1] % ratio), (0, 0)])

        def part(start: int, stop: int) -> mx.array:
            own = None if noise is None else noise[:, start:stop]
            return self.encode_tiled(audio[:, start * ratio : stop * ratio], own)

        return join_chunks(part, audio.shape[1] // ratio, chunk_size, overlap, step=chunk_latents(self.encoder))

    def decode_chunked(self, z: mx.array, chunk_size: int = 128, overlap: int = 32) -> mx.array:
        """Decode chunks of ``chunk_size`` latents that share ``overlap``, joined in the middle of what they share.

        z: (B, T, latent_dim) -> (B, T * ratio, C); see ``encode_chunked``.
        """
        return join_chunks(
            lambda start, stop: self.decode_tiled(z[:, start:stop]),
            z.shape[1],
            chunk_size,
            overlap,
            self.downsampling_ratio,
            chunk_latents(self.decoder),
        )

    def encode_codes(self, audio: mx.array) -> mx.array:
        """audio: (B, L, C) -> codes (B, n, T); OptionError for an autoencoder without codebooks"""
        return self._quantizer().quantize(self._features_tiled(audio))[1]

    def decode_codes(self, codes: mx.array) -> mx.array:
        """codes: (B, n, T) -> (B, L, C); OptionError for an autoencoder without codebooks"""
        return self.decode_tiled(self._quantizer().dequantize(codes))

    def _quantizer(self) -> DiscreteBottleneck:
        if not isinstance(self.bottleneck, DiscreteBottleneck):
            raise OptionError("this autoencoder has no codebooks; use encode and decode")
        return self.bottleneck

    def _features_tiled(self, audio: mx.array) -> mx.array:
        return evaluate(self.encoder, audio if self.pretransform is None else self.pretransform.encode_tiled(audio))

    def _latents(self, h: mx.array, noise: mx.array | None) -> mx.array:
        return h if self.bottleneck is None else self.bottleneck.encode(h, noise)

    def _hidden(self, z: mx.array, noise: Noise) -> tuple[mx.array, dict[str, mx.array]]:
        """What the decoder reads, and its own noise where it is given some."""
        options = {}
        if isinstance(noise, dict):
            options = {"noise": noise["tokens"]} if "tokens" in noise else {}
            noise = noise.get("bottleneck")
        return z if self.bottleneck is None else self.bottleneck.decode(z, noise), options

    def _clipped(self, y: mx.array) -> mx.array:
        return mx.tanh(y) if self.soft_clip else y


class AutoencoderPretransform(nn.Module):
    """An autoencoder inside an autoencoder; its latents are divided by ``scale``."""

    Config = AutoencoderConfig

    def __init__(self, cfg: AutoencoderConfig, path: str, scale: float):
        super().__init__()
        self.model, self.scale = Autoencoder(cfg, path), scale
        self.in_channels, self.out_channels = self.model.in_channels, self.model.out_channels
        self.encoded_channels, self.ratio = self.model.latent_dim, self.model.downsampling_ratio

    def encode(self, x: mx.array) -> mx.array:
        """x: (B, L, C) -> (B, T, latent_dim)"""
        return self.model.encode(x) / self.scale

    def encode_tiled(self, x: mx.array) -> mx.array:
        """x: (B, L, C) -> (B, T, latent_dim)"""
        return self.model.encode_tiled(x) / self.scale

    def decode(self, z: mx.array) -> mx.array:
        """z: (B, T, latent_dim) -> (B, L, C)"""
        return self.model.decode(z * self.scale)

    def decode_tiled(self, z: mx.array) -> mx.array:
        """z: (B, T, latent_dim) -> (B, L, C)"""
        return self.model.decode_tiled(z * self.scale)

    def frames_for(self, samples: int) -> int:
        """How many frames the first ``samples`` of the decoded sound depend on."""
        return self.model.latents_for(samples)


ENCODERS = {"oobleck": OobleckEncoder, "dac": DACEncoder, "taae_v2": SAMEEncoder}
DECODERS = {"oobleck": OobleckDecoder, "dac": DACDecoder, "taae_v2": SAMEDecoder}
BOTTLENECKS = {
    "vae": VAEBottleneck,
    "tanh": TanhBottleneck,
    "l2_norm": L2Bottleneck,
    "wasserstein": WassersteinBottleneck,
    "softnorm": SoftNormBottleneck,
    "dac_rvq": DACRVQBottleneck,
    "dac_rvq_vae": DACRVQVAEBottleneck,
    "rvq": RVQBottleneck,
    "rvq_vae": RVQVAEBottleneck,
    "fsq": FSQBottleneck,
    "dithered_fsq": DitheredFSQBottleneck,
}
PRETRANSFORMS = {"patched": PatchedPretransform, "autoencoder": AutoencoderPretransform}


def make(
    table: dict[str, Any], section: Any, path: str, *arguments: Any, kind: type[PartSection] = PartSection
) -> nn.Module:
    """The module that ``{"type": ..., "config": {...}}`` describes; ``kind`` is the class of that object."""
    cls = lookup(table, section, path)
    part = build(kind, section, path)
    cfg = build(cls.Config, {} if part.config is None else part.config, f"{path}.config")
    if isinstance(part, PretransformSection) and cls is AutoencoderPretransform:
        arguments = (f"{path}.config", part.scale)
    try:
        return cls(cfg, *arguments)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{path}.config: {error}") from None


def check_fit(model: Autoencoder, path: str) -> None:
    """Raise ConfigError where one part's channels or rate are not what its neighbour has."""
    outside, bottleneck, latent = model.pretransform, model.bottleneck, model.latent_dim
    inner = (model.in_channels, model.out_channels) if outside is None else (outside.encoded_channels,) * 2
    outer = inner if outside is None else (outside.in_channels, outside.out_channels)
    before = latent if bottleneck is None else bottleneck.in_channels
    after = latent if bottleneck is None else bottleneck.out_channels
    for name, has, needs in (
        ("encoder's input channels", model.encoder.in_channels, inner[0]),
        ("encoder's output channels", model.encoder.out_channels, before),
        ("decoder's input channels", model.decoder.in_channels, after),
        ("decoder's output channels", model.decoder.out_channels, inner[1]),
        ("pretransform's input channels", outer[0], model.in_channels),
        ("pretransform's output channels", outer[1], model.out_channels),
    ):
        if has != needs:
            raise ConfigError(f"{path}: the {name} are {has}, but {needs} are needed there")
    for name in ("encoder", "decoder"):
        ratio = math.prod(model[name].strides) * (1 if outside is None else outside.ratio)
        if ratio != model.downsampling_ratio:
            raise ConfigError(
                f"{path}.downsampling_ratio: {model.downsampling_ratio}, but the {name}'s strides give {ratio}"
            )


def evaluate(network: nn.Module, x: mx.array, longest: int = 0, **options: mx.array) -> mx.array:
    """The network's output, evaluated; piece by piece where the network can.  x: (B, T, C) -> (B, T', C')

    ``longest``: what T' is at most; with it, a long output is in memory once and not also as pieces.
    """
    tiled = getattr(network, "tiled", None)
    parts = iter([network(x, **options)]) if tiled is None else tiled(x, **options)
    y = next(parts)
    if y.shape[1] < longest:
        y, parts, end = mx.zeros((y.shape[0], longest, y.shape[2]), y.dtype), chain([y], parts), 0
        for part in parts:
            y[:, end : end + part.shape[1]] = part
            mx.eval(y)
            end += part.shape[1]
        return y[:, :end]
    y = mx.concatenate([y, *parts], axis=1)
    mx.eval(y)
    return y


def chunk_latents(network: nn.Module) -> int:
    """Latents that the network computes together: chunks that begin elsewhere would give other numbers."""
    return getattr(network, "chunk_latents", 1)
