"""Convolutions over pictures of sound (spectrograms, folded waveforms) with weight norm, for discriminators."""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from ..cpu import fast_forms
from .weight_norm import joined

Pair = tuple[int, int]


class Conv2d(nn.Module):
    """Weight-normed convolution; ``plain``: without the norm.  Weights are (Out, H, W, In).

    On a Linux CPU it is matrix products over rows of gathered columns: MLX runs a dilated convolution, and the gradient
    of a strided one, in a scalar loop there.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: Pair,
        stride: Pair = (1, 1),
        padding: Pair = (0, 0),
        dilation: Pair = (1, 1),
        plain: bool = False,
    ):
        super().__init__()
        bound = 1 / math.sqrt(in_channels * math.prod(kernel))
        weight = mx.random.uniform(-bound, bound, (out_channels, *kernel, in_channels))
        self.bias = mx.random.uniform(-bound, bound, (out_channels,))
        self.stride, self.padding, self.dilation = stride, padding, dilation
        if plain:
            self.weight = weight
        else:
            self.weight_v, self.weight_g = weight, mx.sqrt(weight.square().sum(axis=(1, 2, 3), keepdims=True))

    def __call__(self, x: mx.array) -> mx.array:
        """x: (B, H, W, C) -> (B, H', W', Out)"""
        weight = self.weight if "weight" in self else joined(self.weight_g, self.weight_v)
        if not fast_forms():
            return mx.conv2d(x, weight, self.stride, self.padding, self.dilation) + self.bias
        return column_products(x, weight, self.stride, self.padding, self.dilation) + self.bias


def column_products(x: mx.array, weight: mx.array, stride: Pair, padding: Pair, dilation: Pair) -> mx.array:
    """Convolution as one matrix product per row of the kernel.  x: (B, H, W, C), weight: (Out, h, w, C)"""
    if stride != (1, 1):
        return products(x, weight, stride, padding, dilation)
    return plain_products(padding, dilation)(x, weight)


@cache
def plain_products(padding: Pair, dilation: Pair) -> Callable[[mx.array, mx.array], mx.array]:
    """Without stride, where the gradient of the input is the convolution of the gradient with the turned kernel.

    MLX would put together what comes back from every place of the kernel by itself, in three times as long.
    """
    function: Any = mx.custom_function(lambda x, weight: products(x, weight, (1, 1), padding, dilation))

    @function.vjp
    def backward(primals, cotangent, _):
        x, weight = primals
        height, width = weight.shape[1:3]
        margin = tuple(d * (k - 1) - p for k, d, p in zip((height, width), dilation, padding, strict=True))
        turned = weight[:, ::-1, ::-1].transpose(3, 1, 2, 0)
        found = columns_of(x, width, (1, 1), padding, dilation)
        flat = cotangent.reshape(-1, cotangent.shape[-1])
        rows = [found[:, i * dilation[0] : i * dilation[0] + cotangent.shape[1]] for i in range(height)]
        taps = mx.stack([flat.T @ r.reshape(len(flat), -1) for r in rows], axis=1)
        return products(cotangent, turned, (1, 1), margin, dilation), taps.reshape(weight.shape)

    return function


def products(x: mx.array, weight: mx.array, stride: Pair, padding: Pair, dilation: Pair) -> mx.array:
    """As ``column_products``, and its gradient as MLX finds it."""
    out, kernel, width = weight.shape[:3]
    x = columns_of(x, width, stride, padding, dilation)
    height, length = (x.shape[1] - dilation[0] * (kernel - 1) - 1) // stride[0] + 1, x.shape[2]
    taps = weight.transpose(1, 2, 3, 0).reshape(kernel, -1, out)
    y: Any = None
    for i in range(kernel):
        rows = x[:, i * dilation[0] : i * dilation[0] + stride[0] * (height - 1) + 1 : stride[0]]
        rows = rows.reshape(len(x), height * length, -1)
        y = rows @ taps[i] if y is None else mx.addmm(y, rows, taps[i])
    return y.reshape(len(x), height, length, out)


def columns_of(x: mx.array, width: int, stride: Pair, padding: Pair, dilation: Pair) -> mx.array:
    """What each place sees along the second axis, side by side.  x: (B, H, W, C) -> (B, H + padding, W', width * C)"""
    x = mx.pad(x, [(0, 0), (padding[0],) * 2, (padding[1],) * 2, (0, 0)])
    length = (x.shape[2] - dilation[1] * (width - 1) - 1) // stride[1] + 1
    ends = (i * dilation[1] for i in range(width))
    return mx.concatenate([x[:, :, i : i + stride[1] * (length - 1) + 1 : stride[1]] for i in ends], axis=-1)
