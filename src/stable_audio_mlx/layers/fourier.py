"""Fourier features of a scalar: [cos(2 pi t w), sin(2 pi t w)], with learned or fixed frequencies w."""

import math

import mlx.core as mx
import mlx.nn as nn
import numpy as np


class LearnedFourier(nn.Module):
    """Frequencies from the checkpoint, drawn from a normal distribution before training."""

    def __init__(self, dim: int):
        super().__init__()
        self.weight = mx.random.normal((dim // 2, 1))

    def __call__(self, t: float | mx.array) -> mx.array:
        """t: number or (B,) -> (1 or B, dim), float32"""
        t = mx.array(t, dtype=mx.float32).reshape(-1, 1)
        phase = (2 * math.pi * t) * self.weight.astype(mx.float32).reshape(1, -1)
        return mx.concatenate([mx.cos(phase), mx.sin(phase)], axis=-1)


def unit_ramp(n: int) -> np.ndarray:
    """From 0 to 1 in n values, rounded as ``torch.linspace`` does: a float32 step, counted from the nearer end."""
    step, i = float(np.float32(1) / np.float32(max(n - 1, 1))), np.arange(n)
    return np.where(i < n // 2, i * step, 1 - (n - 1 - i) * step).astype(np.float32)


# PyTorch's float32 exp rounds five of the 128 frequencies of the released models the other way: down (0) or up (inf).
PYTORCH_ROUNDING = {26: 0, 27: np.inf, 44: np.inf, 86: 0, 124: np.inf}


class ExpoFourier(nn.Module):
    """Frequencies in geometric progression from ``low`` to ``high``.

    The phase reaches 6e4 rad, where one rounding is 0.004 rad: it is rounded as the models were trained, in float32
    and in this order, and only its sine and cosine are exact.
    """

    def __init__(self, dim: int, low: float = 0.5, high: float = 10000.0):
        super().__init__()
        half, span = dim // 2, np.float32(math.log(high) - math.log(low))
        exponent = unit_ramp(half) * span + np.float32(math.log(low))
        self._frequencies = np.exp(exponent.astype(np.float64)).astype(np.float32)
        if (dim, low, high) == (256, 0.5, 10000.0):
            for i, towards in PYTORCH_ROUNDING.items():
                self._frequencies[i] = np.nextafter(self._frequencies[i], np.float32(towards))

    def __call__(self, t: float | mx.array) -> mx.array:
        """t: number or (B,) -> (1 or B, dim), float32"""
        if isinstance(t, mx.array):
            phase = t.astype(mx.float32).reshape(-1, 1) * mx.array(self._frequencies) * (2 * math.pi)
            return mx.concatenate([mx.cos(phase), mx.sin(phase)], axis=-1)
        angle = (np.float32(t) * self._frequencies * np.float32(2 * math.pi)).astype(np.float64)
        return mx.array(np.concatenate([np.cos(angle), np.sin(angle)]).astype(np.float32)[None])


FOURIER = {"learned": LearnedFourier, "expo": ExpoFourier}
