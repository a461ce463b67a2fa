"""Activations of the convolutional codecs: x + sin(a x)^2 / b (https://arxiv.org/abs/2006.08195) and its wrapper."""

import math

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ..cpu import fast_forms
from .activations import loop, polynomial, rounded

# sin(pi f)^2 = w P(w) with w = f^2 <= 1/4: least squares on 4000 Chebyshev nodes, error 6e-9; lowest power first.
SIN2 = (9.869602862, -32.46957834, 42.72533865, -30.08560805, 12.98953585, -3.271389048)
TINY = 1e-9


@loop
def sine_snake(x: mx.array, alpha: mx.array, gain: mx.array) -> mx.array:
    """x: (B, L, C) -> x + gain * sin(alpha x)^2"""
    return x + gain * mx.square(mx.sin(x * alpha))


@loop
def sine_squared(turns: mx.array) -> mx.array:
    """sin(pi turns)^2 in float32 without sin, which costs ten times as much on a CPU; |turns| < 2**22.

    turns: (B, L, C) -> (B, L, C)
    """
    fraction = turns - rounded(turns)
    w = fraction * fraction
    return polynomial(w, (0.0, *SIN2))


def snake(x: mx.array, alpha: mx.array, gain: mx.array) -> mx.array:
    """As ``sine_snake``, in the form for this device."""
    if not fast_forms() or x.dtype != mx.float32:
        return sine_snake(x, alpha, gain)
    # Per-channel factors stay outside: a loop that broadcasts is not vectorised.
    return x + gain * sine_squared(x * (alpha * (1 / math.pi)))


class SnakeBeta(nn.Module):
    """x + sin(alpha x)^2 / beta per channel; both parameters are stored as logarithms (Oobleck)."""

    def __init__(self, channels: int):
        super().__init__()
        self.alpha = mx.zeros((channels,))
        self.beta = mx.zeros((channels,))

    def __call__(self, x: mx.array) -> mx.array:
        """x: (B, L, C) -> (B, L, C)"""
        return snake(x, mx.exp(self.alpha), 1 / (mx.exp(self.beta) + TINY))


class Snake(nn.Module):
    """x + sin(alpha x)^2 / alpha per channel; one parameter, not a logarithm, (1, C, 1) as in DAC's files."""

    def __init__(self, channels: int):
        super().__init__()
        self.alpha = mx.ones((1, channels, 1))

    def __call__(self, x: mx.array) -> mx.array:
        """x: (B, L, C) -> (B, L, C)"""
        alpha = self.alpha.reshape(-1)
        return snake(x, alpha, 1 / (alpha + TINY))


class AntiAliased(nn.Module):
    """An activation at twice the rate, so that the harmonics it adds don't fold back (alias-free-torch's defaults).

    The 12-tap filter is a Kaiser-windowed sinc, half of the band wide; its two halves are the phases of upsampling.
    """

    TAPS, PAD = 12, 5
    IGNORE = [r"\.filter$"]

    def __init__(self, act: nn.Module):
        super().__init__()
        self.act = act
        self._filter = mx.array(half_band_filter(self.TAPS))

    def checkpoint_buffers(self) -> dict[str, tuple[int, ...]]:
        """Constants that checkpoints hold and this class computes: key -> shape."""
        return dict.fromkeys(("upsample.filter", "downsample.lowpass.filter"), (1, 1, self.TAPS))

    def __call__(self, x: mx.array) -> mx.array:
        """x: (B, L, C) -> (B, L, C)"""
        length = x.shape[1]
        x = mx.pad(x, [(0, 0), (self.PAD, self.PAD), (0, 0)], mode="edge")
        # Output sample 2 i + r of the upsampled signal sees six input frames through every other tap.
        odd, even = (2 * self._taps(x, self._filter[phase::2][::-1], 1) for phase in (1, 0))
        y = mx.stack([odd[:, 2 : length + 2], even[:, 3 : length + 3]], axis=2).reshape(len(x), 2 * length, -1)
        y = mx.pad(self.act(y), [(0, 0), (self.PAD, self.PAD + 1), (0, 0)], mode="edge")
        return self._taps(y, self._filter, 2)

    @staticmethod
    def _taps(x: mx.array, taps: mx.array, stride: int) -> mx.array:
        frames = (x.shape[1] - len(taps)) // stride + 1
        y = mx.zeros((x.shape[0], frames, x.shape[2]), x.dtype)
        for i in range(len(taps)):
            y = y + x[:, i : i + stride * (frames - 1) + 1 : stride] * taps[i].astype(x.dtype)
        return y

    def reach(self, start: int, stop: int) -> tuple[int, int]:
        """The input frames that the output frames [start, stop) are made of."""
        return start - 6, stop + 6


def half_band_filter(taps: int) -> np.ndarray:
    """Kaiser-windowed sinc with cutoff 1/4 and transition half-width 0.3, sum 1; (taps,) float32."""
    cutoff, half_width, half = 0.25, 0.3, taps // 2
    attenuation = 2.285 * (half - 1) * math.pi * 4 * half_width + 7.95
    if attenuation > 50:
        beta = 0.1102 * (attenuation - 8.7)
    elif attenuation >= 21:
        beta = 0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21)
    else:
        beta = 0.0
    time = np.arange(-half, half) + 0.5
    window = 2 * cutoff * np.kaiser(taps, beta) * np.sinc(2 * cutoff * time)
    return (window / window.sum()).astype(np.float32)
