"""Distances between sounds, cheap enough for a CPU: spectrograms at several resolutions, and the waveform itself."""

import mlx.core as mx

from ..metrics import Spectrogram

SIZES = (2048, 256)


def rows(x: mx.array) -> mx.array:
    """Stereo to mono rows.  x: (B, L, C) -> (B * C, L)."""
    return x.swapaxes(1, 2).reshape(-1, x.shape[1])


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
