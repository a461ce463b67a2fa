"""Solvers of the v models over sigma = noise / signal, as in k-diffusion: generators that yield x after each step.

``denoise(x, sigma)`` estimates the clean signal; x = signal + sigma * noise; otherwise as in ``solvers``.
DPM-Solver: Lu et al. 2022 (arXiv 2206.00927), ++: arXiv 2211.01095; heun, dpm_2: Karras et al. 2022, algorithms 1, 2.
"""

import math
from collections.abc import Callable, Iterator

import mlx.core as mx

from ..errors import SanityError
from .solvers import Noise, Velocity

Denoiser = Callable[[mx.array, float], mx.array]


def denoiser(velocity: Velocity) -> Denoiser:
    """The denoiser of a v model, for data of unit variance."""

    def denoise(x: mx.array, sigma: float) -> mx.array:
        total = math.hypot(sigma, 1)
        v = velocity(x * (1 / total), time(sigma))
        return x * (1 / total**2) - v * (sigma / total)

    return denoise


def time(sigma: float) -> float:
    """t of a v model at noise level ``sigma``."""
    return math.atan(sigma) * 2 / math.pi


def heun(denoise: Denoiser, x: mx.array, sigmas: list[float], noise: Noise | None = None) -> Iterator[mx.array]:
    """Second order: Euler, then the trapezoid; plain Euler to sigma 0."""
    for s, s_next in zip(sigmas, sigmas[1:], strict=False):
        d = (x - denoise(x, s)) / s
        ahead = x + d * (s_next - s)
        if s_next > 0:
            d_next = (ahead - denoise(ahead, s_next)) / s_next
            ahead = x + (d + d_next) * ((s_next - s) / 2)
        x = ahead
        yield x


def dpm_2(denoise: Denoiser, x: mx.array, sigmas: list[float], noise: Noise | None = None) -> Iterator[mx.array]:
    """Second order: the slope at the geometric mean of both levels; plain Euler to sigma 0."""
    for s, s_next in zip(sigmas, sigmas[1:], strict=False):
        d = (x - denoise(x, s)) / s
        if s_next > 0:
            middle = math.sqrt(s * s_next)
            half = x + d * (middle - s)
            d = (half - denoise(half, middle)) / middle
        x = x + d * (s_next - s)
        yield x


def lms(denoise: Denoiser, x: mx.array, sigmas: list[float], noise: Noise | None = None) -> Iterator[mx.array]:
    """Linear multistep of order up to 4: the polynomial through the last slopes, integrated exactly."""
    slopes: list[mx.array] = []
    for i in range(len(sigmas) - 1):
        slopes = [(x - denoise(x, sigmas[i])) / sigmas[i], *slopes[:3]]
        nodes = [sigmas[i - k] for k in range(len(slopes))]
        for j, slope in enumerate(slopes):
            x = x + _lagrange_integral(nodes, j, sigmas[i], sigmas[i + 1]) * slope
        yield x


def _lagrange_integral(nodes: list[float], j: int, start: float, end: float) -> float:
    """Integral of the j-th basis polynomial; two Gauss points are exact up to degree 3."""
    middle, half = (start + end) / 2, (end - start) / 2
    total = 0.0
    for point in (middle - half / math.sqrt(3), middle + half / math.sqrt(3)):
        total += math.prod((point - n) / (nodes[j] - n) for k, n in enumerate(nodes) if k != j)
    return total * half


def dpmpp_2m(denoise: Denoiser, x: mx.array, sigmas: list[float], noise: Noise | None = None) -> Iterator[mx.array]:
    """DPM-Solver++(2M), deterministic."""
    last, h_last = None, 0.0
    for s, s_next in zip(sigmas, sigmas[1:], strict=False):
        denoised = estimate = denoise(x, s)
        if s_next == 0:
            x = denoised
        else:
            h = math.log(s / s_next)
            if last is not None:
                estimate = denoised + h / (2 * h_last) * (denoised - last)
            x = (s_next / s) * x - math.expm1(-h) * estimate
            last, h_last = denoised, h
        yield x


def _decay(x: mx.array, denoised: mx.array, s: float, s_next: float) -> tuple[mx.array, float, float]:
    """First order of the SDE solvers without its noise: (x, step in log sigma, share of the estimate)."""
    h = math.log(s / s_next)
    gain = -math.expm1(-2 * h)
    return math.exp(-2 * h) * x + gain * denoised, h, gain


def dpmpp_2m_sde(denoise: Denoiser, x: mx.array, sigmas: list[float], noise: Noise) -> Iterator[mx.array]:
    """DPM-Solver++(2M) SDE, midpoint form, eta 1."""
    last, h_last = None, 0.0
    for s, s_next in zip(sigmas, sigmas[1:], strict=False):
        denoised = denoise(x, s)
        if s_next == 0:
            x = denoised
        else:
            x, h, gain = _decay(x, denoised, s, s_next)
            if last is not None:
                x = x + (gain * h / (2 * h_last)) * (denoised - last)
            x = x + (s_next * math.sqrt(gain)) * noise()
            last, h_last = denoised, h
        yield x


