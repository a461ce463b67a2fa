"""Guidance: which calls it makes, and its formulas against NumPy."""

import mlx.core as mx
import numpy as np
import pytest

from stable_audio_mlx.sampling.guidance import SHARES, Guided, Keeping, network_calls, side_by_side
from stable_audio_mlx.sampling.inpaint import joined, kept_frames, put_back
from stable_audio_mlx.sampling.noise import ClipNoise
from stable_audio_mlx.sampling.samplers import FLOW, Levels, V

rng = np.random.default_rng(0)
X, C, U = (rng.standard_normal((2, 6, 4)).astype(np.float32) for _ in range(3))
FLOW_SHARES = SHARES["rf_denoiser"]


class Calls:
    """Counts single and paired evaluations that answer C and U."""

    def __init__(self):
        self.single_calls = self.pair_calls = 0

    def single(self, x, t):
        self.single_calls += 1
        return mx.array(C)

    def pair(self, x, t):
        self.pair_calls += 1
        return mx.array(C), mx.array(U)

    def guided(self, **options):
        return Guided(self.single, self.pair, FLOW_SHARES, **options)


def test_scale_1_is_one_single_call():
    calls = Calls()
    assert np.array_equal(calls.guided(scale=1.0)(mx.array(X), 0.5), C)
    assert (calls.single_calls, calls.pair_calls) == (1, 0)


def test_guidance_is_one_paired_call():
    calls = Calls()
    np.testing.assert_allclose(calls.guided(scale=3.0)(mx.array(X), 0.5), U + 3 * (C - U), atol=1e-5)
    assert (calls.single_calls, calls.pair_calls) == (0, 1)


def test_scale_0_is_unconditional():
    np.testing.assert_allclose(Calls().guided(scale=0.0)(mx.array(X), 0.5), U, atol=1e-6)


def test_outside_the_interval_is_one_single_call():
    calls = Calls()
    velocity = calls.guided(scale=3.0, interval=(0.3, 0.6))
    for t in (0.2, 0.3, 0.6, 0.7):
        velocity(mx.array(X), t)
    assert (calls.single_calls, calls.pair_calls) == (2, 2)


def test_interval_of_a_v_model_is_in_sigma():
    calls = Calls()
    velocity = Guided(calls.single, calls.pair, SHARES["v"], scale=3.0, interval=(0.0, 0.8))
    velocity(mx.array(X), 0.6)  # sigma = sin(0.3 pi) = 0.809
    velocity(mx.array(X), 0.5)
    assert (calls.single_calls, calls.pair_calls) == (1, 1)


def test_rescale_uses_the_unbiased_deviation_over_channels():
    g = U + 4 * (C - U)
    wanted = 0.7 * g * C.std(-1, ddof=1, keepdims=True) / g.std(-1, ddof=1, keepdims=True) + 0.3 * g
    np.testing.assert_allclose(Calls().guided(scale=4.0, rescale=0.7)(mx.array(X), 0.5), wanted, atol=1e-5)


def reference(x, t, scale, apg, threshold=0.0, mask=None):
    """In the space of denoised estimates, as the paper has it."""
    mask = np.ones((2, 6, 1), np.float32) if mask is None else mask
    cond, uncond = x - t * C, x - t * U
    d = cond - uncond
    if threshold:
        norm = np.sqrt(np.square(d * mask).sum((1, 2), keepdims=True))
        d = d * np.minimum(1, threshold / norm)
    unit = cond * mask / np.sqrt(np.square(cond * mask).sum((1, 2), keepdims=True))
    orthogonal = d - (d * mask * unit).sum((1, 2), keepdims=True) * unit
    d = apg * orthogonal + (1 - apg) * d
    return (x - (cond + (scale - 1) * d)) / t


