"""Which frames a training shows, hides and counts: padding, and the kept parts that inpainting models are trained on.

Masks are (T,), True where a frame sounds (padding), or where it is kept (inpainting).
"""

from dataclasses import dataclass

import numpy as np

SPAN_COUNTS = (4.0, 2.0, 1.0, 1.0)


@dataclass(frozen=True)
class MaskSettings:
    """Probabilities of random segments, nothing kept, a beginning kept, and where there are four, random spans."""

    max_mask_segments: int = 10
    mask_type_probabilities: tuple[float, ...] = (0.1, 0.8, 0.1)
    max_spans: int = 4
    mask_ratio_range: tuple[float, ...] = (0.2, 1.0)
    span_count_weights: tuple[float, ...] | None = None

    def __post_init__(self):
        odds = self.mask_type_probabilities
        if len(odds) not in (3, 4) or min(odds) < 0 or abs(sum(odds) - 1) > 1e-5:
            raise ValueError(f"mask_type_probabilities {list(odds)} must be three or four numbers whose sum is 1")
        if self.max_mask_segments < 1 or self.max_spans < 1:
            raise ValueError("max_mask_segments and max_spans must be at least 1")
        if len(self.mask_ratio_range) != 2 or not 0 <= self.mask_ratio_range[0] <= self.mask_ratio_range[1] <= 1:
            raise ValueError(f"mask_ratio_range {list(self.mask_ratio_range)} must be two numbers in order, 0 to 1")


def inpaint_mask(
    rng: np.random.Generator, length: int, valid: int, settings: MaskSettings, keep_padding: bool
) -> np.ndarray:
    """(length,) bool, True where frames are given to the model and not to be made.

    Behind ``valid`` nothing is kept unless ``keep_padding``, and with nothing kept elsewhere not there either.
    """
    kind = rng.choice(len(settings.mask_type_probabilities), p=settings.mask_type_probabilities)
    keep = np.ones(length, bool)
    if kind == 1:
        return np.zeros(length, bool)
    if kind == 0 and valid:
        count = int(rng.integers(1, settings.max_mask_segments + 1))
        for _ in range(count):
            size = int(rng.integers(1, max(1, valid // count) + 1))
            start = int(rng.integers(0, valid - size + 1))
            keep[start : start + size] = False
    elif kind == 2:
        keep[int(rng.integers(0, valid + 1)) : valid] = False
    elif kind == 3 and valid:
        for start, end in spans(rng, valid, settings):
            keep[start:end] = False
    if not keep_padding:
        keep[valid:] = False
    return keep


def spans(rng: np.random.Generator, valid: int, settings: MaskSettings) -> list[tuple[int, int]]:
    """Ranges that do not overlap and make up a random share of ``valid`` frames."""
    low, high = settings.mask_ratio_range
    target = max(1, int(rng.uniform(low, high) * valid))
    weights = np.array([*(settings.span_count_weights or SPAN_COUNTS)][: settings.max_spans])
    weights = np.pad(weights, (0, settings.max_spans - len(weights)), mode="edge")
    count = min(int(rng.choice(settings.max_spans, p=weights / weights.sum())) + 1, target)
    cuts = np.sort(rng.choice(np.arange(1, target), count - 1, replace=False)) if count > 1 else np.array([], int)
    sizes = np.diff([0, *cuts, target])
    gaps = np.diff([0, *np.sort(rng.integers(0, valid - target + 1, count))])
    starts = np.cumsum(gaps) + np.concatenate([[0], np.cumsum(sizes)[:-1]])
    return [(int(start), int(start + size)) for start, size in zip(starts, sizes, strict=True)]


def extended(rng: np.random.Generator, valid: int, length: int, mean: float) -> int:
    """``valid`` and some of the silence behind it: exponentially distributed, ``mean`` frames, up to ``length``."""
    return min(length, valid + int(rng.exponential(mean))) if mean > 0 else valid
