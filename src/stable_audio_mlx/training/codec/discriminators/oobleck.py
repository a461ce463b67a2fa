"""Oobleck's discriminator: the waveform at three rates and folded at five periods."""

from dataclasses import dataclass
from itertools import pairwise

import mlx.core as mx
import mlx.nn as nn

from ....layers.conv import Conv1d
from ....layers.conv2d import Conv2d
from ....layers.weight_norm import normalize
from .base import Discriminator, Heard, distance, hinge, total


@dataclass(frozen=True)
class OobleckConfig:
    """``in_channels`` must be the autoencoder's."""

    in_channels: int = 1


class StridedNetwork(nn.Module):
    """Strided convolutions with SiLU between; the features are what the convolutions give, before it."""

    CAPACITY, LAYERS, KERNEL, STRIDE = 32, 4, 15, 4

    def __init__(self, channels: int, folded: bool):
        super().__init__()
        widths = [channels, *(self.CAPACITY * 2**i for i in range(self.LAYERS))]
        kernel, stride, padding = self.KERNEL, self.STRIDE, self.KERNEL // 2
        self.net: list[nn.Module]
        if folded:
            self.net = [Conv2d(*w, (kernel,) * 2, (stride,) * 2, (padding,) * 2) for w in pairwise(widths)]
            self.net.append(Conv2d(widths[-1], 1, (1, 1), plain=True))
        else:
            self.net = [Conv1d(*w, kernel, stride, padding) for w in pairwise(widths)]
            for conv in self.net:
                normalize(conv)
            self.net.append(Conv1d(widths[-1], 1, 1))

    def __call__(self, x: mx.array) -> tuple[mx.array, list[mx.array]]:
        """x: (B, L, C) or (B, L / period, period, C) -> scores (B,) and features"""
        features = [x := self.net[0](x)]
        for conv in self.net[1:]:
            x = conv(nn.silu(x))
            features.append(x)
        return x.reshape(len(x), -1).mean(axis=1), features


class OobleckDiscriminator(Discriminator):
    """Hinge losses of the sum of all scores; the features' distances are summed."""

    Config = OobleckConfig
    RATES, PERIODS = 3, (2, 3, 5, 7, 11)

    def __init__(self, cfg: OobleckConfig, channels: int):
        super().__init__(cfg, channels)
        if cfg.in_channels != channels:
            raise ValueError(f"in_channels is {cfg.in_channels}, but the autoencoder has {channels}")
        self.shortest = 2**self.RATES
        self.rates = [StridedNetwork(channels, folded=False) for _ in range(self.RATES)]
        self.periods = [StridedNetwork(channels, folded=True) for _ in self.PERIODS]

    def __call__(self, x: mx.array) -> Heard:
        """x: (B, L, C) -> scores and features of each rate and period"""
        heard, slow = [], x
        for network in self.rates:
            heard.append(network(slow))
            slow = slow[:, : slow.shape[1] // 2 * 2].reshape(len(x), -1, 2, x.shape[2]).mean(axis=2)
        for network, period in zip(self.periods, self.PERIODS, strict=True):
            whole = mx.pad(x, [(0, 0), (0, -x.shape[1] % period), (0, 0)])
            heard.append(network(whole.reshape(len(x), -1, period, x.shape[2])))
        return heard

    def judge(self, reals: mx.array, fakes: mx.array) -> mx.array:
        """reals, fakes: (B, L, C) -> scalar"""
        real, fake = (total(score for score, _ in self(x)) for x in (reals, fakes))
        return hinge(real, fake)

    def fool(self, reals: mx.array, fakes: mx.array) -> tuple[mx.array, mx.array]:
        """reals, fakes: (B, L, C) -> adversarial loss and distance of the features, two scalars"""
        scores, pairs = self.features(reals, fakes)
        return -total(scores).mean(), total(distance(*pair) for part in pairs for pair in part)
