"""From which noise levels a training learns: the timestep samplers of stable-audio-tools and Stable Audio 3.

t is the noise share of rectified flow, or of the v objective the angle from signal to noise in quarter turns; 0 is the
sound, 1 is noise.
"""

from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from ..config import build

NORMAL = NormalDist()
LEFT = 0.075  # of the truncated distribution
LEAST = 1e-4


def logistic(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@dataclass(frozen=True)
class Uniform:
    """One draw in each of ``count`` equal parts, in random order; the reference spreads them by a Sobol sequence."""

    def __call__(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return (rng.permutation(count) + rng.random(count)) / count


@dataclass(frozen=True)
class LogitNormal:
    """The logit of t is normal (Stable Diffusion 3, Esser et al. 2024)."""

    def __call__(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return logistic(rng.standard_normal(count))


@dataclass(frozen=True)
class TruncatedLogitNormal:
    """1 - the logit-normal distribution above ``LEFT``, stretched to 0..1: pure noise is frequent, clean sound rare."""

    def __call__(self, rng: np.random.Generator, count: int) -> np.ndarray:
        low = NORMAL.cdf(float(np.log(LEFT / (1 - LEFT))))
        places = low + (1 - low) * rng.random(count)
        return 1 - (logistic(np.array([NORMAL.inv_cdf(p) for p in places])) - LEFT) / (1 - LEFT)


@dataclass(frozen=True)
class LogSNR:
    """The log signal-to-noise ratio is normal."""

    mean_logsnr: float = -1.2
    std_logsnr: float = 2.0

    def __call__(self, rng: np.random.Generator, count: int) -> np.ndarray:
        t = logistic(-(rng.standard_normal(count) * self.std_logsnr + self.mean_logsnr))
        return t.clip(LEAST, 1 - LEAST)


@dataclass(frozen=True)
class LogSNRUniform:
    """The log signal-to-noise ratio is uniform."""

    min_logsnr: float = -6.0
    max_logsnr: float = 5.0

    def __call__(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return logistic(-rng.uniform(self.min_logsnr, self.max_logsnr, count)).clip(LEAST, 1 - LEAST)


SAMPLERS: dict[str, Any] = {
    "uniform": Uniform,
    "logit_normal": LogitNormal,
    "trunc_logit_normal": TruncatedLogitNormal,
    "log_snr": LogSNR,
    "log_snr_uniform": LogSNRUniform,
}


def timestep_sampler(name: str, options: dict[str, Any], path: str = "training.timestep_sampler_options") -> Any:
    """(generator, count) -> t of each, (count,); ConfigError for options that the sampler does not have."""
    return build(SAMPLERS[name], options, path)
