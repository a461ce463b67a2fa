"""The forms for the Linux CPU equal the exact functions, and so do their derivatives."""

import io
import math
import re
from inspect import signature
from types import FunctionType

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from stable_audio_mlx.cpu import can_fuse
from stable_audio_mlx.layers import activations, snake
from stable_audio_mlx.layers.activations import (
    fast_cos_gate,
    fast_exp_minus,
    fast_silu_gate,
    fast_sin_gate,
    fast_tanh,
    with_gradient,
)

LINE = mx.concatenate([mx.linspace(-90, 90, 4001), mx.linspace(-1, 1, 4001)])


def close(a, b, tolerance):
    a, b = np.array(a, dtype=np.float64), np.array(b, dtype=np.float64)
    assert np.isfinite(a).all()
    assert np.abs(a - b).max() <= tolerance * max(np.abs(b).max(), 1e-30)


def test_tanh():
    close(fast_tanh(LINE), np.tanh(np.array(LINE, dtype=np.float64)), 5e-7)


def test_silu_gate():
    x = np.array(LINE, dtype=np.float64)
    close(fast_silu_gate(mx.ones_like(LINE), LINE), x / (1 + np.exp(-x)), 3e-7)
    close(fast_silu_gate(mx.ones_like(LINE), 0.02 * LINE), 0.02 * x / (1 + np.exp(-0.02 * x)), 1e-6)


def test_sin_pi_keeps_its_precision_far_from_zero():
    x = np.array(LINE, dtype=np.float64)
    close(fast_sin_gate(mx.ones_like(LINE), LINE), np.sin(math.pi * x), 1e-6)
    close(fast_cos_gate(mx.ones_like(LINE), LINE), np.cos(math.pi * x), 1e-6)


def test_exp():
    x = np.array(LINE, dtype=np.float64)
    close(fast_exp_minus(LINE), np.exp(-np.abs(x)), 2e-6)
    assert fast_exp_minus(mx.zeros((3,))).tolist() == [1, 1, 1]
    assert fast_exp_minus(mx.array([-1e9, -math.inf, 200.0])).tolist() == [0, 0, 0]


def test_silu_far_from_zero():
    far = mx.array([-1e6, -200.0, 200.0, 1e6])
    assert fast_silu_gate(mx.ones((4,)), far).tolist() == [0, 0, 200, 1e6]


LOOPS = [f for module in (activations, snake) for f in vars(module).values() if hasattr(f, "__wrapped__")]


@pytest.mark.skipif(not can_fuse(), reason="needs a compiler")
@pytest.mark.parametrize("function", [f for f in LOOPS if isinstance(f, FunctionType)], ids=lambda f: f.__name__)
def test_a_loop_is_one_loop(function):
    arrays = [mx.ones((2, 3, 4)) for _ in signature(function).parameters]
    mx.eval(arrays)
    graph = io.StringIO()
    mx.export_to_dot(graph, function(*arrays))
    assert len(re.findall("label =", graph.getvalue())) == 1


@pytest.mark.parametrize("name", ["silu_gate", "sin_gate"])
def test_gates_have_the_exact_derivative(name, monkeypatch):
    value, gate = (
        mx.random.normal((2, 50, 8), key=mx.random.key(1)),
        3 * mx.random.normal((2, 50, 8), key=mx.random.key(2)),
    )
    function = getattr(activations, name)
    loss = lambda v, g: (function(v, g) ** 2).sum()  # noqa: E731
    monkeypatch.setattr(activations, "fast_forms", lambda: True)
    fast = [function(value, gate), *mx.grad(loss, (0, 1))(value, gate)]
    monkeypatch.setattr(activations, "fast_forms", lambda: False)
    for a, b in zip(fast, [function(value, gate), *mx.grad(loss, (0, 1))(value, gate)], strict=True):
        close(a, b, 1e-5)


def test_tanh_has_the_exact_derivative(monkeypatch):
    monkeypatch.setattr(activations, "fast_forms", lambda: True)
    x = np.array(LINE, dtype=np.float64)
    close(mx.grad(lambda a: activations.tanh(a).sum())(LINE), 1 - np.tanh(x) ** 2, 1e-6)


def test_half_precision_takes_the_exact_form():
    used = []
    function = with_gradient(lambda x: used.append("fast") or x, lambda x: used.append("exact") or x, lambda c, *_: c)
    assert function(mx.ones((2,), dtype=mx.float16)).dtype == mx.float16
    assert used == ["exact"]


def test_plain_forms():
    value, gate = mx.random.normal((1, 9, 4)), mx.random.normal((1, 9, 4))
    close(activations.GATES["silu"](value, gate), value * nn.silu(gate), 1e-6)
    close(activations.GATES["sin"](value, gate), value * mx.sin(math.pi * gate), 1e-6)
    close(activations.tanh(gate), mx.tanh(gate), 1e-6)
