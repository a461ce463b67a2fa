"""Convolutions over pictures of sound (spectrograms, folded waveforms) with weight norm, for discriminators."""

import math

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
    out, kernel, width = weight.shape[:3]
    x = mx.pad(x, [(0, 0), (padding[0],) * 2, (padding[1],) * 2, (0, 0)])
    height, length = (
        (n - d * (k - 1) - 1) // s + 1
        for n, k, s, d in zip(x.shape[1:3], (kernel, width), stride, dilation, strict=True)
    )
    columns = [
        x[:, :, i * dilation[1] : i * dilation[1] + stride[1] * (length - 1) + 1 : stride[1]] for i in range(width)
    ]
    x = mx.concatenate(columns, axis=-1)
    taps = weight.transpose(1, 2, 3, 0).reshape(kernel, -1, out)
    y = None
    for i in range(kernel):
        rows = x[:, i * dilation[0] : i * dilation[0] + stride[0] * (height - 1) + 1 : stride[0]]
        rows = rows.reshape(len(x), height * length, -1)
        y = rows @ taps[i] if y is None else mx.addmm(y, rows, taps[i])
    return y.reshape(len(x), height, length, out)
