"""Convolutions in their fast forms against MLX's own, tiles against the whole."""

import math

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx.utils import tree_flatten

from stable_audio_mlx.layers import conv, tiling
from stable_audio_mlx.layers.conv import Conv1d, ConvTranspose1d, NearestUpsample, ResidualUnit, lay_out_weights
from stable_audio_mlx.layers.snake import AntiAliased, SnakeBeta, sine_snake, sine_squared, snake


def difference(a: mx.array, b: mx.array) -> float:
    assert a.shape == b.shape
    return (mx.abs(a - b).max() / mx.abs(b).max()).item()


def normal(*shape: int, seed: int = 0) -> mx.array:
    return mx.random.normal(shape, key=mx.random.key(seed))


@pytest.mark.parametrize("kernel, dilation", [(1, 1), (3, 1), (7, 1), (7, 3), (7, 9)])
def test_shifted_products_are_a_convolution(kernel, dilation):
    x, weight, bias = normal(2, 40, 5), normal(6, kernel, 5, seed=1), normal(6, seed=2)
    padding = dilation * (kernel - 1) // 2
    expected = mx.conv1d(x, weight, 1, padding, dilation) + bias
    assert difference(conv.shifted_products(x, weight, bias, dilation, (padding, padding)), expected) < 1e-6


