"""Activations, and their forms for the Linux CPU, where MLX calls the C library for every element.

There a product or sum costs 0.1 ns per element, an exponential 10 ns.  The forms below and their derivatives use
products and sums only and differ from the exact functions by less than 5e-7 of the result's range.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ..cpu import can_fuse, fast_forms

# tanh x = x P(x^2) / Q(x^2) for |x| < 7.9, after which it is 1 in float32; highest power first.
TANH_LIMIT = 7.90531110763549805
TANH_P = (-2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11, 5.12229709037114e-08,
          1.48572235717979e-05, 6.37261928875436e-04, 4.89352455891786e-03)  # fmt: skip
TANH_Q = (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03)


def horner(x: mx.array, coefficients: tuple[float, ...]) -> mx.array:
    """Polynomial of ``x``, highest power first."""
    p = coefficients[0] * x + coefficients[1]
    for c in coefficients[2:]:
        p = p * x + c
    return p


def exp_coefficients(scale: float, degree: int = 5, squarings: int = 5) -> tuple[float, ...]:
    """Taylor polynomial of exp(scale * x / 2^squarings)."""
    return tuple((scale / 2**squarings) ** k / math.factorial(k) for k in range(degree, -1, -1))


EXP, EXP_MINUS = exp_coefficients(1.0), exp_coefficients(-1.0)


def power_32(x: mx.array) -> mx.array:
    for _ in range(5):
        x = x * x
    return x


def fast_exp_below(x: mx.array, top: mx.array) -> mx.array:
    """exp(x - top) for x <= top: within 2e-6, and 0 (1e-31) where x is 60 lower. x, top: float32"""
    return power_32(horner(mx.maximum(x - top, -60.0), EXP))


def fast_sigmoid(x: mx.array) -> mx.array:
    return 1 / (1 + power_32(horner(mx.clip(x, -24.0, 24.0), EXP_MINUS)))


def fast_silu_gate(value: mx.array, gate: mx.array) -> mx.array:
    return value * gate * fast_sigmoid(gate)


def silu_gate_gradient(cotangent: mx.array, value: mx.array, gate: mx.array) -> tuple[mx.array, mx.array]:
    """Of ``value * silu(gate)``, with respect to either."""
    share = fast_sigmoid(gate)
    return cotangent * gate * share, cotangent * value * share * (1 + gate * (1 - share))


def fast_tanh(x: mx.array) -> mx.array:
    x = mx.clip(x, -TANH_LIMIT, TANH_LIMIT)
    square = x * x
    return x * horner(square, TANH_P) / horner(square, TANH_Q)


@cache
def fused(function: Callable) -> Callable:
    """An elementwise function as one loop, where MLX can do that."""
    return mx.compile(function, shapeless=True) if can_fuse() else function


@cache
def sin_coefficients(degree: int = 8) -> tuple[float, ...]:
    """sin(2 pi f) = f P(f^2) for |f| <= 1/2, by interpolation at Chebyshev nodes: error 2e-9."""
    nodes = 0.125 - 0.125 * np.cos((np.arange(degree + 1) + 0.5) * np.pi / (degree + 1))
    root = np.sqrt(nodes)
    return tuple(map(float, np.polyfit(nodes, np.sin(2 * np.pi * root) / root, degree)))


def fast_sin_pi(x: mx.array) -> mx.array:
    return sin_of_turn(0.5 * x)


def fast_cos_pi(x: mx.array) -> mx.array:
    half = 0.5 * x
    return sin_of_turn(half - mx.round(half) + 0.25)  # far from zero a quarter would be rounded away


def sin_of_turn(turn: mx.array) -> mx.array:
    """sin(2 pi turn)"""
    turn = turn - mx.round(turn)
    return turn * horner(turn * turn, sin_coefficients())


def sin_gate_gradient(cotangent: mx.array, value: mx.array, gate: mx.array) -> tuple[mx.array, mx.array]:
    """Of ``value * sin(pi gate)``, with respect to either."""
    return cotangent * fast_sin_pi(gate), math.pi * cotangent * value * fast_cos_pi(gate)


def tanh_gradient(cotangent: mx.array, result: mx.array) -> mx.array:
    return cotangent * (1 - result * result)


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
    lambda *args: fused(fast_silu_gate)(*args),
    lambda value, gate: value * nn.silu(gate),
    lambda cotangent, _, *args: fused(silu_gate_gradient)(cotangent, *args),
)
#: value, gate: (B, T, C) -> value * sin(pi * gate)
sin_gate = with_gradient(
    lambda value, gate: value * fused(fast_sin_pi)(gate),
    lambda value, gate: value * mx.sin(math.pi * gate),
    lambda cotangent, _, *args: fused(sin_gate_gradient)(cotangent, *args),
)
#: x: any shape -> tanh(x)
tanh = with_gradient(
    lambda x: fused(fast_tanh)(x), mx.tanh, lambda cotangent, result, _: fused(tanh_gradient)(cotangent, result)
)

GATES = {"silu": silu_gate, "sin": sin_gate}
