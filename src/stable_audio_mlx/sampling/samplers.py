"""The samplers by name: solver, schedule and how a run starts, for each objective a model may be trained for."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import mlx.core as mx

from ..errors import OptionError
from . import karras, schedules, solvers
from .schedules import Shift
from .solvers import Noise, alpha_sigma


@dataclass(frozen=True)
class Levels:
    """What a schedule is made from; ``length`` is in latent frames, sigmas as in ``schedules``."""

    steps: int
    sigma_max: float
    sigma_min: float
    length: int
    shift: Shift | None = None


@dataclass(frozen=True)
class Sampler:
    """``schedule(levels)`` gives the noise levels, ``mix(signal, noise, level)`` the start, ``solve`` the generator.

    ``draws`` tells whether the solver needs fresh noise at each step but the last, ``to_sigma_min`` whether its
    schedule has a least sigma, ``rounds(steps)`` how often it yields (None: not known before), ``times(levels)`` at
    which t, most of them at least, it asks for the velocity.
    """

    solve: Callable[..., Iterator[mx.array]]
    schedule: Callable[[Levels], list[float]]
    mix: Callable[[mx.array | None, mx.array, float], mx.array]
    draws: bool = False
    to_sigma_min: bool = False
    rounds: Callable[[int], int | None] = lambda steps: steps
    times: Callable[[list[float]], list[float]] = lambda levels: levels[:-1]

    def run(self, velocity, x: mx.array, levels: list[float], noise: Noise) -> Iterator[mx.array]:
        """Yield x after each step, the last one the result; ``velocity`` is a ``Guided`` or ``Keeping``."""
        return self.solve(velocity, x, levels, noise)


def mix_flow(signal: mx.array | None, noise: mx.array, level: float) -> mx.array:
    """(1 - t) signal + t noise; pure noise without a signal."""
    return noise if signal is None else signal * (1 - level) + noise * level


def mix_vp(signal: mx.array | None, noise: mx.array, level: float) -> mx.array:
    """cos signal + sin noise; pure noise without a signal."""
    if signal is None:
        return noise
    alpha, sigma = alpha_sigma(level)
    return signal * alpha + noise * sigma


def mix_karras(signal: mx.array | None, noise: mx.array, level: float) -> mx.array:
    """signal + sigma noise."""
    return noise * level if signal is None else signal + noise * level


def _shifted_linear(levels: Levels) -> list[float]:
    grid = schedules.linear(levels.steps, min(levels.sigma_max, 1.0))
    return [levels.shift(t, levels.length) for t in grid] if levels.shift else grid


def _logsnr(levels: Levels) -> list[float]:
    return schedules.logsnr(levels.steps, min(levels.sigma_max, 1.0))


def _shifted(levels: Levels) -> list[float]:
    shift = levels.shift or schedules.STABLE_AUDIO_3_SHIFT
    return schedules.shifted(levels.steps, shift, levels.length, min(levels.sigma_max, 1.0))


def _polyexponential(levels: Levels) -> list[float]:
    return schedules.polyexponential(levels.steps, levels.sigma_min, levels.sigma_max)


def _exponential(levels: Levels) -> list[float]:
    return schedules.exponential(levels.steps, levels.sigma_min, levels.sigma_max)


def _karras(solve: Callable, schedule=_polyexponential, **options) -> Sampler:
    def run(velocity, x: mx.array, levels: list[float], noise: Noise) -> Iterator[mx.array]:
        return solve(karras.denoiser(velocity), x, levels, noise)

    return Sampler(
        run,
        schedule,
        mix_karras,
        times=lambda levels: list(map(karras.time, levels[:-1])),
        to_sigma_min=True,
        **options,
    )


FLOW = {
    "pingpong": Sampler(solvers.pingpong, _logsnr, mix_flow, draws=True),
    "euler": Sampler(solvers.euler, _logsnr, mix_flow),
    "dpmpp": Sampler(solvers.dpmpp, _logsnr, mix_flow),
    "rk4": Sampler(solvers.rk4, _shifted_linear, mix_flow),
}
# Stable Audio 3: every sampler on the shifted grid, no evaluation at the ends of the noise range.
FLOW_3 = {
    "pingpong": Sampler(solvers.pingpong, _shifted, mix_flow, draws=True),
    "euler": Sampler(solvers.euler, _shifted, mix_flow),
    "dpmpp": Sampler(partial(solvers.dpmpp, t_min=1e-10), _shifted, mix_flow),
    "rk4": Sampler(partial(solvers.rk4, t_min=1e-5), _shifted, mix_flow),
}
V = {
    "dpmpp-3m-sde": _karras(karras.dpmpp_3m_sde, draws=True),
    "dpmpp-2m-sde": _karras(karras.dpmpp_2m_sde, draws=True),
    "dpmpp-2m": _karras(karras.dpmpp_2m),
    "dpmpp-2s-ancestral": _karras(karras.dpmpp_2s_ancestral, draws=True),
    "heun": _karras(karras.heun),
    "dpm-2": _karras(karras.dpm_2),
    "lms": _karras(karras.lms),
    "dpm-fast": _karras(karras.dpm_fast, _exponential, rounds=lambda steps: steps // 3 + 1),
    "dpm-adaptive": _karras(karras.dpm_adaptive, _exponential, rounds=lambda steps: None),
    "v-ddim": Sampler(solvers.ddim, _shifted_linear, mix_vp),
    "v-ddim-cfgpp": Sampler(solvers.ddim_cfgpp, _shifted_linear, mix_vp),
}
SAMPLERS = {"rf_denoiser": FLOW, "rectified_flow": FLOW, "v": V}


def fitting(objective: str, stable_audio_3: bool = False) -> dict[str, Sampler]:
    """The samplers of a model, by name."""
    return FLOW_3 if stable_audio_3 and objective != "v" else SAMPLERS[objective]


def sampler_for(name: str, objective: str, stable_audio_3: bool = False) -> Sampler:
    """The sampler ``name``; one that does not fit the model's objective is an OptionError that lists those that do.

    The names of stable-audio-tools with their ``k-`` in front are accepted.
    """
    known = fitting(objective, stable_audio_3)
    sampler = known.get(name.removeprefix("k-"))
    if sampler is None:
        raise OptionError(f"sampler {name!r} does not fit this model ({objective}); use one of: {', '.join(known)}")
    return sampler
