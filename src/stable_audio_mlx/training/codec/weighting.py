"""What the ear weighs: the A-weighting filter and mel bands of the spectral losses."""

import mlx.core as mx
import numpy as np

CORNERS = (20.598997, 107.65265, 737.86223, 12194.217)  # Hz, of the analog A-weighting (IEC/CD 1672)
GAIN_1000 = 1.9997  # dB that bring 1 kHz back to 0 dB
TAPS, POINTS, BLOCK = 101, 512, 128


def a_weighting_taps(sample_rate: float) -> np.ndarray:
    """Least-squares FIR filter (101,) with the magnitude of the A-weighting, as auraloss designs it.

    The analog response is read where the bilinear transform puts the 512 frequencies that are fitted.
    """
    digital = np.arange(POINTS) / POINTS  # of half the sample rate
    s = 2j * sample_rate * np.tan(np.pi * digital / 2)
    f1, f2, f3, f4 = (2 * np.pi * f for f in CORNERS)
    response = f4**2 * 10 ** (GAIN_1000 / 20) * s**4
    response = response / ((s + f4) ** 2 * (s + f1) ** 2 * (s + f3) * (s + f2))
    return least_squares_taps(TAPS, digital, np.abs(response))


def least_squares_taps(count: int, edges: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Symmetric FIR filter of odd length whose magnitude is nearest to ``wanted`` in the bands between ``edges``.

    ``edges``: (2 N,) fractions of half the rate, a start and an end for each band; within a band the wanted magnitude
    is a straight line.  Normal equations of Selesnick, "Linear-phase FIR filter design by least squares".
    """
    half = (count - 1) // 2
    low, high = edges.reshape(-1, 2).T[:, :, None]
    left, right = wanted.reshape(-1, 2).T[:, :, None]
    n = np.arange(count)
    q = (high * np.sinc(high * n) - low * np.sinc(low * n)).sum(axis=0)
    rows, columns = np.indices((half + 1, half + 1))
    matrix = q[np.abs(rows - columns)] + q[rows + columns]
    slope = (right - left) / (high - low)
    offset, n = left - low * slope, n[: half + 1]
    ends = [edge * (slope * edge + offset) * np.sinc(edge * n) for edge in (low, high)]
    safe = np.maximum(n, 1)
    bend = (np.cos(np.pi * high * n) - np.cos(np.pi * low * n)) / (np.pi * safe) ** 2
    bend[:, 0] = -0.5 * (high**2 - low**2)[:, 0]
    a = np.linalg.solve(matrix, (ends[1] - ends[0] + slope * bend).sum(axis=0))
    return np.concatenate([a[:0:-1], 2 * a[:1], a[1:]])


class Filter:
    """A symmetric FIR filter over rows of sound, as two matrix products over blocks; the length stays."""

    def __init__(self, taps: np.ndarray):
        self._half = len(taps) // 2
        offset = np.arange(2 * BLOCK)[:, None] - np.arange(BLOCK)
        inside = (offset >= 0) & (offset < len(taps))
        matrix = np.where(inside, taps[np.where(inside, offset, 0)], 0).astype(np.float32)
        self._first, self._second = mx.array(matrix[:BLOCK]), mx.array(matrix[BLOCK:])

    def __call__(self, x: mx.array) -> mx.array:
        """x: (R, L) -> (R, L)"""
        length = x.shape[1]
        after = (-(-length // BLOCK) + 1) * BLOCK - length - self._half
        blocks = mx.pad(x, [(0, 0), (self._half, after)]).reshape(len(x), -1, BLOCK)
        return mx.addmm(blocks[:, :-1] @ self._first, blocks[:, 1:], self._second).reshape(len(x), -1)[:, :length]


def mel_bands(sample_rate: float, size: int, count: int) -> np.ndarray:
    """Triangular mel bands of equal area over the bins of a transform, (size / 2 + 1, count) (Slaney 1998)."""
    edges = hertz(np.linspace(mel(0.0), mel(sample_rate / 2), count + 2))
    bins = np.linspace(0, sample_rate / 2, size // 2 + 1)[:, None]
    rising = (bins - edges[:-2]) / np.diff(edges)[:-1]
    falling = (edges[2:] - bins) / np.diff(edges)[1:]
    return np.maximum(0, np.minimum(rising, falling)) * 2 / (edges[2:] - edges[:-2])


def mel(frequency: float) -> float:
    """Hz to mel: linear up to 1 kHz = 15 mel, then 27 mel for a factor of 6.4."""
    return 3 * frequency / 200 if frequency < 1000 else 15 + 27 * np.log(frequency / 1000) / np.log(6.4)


def hertz(mels: np.ndarray) -> np.ndarray:
    """The inverse of ``mel``."""
    return np.where(mels < 15, 200 * mels / 3, 1000 * 6.4 ** ((mels - 15) / 27))
