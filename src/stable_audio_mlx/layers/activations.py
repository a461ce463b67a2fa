"""Activations, and their forms for the Linux CPU, where MLX calls the C library for every element.

There a product or sum costs 0.1 ns per element, an exponential 10 ns.  The forms below and their derivatives use
products, sums and quotients only and differ from the exact functions by less than 5e-7 of the result's range.

What costs is the number of passes over memory.  MLX joins eleven operations in a row into one loop, the broadcast of a
constant being one; where it cuts for itself, a constant may end up outside and the loop is no longer vectorised.  So
each ``loop`` below is short enough to stay whole, and takes arrays of one shape or of one element.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache, lru_cache, wraps
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ..cpu import can_fuse, fast_forms

# tanh x = x P(x^2) / Q(x^2) for |x| < 7.9, after which it is 1 in float32; lowest power first.
TANH_LIMIT = 7.90531110763549805
TANH_P = (4.89352455891786e-03, 6.37261928875436e-04, 1.48572235717979e-05, 5.12229709037114e-08,
          -8.60467152213735e-11, 2.00018790482477e-13, -2.76076847742355e-16)  # fmt: skip
TANH_Q = (4.89352518554385e-03, 2.26843463243900e-03, 1.18534705686654e-04, 1.19825839466702e-06)


@lru_cache(maxsize=256)
def kernel(function: Callable, shapes: tuple[tuple[int, ...], ...]) -> Callable:
    """``function`` compiled for arguments of these shapes; for any shapes, MLX would join half as many operations."""
    return mx.compile(function)


def loop(function: Callable) -> Callable:
    """An elementwise function as one loop, where MLX can do that."""

    @wraps(function)
    def call(*arrays: mx.array) -> mx.array:
        return (kernel(function, tuple(a.shape for a in arrays)) if can_fuse() else function)(*arrays)

    return call


def polynomial(x: mx.array, coefficients: Sequence[float]) -> mx.array:
    """Lowest power first, by Estrin's scheme: half as many operations in a row as Horner's."""
    terms: list = list(coefficients)
    while len(terms) > 1:
        pairs = [b * x + a for a, b in zip(terms[::2], terms[1::2], strict=False)]
        terms = pairs + terms[2 * len(pairs) :]
        x = x * x
    return terms[0]


def interpolation(function: Callable, low: float, high: float, degree: int) -> tuple[float, ...]:
    """Polynomial through the values of ``function`` at the Chebyshev nodes of an interval, lowest power first."""
    angles = (np.arange(degree + 1) + 0.5) * np.pi / (degree + 1)
    nodes = (low + high) / 2 - (high - low) / 2 * np.cos(angles)
    return tuple(map(float, np.polyfit(nodes, function(nodes), degree)[::-1]))


@cache
def expm1_coefficients() -> tuple[float, ...]:
    """exp(x / 16) - 1 for 0 <= x <= 20, within 1e-7 of itself.  Beyond, it grows more slowly."""
    return (0.0, *interpolation(lambda x: np.expm1(x / 16) / x, 0.0, 20.0, 5))


def doubled(m: mx.array) -> mx.array:
    """exp(2 x) - 1 from exp(x) - 1, as precise for small x, where squares of exp(x) would double its error."""
    return m * (m + 2)


@loop
def expm1_eighth(x: mx.array) -> mx.array:
    """exp(|x| / 8) - 1, which the functions below double three times: infinity there is no harm."""
    return doubled(polynomial(mx.abs(x), expm1_coefficients()))


def exp_of(eighth: mx.array) -> mx.array:
    """exp(|x|)"""
    return 1 + doubled(doubled(doubled(eighth)))


@loop
def reciprocal_exp(eighth: mx.array) -> mx.array:
    return 1 / exp_of(eighth)


def fast_exp_minus(x: mx.array) -> mx.array:
    """exp(-|x|)"""
    return reciprocal_exp(expm1_eighth(x))


@loop
def silu_gate_from(value: mx.array, gate: mx.array, eighth: mx.array) -> mx.array:
    size = mx.abs(gate)
    return value * (0.5 * (gate + size) - size / (1 + exp_of(eighth)))


def fast_silu_gate(value: mx.array, gate: mx.array) -> mx.array:
    return silu_gate_from(value, gate, expm1_eighth(gate))


@loop
def sigmoid_from(x: mx.array, reciprocal: mx.array) -> mx.array:
    share = reciprocal / (1 + reciprocal)  # of -|x|
    return mx.where(x < 0, share, 1 - share)


@loop
def silu_slope(gate: mx.array, share: mx.array) -> mx.array:
    return share * (1 + gate * (1 - share))


def silu_gate_gradient(cotangent: mx.array, value: mx.array, gate: mx.array) -> tuple[mx.array, mx.array]:
    """Of ``value * silu(gate)``, with respect to either."""
    share = sigmoid_from(gate, fast_exp_minus(gate))
    return product(cotangent, gate, share), product(cotangent, value, silu_slope(gate, share))


@loop
def product(a: mx.array, b: mx.array, c: mx.array) -> mx.array:
    return a * b * c


@loop
def clamp(x: mx.array) -> mx.array:
    return mx.where(x > TANH_LIMIT, TANH_LIMIT, mx.where(x < -TANH_LIMIT, -TANH_LIMIT, x))


@loop
def tanh_inside(x: mx.array) -> mx.array:
    return x * polynomial(x * x, TANH_P) / polynomial(x * x, TANH_Q)


def fast_tanh(x: mx.array) -> mx.array:
    return tanh_inside(clamp(x))


@loop
def tanh_gradient(cotangent: mx.array, result: mx.array) -> mx.array:
    return cotangent * (1 - result * result)


ROUND = 12582912.0  # 1.5 * 2**23: adding and subtracting it rounds a float32 below 2**22 to the nearest integer


def rounded(x: mx.array) -> mx.array:
    return mx.stop_gradient((x + ROUND) - ROUND)


@cache
def sin_coefficients() -> tuple[float, ...]:
    """sin(2 pi f) = f P(f^2) for |f| <= 1/2: error 2e-9."""
    return interpolation(lambda w: np.sin(2 * np.pi * np.sqrt(w)) / np.sqrt(w), 0.0, 0.25, 8)


@loop
def turn_of(x: mx.array) -> mx.array:
    """The angle pi x in whole turns, from -1/2 to 1/2."""
    return 0.5 * x - rounded(0.5 * x)


@loop
def quarter_later(turn: mx.array) -> mx.array:
    """A quarter of a turn added at last: far from zero it would have been rounded away."""
    later = turn + 0.25
    return later - rounded(later)


@loop
def times_sin(value: mx.array, turn: mx.array) -> mx.array:
    return value * (turn * polynomial(turn * turn, sin_coefficients()))


def fast_sin_gate(value: mx.array, gate: mx.array) -> mx.array:
    """value * sin(pi gate)"""
    return times_sin(value, turn_of(gate))


def fast_cos_gate(value: mx.array, gate: mx.array) -> mx.array:
    """value * cos(pi gate)"""
    return times_sin(value, quarter_later(turn_of(gate)))


def sin_gate_gradient(cotangent: mx.array, value: mx.array, gate: mx.array) -> tuple[mx.array, mx.array]:
    """Of ``value * sin(pi gate)``, with respect to either."""
    return fast_sin_gate(cotangent, gate), fast_cos_gate(math.pi * cotangent * value, gate)


def with_gradient(fast: Callable, exact: Callable, gradient: Callable) -> Callable[..., mx.array]:
    """``fast`` on the Linux CPU in float32, ``exact`` elsewhere.

    ``gradient(cotangent, result, *arguments)`` -> the derivatives of ``fast``, one for each argument
    """
    function: Any = mx.custom_function(fast)

    @function.vjp
    def backward(primals, cotangent, result):
        return gradient(cotangent, result, *(primals if isinstance(primals, list | tuple) else [primals]))

    def choose(*args: mx.array) -> mx.array:
        return function(*args) if fast_forms() and args[0].dtype == mx.float32 else exact(*args)

    return choose


#: value, gate: (B, T, C) -> value * silu(gate)
silu_gate = with_gradient(
    fast_silu_gate,
    lambda value, gate: value * nn.silu(gate),
    lambda cotangent, _, *args: silu_gate_gradient(cotangent, *args),
)
#: value, gate: (B, T, C) -> value * sin(pi * gate)
sin_gate = with_gradient(
    fast_sin_gate,
    lambda value, gate: value * mx.sin(math.pi * gate),
    lambda cotangent, _, *args: sin_gate_gradient(cotangent, *args),
)
#: x: any shape -> tanh(x)
tanh = with_gradient(fast_tanh, mx.tanh, lambda cotangent, result, _: tanh_gradient(cotangent, result))

GATES = {"silu": silu_gate, "sin": sin_gate}
