"""What discriminators have in common: networks that give scores and features, and losses of a pair of sounds."""

from collections.abc import Iterable
from typing import Any, ClassVar

import mlx.core as mx
import mlx.nn as nn

Heard = list[tuple[mx.array, list[mx.array]]]  # scores and features of each network


class Discriminator(nn.Module):
    """``judge`` is what the discriminator minimises, ``fool`` what the autoencoder does."""

    Config: ClassVar[type]
    shortest: int  # samples that a sound must have

    def __init__(self, cfg: Any, channels: int):
        super().__init__()

    def __call__(self, x: mx.array) -> Heard:
        """x: (B, L, C) -> scores and features of each network"""
        raise NotImplementedError

    def judge(self, reals: mx.array, fakes: mx.array) -> mx.array:
        """reals, fakes: (B, L, C) -> scalar"""
        raise NotImplementedError

    def fool(self, reals: mx.array, fakes: mx.array) -> tuple[mx.array, mx.array]:
        """reals, fakes: (B, L, C) -> adversarial loss and distance of the features, two scalars"""
        raise NotImplementedError

    def features(
        self, reals: mx.array, fakes: mx.array
    ) -> tuple[list[mx.array], list[list[tuple[mx.array, mx.array]]]]:
        """The fakes' scores, and pairs of features of each network; what is real is what it is, without gradient."""
        known, heard = self(mx.stop_gradient(reals)), self(fakes)
        pairs = [list(zip(real, fake, strict=True)) for (_, real), (_, fake) in zip(known, heard, strict=True)]
        return [score for score, _ in heard], pairs


def total(values: Iterable[mx.array]) -> mx.array:
    """Arrays of one shape -> their sum"""
    return mx.stack(list(values)).sum(axis=0)


def mean(values: Iterable[mx.array]) -> mx.array:
    """Scalars -> scalar"""
    return mx.stack(list(values)).mean()


def distance(real: mx.array, fake: mx.array) -> mx.array:
    """Mean absolute difference of features of any shape -> scalar"""
    return mx.abs(real - fake).mean()


def hinge(real: mx.array, fake: mx.array) -> mx.array:
    """Hinge loss of the discriminator: real scores above 1, fake ones below -1 cost nothing -> scalar"""
    return mx.maximum(1 - real, 0).mean() + mx.maximum(1 + fake, 0).mean()
