"""Bottlenecks: what lies between an encoder's output and the latents that are kept.

``encode(h, noise)`` gives latents and ``decode(z, noise)`` what the decoder reads, both (B, T, C).  Without ``noise``
every bottleneck is deterministic: a VAE gives its mean, noise that the reference adds at inference is left out.
"""

from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn


@dataclass(frozen=True)
class VAEConfig:
    """A VAE bottleneck has no settings."""


class VAEBottleneck(nn.Module):
    """The encoder's channels are mean and scale; a sample is mean + (softplus(scale) + 1e-4) * noise."""

    Config = VAEConfig

    def __init__(self, cfg: VAEConfig, latent_dim: int):
        super().__init__()
        self.in_channels, self.out_channels = 2 * latent_dim, latent_dim

    def encode(self, h: mx.array, noise: mx.array | None = None) -> mx.array:
        """h: (B, T, 2 C), noise: (B, T, C) -> (B, T, C)"""
        mean, deviation = self.moments(h)
        return mean if noise is None else mean + deviation * noise

    def moments(self, h: mx.array) -> tuple[mx.array, mx.array]:
        """h: (B, T, 2 C) -> mean and standard deviation, (B, T, C) each; training makes the divergence of them."""
        mean, scale = mx.split(h, 2, axis=-1)
        return mean, nn.softplus(scale) + 1e-4

    def decode(self, z: mx.array, noise: mx.array | None = None) -> mx.array:
        """z: (B, T, C) -> (B, T, C)"""
        return z
