"""Which latent frames an inpainting keeps, and how the kept sound is put back around what was made anew."""

from collections.abc import Sequence

import numpy as np

CROSSFADE_SECONDS = 0.01
FAINT = 15.0  # dB

Ranges = Sequence[tuple[float, float]]


def kept_frames(ranges: Ranges, seconds: float, rate: int, ratio: int, length: int) -> np.ndarray:
    """(length,) bool: True where the frame's first sample lies outside all ranges and before the end of the clip."""
    first = np.arange(length) * ratio
    keep = first < int(seconds * rate)
    for start, end in ranges:
        keep &= (first < int(start * rate)) | (first >= int(end * rate))
    return keep


def put_back(made: np.ndarray, source: np.ndarray, ranges: Ranges, rate: int) -> np.ndarray:
    """made: (C, L), source: (C, n) -> ``made``, the source outside the ranges, bit for bit; silence where it has ended.

    A short crossfade lies inside each range, but not where a range begins or ends with the clip.  Works in place.
    """
    length, ends, kept = made.shape[1], source.shape[1], 0
    source = source[:, :length]
    for start, end in joined(ranges, rate, length):
        fade = min(int(CROSSFADE_SECONDS * rate), (end - start) // 2)
        ramp, stops = (np.arange(fade, dtype=np.float32) + 1) / (fade + 1), start
        if start > 0:
            known = silent_behind(source, start, start + fade)
            if ends and start - fade <= ends < start + fade:
                # A continuation: by how much the source differs from what was made goes on behind its end, mirrored.
                back = np.maximum(ends - 1 - np.arange(start + fade - ends), 0)
                differs, stops = source[:, back] - made[:, back], min(ends, start)
                known[:, max(ends, start) - start :] = made[:, max(ends, start) : start + fade]
                known[:, max(ends, start) - start :] += differs[:, max(start - ends, 0) :]
                made[:, stops:start] += differs[:, : max(start - ends, 0)]
            head = made[:, start : start + fade]
            made[:, start : start + fade] = ramp * head + (1 - ramp) * known
        if end < length:
            down = ramp[::-1]
            tail = made[:, end - fade : end]
            made[:, end - fade : end] = down * tail + (1 - down) * silent_behind(source, end - fade, end)
        made[:, kept:stops] = silent_behind(source, kept, stops)
        kept = end
    made[:, kept:] = silent_behind(source, kept, length)
    return made


def faint(clip: np.ndarray, ranges: Ranges, rate: int) -> list[tuple[float, float, float]]:
    """(start, end, dB) of the ranges of a clip (C, L) that are much quieter than half a second beside them."""
    found = []
    for start, end in joined(ranges, rate, clip.shape[1]):
        beside = np.concatenate([clip[:, max(start - rate // 2, 0) : start], clip[:, end : end + rate // 2]], axis=1)
        if beside.size:
            inside, outside = (10 * np.log10(np.mean(np.square(x)) + 1e-10) for x in (clip[:, start:end], beside))
            if inside < outside - FAINT:
                found.append((start / rate, end / rate, float(outside - inside)))
    return found


def silent_behind(source: np.ndarray, start: int, end: int) -> np.ndarray:
    """source: (C, n) -> (C, end - start), a copy with silence where the source has ended."""
    out = np.zeros((source.shape[0], end - start), source.dtype)
    part = source[:, start:end]
    out[:, : part.shape[1]] = part
    return out


def joined(ranges: Ranges, rate: int, length: int) -> list[tuple[int, int]]:
    """The ranges in samples, within ``length``, those that touch each other as one."""
    inside = np.zeros(length + 2, np.int8)
    for start, end in ranges:
        inside[1 + min(int(start * rate), length) : 1 + min(int(end * rate), length)] = 1
    edges = np.flatnonzero(np.diff(inside))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
