"""Losses: zero where nothing differs, ordered as the ear would have it, and their framework-free counterparts."""

import mlx.core as mx
import numpy as np
import pytest

from stable_audio_mlx.training import losses

RNG = np.random.default_rng(0)
NOISE = RNG.standard_normal((2, 8192)).astype(np.float32)


def test_distances_are_zero_only_for_the_same_sound():
    distance = losses.SpectralDistance((512, 128))
    x = mx.array(NOISE)
    for d in (distance, losses.waveform_distance):
        assert d(x, x).item() < 1e-3 < 0.05 < d(x, 0.5 * x).item() < d(x, 0.1 * x).item()


def test_another_noise_costs_the_spectrum_less_than_silence():
    distance, other = losses.SpectralDistance(), RNG.standard_normal(NOISE.shape).astype(np.float32)
    x = mx.array(NOISE)
    assert distance(x, mx.array(other)).item() < 0.6 * distance(x, mx.zeros_like(x)).item()


def test_quiet_rows_count_in_the_waveform_distance():
    loud, quiet = mx.ones((1, 100)), 0.1 * mx.ones((1, 100))
    x = mx.concatenate([loud, quiet])
    missed = losses.waveform_distance(x, mx.concatenate([loud, 0 * quiet])).item()
    assert missed == pytest.approx(0.05, rel=0.02)


@pytest.mark.parametrize("size", [128, 1024])  # a matrix product, an FFT
def test_gradients_are_those_of_differences(size):
    distance, x = losses.SpectralDistance((size,)), mx.array(NOISE)
    gradient = mx.grad(lambda y: distance(x, y))(0.3 * x)
    slope = (distance(x, 0.31 * x) - distance(x, 0.29 * x)).item() / 0.02  # along x no magnitude crosses its target
    assert (gradient * x).sum().item() == pytest.approx(slope, rel=0.01)


def test_rows_keep_channels_apart():
    x = mx.array(RNG.standard_normal((2, 5, 3)).astype(np.float32))
    assert losses.rows(x).shape == (6, 5)
    np.testing.assert_array_equal(np.array(losses.rows(x)[4]), np.array(x[1, :, 1]))
