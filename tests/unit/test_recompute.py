"""Recomputation gives the same numbers, in less memory, whatever trees its arguments are."""

from typing import NamedTuple

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from stable_audio_mlx.layers.recompute import recomputed, recomputed_module


class Pair(NamedTuple):
    scale: mx.array
    shift: mx.array | None


def function(x, pair, more, mask):
    x = mx.sin(x * pair.scale + more["bias"][0])
    return mx.where(mask, x, 0.0) if pair.shift is None else x + pair.shift


def test_gradients_of_all_arguments():
    x, s, b = (mx.array(np.random.default_rng(i).standard_normal(4).astype(np.float32)) for i in range(3))
    mask = mx.array([True, False, True, True])

    def loss(run, x, s, b):
        return (run(x, Pair(s, None), {"bias": [b]}, mask) ** 2).sum()

    want, found = (
        mx.value_and_grad(lambda *a, run=run: loss(run, *a), argnums=(0, 1, 2))(x, s, b)
        for run in (function, recomputed(function))
    )
    assert want[0].item() == pytest.approx(found[0].item())
    for a, b in zip(want[1], found[1], strict=True):
        np.testing.assert_allclose(np.array(a), np.array(b), rtol=1e-5)


class Wide(nn.Module):
    """Much inside, little outside."""

    def __init__(self):
        super().__init__()
        self.into, self.out = nn.Linear(8, 4096), nn.Linear(4096, 8)

    def __call__(self, x):
        for _ in range(4):
            x = x + self.out(mx.tanh(self.into(x)))
        return x


def test_a_stack_of_modules_needs_less_memory():
    layers = [Wide() for _ in range(8)]
    stack = nn.Sequential(*layers)
    x = mx.random.normal((256, 8))
    mx.eval(stack.parameters(), x)

    def peak(wrap):
        def loss(model, x):
            for layer in model.layers:
                x = wrap(layer)(x)
            return x.square().mean()

        mx.reset_peak_memory()
        before = mx.get_active_memory()
        value, grads = nn.value_and_grad(stack, loss)(stack, x)
        mx.eval(value, grads)
        return mx.get_peak_memory() - before, np.array(grads["layers"][0]["into"]["weight"])

    plain, less = peak(lambda layer: layer), peak(recomputed_module)
    assert less[0] < 0.5 * plain[0]
    np.testing.assert_allclose(less[1], plain[1], atol=1e-5 * np.abs(plain[1]).max())
