"""Solvers of the flow models and DDIM: generators that yield x after each step.

A velocity is any ``velocity(x, t) -> array like x`` with a Python float t; ``noise()`` gives a fresh standard normal
array like x.  All arrays are (B, T, C), though no solver looks at the shape.  Coefficients are Python floats, and no
solver evaluates anything: whoever drains the generator decides when.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import mlx.core as mx

Velocity = Callable[[mx.array, float], mx.array]
Noise = Callable[[], mx.array]


def euler(velocity: Velocity, x: mx.array, ts: list[float], noise: Noise | None = None) -> Iterator[mx.array]:
    """First order."""
    for t, t_next in zip(ts, ts[1:], strict=False):
        x = x + (t_next - t) * velocity(x, t)
        yield x


def rk4(
    velocity: Velocity, x: mx.array, ts: list[float], noise: Noise | None = None, t_min: float = 0.0
) -> Iterator[mx.array]:
    """Classic Runge-Kutta, fourth order, four evaluations a step; the last is made at ``t_min`` or above."""
    for t, t_next in zip(ts, ts[1:], strict=False):
        h = t_next - t
        k1 = velocity(x, t)
        k2 = velocity(x + h / 2 * k1, t + h / 2)
        k3 = velocity(x + h / 2 * k2, t + h / 2)
        k4 = velocity(x + h * k3, max(t_next, t_min))
        x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        yield x


def dpmpp(
    velocity: Velocity, x: mx.array, ts: list[float], noise: Noise | None = None, t_min: float = 0.0
) -> Iterator[mx.array]:
    """DPM-Solver++(2M) (Lu et al. 2022, algorithm 2) with alpha = 1 - t, sigma = t; first and last step first order.

    ``t_min`` keeps the log-SNR of t = 0 and 1 finite; with 0 the second step is first order after a start at t = 1.
    """
    last, h_last = None, math.inf
    for t, t_next in zip(ts, ts[1:], strict=False):
        denoised = x - t * velocity(x, t)
        h = _log_snr(t_next, t_min) - _log_snr(t, t_min)
        estimate = denoised
        if last is not None and t_next > 0 and math.isfinite(h_last):
            estimate = denoised + h / (2 * h_last) * (denoised - last)
        x = (t_next / t) * x + (1 - t_next / t) * estimate
        last, h_last = denoised, h
        yield x


def _log_snr(t: float, t_min: float) -> float:
    signal, share = max(1 - t, t_min), max(t, t_min)
    if signal == 0 or share == 0:
        return -math.inf if signal == 0 else math.inf
    return math.log(signal / share)


def pingpong(velocity: Velocity, x: mx.array, ts: list[float], noise: Noise) -> Iterator[mx.array]:
    """Denoise completely, add fresh noise of the next level: for models distilled to few steps."""
    for t, t_next in zip(ts, ts[1:], strict=False):
        x = x - t * velocity(x, t)
        if t_next > 0:
            x = (1 - t_next) * x + t_next * noise()
        yield x


def ddim(velocity: Velocity, x: mx.array, ts: list[float], noise: Noise | None = None) -> Iterator[mx.array]:
    """DDIM (Song et al. 2021, eta 0) of a v model: x_t = cos(pi t / 2) x0 + sin(pi t / 2) noise."""
    return _ddim(lambda x, t: (velocity(x, t),) * 2, x, ts)


def ddim_cfgpp(velocity: Any, x: mx.array, ts: list[float], noise: Noise | None = None) -> Iterator[mx.array]:
    """CFG++ (Chung et al. 2024): guided estimate of the signal, unconditional estimate of the noise.

    Needs ``velocity.both(x, t) -> (guided, unconditional)``.
    """
    return _ddim(velocity.both, x, ts)


def _ddim(both: Callable, x: mx.array, ts: list[float]) -> Iterator[mx.array]:
    for t, t_next in zip(ts, ts[1:], strict=False):
        guided, plain = both(x, t)
        alpha, sigma = alpha_sigma(t)
        signal, noise = x * alpha - guided * sigma, x * sigma + plain * alpha
        alpha, sigma = alpha_sigma(t_next)
        x = signal * alpha + noise * sigma
        yield x


def alpha_sigma(t: float) -> tuple[float, float]:
    """Signal and noise share of a v model at time t; exact at 0 and 1."""
    return (0.0, 1.0) if t == 1 else (math.cos(t * math.pi / 2), math.sin(t * math.pi / 2))
