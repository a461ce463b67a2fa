"""Descript's discriminator: the waveform folded at periods, and bands of spectrograms (https://arxiv.org/abs/2306.06546)."""

from dataclasses import dataclass
from itertools import pairwise

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ....layers.conv2d import Conv2d
from ....metrics import STFT, hann, mirror
from .base import Discriminator, Heard, distance, mean

BANDS = ((0.0, 0.1), (0.1, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.0))  # of the bins


@dataclass(frozen=True)
class DACConfig:
    """``use_hinge``: scores cost linearly, fakes that pass for real nothing; squares otherwise."""

    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    fft_sizes: tuple[int, ...] = (2048, 1024, 512)
    rates: tuple[int, ...] = ()
    use_hinge: bool = False

    def __post_init__(self):
        if self.rates:
            raise ValueError("rates are not supported, only an empty list")
        if not self.periods + self.fft_sizes or min(self.periods, default=1) < 1:
            raise ValueError("positive periods or fft_sizes are needed")
        if any(n < 32 or n % 8 for n in self.fft_sizes):
            raise ValueError("fft_sizes must be multiples of 8 from 32 on")


class PeriodNetwork(nn.Module):
    """Convolutions along time, each phase of the period by itself."""

    WIDTHS = (32, 128, 512, 1024, 1024)

    def __init__(self, channels: int, period: int):
        super().__init__()
        self.period = period
        strides = [(3, 1)] * (len(self.WIDTHS) - 1) + [(1, 1)]
        widths = pairwise((channels, *self.WIDTHS))
        self.convs = [Conv2d(*w, (5, 1), stride, (2, 0)) for w, stride in zip(widths, strides, strict=True)]
        self.post = Conv2d(self.WIDTHS[-1], 1, (3, 1), padding=(1, 0))

    def __call__(self, x: mx.array) -> tuple[mx.array, list[mx.array]]:
        """x: (B, L, C) -> scores and features"""
        more, features = self.period - x.shape[1] % self.period, []  # a whole period where none is needed
        x = mirror(x, 0, more).reshape(len(x), -1, self.period, x.shape[2])
        for conv in self.convs:
            x = nn.leaky_relu(conv(x), 0.1)
            features.append(x)
        return self.post(x), features


class BandNetwork(nn.Module):
    """Convolutions over time and the frequencies of each band, joined before the last; each channel by itself."""

    WIDTH = 32
    SHAPES = (((3, 9), (1, 1)), ((3, 9), (1, 2)), ((3, 9), (1, 2)), ((3, 9), (1, 2)), ((3, 3), (1, 1)))

    def __init__(self, size: int):
        super().__init__()
        self._transform = STFT(size, size // 4, np.sqrt(hann(size)))
        self.limits = [[int(edge * (size // 2 + 1)) for edge in band] for band in BANDS]
        self.bands = [
            [
                Conv2d(self.WIDTH if i else 2, self.WIDTH, (tall, wide), stride, (tall // 2, wide // 2))
                for i, ((tall, wide), stride) in enumerate(self.SHAPES)
            ]
            for _ in BANDS
        ]
        self.post = Conv2d(self.WIDTH, 1, (3, 3), padding=(1, 1))

    def __call__(self, x: mx.array) -> tuple[mx.array, list[mx.array]]:
        """x: (B, L, C) -> scores (B * C, F, K, 1) and features"""
        size, hop = self._transform.size, self._transform.hop
        margin = (size - hop) // 2  # as many frames as hops, as a convolution would give
        rows = mirror(x, margin, margin - x.shape[1] % -hop).swapaxes(1, 2).flatten(0, 1)
        picture, ends, features = mx.stack(list(self._transform(rows)), axis=-1), [], []
        for (low, high), convs in zip(self.limits, self.bands, strict=True):
            z = picture[:, :, low:high]
            for conv in convs:
                z = nn.leaky_relu(conv(z), 0.1)
                features.append(z)
            ends.append(z)
        return self.post(mx.concatenate(ends, axis=2)), features


class DACDiscriminator(Discriminator):
    """Least squares or hinge losses and features' distances, averaged over networks."""

    Config = DACConfig

    def __init__(self, cfg: DACConfig, channels: int):
        super().__init__(cfg, channels)
        self.shortest = max(cfg.periods + cfg.fft_sizes) + 1
        self.use_hinge = cfg.use_hinge
        self.periods = [PeriodNetwork(channels, period) for period in cfg.periods]
        self.sizes = [BandNetwork(size) for size in cfg.fft_sizes]

    def __call__(self, x: mx.array) -> Heard:
        """x: (B, L, C) -> scores and features of each period and size"""
        x = x - x.mean(axis=1, keepdims=True)
        x = 0.8 * x / (mx.abs(x).max(axis=1, keepdims=True) + 1e-9)
        return [network(x) for network in (*self.periods, *self.sizes)]

    def judge(self, reals: mx.array, fakes: mx.array) -> mx.array:
        """reals, fakes: (B, L, C) -> scalar"""
        pairs = zip(self(reals), self(fakes), strict=True)
        return mean(self._cost(fake) + self._cost(1 - real) for (real, _), (fake, _) in pairs)

    def fool(self, reals: mx.array, fakes: mx.array) -> tuple[mx.array, mx.array]:
        """reals, fakes: (B, L, C) -> adversarial loss and distance of the features, two scalars"""
        scores, pairs = self.features(reals, fakes)
        return mean(self._cost(1 - s) for s in scores), mean(mean(distance(*p) for p in part) for part in pairs)

    def _cost(self, wrong: mx.array) -> mx.array:
        return (mx.maximum(wrong, 0) if self.use_hinge else wrong.square()).mean()
