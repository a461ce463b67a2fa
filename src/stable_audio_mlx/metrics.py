"""How far two sounds are apart: what training minimises and what ``roundtrip`` reports are the same formulas."""

from collections.abc import Iterator
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

SIZES = (2048, 1024, 512, 256, 128, 64, 32)  # window lengths of stable-audio-tools' loss, a quarter apart
MATRIX_PRODUCT_LIMIT = 512  # up to this window length a matrix product and its gradient are faster than an FFT
LEAST_POWER = 1e-8
PIECE = 1 << 19  # samples of all windows that are looked at together


def frames(x: mx.array, size: int, hop: int) -> mx.array:
    """Overlapping windows, what is left over at the end is dropped.  x: (R, L) -> (R, F, size)

    By reshape and concatenation where ``hop`` divides ``size``: the gradient of a strided view costs twice as much.
    """
    if size % hop:
        count = (x.shape[1] - size) // hop + 1
        return mx.as_strided(x, (x.shape[0], count, size), (x.shape[1], hop, 1))
    overlap, count = size // hop, x.shape[1] // hop
    blocks = x[:, : count * hop].reshape(x.shape[0], count, hop)
    return mx.concatenate([blocks[:, i : count - overlap + 1 + i] for i in range(overlap)], axis=2)


class STFT:
    """Short-time Fourier transform: real and imaginary parts of windows ``hop`` apart, where all of a window is heard.

    ``window``: (size,) factors, without it a periodic Hann window.
    """

    def __init__(self, size: int, hop: int, window: np.ndarray | None = None):
        self.size, self.hop = size, hop
        window = hann(size) if window is None else window
        self._window = mx.array(window.astype(np.float32))
        self._basis = None
        if size <= MATRIX_PRODUCT_LIMIT:
            angle = 2 * np.pi * np.outer(np.arange(size), np.arange(size // 2 + 1)) / size
            basis = np.concatenate([np.cos(angle), -np.sin(angle)], axis=1) * window[:, None]
            self._basis = mx.array(basis.astype(np.float32))

    def __call__(self, x: mx.array) -> tuple[mx.array, mx.array]:
        """x: (R, L) -> two of (R, F, size / 2 + 1)"""
        windows = frames(x, self.size, self.hop)
        if self._basis is None:
            spectrum = mx.fft.rfft(windows * self._window)
            return spectrum.real, spectrum.imag
        real, imag = mx.split(windows @ self._basis, 2, axis=-1)
        return real, imag


class Spectrogram:
    """Power spectra of Hann windows ``hop`` apart (half a window), scaled so that white noise of power 1 gives 1.

    ``energy`` is the sum of squares of the window as it is in textbooks, with a peak of 1.
    """

    def __init__(self, size: int, hop: int | None = None):
        self.size, self.hop = size, hop or size // 2
        window = hann(size)
        self.energy = float((window**2).sum())
        self._transform = STFT(size, self.hop, window / np.sqrt(self.energy))

    def __call__(self, x: mx.array) -> mx.array:
        """x: (R, L) -> (R, F, size / 2 + 1)."""
        real, imag = self._transform(x)
        return real.square() + imag.square()


def hann(size: int) -> np.ndarray:
    """Periodic Hann window, (size,)"""
    return np.hanning(size + 1)[:size]


class STFTDistance:
    """Multi-resolution STFT distance: spectral convergence + mean difference of log magnitudes, averaged over sizes.

    Formulas of Yamamoto et al. 2019 (https://arxiv.org/abs/1904.04472) as auraloss has them; windows of
    stable-audio-tools' loss, without its perceptual filter.  Zero for the same sound; both are mirrored at their ends.
    """

    def __init__(self, sizes: tuple[int, ...] = SIZES):
        self._spectrograms = [Spectrogram(size, size // 4) for size in sizes]

    def __call__(self, reference: mx.array, estimate: mx.array) -> mx.array:
        """Both (R, L), L above half the longest window -> (R,)"""
        distances = []
        for s in self._spectrograms:
            padded = (mirror(sound, s.size // 2, s.size // 2) for sound in (reference, estimate))
            difference, power, logs, count = _sums(s, *padded)
            # Where nothing differs the root has no slope; silence that is silence must not stop a training.
            convergence = mx.sqrt(mx.maximum(difference, 1e-20) / power)
            distances.append(convergence + logs / count)
        return mx.stack(distances).mean(axis=0)

    def measure(self, reference: np.ndarray, estimate: np.ndarray) -> np.ndarray:
        """The same for sounds of any length, in bounded memory and summed in float64.  (R, L), (R, L) -> (R,)"""
        distances = []
        for s in self._spectrograms:
            ends = ((0, 0), (s.size // 2, s.size // 2))
            padded = [np.pad(sound, ends, mode="reflect").astype(np.float32) for sound in (reference, estimate)]
            totals, count = np.zeros((3, len(reference))), 0
            for part in pieces(padded[0].shape[1], s.size, s.hop, PIECE // len(reference)):
                *found, values = _sums(s, *(mx.array(sound[:, part]) for sound in padded))
                totals += np.array(mx.stack(found), dtype=np.float64)
                count += values
            difference, power, logs = totals
            distances.append(np.sqrt(difference / power) + logs / count)
        return np.mean(distances, axis=0)


def _sums(s: Spectrogram, x: mx.array, y: mx.array) -> tuple[mx.array, mx.array, mx.array, int]:
    """Sums (R,) over frames and bins: squared difference, power of x, difference of logs; and how many there are."""
    least = LEAST_POWER / s.energy
    p, q = mx.maximum(s(x), least), mx.maximum(s(y), least)
    difference = (mx.sqrt(p) - mx.sqrt(q)).square()
    logs = 0.5 * mx.abs(mx.log(p) - mx.log(q))
    return difference.sum(axis=(1, 2)), p.sum(axis=(1, 2)), logs.sum(axis=(1, 2)), p.shape[1] * p.shape[2]


def mirror(x: mx.array, before: int, after: int) -> mx.array:
    """x: (R, L, ...) -> (R, before + L + after, ...), mirrored at the first and last sample."""
    return mx.concatenate([x[:, before:0:-1], x, x[:, -2 : -after - 2 : -1]], axis=1)


def pieces(length: int, size: int, hop: int, samples: int) -> Iterator[slice]:
    """Slices of a signal that together have each of its windows once, each of about ``samples`` in all windows."""
    count, step = (length - size) // hop + 1, max(1, samples // size)
    for start in range(0, count, step):
        stop = min(start + step, count)
        yield slice(start * hop, (stop - 1) * hop + size)


def si_sdr(reference: mx.array, estimate: mx.array) -> mx.array:
    """Scale-invariant signal to distortion ratio in dB (Le Roux et al. 2019) without offsets.  (R, L) twice -> (R,)"""
    x = reference - reference.mean(axis=1, keepdims=True)
    y = estimate - estimate.mean(axis=1, keepdims=True)
    target = (x * y).sum(axis=1, keepdims=True) / (x.square().sum(axis=1, keepdims=True) + 1e-9) * x
    return 10 * mx.log10((target.square().sum(axis=1) + 1e-9) / ((y - target).square().sum(axis=1) + 1e-9))


@dataclass(frozen=True)
class Distances:
    """``si_sdr_db``: mean over channels that are not silent, None if all are; ``stft``: mean over channels;

    ``stft_sum_difference``: of left + right and left - right, for stereo; without the one that is silent, as for mono.
    """

    si_sdr_db: float | None
    stft: float
    stft_sum_difference: float | None


def compare(reference: np.ndarray, estimate: np.ndarray) -> Distances:
    """Distances of two sounds (C, L) of the same shape and rate."""
    heard = np.ptp(reference, axis=1) > 0
    ratio = None
    if heard.any():
        ratio = float(np.mean(np.array(si_sdr(mx.array(reference[heard]), mx.array(estimate[heard])))))
    distance, sides = STFTDistance(), None
    if len(reference) == 2:
        both = sum_difference(reference)
        loud = np.ptp(both, axis=1) > 0  # a distance is relative to what is there
        if loud.any():
            sides = float(distance.measure(both[loud], sum_difference(estimate)[loud]).mean())
    return Distances(ratio, float(distance.measure(reference, estimate).mean()), sides)


def sum_difference(stereo: np.ndarray) -> np.ndarray:
    """Left and right to left + right and left - right.  (2, L) -> (2, L)"""
    return np.stack([stereo[0] + stereo[1], stereo[0] - stereo[1]])


def decibels(sound: np.ndarray, columns: int = 1600, size: int = 2048) -> np.ndarray:
    """Spectrogram for the eye: dB of the mean of all channels, (size / 2 + 1, up to ``columns``).  sound: (C, L)"""
    hop = size // 4
    mono = np.pad(sound.mean(axis=0, keepdims=True), ((0, 0), (size // 2, size // 2))).astype(np.float32)
    spectrogram = Spectrogram(size, hop)
    power = [np.array(spectrogram(mx.array(mono[:, part])))[0] for part in pieces(mono.shape[1], size, hop, PIECE)]
    rows = np.concatenate(power)
    cuts = np.unique(np.linspace(0, len(rows), min(columns, len(rows)), endpoint=False).astype(int))
    mean = np.add.reduceat(rows, cuts) / np.diff([*cuts, len(rows)])[:, None]
    return 10 * np.log10(np.maximum(mean, 1e-12)).T
