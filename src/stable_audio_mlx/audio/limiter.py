"""A true-peak limiter: a sound is turned down where it would exceed a ceiling, early enough and no more than needed."""

import numpy as np

from .loudness import from_db, oversampled_peaks, true_peak

LOOK_AHEAD = 0.005  # seconds over which the gain falls
HOLD = 0.025  # seconds for which it stays: from one peak to the next of a tone of 20 Hz, which so is not bent
RELEASE = 60.0  # dB per second by which it rises again
PASSES = 4
MARGIN = 1e-3  # dB below the ceiling, so that neither float32 nor the dither of 16 bits goes over it


def limit(audio: np.ndarray, rate: int, ceiling: float) -> tuple[np.ndarray, float]:
    """``audio`` (C, L) with no true peak (BS.1770-4) above ``ceiling`` dBTP, and the most it was turned down, in dB.

    One gain for all channels.  What lies below the ceiling anyway is returned as it is.
    """
    top = from_db(ceiling - MARGIN)
    limited, deepest = audio, 0.0
    # A gain that changes moves the peaks between samples a little: what is left over is seen to in another pass.
    for _ in range(PASSES):
        peaks = np.concatenate(list(oversampled_peaks(limited)))
        if peaks.max() <= from_db(ceiling):
            return limited, deepest
        needed = 20 * np.log10(np.maximum(peaks / top, 1))
        gain = 10 ** (-attenuation(needed, rate) / 20)
        limited = (limited * gain).astype(np.float32)
        deepest += float(needed.max())
    rest = top / max(true_peak(limited), top)
    return limited * np.float32(rest), deepest


def attenuation(needed: np.ndarray, rate: int) -> np.ndarray:
    """A smooth curve in dB that is nowhere below what is ``needed`` (n,): held, released at a constant rate, smoothed.

    The mean over a window of maxima over that window holds each maximum where it is; the window is a triangle.
    """
    hold = round(HOLD * rate)
    held = sliding_maximum(np.pad(needed, (hold, 0)), hold + 1)
    slope = RELEASE / rate * np.arange(len(needed))
    released = np.maximum.accumulate(held + slope) - slope
    half = max(round(LOOK_AHEAD * rate / 2), 1)
    # What lies between a sample and the next one belongs to both.
    ahead = sliding_maximum(np.pad(released, (2 * half, 2 * half - 1), mode="edge"), 2 * half + 1)
    return sliding_mean(sliding_mean(ahead, half), half)[: len(needed)]


def sliding_mean(values: np.ndarray, width: int) -> np.ndarray:
    """(n,) -> (n - width + 1,)"""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    return (sums[width:] - sums[:-width]) / width


def sliding_maximum(values: np.ndarray, width: int) -> np.ndarray:
    """The maximum of each ``width`` neighbours, by doubling: (n,) -> (n - width + 1,)"""
    size = 1
    while size * 2 <= width:
        values = np.maximum(values[:-size], values[size:])
        size *= 2
    rest = width - size
    return np.maximum(values[: len(values) - rest], values[rest:]) if rest else values
