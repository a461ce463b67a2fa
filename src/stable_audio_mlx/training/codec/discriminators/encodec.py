"""EnCodec's discriminator: one network per resolution of the complex spectrogram (https://arxiv.org/abs/2210.13438)."""

from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ....layers.conv2d import Conv2d
from ....metrics import STFT, hann
from .base import Discriminator, Heard, distance, hinge, mean


@dataclass(frozen=True)
class EncodecConfig:
    """``dilations`` are those over time, one convolution each; ``kernel_size`` is time, frequency."""

    filters: int
    n_ffts: tuple[int, ...] = (1024, 2048, 512)
    hop_lengths: tuple[int, ...] = (256, 512, 128)
    win_lengths: tuple[int, ...] = (1024, 2048, 512)
    kernel_size: tuple[int, ...] = (3, 9)
    dilations: tuple[int, ...] = (1, 2, 4)
    normalize_losses: bool = False
    loss_type: str = "hinge"

    def __post_init__(self):
        if not self.n_ffts or not len(self.n_ffts) == len(self.hop_lengths) == len(self.win_lengths):
            raise ValueError("n_ffts, hop_lengths and win_lengths must have one entry for each resolution")
        if any(n < 2 or n % 2 or not 1 <= hop <= n for n, hop in zip(self.n_ffts, self.hop_lengths, strict=True)):
            raise ValueError("n_ffts must be even and hop_lengths at most as long")
        if self.win_lengths != self.n_ffts:
            raise ValueError("win_lengths other than n_ffts are not supported")
        if len(self.kernel_size) != 2 or not all(k > 0 and k % 2 for k in self.kernel_size):
            raise ValueError("kernel_size must be two odd numbers")
        if self.loss_type != "hinge":
            raise ValueError(f"loss_type {self.loss_type!r} is not supported, only 'hinge'")
        if min(self.filters, *self.dilations) < 1:
            raise ValueError("filters and dilations must be positive")


class SpectrogramNetwork(nn.Module):
    """Convolutions over time and frequency of the real and imaginary parts."""

    def __init__(self, cfg: EncodecConfig, channels: int, size: int, hop: int):
        super().__init__()
        window = hann(size)
        self._transform = STFT(size, hop, window / np.sqrt((window**2).sum()))
        tall, wide = cfg.kernel_size
        self.convs = [
            Conv2d(
                cfg.filters if i else 2 * channels,
                cfg.filters,
                (tall, wide),
                (1, 1),
                (tall // 2 * d, wide // 2),
                (d, 1),
            )
            for i, d in enumerate((1, *cfg.dilations))
        ]
        square, padding = (tall, tall), (tall // 2, tall // 2)
        self.convs.append(Conv2d(cfg.filters, cfg.filters, square, padding=padding))
        self.post = Conv2d(cfg.filters, 1, square, padding=padding)

    def __call__(self, x: mx.array) -> tuple[mx.array, list[mx.array]]:
        """x: (B, L, C) -> scores (B, F, K, 1) and features"""
        spectrum = self._transform(x.swapaxes(1, 2).reshape(-1, x.shape[1]))
        parts = [part.reshape(len(x), -1, *part.shape[1:]) for part in spectrum]
        z, features = mx.concatenate(parts, axis=1).transpose(0, 2, 3, 1), []
        for conv in self.convs:
            z = nn.leaky_relu(conv(z), 0.2)
            features.append(z)
        return self.post(z), features


class EncodecDiscriminator(Discriminator):
    """Hinge losses and features' distances, averaged over resolutions."""

    Config = EncodecConfig

    def __init__(self, cfg: EncodecConfig, channels: int):
        super().__init__(cfg, channels)
        self.shortest = max(cfg.n_ffts)
        self.relative = cfg.normalize_losses
        sizes = zip(cfg.n_ffts, cfg.hop_lengths, strict=True)
        self.scales = [SpectrogramNetwork(cfg, channels, size, hop) for size, hop in sizes]

    def __call__(self, x: mx.array) -> Heard:
        """x: (B, L, C) -> scores and features of each resolution"""
        return [scale(x) for scale in self.scales]

    def judge(self, reals: mx.array, fakes: mx.array) -> mx.array:
        """reals, fakes: (B, L, C) -> scalar"""
        return mean(hinge(real, fake) for (real, _), (fake, _) in zip(self(reals), self(fakes), strict=True))

    def fool(self, reals: mx.array, fakes: mx.array) -> tuple[mx.array, mx.array]:
        """reals, fakes: (B, L, C) -> adversarial loss and distance of the features, two scalars"""
        scores, pairs = self.features(reals, fakes)
        return mean(-score.mean() for score in scores), mean(mean(self._distance(*p) for p in part) for part in pairs)

    def _distance(self, real: mx.array, fake: mx.array) -> mx.array:
        d = distance(real, fake)
        return d / (mx.abs(real).mean() + 1e-3) if self.relative else d
