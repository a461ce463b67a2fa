"""Distances between sounds, cheap enough for a CPU: spectrograms at several resolutions, and the waveform itself."""

import mlx.core as mx
import numpy as np

SIZES = (2048, 256)
MATRIX_PRODUCT_LIMIT = 512  # up to this window length a matrix product and its gradient are faster than an FFT


def rows(x: mx.array) -> mx.array:
    """Stereo to mono rows.  x: (B, L, C) -> (B * C, L)."""
    return x.swapaxes(1, 2).reshape(-1, x.shape[1])


def frames(x: mx.array, size: int, hop: int) -> mx.array:
    """Overlapping windows.  x: (R, L) -> (R, F, size); ``hop`` divides ``size``, what is left over is dropped.

    By reshape and concatenation: the gradient of a strided view costs twice as much.
    """
    overlap, count = size // hop, x.shape[1] // hop
    blocks = x[:, : count * hop].reshape(x.shape[0], count, hop)
    return mx.concatenate([blocks[:, i : count - overlap + 1 + i] for i in range(overlap)], axis=2)


class Spectrogram:
    """Power spectra of Hann windows, half a window apart, scaled so that white noise of power 1 gives 1."""

    def __init__(self, size: int):
        self.size = size
        window = np.hanning(size + 1)[:size]
        window /= np.sqrt((window**2).sum())
        angle = 2 * np.pi * np.outer(np.arange(size), np.arange(size // 2 + 1)) / size
        self._window = mx.array(window.astype(np.float32))
        self._basis = None
        if size <= MATRIX_PRODUCT_LIMIT:
            basis = np.concatenate([np.cos(angle), -np.sin(angle)], axis=1) * window[:, None]
            self._basis = mx.array(basis.astype(np.float32))

    def __call__(self, x: mx.array) -> mx.array:
        """x: (R, L) -> (R, F, size / 2 + 1)."""
        windows = frames(x, self.size, self.size // 2)
        if self._basis is None:
            spectrum = mx.fft.rfft(windows * self._window)
            return spectrum.real.square() + spectrum.imag.square()
        real, imag = mx.split(windows @ self._basis, 2, axis=-1)
        return real.square() + imag.square()


class SpectralDistance:
    """Mean absolute difference of the square roots of the magnitudes: a logarithm without its trap at zero."""

    def __init__(self, sizes: tuple[int, ...] = SIZES):
        self._spectrograms = [Spectrogram(size) for size in sizes]

    def __call__(self, x: mx.array, y: mx.array) -> mx.array:
        """x, y: (R, L) -> scalar."""
        distances = [mx.abs(_root(s(x)) - _root(s(y))).mean() for s in self._spectrograms]
        return mx.stack(distances).mean()


def _root(power: mx.array) -> mx.array:
    return mx.sqrt(mx.sqrt(power + 1e-7))


def waveform_distance(x: mx.array, y: mx.array) -> mx.array:
    """Root mean square error of each row, averaged, so that quiet rows count too.  x, y: (R, L) -> scalar.

    Not the mean absolute error: its best constant answer to noise is zero.
    """
    return mx.sqrt((x - y).square().mean(axis=1) + 1e-7).mean()


def si_sdr(reference: mx.array, estimate: mx.array) -> mx.array:
    """Scale-invariant signal to distortion ratio in dB (Le Roux et al. 2019).  (R, L), (R, L) -> (R,)."""
    dot = (reference * estimate).sum(axis=1)
    target = dot[:, None] / (reference.square().sum(axis=1, keepdims=True) + 1e-9) * reference
    return 10 * mx.log10((target.square().sum(axis=1) + 1e-9) / ((estimate - target).square().sum(axis=1) + 1e-9))
