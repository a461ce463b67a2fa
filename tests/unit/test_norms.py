"""Norms: the form for the Linux CPU and MLX's own against float64, and their derivatives against each other."""

import mlx.core as mx
import numpy as np
import pytest

from stable_audio_mlx.layers import norms

KINDS = {
    "layer": norms.LayerNorm(96, eps=1e-5, bias=True),
    "plain": norms.PlainLayerNorm(96, eps=1e-3),
    "rms": norms.RMSNorm(96, eps=1e-6),
}


def normal(*shape, seed):
    return mx.random.normal(shape, key=mx.random.key(seed))


@pytest.fixture(params=KINDS)
def norm(request):
    module = KINDS[request.param]
    module.weight = normal(96, seed=1)
    if "bias" in module:
        module.bias = normal(96, seed=2)
    return module


def exact(norm, x):
    x, weight = np.array(x, np.float64), np.array(norm.weight, np.float64)
    if isinstance(norm, norms.RMSNorm):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + norm.eps) * weight
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + norm.eps) * weight + np.array(norm.bias, np.float64)


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("offset", [0, 30])
def test_forms_are_exact(norm, fast, offset, monkeypatch):
    monkeypatch.setattr(norms, "fast_forms", lambda: fast)
    scale = mx.array([1e-3, 1, 7, 50, 1e3])[:, None] if not offset else mx.array([1, 7, 50, 500, 1e3])[:, None]
    x = normal(2, 5, 96, seed=3) * scale + offset
    assert np.abs(np.array(norm(x)) - exact(norm, x)).max() < (1e-4 if offset else 5e-6)


def test_forms_have_one_derivative(norm, monkeypatch):
    x, c = normal(2, 5, 96, seed=3), normal(2, 5, 96, seed=4)
    found = []
    for fast in (True, False):
        monkeypatch.setattr(norms, "fast_forms", lambda fast=fast: fast)
        found.append(np.array(mx.vjp(norm, [x], [c])[1][0]))
    np.testing.assert_allclose(*found, atol=1e-5)


def test_half_precision_is_left_to_mlx(norm, monkeypatch):
    monkeypatch.setattr(norms, "fast_forms", lambda: True)
    half = normal(1, 3, 96, seed=3).astype(mx.float16)
    norm.weight = norm.weight.astype(mx.float16)
    if "bias" in norm:
        norm.bias = norm.bias.astype(mx.float16)
    assert norm(half).dtype == mx.float16
