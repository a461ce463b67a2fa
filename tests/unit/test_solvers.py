"""Solvers against the exact solution for Gaussian data: order of convergence, distribution, nothing that waits."""

import math

import mlx.core as mx
import numpy as np
import pytest

from stable_audio_mlx.errors import OptionError, SanityError
from stable_audio_mlx.sampling import karras, schedules, solvers
from stable_audio_mlx.sampling.guidance import SHARES, Guided
from stable_audio_mlx.sampling.samplers import FLOW, SAMPLERS, Levels, V, sampler_for

S2 = 0.25  # variance of the data; then every optimal velocity is linear in x and the flow is known


def flow_velocity(x, t):
    return x * ((t - (1 - t) * S2) / ((1 - t) ** 2 * S2 + t**2))


def v_velocity(x, t):
    alpha, sigma = solvers.alpha_sigma(t)
    return x * (alpha * sigma * (1 - S2) / (alpha**2 * S2 + sigma**2))


def denoise(x, sigma):
    return x * (S2 / (S2 + sigma**2))


def guided(objective, velocity):
    return Guided(velocity, None, SHARES[objective])


def last(steps):
    for x in steps:  # noqa: B007
        pass
    return x


def error_of(solve, levels, exact, function):
    with mx.stream(mx.cpu):
        x = mx.array([1.0], dtype=mx.float64)
        return abs(last(solve(function, x, levels, None)).item() - exact)


def slope(solve, grid, exact, function, counts):
    errors = [error_of(solve, grid(n), exact, function) for n in counts]
    return math.log2(errors[0] / errors[-1]) / math.log2(counts[-1] / counts[0])


@pytest.mark.parametrize(("solve", "order"), [(solvers.euler, 1), (solvers.dpmpp, 2), (solvers.rk4, 4)])
def test_order_of_flow_solvers(solve, order):
    start, end = 0.9, 0.1
    scale = [math.sqrt((1 - t) ** 2 * S2 + t**2) for t in (start, end)]

    def grid(n):
        return [start + (end - start) * i / n for i in range(n + 1)]

    assert slope(solve, grid, scale[1] / scale[0], flow_velocity, (16, 64)) > order - 0.25


@pytest.mark.parametrize(
    ("solve", "order"),
    [(karras.heun, 2), (karras.dpm_2, 2), (karras.dpmpp_2m, 2), (karras.lms, 2.5), (karras.dpm_fast, 2)],
)
def test_order_of_karras_solvers(solve, order):
    exact = math.sqrt((S2 + 0.1**2) / (S2 + 5**2))

    def grid(n):
        return [5 * (0.1 / 5) ** (i / n) for i in range(n + 1)]

    assert slope(solve, grid, exact, denoise, (24, 96)) > order - 0.25


def test_order_of_ddim():
    def grid(n):
        return [0.9 - 0.8 * i / n for i in range(n + 1)]

    def variance(t):
        alpha, sigma = solvers.alpha_sigma(t)
        return alpha**2 * S2 + sigma**2

    assert slope(solvers.ddim, grid, math.sqrt(variance(0.1) / variance(0.9)), v_velocity, (16, 64)) > 0.8


def test_dpm_adaptive_reaches_its_tolerance_and_ends_at_the_last_level():
    exact = math.sqrt((S2 + 0.1**2) / (S2 + 5**2))
    assert error_of(karras.dpm_adaptive, [5.0, 0.1], exact, denoise) < 0.01 * 5


def test_dpm_adaptive_gives_up_on_values_that_are_not_finite():
    with pytest.raises(SanityError):
        last(karras.dpm_adaptive(lambda x, s: x * math.nan, mx.ones((1,)), [5.0, 0.1]))


def test_the_k_diffusion_form_of_a_v_model():
    x = mx.array([0.3, -2.0])
    for sigma in (0.1, 1.0, 80.0):
        np.testing.assert_allclose(karras.denoiser(v_velocity)(x, sigma), denoise(x, sigma), rtol=1e-4)


