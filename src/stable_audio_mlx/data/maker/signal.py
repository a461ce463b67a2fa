"""Oscillators, noises, envelopes and filters of the data maker, on NumPy arrays; mono (L,) unless said otherwise."""

from collections.abc import Iterable
from functools import lru_cache, reduce

import numpy as np

RATE = 44100
TABLE = 2048  # samples of one turn of a wavetable


def samples(seconds: float) -> int:
    return round(seconds * RATE)


def times(n: int) -> np.ndarray:
    """Seconds of n samples."""
    return np.arange(n) / RATE


def mixed(parts: Iterable[np.ndarray]) -> np.ndarray:
    """The sum of sounds of one length."""
    return reduce(np.add, parts)


# Oscillators


@lru_cache(maxsize=512)
def wavetable(levels: tuple[float, ...]) -> np.ndarray:
    """One turn of harmonics 1, 2, ... at these levels, (TABLE + 1,), its first sample again at the end."""
    turn = 2 * np.pi * np.arange(TABLE + 1) / TABLE
    harmonics = (level * np.sin(k * turn) for k, level in enumerate(levels, 1) if level)
    return reduce(np.add, harmonics, np.zeros_like(turn))


def oscillator(hz: float | np.ndarray, n: int, levels: tuple[float, ...], phase: float = 0.0) -> np.ndarray:
    """A tone of n samples, read from its wavetable; ``hz`` may change from sample to sample, (n,)."""
    turns = np.cumsum(np.broadcast_to(hz, n)) / RATE if np.ndim(hz) else np.arange(n) * (hz / RATE)
    place = ((turns + phase) % 1.0) * TABLE
    index = place.astype(np.int32)
    table = wavetable(levels)
    below = table[index]
    return below + (place - index) * (table[index + 1] - below)


def sine(hz: float | np.ndarray, n: int, phase: float = 0.0) -> np.ndarray:
    return oscillator(hz, n, (1.0,), phase)


def series(hz: float, power: float, count: int = 64, odd: bool = False, top: float = 16000.0) -> tuple[float, ...]:
    """Levels k**-power of the harmonics below ``top`` Hz, of all or of the odd ones: 1 and all is a sawtooth."""
    most = max(1, min(count, int(top / hz)))
    return tuple(0.0 if odd and k % 2 == 0 else round(k**-power, 4) for k in range(1, most + 1))


# Envelopes


def decay(n: int, seconds: float) -> np.ndarray:
    """An exponential that has fallen by 60 dB after ``seconds``."""
    return np.exp(times(n) * (-6.9078 / seconds))


def adsr(n: int, attack: float, fall: float, sustain: float, release: float) -> np.ndarray:
    """Attack, decay, sustain and release in seconds (``sustain`` a level) of a note that is n samples long in all."""
    a, r = max(2, samples(attack)), max(2, samples(release))
    held = np.concatenate([np.linspace(0, 1, a), sustain + (1 - sustain) * decay(max(n - a, 1), max(fall, 0.01))])[:n]
    held[-min(r, n) :] *= np.linspace(1, 0, min(r, n)) ** 1.5
    return held


def edges(x: np.ndarray, rise: float = 0.001, fall: float = 0.01) -> np.ndarray:
    """x (..., L) without clicks at its ends: a raised cosine at both."""
    n = x.shape[-1]
    a, b = min(samples(rise) + 1, n // 2), min(samples(fall) + 1, n // 2)
    gate = np.ones(n)
    gate[:a] = 0.5 - 0.5 * np.cos(np.linspace(0, np.pi, a))
    gate[n - b :] = 0.5 + 0.5 * np.cos(np.linspace(0, np.pi, b))
    return x * gate


def wander(n: int, rate: float, rng: np.random.Generator) -> np.ndarray:
    """A slow random curve between -1 and 1 that turns about ``rate`` times a second."""
    points = rng.uniform(-1, 1, int(n / RATE * rate) + 3)
    place = np.arange(0, n + 512, 512) / RATE * rate
    index = place.astype(int)
    part = 0.5 - 0.5 * np.cos(np.pi * (place - index))
    index = np.minimum(index, len(points) - 2)
    curve = points[index] + part * (points[index + 1] - points[index])
    return np.interp(np.arange(n), np.arange(len(curve)) * 512, curve)


# Noises and filters


def white(n: int, rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal(n, dtype=np.float32)


def good_size(n: int) -> int:
    """The next length that an FFT is fast at: 1, 3 or 5 times a power of two."""
    return min(k << max(0, int(np.ceil(np.log2(n / k)))) for k in (1, 3, 5))


def shaped(x: np.ndarray, gain) -> np.ndarray:
    """x (..., L) through the zero-phase filter ``gain(f)``, f in Hz and never 0."""
    n = x.shape[-1]
    size = good_size(n + 2048)
    f = np.maximum(np.fft.rfftfreq(size, 1 / RATE), 1.0)
    return np.fft.irfft(np.fft.rfft(x, size) * gain(f), size)[..., :n]


def band(x: np.ndarray, low: float = 0.0, high: float = np.inf, order: int = 2) -> np.ndarray:
    """x (..., L) between two frequencies in Hz, with slopes of 6 dB an octave and order."""

    def gain(f: np.ndarray) -> np.ndarray:
        return 1 / np.sqrt((1 + (low / f) ** (2 * order)) * (1 + (f / high) ** (2 * order)))

    return shaped(x, gain)


def coloured(n: int, slope: float, rng: np.random.Generator, low: float = 20.0) -> np.ndarray:
    """Noise that falls by ``slope`` dB an octave (3: pink, 6: brown), of deviation 1."""
    x = shaped(white(n, rng), lambda f: np.maximum(f / low, 1.0) ** (-slope / 6.02) / (1 + (low / f) ** 4))
    return x / (x.std() + 1e-12)


def moving_filter(x: np.ndarray, centre: np.ndarray, width: float | None = None, order: int = 2) -> np.ndarray:
    """x (L,) through a filter that moves: low-pass at ``centre`` (L,) Hz, or band-pass ``width`` octaves wide."""
    size, hop = 2048, 512
    n = len(x)
    padded = np.concatenate([np.zeros(size), x, np.zeros(size)])
    starts = np.arange(0, n + size, hop)
    window = np.hanning(size + 1)[:size]
    blocks = padded[starts[:, None] + np.arange(size)] * window
    at = np.asarray(centre)[np.clip(starts - size // 2, 0, n - 1)][:, None]
    f = np.maximum(np.fft.rfftfreq(size, 1 / RATE), 1.0)[None]
    gain = 1 / np.sqrt(1 + (f / at) ** (2 * order)) if width is None else np.exp(-((np.log2(f / at) / width * 2) ** 2))
    blocks = np.fft.irfft(np.fft.rfft(blocks) * gain) * (2 / 4 / 0.75) * window
    out = np.zeros(len(padded) + size)
    for k in range(size // hop):  # blocks a window apart do not overlap: each fourth can be laid side by side
        part = blocks[k :: size // hop].reshape(-1)
        out[k * hop : k * hop + len(part)] += part
    return out[size : size + n]


def saturate(x: np.ndarray, drive: float) -> np.ndarray:
    """Soft clipping that keeps the level of small values."""
    return np.tanh(drive * x) / drive