def dpmpp_3m_sde(denoise: Denoiser, x: mx.array, sigmas: list[float], noise: Noise) -> Iterator[mx.array]:
    """DPM-Solver++(3M) SDE, eta 1: two earlier estimates bend the step."""
    past: list[tuple[mx.array, float]] = []  # (estimate, step) of the last two steps, the latest first
    for s, s_next in zip(sigmas, sigmas[1:], strict=False):
        denoised = denoise(x, s)
        if s_next == 0:
            x = denoised
        else:
            x, h, gain = _decay(x, denoised, s, s_next)
            phi_2 = 1 - gain / (2 * h)
            if len(past) == 1:
                (d1, h1), r0 = past[0], past[0][1] / h
                x = x + (phi_2 / r0) * (denoised - d1)
            elif past:
                (d1, h1), (d2, h2) = past
                r0, r1, phi_3 = h1 / h, h2 / h, phi_2 / (2 * h) - 0.5
                near, far = (denoised - d1) / r0, (d1 - d2) / r1
                bend = (near - far) / (r0 + r1)
                x = x + phi_2 * (near + bend * r0) - phi_3 * bend
            x = x + (s_next * math.sqrt(gain)) * noise()
            past = [(denoised, h), *past[:1]]
        yield x


def dpmpp_2s_ancestral(denoise: Denoiser, x: mx.array, sigmas: list[float], noise: Noise) -> Iterator[mx.array]:
    """DPM-Solver++(2S) down to a lower level, then noise up to the wanted one (eta 1)."""
    for s, s_next in zip(sigmas, sigmas[1:], strict=False):
        denoised = denoise(x, s)
        up = min(s_next, s_next * math.sqrt(s**2 - s_next**2) / s)
        down = math.sqrt(s_next**2 - up**2)
        if down == 0:
            x = denoised
        else:
            middle = math.sqrt(s * down)
            half = (middle / s) * x + (1 - middle / s) * denoised
            x = (down / s) * x + (1 - down / s) * denoise(half, middle)
        if s_next > 0:
            x = x + up * noise()
        yield x


def _dpm_step(denoise: Denoiser, x: mx.array, s: float, s_next: float, order: int, eps: mx.array):
    """DPM-Solver of order 1 to 3 from level ``s`` to ``s_next``; returns (x, lower-order x of the same slopes)."""
    h = math.log(s / s_next)
    first = x - (s_next * math.expm1(h)) * eps
    if order == 1:
        return first, first
    r1, r2 = (1 / 2, 0.0) if order == 2 else (1 / 3, 2 / 3)
    s1 = s * math.exp(-r1 * h)
    u1 = x - (s1 * math.expm1(r1 * h)) * eps
    bend1 = (u1 - denoise(u1, s1)) / s1 - eps
    second = first - (s_next / (2 * r1) * math.expm1(h)) * bend1
    if order == 2:
        return second, first
    s2, a = s * math.exp(-r2 * h), r2 * h
    u2 = x - (s2 * math.expm1(a)) * eps - (s2 * r2 / r1 * (math.expm1(a) / a - 1)) * bend1
    bend2 = (u2 - denoise(u2, s2)) / s2 - eps
    return first - (s_next / r2 * (math.expm1(h) / h - 1)) * bend2, second


def dpm_fast(denoise: Denoiser, x: mx.array, sigmas: list[float], noise: Noise | None = None) -> Iterator[mx.array]:
    """DPM-Solver-fast: ``len(sigmas) - 1`` evaluations, in steps of order 3 and a rest, from first to last level."""
    budget = len(sigmas) - 1
    segments = budget // 3 + 1
    orders = [3] * (segments - 2) + [2, 1] if budget % 3 == 0 else [3] * (segments - 1) + [budget % 3]
    ratio = sigmas[-1] / sigmas[0]
    for i, order in enumerate(orders):
        s, s_next = (sigmas[0] * ratio ** (k / segments) for k in (i, i + 1))
        x, _ = _dpm_step(denoise, x, s, s_next, order, (x - denoise(x, s)) / s)
        yield x


def dpm_adaptive(
    denoise: Denoiser, x: mx.array, sigmas: list[float], noise: Noise | None = None, tolerance: float = 0.01
) -> Iterator[mx.array]:
    """DPM-Solver-23 from the first level to the last, its steps sized by the difference of orders 2 and 3.

    Yields accepted steps only.  The one solver that has to look at numbers: one host synchronisation a trial.
    """
    place, end = -math.log(sigmas[0]), -math.log(sigmas[-1])
    h, before = 0.05, x
    while place < end - 1e-5:
        s, s_next = math.exp(-place), math.exp(-min(end, place + h))
        high, low = _dpm_step(denoise, x, s, s_next, 3, (x - denoise(x, s)) / s)
        scale = mx.maximum(tolerance, tolerance * mx.maximum(mx.abs(low), mx.abs(before)))
        error = mx.sqrt(mx.mean(mx.square((low - high) / scale))).item()
        assert isinstance(error, float)
        factor = 1 + math.atan((error + 1e-8) ** (-1 / 3) - 1)
        if factor >= 0.81:
            before, x, place = low, high, min(end, place + h)
            yield x
        h *= factor
        if not math.isfinite(h) or h < 1e-6:
            raise SanityError("dpm-adaptive: the model's output is not finite")
