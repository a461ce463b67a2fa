"""Winograd's form of a convolution: the numbers of the plain one, where it pays, never with weights that changed."""

import mlx.core as mx
import numpy as np
import pytest

from stable_audio_mlx.cpu import can_fuse, fast_forms
from stable_audio_mlx.layers import conv, winograd
from stable_audio_mlx.layers.conv import Conv1d, lay_out_weights
from stable_audio_mlx.layers.snake import SnakeBeta
from stable_audio_mlx.memory import LOW, spending
from stable_audio_mlx.models.oobleck import OobleckDecoder, OobleckDecoderConfig

needed = pytest.mark.skipif(not (fast_forms() and can_fuse()), reason="a form for the Linux CPU with a C++ compiler")


def normal(*shape: int, seed: int = 0) -> mx.array:
    return mx.random.normal(shape, key=mx.random.key(seed))


def exact(x: mx.array, weight: mx.array, dilation: int) -> np.ndarray:
    """The convolution in float64.  x: (L, C), weight: (Out, K, C)"""
    taps, x = np.array(weight, np.float64).transpose(1, 2, 0), np.array(x, np.float64)
    length = len(x) - dilation * (len(taps) - 1)
    return sum(x[i * dilation : i * dilation + length] @ tap for i, tap in enumerate(taps))


@pytest.mark.parametrize("kernel", [1, 3, 4, 7, 8, 11])
@pytest.mark.parametrize("dilation", [1, 3, 9])
@pytest.mark.parametrize("frames", [1, 35, 36, 37, 200])
def test_it_is_the_convolution(kernel, dilation, frames):
    x = normal(2, frames + dilation * (kernel - 1), 24)
    weight, bias = normal(16, kernel, 24, seed=1) / (24 * kernel) ** 0.5, normal(16, seed=2)
    factors = winograd.factors_of(weight.transpose(1, 2, 0))
    for added in (bias, None):
        y = winograd.convolution(x, factors, kernel, added, dilation)
        for clip, found in zip(x, y, strict=True):
            wanted = exact(clip, weight, dilation) + (0 if added is None else np.array(added))
            assert found.shape == wanted.shape
            assert np.abs(np.array(found) - wanted).max() < 1e-5


def test_seven_taps_cost_fourteen_products_for_four_outputs():
    assert winograd.factors_of(normal(7, 2, 3)).shape == (7, 2, 2, 3)
    assert winograd.suits(7, 128, 128) and winograd.suits(4, 128, 128)
    assert not winograd.suits(2, 512, 512)  # 7 products instead of 8 do not pay for the sums
    assert not winograd.suits(7, 64, 128)


@needed
def test_the_error_is_a_few_roundings_at_true_width():
    x, weight = normal(1, 600, 512), normal(512, 7, 512, seed=1) / 60
    wanted = exact(x[0], weight, 3)
    for form, most in (
        (conv.shifted_products(x, weight, None, 3, (0, 0)), 5e-7),
        (winograd.convolution(x, winograd.factors_of(weight.transpose(1, 2, 0)), 7, None, 3), 2e-6),
    ):
        assert np.linalg.norm(np.array(form[0]) - wanted) < most * np.linalg.norm(wanted)


@pytest.fixture
def asked(monkeypatch):
    """Kernels of the convolutions that took this form."""
    kernels = []
    form = winograd.convolution

    def watched(x, factors, kernel, bias, dilation):
        kernels.append(kernel)
        return form(x, factors, kernel, bias, dilation)

    monkeypatch.setattr(winograd, "convolution", watched)
    return kernels


@needed
def test_only_long_wide_convolutions_take_it_and_only_with_the_weights_they_were_laid_out_for(asked):
    layer = Conv1d(128, 128, 7, padding=9, dilation=3)
    long, short = normal(1, 2048, 128), normal(1, 500, 128)
    plain = layer(long)
    assert not asked
    lay_out_weights(layer)
    assert mx.abs(layer(long) - plain).max() < 1e-5 and asked == [7]
    layer(short)
    assert asked == [7]
    layer.update({"weight": 2 * layer.weight, "bias": 2 * layer.bias})
    assert mx.abs(layer(long) - 2 * plain).max() < 1e-5 and asked == [7]
    lay_out_weights(layer)
    assert mx.abs(layer(long) - 2 * plain).max() < 2e-5 and asked == [7, 7]
    assert list(layer.parameters()) == ["weight", "bias"]


@needed
def test_no_factors_within_the_small_budget(asked):
    layer = Conv1d(128, 128, 7, padding=3)
    with spending(LOW):
        lay_out_weights(layer)
    layer(normal(1, 2048, 128))
    assert not asked


@needed
def test_the_decoder_in_tiles_takes_it_and_is_the_decoder_without(asked):
    cfg = OobleckDecoderConfig(128, 8, (1, 1), (4, 8), use_snake=True, final_tanh=False)
    decoder = OobleckDecoder(cfg)
    for module in decoder.modules():
        if isinstance(module, SnakeBeta):
            module.alpha, module.beta = normal(128) / 4, normal(128, seed=1) / 4
    z = normal(1, 300, 8)
    whole = decoder(z)
    mx.eval(whole)
    assert not asked
    tiled = mx.concatenate(list(decoder.tiled(z)), axis=1)
    assert len(asked) >= 6
    assert mx.abs(tiled - whole).max() < 1e-5 * mx.abs(whole).max()
