"""Loudness and true peak against the definitions of BS.1770-4 and EBU Tech 3341, and another program's numbers."""

import math

import numpy as np
import pytest

from stable_audio_mlx.audio import loudness
from stable_audio_mlx.audio.limiter import attenuation, limit, sliding_maximum


def sine(level: float, seconds: float, rate: int = 48000, hz: float = 1000, channels: int = 2) -> np.ndarray:
    tone = loudness.from_db(level) * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)
    return np.repeat(tone[None], channels, axis=0).astype(np.float32)


@pytest.mark.parametrize("rate", [32000, 44100, 48000, 96000])
def test_the_calibration_tone(rate):
    assert loudness.integrated(sine(0, 2, rate, 997, channels=1), rate) == pytest.approx(-3.01, abs=0.02)
    assert loudness.integrated(sine(-23, 3, rate, 997), rate) == pytest.approx(-23, abs=0.02)


def test_the_filters_are_those_of_the_recommendation():
    """Its tables for 48 kHz."""
    shelf, high_pass = loudness.k_weighting(48000)
    np.testing.assert_allclose(shelf[0], [1.53512485958697, -2.69169618940638, 1.19839281085285], atol=1e-9)
    np.testing.assert_allclose(shelf[1], [1, -1.69065929318241, 0.73248077421585], atol=1e-9)
    np.testing.assert_allclose(high_pass[1], [1, -1.99004745483398, 0.99007225036621], atol=1e-9)


TECH_3341 = {  # test signals of EBU Tech 3341, table 1: (level, seconds) one after the other, expected LUFS
    "1": ([(-23, 20)], -23),
    "2": ([(-33, 20)], -33),
    "3": ([(-36, 10), (-23, 60), (-36, 10)], -23),
    "4": ([(-72, 10), (-36, 10), (-23, 60), (-36, 10), (-72, 10)], -23),
    "5": ([(-26, 20), (-20, 20.1), (-26, 20)], -23),
}


@pytest.mark.parametrize("case", TECH_3341)
def test_the_gates_of_tech_3341(case):
    parts, expected = TECH_3341[case]
    rate = 8000  # the tones are of 1 kHz
    signal = np.concatenate([sine(level, seconds, rate) for level, seconds in parts], axis=1)
    assert loudness.integrated(signal, rate) == pytest.approx(expected, abs=0.1)


def test_surround_channels_weigh_more_and_the_lfe_nothing():
    """Case 6: 5.0 with -28, -28, -24, -30, -30 dBFS in L R C Ls Rs."""
    levels = [-28, -28, -24, -30, -30]
    five = np.concatenate([sine(level, 5, channels=1) for level in levels])
    assert loudness.integrated(five, 48000) == pytest.approx(-23, abs=0.1)
    six = np.insert(five, 3, sine(0, 5, channels=1), axis=0)
    assert loudness.integrated(six, 48000) == pytest.approx(loudness.integrated(five, 48000))


# pyloudnorm 0.2.0, Meter(rate, filter_class="DeMan").integrated_loudness, of the signals made below.
PYLOUDNORM = {
    (44100, "noise"): -13.8712,
    (44100, "gated"): -14.4664,
    (44100, "sweep"): -5.9019,
    (44100, "bass"): -10.6428,
    (48000, "noise"): -13.8558,
    (48000, "gated"): -14.4556,
    (48000, "sweep"): -5.8818,
    (48000, "bass"): -10.6467,
    (32000, "gated"): -14.5492,
    (96000, "gated"): -14.3690,
}