@pytest.mark.parametrize("stride", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("length", [1, 7, 40])
def test_strided_products_are_a_convolution(stride, length):
    x, weight, bias = normal(2, length * stride + 1, 5), normal(6, 2 * stride, 5, seed=1), normal(6, seed=2)
    padding = math.ceil(stride / 2)
    expected = mx.conv1d(x, weight, stride, padding) + bias
    assert difference(conv.strided_products(x, weight, bias, stride, padding), expected) < 1e-6


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("stride", [1, 2, 3, 4, 5, 8])
def test_polyphase_products_are_a_transposed_convolution(stride, bias):
    layer = ConvTranspose1d(5, 6, stride, bias)
    if bias:
        layer.bias = normal(6, seed=3)
    x = normal(2, 9, 5)
    expected = mx.conv_transpose1d(x, layer.weight, stride, math.ceil(stride / 2)) + (layer.bias if bias else 0)
    assert difference(layer(x), expected) < 1e-6
    assert layer.length(9) == expected.shape[1] == 9 * stride - stride % 2


def test_no_transposed_or_strided_input_convolution_in_the_graph(tmp_path):
    path = tmp_path / "graph.dot"
    mx.export_to_dot(str(path), ConvTranspose1d(4, 4, 8)(normal(1, 8, 4)))
    assert "Matmul" in path.read_text() or "AddMM" in path.read_text()
    assert "Convolution" not in path.read_text()


def test_weights_keep_values_shape_and_gradients_when_they_are_laid_out():
    chain = conv.Chain(Conv1d(4, 6, 7, padding=3), Conv1d(6, 8, 4, 2, padding=1), ConvTranspose1d(8, 4, 2))
    x = normal(1, 32, 4)
    loss = nn.value_and_grad(chain, lambda: mx.square(chain(x)).sum())
    before, value, gradients = tree_flatten(chain.parameters()), *loss()
    lay_out_weights(chain)
    after, again, same = tree_flatten(chain.parameters()), *loss()
    assert difference(again, value) < 1e-6
    for (name, old), (key, new) in zip(before, after, strict=True):
        assert name == key and mx.array_equal(old, new)
    for (_, old), (_, new) in zip(tree_flatten(gradients), tree_flatten(same), strict=True):
        assert difference(new, old) < 1e-5


LAYERS = [
    Conv1d(3, 3, 7, padding=9, dilation=3),
    Conv1d(3, 4, 6, 3, padding=2),
    Conv1d(3, 4, 16, 8, padding=4),
    ConvTranspose1d(3, 4, 2),
    ConvTranspose1d(3, 4, 5),
    NearestUpsample(3, 4, 3),
    ResidualUnit(3, 9, SnakeBeta),
    AntiAliased(SnakeBeta(3)),
]


def middle(layer) -> slice:
    """Three output frames far from both ends of 120 input frames."""
    at = layer.first(56) if hasattr(layer, "first") else 56
    return slice(at, at + 3)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_reach_holds_all_that_an_output_is_made_of(layer):
    x, frames = normal(1, 120, 3), middle(layer)
    first, last = layer.reach(frames.start, frames.stop)
    inside = (mx.arange(120) >= first) & (mx.arange(120) < last)
    assert 0 < first < last < 120
    wanted = layer(x)[:, frames]
    assert mx.array_equal(wanted, layer(mx.where(inside[None, :, None], x, 1e3))[:, frames])


@pytest.mark.parametrize("layer", LAYERS[:-1], ids=lambda layer: type(layer).__name__)
def test_reach_holds_no_more_than_a_stride_too_much(layer):
    x, frames = normal(1, 120, 3), middle(layer)
    first, last = layer.reach(frames.start, frames.stop)
    first += getattr(layer, "stride", 1) if isinstance(layer, nn.Conv1d) else 1
    inside = (mx.arange(120) >= first) & (mx.arange(120) < last - 1)
    assert not mx.array_equal(layer(x)[:, frames], layer(mx.where(inside[None, :, None], x, 1e3))[:, frames])


def test_polynomial_snake_is_the_sine_snake_and_so_is_its_gradient():
    x, alpha, gain = 20 * normal(1, 500, 8), mx.exp(normal(8, seed=1)), mx.exp(normal(8, seed=2))
    turns = mx.linspace(-300, 300, 10001)
    assert mx.abs(sine_squared(turns) - mx.square(mx.sin((turns - mx.round(turns)) * math.pi))).max().item() < 1e-6
    fast, plain = snake, sine_snake
    assert difference(fast(x, alpha, gain), plain(x, alpha, gain)) < 1e-5

    def gradient(f):
        return mx.grad(lambda *a: mx.square(f(*a)).mean(), argnums=(0, 1, 2))(x, alpha, gain)

    for a, b in zip(gradient(fast), gradient(plain), strict=True):
        assert difference(a, b) < 1e-4


def test_pieces_cover_a_range_in_about_equal_parts(monkeypatch):
    monkeypatch.setattr(tiling, "width", lambda: 1)
    assert tiling.pieces(3, 13, 4) == [(3, 6), (6, 9), (9, 13)]
    monkeypatch.setattr(tiling, "width", lambda: 2)
    assert tiling.pieces(3, 13, 4) == [(3, 5), (5, 8), (8, 10), (10, 13)]
    assert tiling.pieces(3, 13, 20) == [(3, 13)]
    assert tiling.pieces(0, 0, 4) == []
    monkeypatch.setattr(tiling, "width", lambda: 8)
    assert tiling.pieces(0, 3, 1) == [(0, 1), (1, 2), (2, 3)]


@pytest.mark.parametrize(
    ("ours", "plain"),
    [
        (lambda x, w: conv.shifted_products(x, w, None, 3, (9, 9)), lambda x, w: mx.conv1d(x, w, 1, 9, 3)),
        (lambda x, w: conv.strided_products(x, w[:, :4], None, 2, 1), lambda x, w: mx.conv1d(x, w[:, :4], 2, 1)),
        (
            lambda x, w: conv.polyphase_products(x, w[:, :6], None, 2),
            lambda x, w: mx.conv_transpose1d(x, w[:, :6], 3, 2),
        ),
    ],
    ids=["dilated", "strided", "transposed"],
)
def test_gradients_of_the_products_are_the_convolutions(ours, plain):
    x, w = normal(2, 24, 3), normal(4, 7, 3, seed=1)
    cotangent = normal(*plain(x, w).shape, seed=2)
    for got, wanted in zip(*(mx.vjp(f, [x, w], [cotangent])[1] for f in (ours, plain)), strict=True):
        assert difference(got, wanted) < 1e-5


def test_gradients_of_the_snake_are_those_of_its_formula():
    x, alpha, gain = 4 * normal(2, 50, 3), mx.exp(normal(3, seed=1)), mx.exp(normal(3, seed=2))
    cotangent = normal(2, 50, 3, seed=3)
    forms = (snake, sine_snake)
    for got, wanted in zip(*(mx.vjp(f, [x, alpha, gain], [cotangent])[1] for f in forms), strict=True):
        assert difference(got, wanted) < 1e-5
