"""Which latent frames an inpainting keeps, and how the kept sound is put back around what was made anew."""

from collections.abc import Sequence

import numpy as np

CROSSFADE_SECONDS = 0.01

Ranges = Sequence[tuple[float, float]]


def kept_frames(ranges: Ranges, seconds: float, rate: int, ratio: int, length: int) -> np.ndarray:
    """(length,) bool: True where the frame's first sample lies outside all ranges and before the end of the clip."""
    first = np.arange(length) * ratio
    keep = first < int(seconds * rate)
    for start, end in ranges:
        keep &= (first < int(start * rate)) | (first >= int(end * rate))
    return keep


def put_back(made: np.ndarray, source: np.ndarray, ranges: Ranges, rate: int) -> np.ndarray:
    """made: (C, L), source: (C, n) -> (C, L), the source outside the ranges, bit for bit; silence where it has ended.

    A short crossfade lies inside each range, but not where a range begins or ends with the clip.
    """
    length, ends = made.shape[1], source.shape[1]
    source = np.pad(source[:, :length], ((0, 0), (0, max(length - ends, 0))))
    weight = np.zeros(length, np.float32)
    for start, end in joined(ranges, rate, length):
        fade = min(int(CROSSFADE_SECONDS * rate), (end - start) // 2)
        weight[start:end] = 1
        ramp = (np.arange(fade, dtype=np.float32) + 1) / (fade + 1)
        if start > 0:
            weight[start : start + fade] = ramp
            if ends and start - fade <= ends < start + fade:
                # A continuation: what was made, moved to where the source stopped, is what it fades in from.
                gap = source[:, ends - 1, None] - made[:, ends - 1, None]
                source[:, ends : start + fade] = made[:, ends : start + fade] + gap
        if end < length:
            weight[end - fade : end] *= ramp[::-1]
    return np.where(weight > 0, weight * made + (1 - weight) * source, source)


def joined(ranges: Ranges, rate: int, length: int) -> list[tuple[int, int]]:
    """The ranges in samples, within ``length``, those that touch each other as one."""
    inside = np.zeros(length + 2, np.int8)
    for start, end in ranges:
        inside[1 + min(int(start * rate), length) : 1 + min(int(end * rate), length)] = 1
    edges = np.flatnonzero(np.diff(inside))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
