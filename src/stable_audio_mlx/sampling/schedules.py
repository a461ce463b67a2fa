"""Noise levels of a run, from the start to (usually) 0: Python floats, so that no sampling loop waits for a device.

t of rectified flow is the noise share, x_t = (1 - t) x0 + t noise; sigma of the v models is noise over signal, as in
k-diffusion (Karras et al. 2022).  Every schedule has steps + 1 values.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from ..config import build, lookup

Shift = Callable[[float, int], float]


def linear(steps: int, start: float = 1.0) -> list[float]:
    """Equal steps from ``start`` to 0."""
    return [start * (1 - i / steps) for i in range(steps)] + [0.0]


def logsnr(steps: int, start: float = 1.0, end: float = 2.0) -> list[float]:
    """Equal steps in log((1-t)/t) from ``start`` to ``end``, then 0: the grid of Stable Audio Open's flow models.

    Below t = 0.12 the start lies past ``end`` and the grid would rise again; there the steps are equal in t.
    """
    low = math.log((1 - start) / start + 1e-6) if start < 1 else -6.0
    if low >= end:
        return linear(steps, start)
    grid = [low + (end - low) * i / steps for i in range(1, steps)]
    return [start, *(1 / (1 + math.exp(g)) for g in grid), 0.0]


def polyexponential(steps: int, sigma_min: float, sigma_max: float) -> list[float]:
    """Equal steps in log sigma from ``sigma_max`` to ``sigma_min``, then 0 (k-diffusion's name; its rho is 1 here)."""
    low, span = math.log(sigma_min), math.log(sigma_max / sigma_min)
    ramp = [1 - i / (steps - 1) for i in range(steps)] if steps > 1 else [1.0]
    return [math.exp(low + span * r) for r in ramp] + [0.0]


def exponential(steps: int, sigma_min: float, sigma_max: float) -> list[float]:
    """Equal steps in log sigma that end at ``sigma_min``, for the solvers that do not go to 0."""
    return [sigma_max * (sigma_min / sigma_max) ** (i / steps) for i in range(steps + 1)]


def shifted(steps: int, shift: Shift, length: int, start: float = 1.0) -> list[float]:
    """The linear grid from 1 through ``shift``, then scaled to ``start``: monotone for every start."""
    return [start * shift(t, length) for t in linear(steps)]


@dataclass(frozen=True)
class DistributionShift:
    """More of the steps at high noise for long sequences (Stable Diffusion 3, Esser et al. 2024, section 5.3.2)."""

    base_shift: float = 0.5
    max_shift: float = 1.15
    max_length: int = 4096
    min_length: int = 256
    use_sine: bool = False

    def __post_init__(self):
        if not self.min_length < self.max_length:
            raise ValueError(f"min_length {self.min_length} must be below max_length {self.max_length}")

    def __call__(self, t: float, length: int) -> float:
        place = (min(max(length, self.min_length), self.max_length) - self.min_length) / (
            self.max_length - self.min_length
        )
        weight = math.exp(-(self.base_shift + (self.max_shift - self.base_shift) * place))
        t = t / (t + weight * (1 - t))
        return math.sin(t * math.pi / 2) if self.use_sine else t


@dataclass(frozen=True)
class FluxShift:
    """t -> a t / (1 + (a - 1) t) with a between alpha_min and alpha_max, a power law of the length."""

    min_length: int = 256
    max_length: int = 4096
    alpha_min: float = 1.0
    alpha_max: float = 1.0

    def __post_init__(self):
        if not 0 < self.min_length <= self.max_length or min(self.alpha_min, self.alpha_max) <= 0:
            raise ValueError(
                "min_length must be positive and no more than max_length, alpha_min and alpha_max positive"
            )

    def __call__(self, t: float, length: int) -> float:
        length = min(max(length, self.min_length), self.max_length)
        span = math.log(self.max_length / self.min_length) or 1e-8
        place = math.log(length / self.min_length) / span
        alpha = self.alpha_min ** (1 - place) * self.alpha_max**place
        return alpha * t / (1 + (alpha - 1) * t)


@dataclass(frozen=True)
class LogSNRShift:
    """Steps equal in log-SNR; with a rate the start falls with every doubling of the length.  0 and 1 stay."""

    anchor_length: int = 2000
    anchor_logsnr: float = -6.2
    rate: float = 1.0
    logsnr_end: float = 2.0

    def __post_init__(self):
        if self.anchor_length < 1:
            raise ValueError(f"anchor_length must be positive, got {self.anchor_length}")

    def __call__(self, t: float, length: int) -> float:
        if t in (0, 1):
            return t
        start = self.anchor_logsnr - self.rate * math.log2(max(length, 1) / self.anchor_length)
        return 1 / (1 + math.exp(self.logsnr_end - t * (self.logsnr_end - start)))


@dataclass(frozen=True)
class NoShift:
    """t as it is."""

    def __call__(self, t: float, length: int) -> float:
        return t


# What Stable Audio 3 samples with when its config says nothing.
STABLE_AUDIO_3_SHIFT = LogSNRShift(rate=0.0)
# ``type`` of a distribution shift section -> class; a section without a type is ``full``.
SHIFTS = {"full": DistributionShift, "flux": FluxShift, "logsnr": LogSNRShift, "none": NoShift}


def shift_from_config(section: dict | None, path: str) -> Shift | None:
    """The shift that a ``*distribution_shift_options`` section describes; None where the config has none."""
    if section is None:
        return None
    shift = lookup(SHIFTS, {"type": "full", **section} if isinstance(section, dict) else section, path)
    return build(shift, {k: v for k, v in section.items() if k != "type"}, path)