def all_samplers():
    return [("rectified_flow", n) for n in FLOW] + [("v", n) for n in V]


# pingpong expects a distilled model, whose estimates have the variance of the data.
@pytest.mark.parametrize(("objective", "name"), [p for p in all_samplers() if p[1] != "pingpong"])
def test_every_sampler_gives_the_distribution_of_the_data(objective, name):
    rng = np.random.default_rng(1)
    sampler = sampler_for(name, objective)
    top = 1.0 if objective != "v" or name.startswith("v-") else 80.0
    levels = sampler.schedule(Levels(40, top, 0.02, 16)) if objective == "v" else schedules.linear(40)
    velocity = guided(objective, flow_velocity if objective != "v" else v_velocity)

    def noise():
        return mx.array(rng.standard_normal((1, 4000, 1)), dtype=mx.float32)

    x = np.array(last(sampler.run(velocity, sampler.mix(None, noise(), levels[0]), levels, noise)))
    assert x.std() == pytest.approx(math.sqrt(S2), rel=0.06)
    assert abs(x.mean()) < 0.03


@pytest.mark.parametrize(("objective", "name"), [p for p in all_samplers() if p[1] != "dpm-adaptive"])
def test_no_sampler_waits_for_the_device(objective, name):
    """An evaluation of what depends on the mapped x would be an error."""
    sampler = sampler_for(name, objective)
    levels = sampler.schedule(Levels(6, 1.0, 0.1, 16))
    velocity = guided(objective, flow_velocity)
    run = mx.vmap(lambda x: last(sampler.run(velocity, x, levels, lambda: mx.ones(x.shape))))
    assert mx.isfinite(run(mx.ones((2, 1, 4, 2)))).all().item()


def test_an_evaluation_would_be_noticed():
    with pytest.raises(ValueError, match="eval"):
        mx.vmap(lambda x: last(karras.dpm_adaptive(denoise, x, [5.0, 0.1])))(mx.ones((2, 1)))


@pytest.mark.parametrize(("objective", "name"), all_samplers())
def test_rounds_and_draws_are_as_announced(objective, name):
    sampler, draws = sampler_for(name, objective), []
    levels = sampler.schedule(Levels(7, 1.0, 0.1, 16))
    velocity = guided(objective, flow_velocity)
    steps = list(sampler.run(velocity, mx.ones((1, 4, 2)), levels, lambda: draws.append(1) or mx.ones((1, 4, 2))))
    if sampler.rounds(7) is not None:
        assert len(steps) == sampler.rounds(7)
    assert len(draws) == sampler.draws * 6


@pytest.mark.parametrize(
    ("name", "calls"), [("heun", 13), ("dpm-2", 13), ("dpmpp-3m-sde", 7), ("lms", 7), ("dpm-fast", 7)]
)
def test_evaluations(name, calls):
    seen, sampler = [], V[name]
    velocity = guided("v", lambda x, t: seen.append(t) or v_velocity(x, t))
    last(
        sampler.run(velocity, mx.ones((1, 4, 2)), sampler.schedule(Levels(7, 5.0, 0.1, 16)), lambda: mx.ones((1, 4, 2)))
    )
    assert len(seen) == calls


def test_a_sampler_that_does_not_fit_is_refused_with_those_that_do():
    with pytest.raises(OptionError, match="'dpmpp-3m-sde' does not fit.*pingpong, euler, dpmpp, rk4"):
        sampler_for("dpmpp-3m-sde", "rf_denoiser")
    with pytest.raises(OptionError, match="'euler'.*v-ddim"):
        sampler_for("euler", "v")
    assert sampler_for("k-heun", "v") is V["heun"]
    assert SAMPLERS["rf_denoiser"] is SAMPLERS["rectified_flow"]


def test_first_step_of_dpmpp_from_pure_noise_has_no_infinities():
    x = last(solvers.dpmpp(flow_velocity, mx.ones((2,)), [1.0, 0.9, 0.5, 0.0]))
    assert mx.isfinite(x).all().item()
