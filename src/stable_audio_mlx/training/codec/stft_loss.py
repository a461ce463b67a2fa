"""Multi-resolution STFT loss (https://arxiv.org/abs/1910.11480) as auraloss has it, of stereo's sum and difference too.

The transform is linear, so left and right are transformed and filtered once and their sum and difference are made of
the spectra.
"""

from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from ...metrics import LEAST_POWER, STFT, hann, mirror
from .weighting import Filter, a_weighting_taps, mel_bands

NOTHING = 1e-20  # where nothing differs the root has no slope


@dataclass(frozen=True)
class STFTLossConfig:
    """``loss_configs.spectral.config``; lists have one entry per resolution."""

    fft_sizes: tuple[int, ...]
    hop_sizes: tuple[int, ...]
    win_lengths: tuple[int, ...]
    perceptual_weighting: bool = False
    w_sc: float = 1.0
    w_log_mag: float = 1.0
    w_lin_mag: float = 0.0
    scale: str | None = None
    n_bins: tuple[int, ...] | None = None

    def __post_init__(self):
        sizes, hops, windows = self.fft_sizes, self.hop_sizes, self.win_lengths
        if not sizes or not len(sizes) == len(hops) == len(windows):
            raise ValueError("fft_sizes, hop_sizes and win_lengths must have one entry for each resolution")
        for size, hop, window in zip(sizes, hops, windows, strict=True):
            if size < 2 or size % 2 or not 1 <= hop <= size or not 2 <= window <= size:
                raise ValueError(
                    f"an even size with hop and window of at most that are needed, got {size, hop, window}"
                )
        if self.scale not in (None, "mel"):
            raise ValueError(f"scale {self.scale!r} is not supported, only 'mel'")
        if (self.scale is None) != (self.n_bins is None) or (self.n_bins and len(self.n_bins) != len(sizes)):
            raise ValueError("scale 'mel' and n_bins, one count for each resolution, go together")


class MultiResolutionSTFTLoss:
    """Spectral convergence and difference of (log) magnitudes, averaged over resolutions.

    As stable-audio-tools trains, the distance is relative to the estimate: its spectrum is the divisor.
    """

    def __init__(self, cfg: STFTLossConfig, sample_rate: int):
        self.cfg = cfg
        self._filter = Filter(a_weighting_taps(sample_rate)) if cfg.perceptual_weighting else None
        self._transforms, self._bands = [], []
        for i, size in enumerate(cfg.fft_sizes):
            window = np.zeros(size)
            start = (size - cfg.win_lengths[i]) // 2
            window[start : start + cfg.win_lengths[i]] = hann(cfg.win_lengths[i])
            self._transforms.append(STFT(size, cfg.hop_sizes[i], window))
            bands = mel_bands(sample_rate, size, cfg.n_bins[i]).astype(np.float32) if cfg.n_bins else None
            self._bands.append(None if bands is None else mx.array(bands))

    @property
    def longest(self) -> int:
        """Sounds must be longer than half of this many samples."""
        return max(self.cfg.fft_sizes)

    def __call__(self, target: mx.array, estimate: mx.array) -> mx.array:
        """target, estimate: (B, L, C) -> (V,): for stereo sum, difference, left and right, else one for all rows"""
        x, y = self._rows(target), self._rows(estimate)
        totals = []
        for i in range(len(self._transforms)):
            pairs = zip(self._magnitudes(i, x), self._magnitudes(i, y), strict=True)
            totals.append(mx.stack([self._distance(*pair) for pair in pairs]))
        return mx.stack(totals).mean(axis=0)

    def _rows(self, x: mx.array) -> list[mx.array]:
        """x: (B, L, C) -> left and right (B, L) of stereo, else one (B * C, L); filtered"""
        rows = x.transpose(2, 0, 1).reshape(-1, x.shape[1])
        rows = rows if self._filter is None else self._filter(rows)
        return list(mx.split(rows, 2)) if x.shape[2] == 2 else [rows]

    def _magnitudes(self, i: int, rows: list[mx.array]) -> list[mx.array]:
        """rows: (R, L) each -> magnitudes (R, F, K) of each, before them for stereo those of sum and difference"""
        transform = self._transforms[i]
        spectra = [transform(mirror(r, transform.size // 2, transform.size // 2)) for r in rows]
        if len(spectra) == 2:
            left, right = spectra
            both = [(f(left[0], right[0]), f(left[1], right[1])) for f in (mx.add, mx.subtract)]
            spectra = [*both, left, right]
        magnitudes = [mx.sqrt(mx.maximum(re.square() + im.square(), LEAST_POWER)) for re, im in spectra]
        bands = self._bands[i]
        return magnitudes if bands is None else [m @ bands for m in magnitudes]

    def _distance(self, x: mx.array, y: mx.array) -> mx.array:
        """x, y: (R, F, K) -> scalar"""
        total, cfg = mx.zeros(()), self.cfg
        if cfg.w_sc:
            error = mx.sqrt(mx.maximum((y - x).square().sum(axis=(1, 2)), NOTHING))
            total = total + cfg.w_sc * (error / mx.sqrt(y.square().sum(axis=(1, 2)))).mean()
        if cfg.w_log_mag:
            total = total + cfg.w_log_mag * mx.abs(mx.log(x / y)).mean()
        if cfg.w_lin_mag:
            total = total + cfg.w_lin_mag * mx.abs(x - y).mean()
        return total