@pytest.mark.parametrize(("rate", "name"), PYLOUDNORM)
def test_as_pyloudnorm(rate, name):
    time = np.arange(int(6.4 * rate)) / rate
    noise = np.random.RandomState(0).standard_normal((2, len(time))) * 0.1
    signals = {
        "noise": noise,
        "gated": noise * np.where((time // 1.6) % 2 == 0, 1.0, 0.01),
        "sweep": 0.5 * np.sin(2 * np.pi * (40 * time + (0.4 * rate - 40) / 2 / 6.4 * time * time))[None],
        "bass": np.repeat(0.5 * np.sin(2 * np.pi * 50 * time)[None], 2, axis=0),
    }
    assert loudness.integrated(signals[name], rate) == pytest.approx(PYLOUDNORM[rate, name], abs=1e-3)


def test_pieces_do_not_show(monkeypatch):
    noise = np.random.default_rng(0).standard_normal((2, 300_000)) * 0.1
    whole = loudness.block_powers(noise, 44100), loudness.true_peak(noise)
    monkeypatch.setattr(loudness, "PIECE", 5000)
    np.testing.assert_allclose(loudness.block_powers(noise, 44100), whole[0], rtol=1e-9)
    assert loudness.true_peak(noise) == pytest.approx(whole[1], rel=1e-12)


def test_short_and_silent_sounds():
    assert loudness.integrated(np.zeros((2, 48000)), 48000) == -math.inf
    assert loudness.measure(np.zeros((1, 9)), 48000) == loudness.Levels(None, -math.inf, -math.inf)
    # a tone of a quarter of a block has a quarter of its power
    assert loudness.integrated(sine(0, 0.1, channels=1), 48000) == pytest.approx(-3.01 - 6.02, abs=0.2)
    assert loudness.integrated(sine(-80, 3), 48000) == -math.inf


@pytest.mark.parametrize(("phase", "sample"), [(0, 1.0), (45, 0.7071)])
def test_peaks_between_samples_are_found(phase, sample):
    """A sine of a quarter of the rate, at its crests and beside them (Tech 3341, 15 and 16: 0.2 up, 0.4 down)."""
    tone = np.sin(2 * np.pi * np.arange(4800) / 4 + math.radians(phase))[None] * loudness.from_db(-6)
    levels = loudness.measure(tone, 48000)
    assert levels.peak_dbfs == pytest.approx(-6 + loudness.to_db(sample), abs=0.01)
    assert -6.4 <= levels.true_peak_dbtp <= -5.8


@pytest.mark.parametrize("ceiling", [-1.0, -6.0, 0.0])
def test_nothing_exceeds_the_ceiling(ceiling):
    rng = np.random.default_rng(0)
    noise = (rng.standard_normal((2, 100_000)) * rng.uniform(0, 1, 100_000) ** 8).astype(np.float32)
    limited, most = limit(noise, 44100, ceiling)
    assert limited.dtype == np.float32 and limited.shape == noise.shape
    assert ceiling - 0.01 < loudness.to_db(loudness.true_peak(limited)) <= ceiling
    assert most == pytest.approx(loudness.to_db(loudness.true_peak(noise)) - ceiling, abs=0.3)


def test_what_is_below_the_ceiling_is_left_alone():
    quiet = sine(-3, 0.5)
    limited, most = limit(quiet, 48000, -1.0)
    assert limited is quiet and most == 0


def test_a_limiter_acts_only_around_peaks():
    sound = sine(-20, 2)
    sound[:, 48000] = 0.999
    limited, _ = limit(sound, 48000, -6.0)
    assert np.array_equal(limited[:, : 48000 - 300], sound[:, : 48000 - 300])  # 5 ms ahead
    np.testing.assert_allclose(limited[:, -24000:], sound[:, -24000:], rtol=1e-5)  # 6 dB later, at 60 dB a second
    ratio = limited[0, 47000:48000] / np.where(sound[0, 47000:48000] == 0, 1, sound[0, 47000:48000])
    assert np.diff(ratio[np.abs(sound[0, 47000:48000]) > 0.01]).max() < 1e-6  # falls smoothly, without a step up


@pytest.mark.parametrize("hz", [25, 50, 441])
def test_a_steady_tone_is_only_turned_down(hz):
    """Its harmonics stay 80 dB below it: the gain does not follow the wave."""
    limited, _ = limit(sine(0, 3, 44100, hz, channels=1) * 2, 44100, -1.0)
    part = limited[0, 44100:88200].astype(np.float64)  # a second: whole periods
    spectrum = np.abs(np.fft.rfft(part)) ** 2
    assert spectrum.argmax() == hz
    assert 10 * math.log10((spectrum.sum() - spectrum[hz]) / spectrum[hz]) < -80


def test_the_curve_covers_what_is_needed():
    needed = np.where(np.random.default_rng(0).random(5000) > 0.99, 6.0, 0.0)
    curve = attenuation(needed, 44100)
    assert len(curve) == 5000 and np.all(curve >= needed - 1e-9) and np.all(curve[1:] >= needed[:-1] - 1e-9)
    assert np.abs(np.diff(curve)).max() < 0.12


@pytest.mark.parametrize("width", [1, 2, 3, 7, 8, 100])
def test_sliding_maximum(width):
    values = np.random.default_rng(width).random(100)
    expected = np.lib.stride_tricks.sliding_window_view(values, width).max(axis=1)
    assert np.array_equal(sliding_maximum(values, width), expected)