@pytest.mark.parametrize("apg", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("threshold", [0.0, 1.5, 100.0])
def test_projected_guidance_agrees_with_the_space_of_estimates(apg, threshold):
    got = Calls().guided(scale=5.0, apg=apg, norm_threshold=threshold)(mx.array(X), 0.4)
    np.testing.assert_allclose(got, reference(X, 0.4, 5.0, apg, threshold), atol=2e-5)


def test_projection_counts_valid_frames_only():
    mask = np.ones((2, 6, 1), np.float32)
    mask[1, 4:] = 0
    got = Calls().guided(scale=5.0, apg=1.0, norm_threshold=1.0, mask=mx.array(mask))(mx.array(X), 0.4)
    np.testing.assert_allclose(got, reference(X, 0.4, 5.0, 1.0, 1.0, mask), atol=2e-5)


class Network:
    """v = x + cross; records batch sizes."""

    def __init__(self):
        self.prepared, self.batches = 0, []

    def condition(self, cross, global_cond, times=(), last=False):
        self.prepared += 1
        return cross if global_cond is None else cross + global_cond

    def __call__(self, x, t, prepared, mask):
        self.batches.append((x.shape[0], None if mask is None else mask.shape[0]))
        return x + prepared


def test_network_calls_prepare_once_and_batch_both_halves():
    network, ones = Network(), mx.ones((2, 1, 4))
    cond, uncond = {"cross": 3 * ones, "global_cond": ones}, {"cross": 0 * ones, "global_cond": ones}
    single, pair = network_calls(network, cond, uncond, mx.ones((2, 6), mx.bool_))
    velocity = Guided(single, pair, FLOW_SHARES, scale=2.0)
    for _ in range(3):
        v = velocity(mx.array(X), 0.5)
    np.testing.assert_allclose(v, X + 7, atol=1e-5)
    assert network.prepared == 1 and network.batches == [(4, 4)] * 3


def test_without_guidance_nothing_unconditional_is_prepared():
    network = Network()
    single, pair = network_calls(network, {"cross": mx.ones((2, 1, 4)), "global_cond": None}, None, None)
    assert pair is None
    Guided(single, pair, FLOW_SHARES, scale=5.0)(mx.array(X), 0.5)
    assert network.prepared == 1 and network.batches == [(2, None)]


@pytest.mark.parametrize("name", [*FLOW, *(n for n in V if not n.startswith("dpm-"))])
def test_kept_frames_end_at_what_is_known(name):
    objective = "rectified_flow" if name in FLOW else "v"
    sampler = {**FLOW, **V}[name]
    keep = mx.array([True, True, False, False, True, False])[None, :, None]
    inner = Guided(lambda x, t: mx.tanh(x), None, SHARES[objective])
    velocity = Keeping(inner, mx.array(C), keep, SHARES[objective])
    top = 1.0 if objective != "v" or name.startswith("v-") else 80.0
    levels = sampler.schedule(Levels(12, top, 0.01, 6))
    noise = ClipNoise([1, 2], 4, [6, 6])
    for x in sampler.run(velocity, sampler.mix(None, noise(), levels[0]), levels, noise):  # noqa: B007
        pass
    kept = np.array(keep)[0, :, 0]
    # rk4 makes its last evaluation at t = 0, where the velocity to the known is a limit; the pipeline sets x itself.
    np.testing.assert_allclose(np.array(x)[:, kept], C[:, kept], atol=1e-1 if name == "rk4" else 2e-3)
    assert np.abs(np.array(x)[:, ~kept] - C[:, ~kept]).max() > 0.1


def test_regenerated_frames_begin_at_the_ceiling():
    # 0.33 s and 0.71 s at 100 Hz, 8 samples a frame: samples 33 to 71, frames 5 (first sample 40) to 8
    keep = kept_frames([(0.33, 0.71)], 1.0, 100, 8, 14)
    assert np.flatnonzero(~keep).tolist() == [5, 6, 7, 8, 13]


def test_put_back_keeps_the_original_samples_outside_the_ranges():
    made, source = np.full((2, 4000), 1.0, np.float32), np.full((2, 4000), -1.0, np.float32)
    out = put_back(made, source, [(1.0, 2.0), (3.5, 4.0)], 1000)
    assert (out[:, :1000] == -1).all() and (out[:, 2000:3500] == -1).all()
    assert (out[:, 1010:1990] == 1).all() and (out[:, 3510:] == 1).all()
    assert np.abs(np.diff(out[0])).max() < 0.25


def test_ranges_that_touch_are_one():
    made, source = np.full((2, 400), 1.0, np.float32), np.full((2, 400), -1.0, np.float32)
    out = put_back(made, source, [(2.0, 3.0), (1.0, 2.2)], 100)
    assert (out[:, 101:299] == 1).all()
    assert joined([(2.0, 3.0), (1.0, 2.2), (3.5, 9.0), (3.7, 3.8)], 100, 400) == [(100, 300), (350, 400)]


def test_every_bit_of_what_is_kept_is_the_sources():
    source = np.array([[-0.0, 3e-42, 2.5, -7.0, 1.0, 1.0]], np.float32)
    out = put_back(np.full((1, 6), np.float32(0.3)), source, [(4, 6)], 1)
    assert out[:, :4].tobytes() == source[:, :4].tobytes()


@pytest.mark.parametrize("ends", [1000, 997, 1004])
def test_a_continuation_joins_without_a_step_or_a_gap(ends):
    time = np.arange(2000, dtype=np.float32) / 1000
    wave = np.stack([np.sin(20 * time), np.cos(20 * time)])
    made = 0.9 * wave + 0.2  # what a codec makes of it
    before = wave.copy()
    out = put_back(made, wave[:, :ends], [(1.0, 2.0)], 1000)
    assert np.array_equal(out[:, : min(ends, 1000)], wave[:, : min(ends, 1000)])
    assert np.array_equal(out[:, 1010:], made[:, 1010:])
    assert np.abs(np.diff(out)).max() < 0.08, "a gap of silence would be a step of 0.4"
    assert np.array_equal(wave, before)


def test_kept_frames_behind_the_end_of_the_source_are_silent():
    out = put_back(np.ones((1, 50), np.float32), np.ones((1, 20), np.float32), [(0.1, 0.15)], 100)
    assert (out[:, 20:] == 0).all() and (out[:, :20] == 1).all()


def test_conditions_of_one_clip_that_both_halves_share_are_not_doubled():
    cond, other, two = mx.ones((1, 3, 4)), mx.zeros((1, 3, 4)), mx.ones((2, 3, 4))
    assert side_by_side(cond, cond) is cond and side_by_side(cond, None) is None
    assert np.array_equal(side_by_side(cond, other), np.concatenate([cond, other]))
    assert side_by_side(two, two).shape == (4, 3, 4)


def test_a_clip_of_a_batch_can_be_made_alone():
    batch, alone = ClipNoise([3, 4], 2, [5, 3]), ClipNoise([4], 2, [3])
    for _ in range(2):
        a, b = np.array(batch()), np.array(alone())
        assert np.array_equal(a[1:, :3], b) and not a[1, 3:].any()
    assert not np.array_equal(batch(), batch())
