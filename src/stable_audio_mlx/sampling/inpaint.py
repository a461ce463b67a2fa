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
    """made, source: (C, L) -> (C, L), the source outside the ranges; a short crossfade lies inside each range.

    A range that runs to the end of the clip fades in only, one from its start on fades out only.
    """
    length = made.shape[1]
    weight = np.zeros(length, np.float32)
    for start, end in ranges:
        a, b = min(int(start * rate), length), min(int(end * rate), length)
        fade = min(int(CROSSFADE_SECONDS * rate), (b - a) // 2)
        part = np.ones(b - a, np.float32)
        ramp = (np.arange(fade, dtype=np.float32) + 1) / (fade + 1)
        if fade and a > 0:
            part[:fade] = ramp
        if fade and b < length:
            part[-fade:] = ramp[::-1]
        weight[a:b] = np.maximum(weight[a:b], part)
    return weight * made + (1 - weight) * source
