"""Numbers and choices as one token each: the conditioner types ``number``, ``int`` and ``list``.

A conditioner's ``inputs`` turns values into arrays, outside of any graph; called on these it gives the tokens.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import mlx.core as mx
import mlx.nn as nn

from ..config import describe
from ..errors import OptionError
from ..layers.fourier import ExpoFourier

FOURIER_WIDTH = 256
MAX_ROWS = 1 << 20


class Condition(NamedTuple):
    """Tokens (B, S, D), mask (B, S) of the meaningful ones; text also says its token ids and what was too long."""

    tokens: mx.array
    mask: mx.array | None
    ids: mx.array | None = None
    unread: Sequence[str] = ()


@dataclass(frozen=True)
class NumberConfig:
    output_dim: int
    min_val: float = 0.0
    max_val: float = 1.0
    fourier_features_type: str = "learned"

    def __post_init__(self):
        if not (math.isfinite(self.max_val - self.min_val) and self.max_val > self.min_val):
            raise ValueError(f"max_val {self.max_val} is not above min_val {self.min_val}")
        if self.fourier_features_type not in ("learned", "expo"):
            raise ValueError(f"fourier_features_type {self.fourier_features_type!r} is not 'learned' or 'expo'")


class LearnedFeatures(nn.Module):
    """``[u, sin(2 pi u w), cos(2 pi u w)]``: the number itself first, unlike the transformer's time features."""

    def __init__(self):
        super().__init__()
        self.weights = mx.random.normal((FOURIER_WIDTH // 2,))

    def __call__(self, u: mx.array) -> mx.array:
        """u: (B,) -> (B, 257), float32"""
        u = u[:, None]
        angle = u * self.weights.astype(mx.float32) * 2 * math.pi
        return mx.concatenate([u, mx.sin(angle), mx.cos(angle)], axis=-1)


class NumberEmbedder(nn.Module):
    def __init__(self, cfg: NumberConfig):
        super().__init__()
        learned = cfg.fourier_features_type == "learned"
        features = LearnedFeatures() if learned else ExpoFourier(FOURIER_WIDTH)
        self.embedding = [features, nn.Linear(FOURIER_WIDTH + learned, cfg.output_dim)]

    def __call__(self, u: mx.array) -> mx.array:
        """u: (B,) -> (B, D)"""
        features, linear = self.embedding
        return linear(features(u).astype(linear.weight.dtype))


class NumberConditioner(nn.Module):
    """A number, clamped to the range the model was trained on and scaled to 0..1, as one token."""

    Config = NumberConfig

    def __init__(self, cfg: NumberConfig):
        super().__init__()
        self.cfg = cfg
        self.embedder = NumberEmbedder(cfg)

    def inputs(self, values: Sequence[Any]) -> tuple[mx.array]:
        """values: B numbers -> their places in the range, (B,).  OptionError for what is not a finite number."""
        low, high = self.cfg.min_val, self.cfg.max_val
        return (mx.array([(min(max(finite(value), low), high) - low) / (high - low) for value in values], mx.float32),)

    def __call__(self, unit: mx.array) -> Condition:
        """unit: (B,) -> tokens (B, 1, D)"""
        return one_token(self.embedder(unit))


@dataclass(frozen=True)
class IntConfig:
    output_dim: int
    min_val: int = 0
    max_val: int = 512

    def __post_init__(self):
        if not MAX_ROWS > self.max_val >= self.min_val >= 0:
            raise ValueError(f"min_val {self.min_val} and max_val {self.max_val} must be in order, 0 to {MAX_ROWS - 1}")


class IntConditioner(nn.Module):
    """A whole number, clamped to the range, as one row of a table."""

    Config = IntConfig

    def __init__(self, cfg: IntConfig):
        super().__init__()
        self.cfg = cfg
        self.int_embedder = nn.Embedding(cfg.max_val - cfg.min_val + 1, cfg.output_dim)

    def inputs(self, values: Sequence[Any]) -> tuple[mx.array]:
        """values: B whole numbers -> rows of the table, (B,)"""
        rows = [min(max(whole(value), self.cfg.min_val), self.cfg.max_val) for value in values]
        # The reference does not shift by min_val, so its table ends before max_val when min_val is not 0.
        last = self.cfg.max_val - self.cfg.min_val
        if max(rows) > last:
            raise OptionError(f"{max(rows)} is beyond the model's table of {last + 1} rows; use at most {last}")
        return (mx.array(rows),)

    def __call__(self, rows: mx.array) -> Condition:
        """rows: (B,) -> tokens (B, 1, D)"""
        return one_token(self.int_embedder(rows))


@dataclass(frozen=True)
class ListConfig:
    output_dim: int
    options: tuple[str, ...]


class ListConditioner(nn.Module):
    """One of the config's options as one token; row 0 stands for anything else."""

    Config = ListConfig

    def __init__(self, cfg: ListConfig):
        super().__init__()
        self.cfg = cfg
        self.embedder = nn.Embedding(len(cfg.options) + 1, cfg.output_dim)

    def inputs(self, values: Sequence[Any]) -> tuple[mx.array]:
        """values: B choices -> rows of the table, (B,)"""
        options = self.cfg.options
        return (mx.array([options.index(value) + 1 if value in options else 0 for value in values]),)

    def __call__(self, rows: mx.array) -> Condition:
        """rows: (B,) -> tokens (B, 1, D)"""
        return one_token(self.embedder(rows))


def one_token(x: mx.array) -> Condition:
    """x: (B, D)"""
    return Condition(x[:, None], mx.ones((x.shape[0], 1), mx.bool_))


def finite(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise OptionError(f"expected a number, got {describe(value)}") from None
    if not math.isfinite(number):
        raise OptionError(f"expected a finite number, got {number}")
    return number


def whole(value: Any) -> int:
    number = finite(value)
    if number != int(number):
        raise OptionError(f"expected a whole number, got {number:g}")
    return int(number)
