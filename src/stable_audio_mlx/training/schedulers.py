"""Learning rates over the updates, counted from 0: the closed forms of PyTorch's schedulers and of InverseLR.

Each is a dataclass whose instance maps (update, base rate) to a rate.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from ..config import build, lookup

Rate = Callable[[int, float], float]


@dataclass(frozen=True, kw_only=True)
class Scheduler:
    """Every scheduler can be told where to start; only the beginning is supported."""

    last_epoch: int = -1

    IGNORED: ClassVar = ("verbose",)

    def __post_init__(self):
        if self.last_epoch != -1:
            raise ValueError("last_epoch other than -1 is not supported: a resumed run knows where it was")


@dataclass(frozen=True, kw_only=True)
class InverseLR(Scheduler):
    """``(1 - warmup^(n+1)) max(final_lr, base (1 + n / inv_gamma)^-power)``, as stable-audio-tools has it."""

    inv_gamma: float = 1.0
    power: float = 1.0
    warmup: float = 0.0
    final_lr: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.warmup < 1 or self.inv_gamma <= 0:
            raise ValueError(f"warmup {self.warmup} must be from 0 to below 1, inv_gamma {self.inv_gamma} positive")

    def __call__(self, n: int, base: float) -> float:
        return (1 - self.warmup ** (n + 1)) * max(self.final_lr, base * (1 + n / self.inv_gamma) ** -self.power)


@dataclass(frozen=True, kw_only=True)
class ConstantLR(Scheduler):
    factor: float = 1 / 3
    total_iters: int = 5

    def __call__(self, n: int, base: float) -> float:
        return base * (self.factor if n < self.total_iters else 1)


@dataclass(frozen=True, kw_only=True)
class LinearLR(Scheduler):
    start_factor: float = 1 / 3
    end_factor: float = 1.0
    total_iters: int = 5

    def __call__(self, n: int, base: float) -> float:
        share = min(n, self.total_iters) / self.total_iters
        return base * (self.start_factor + (self.end_factor - self.start_factor) * share)


@dataclass(frozen=True, kw_only=True)
class ExponentialLR(Scheduler):
    gamma: float

    def __call__(self, n: int, base: float) -> float:
        return base * self.gamma**n


@dataclass(frozen=True, kw_only=True)
class StepLR(Scheduler):
    step_size: int
    gamma: float = 0.1

    def __call__(self, n: int, base: float) -> float:
        return base * self.gamma ** (n // self.step_size)


@dataclass(frozen=True, kw_only=True)
class MultiStepLR(Scheduler):
    milestones: tuple[int, ...]
    gamma: float = 0.1

    def __call__(self, n: int, base: float) -> float:
        return base * self.gamma ** sum(n >= m for m in self.milestones)


@dataclass(frozen=True, kw_only=True)
class PolynomialLR(Scheduler):
    total_iters: int = 5
    power: float = 1.0

    def __call__(self, n: int, base: float) -> float:
        return base * (1 - min(n, self.total_iters) / self.total_iters) ** self.power


@dataclass(frozen=True, kw_only=True)
class CosineAnnealingLR(Scheduler):
    T_max: int
    eta_min: float = 0.0

    def __call__(self, n: int, base: float) -> float:
        return self.eta_min + (base - self.eta_min) * (1 + math.cos(math.pi * n / self.T_max)) / 2


@dataclass(frozen=True, kw_only=True)
class CosineAnnealingWarmRestarts(Scheduler):
    """Half a cosine over T_0 updates, then again, each time T_mult times as long."""

    T_0: int
    T_mult: int = 1
    eta_min: float = 0.0

    def __call__(self, n: int, base: float) -> float:
        length = self.T_0
        while n >= length:
            n, length = n - length, length * self.T_mult
            if self.T_mult == 1:
                n %= length
        return self.eta_min + (base - self.eta_min) * (1 + math.cos(math.pi * n / length)) / 2


SCHEDULERS: dict[str, Any] = {
    kind.__name__: kind
    for kind in (
        InverseLR,
        ConstantLR,
        LinearLR,
        ExponentialLR,
        StepLR,
        MultiStepLR,
        PolynomialLR,
        CosineAnnealingLR,
        CosineAnnealingWarmRestarts,
    )
}


def scheduler_from_config(section: dict[str, Any], path: str) -> Rate:
    """The rate that a ``scheduler`` section, {type, config}, describes; ConfigError with its JSON path."""
    return build(lookup(SCHEDULERS, section, path), section.get("config", {}), f"{path}.config")
