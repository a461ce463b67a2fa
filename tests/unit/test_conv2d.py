"""Convolutions over pictures: the CPU form and its gradients are those of MLX's own."""

import mlx.core as mx
import numpy as np
import pytest

from stable_audio_mlx.layers.conv2d import Conv2d, column_products

RNG = np.random.default_rng(0)
SHAPES = [  # kernel, stride, padding, dilation
    ((3, 9), (1, 1), (1, 4), (1, 1)),
    ((3, 5), (1, 1), (4, 2), (4, 1)),
    ((5, 1), (3, 1), (2, 0), (1, 1)),
    ((3, 9), (1, 2), (1, 4), (1, 1)),
    ((15, 15), (4, 4), (7, 7), (1, 1)),
]


def normal(*shape):
    return mx.array(RNG.standard_normal(shape).astype(np.float32))


@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), SHAPES)
def test_products_are_the_convolution(kernel, stride, padding, dilation):
    x, weight = normal(2, 19, 12, 3), normal(4, *kernel, 3)
    ours = column_products(x, weight, stride, padding, dilation)
    plain = mx.conv2d(x, weight, stride, padding, dilation)
    cotangent = normal(*plain.shape)
    np.testing.assert_allclose(np.array(ours), np.array(plain), rtol=1e-4, atol=1e-4)
    pairs = [
        mx.vjp(function, [x, weight], [cotangent])[1]
        for function in (
            lambda x, w: column_products(x, w, stride, padding, dilation),
            lambda x, w: mx.conv2d(x, w, stride, padding, dilation),
        )
    ]
    for got, wanted in zip(*pairs, strict=True):
        np.testing.assert_allclose(np.array(got), np.array(wanted), rtol=1e-3, atol=1e-3)


def test_the_length_of_a_channels_weight_is_its_parameter():
    conv, x = Conv2d(2, 3, (3, 3), padding=(1, 1)), normal(1, 5, 5, 2)
    before = conv(x) - conv.bias
    conv.weight_v, conv.weight_g = 7 * conv.weight_v, 2 * conv.weight_g
    np.testing.assert_allclose(np.array(conv(x) - conv.bias), 2 * np.array(before), rtol=1e-4, atol=1e-5)
