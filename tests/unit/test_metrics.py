"""Distances: the numbers of the reference implementation, the same in pieces, and what they are blind to."""

import mlx.core as mx
import numpy as np
import pytest

from stable_audio_mlx import metrics

RNG = np.random.RandomState(3)
X = (0.02 * np.cumsum(RNG.standard_normal((2, 5000)).astype(np.float32), axis=1)).astype(np.float32)
Y = (0.8 * X + 0.05 * RNG.standard_normal(X.shape) + 0.1).astype(np.float32)
NOISE = RNG.standard_normal((2, 8192)).astype(np.float32)


@pytest.mark.parametrize("size", [64, 256, 1024])
def test_spectrogram_is_that_of_numpy(size):
    windows = np.lib.stride_tricks.sliding_window_view(NOISE, size, axis=1)[:, :: size // 2]
    window = np.hanning(size + 1)[:size]
    expected = np.abs(np.fft.rfft(windows * window, axis=-1)) ** 2 / (window**2).sum()
    found = np.array(metrics.Spectrogram(size)(mx.array(NOISE)))
    np.testing.assert_allclose(found, expected, atol=1e-4 * expected.max())


def test_white_noise_of_power_one_has_spectrum_one():
    power = np.array(metrics.Spectrogram(256)(mx.array(NOISE)))
    assert power[..., 4:-4].mean() == pytest.approx(1, rel=0.05)


def test_matrix_product_and_fft_agree(monkeypatch):
    plain = np.array(metrics.Spectrogram(256)(mx.array(NOISE)))
    monkeypatch.setattr(metrics, "MATRIX_PRODUCT_LIMIT", 0)
    np.testing.assert_allclose(np.array(metrics.Spectrogram(256)(mx.array(NOISE))), plain, rtol=1e-3, atol=1e-4)


def test_stft_distance_is_that_of_the_reference():
    """PyTorch: MultiResolutionSTFTLoss of stable-audio-tools' copy of auraloss, hops of a quarter, on these sounds."""
    distance = metrics.STFTDistance()
    assert distance.measure(X, Y) == pytest.approx([1.4726342, 1.5463692], rel=5e-6)
    assert np.array(distance(mx.array(X), mx.array(Y))) == pytest.approx([1.4726342, 1.5463692], rel=5e-6)
    assert metrics.STFTDistance((256,)).measure(X, Y).mean() == pytest.approx(1.5017195, rel=5e-6)
    assert metrics.compare(X, Y).stft_sum_difference == pytest.approx(1.4547801, rel=5e-6)


def test_si_sdr_is_its_formula_in_float64():
    x, y = (a - a.mean(axis=1, keepdims=True) for a in (X.astype(np.float64), Y.astype(np.float64)))
    target = (x * y).sum(axis=1, keepdims=True) / (x * x).sum(axis=1, keepdims=True) * x
    expected = 10 * np.log10((target**2).sum(axis=1) / ((y - target) ** 2).sum(axis=1))
    assert np.array(metrics.si_sdr(mx.array(X), mx.array(Y))) == pytest.approx(expected, abs=1e-3)
    scaled = metrics.si_sdr(mx.array(X), mx.array(3 * Y - 1))
    assert np.array(scaled) == pytest.approx(expected, abs=2e-3)


def test_pieces_change_nothing(monkeypatch):
    whole, picture = metrics.STFTDistance().measure(X, Y), metrics.decibels(X)
    monkeypatch.setattr(metrics, "PIECE", 4500)
    assert metrics.STFTDistance().measure(X, Y) == pytest.approx(whole, rel=5e-6)
    np.testing.assert_allclose(metrics.decibels(X), picture, atol=1e-3)


@pytest.mark.parametrize(("length", "size", "hop", "samples"), [(50, 8, 2, 24), (51, 8, 4, 1), (9, 8, 2, 999)])
def test_pieces_have_every_window_once(length, size, hop, samples):
    every = [list(range(i, i + size)) for i in range(0, length - size + 1, hop)]
    cut = [
        list(range(length)[part])[i : i + size]
        for part in metrics.pieces(length, size, hop, samples)
        for i in range(0, part.stop - part.start - size + 1, hop)
    ]
    assert cut == every


def test_compare_takes_silence_and_single_samples():
    same = metrics.compare(X, X)
    assert same.stft == 0 and same.si_sdr_db > 90
    half = metrics.compare(np.stack([X[0], 0 * X[0]]), np.stack([Y[0], Y[1]]))
    assert half.si_sdr_db == pytest.approx(metrics.compare(X[:1], Y[:1]).si_sdr_db, abs=1e-4)
    silent = metrics.compare(0 * X, Y)
    assert silent.si_sdr_db is None and silent.stft > 1
    assert metrics.compare(X[:1, :1], Y[:1, :1]).stft_sum_difference is None


def test_mono_in_stereo_has_no_difference_to_be_far_from():
    mono, near = np.stack([X[0], X[0]]), np.stack([X[0], X[0] + 1e-3 * Y[0]])
    assert 0 < metrics.compare(mono, near).stft_sum_difference < 0.1
    assert metrics.compare(0 * mono, near).stft_sum_difference is None


def test_decibels_show_a_tone_where_it_is():
    tone = np.sin(2 * np.pi * np.arange(40_000) * 100 / 2048)[None].astype(np.float32)
    picture = metrics.decibels(tone, columns=7)
    assert picture.shape == (1025, 7) and (picture.argmax(axis=0) == 100).all()


def test_the_distance_has_a_gradient():
    distance, x = metrics.STFTDistance((64, 1024)), mx.array(NOISE)
    gradient = mx.grad(lambda y: distance(x, y).sum())(0.3 * x)
    slope = (distance(x, 0.31 * x) - distance(x, 0.29 * x)).sum().item() / 0.02  # no magnitude crosses its target
    assert (gradient * x).sum().item() == pytest.approx(slope, rel=0.01)
    assert mx.isfinite(mx.grad(lambda y: distance(x, y).sum())(x)).all()
