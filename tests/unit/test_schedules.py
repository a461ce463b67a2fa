"""Noise levels: the published tables, their ends, and that they always fall."""

import pytest

from stable_audio_mlx.errors import ConfigError
from stable_audio_mlx.sampling import schedules
from stable_audio_mlx.sampling.samplers import FLOW, FLOW_3, SAMPLERS, Levels


def near(values):
    return pytest.approx(values, abs=2e-6)


def test_logsnr_of_stable_audio_open():
    table = [1, 0.993307, 0.982014, 0.952574, 0.880797, 0.731059, 0.5, 0.268941, 0]
    assert schedules.logsnr(8) == near(table)


@pytest.mark.parametrize("start", [1.0, 0.9, 0.5, 0.12, 0.119, 0.1, 0.01])
@pytest.mark.parametrize("steps", [1, 2, 7, 50])
def test_flow_schedules_fall_from_the_start_to_zero(start, steps):
    for table in (FLOW, FLOW_3):
        for sampler in table.values():
            grid = sampler.schedule(Levels(steps, start, 0.3, 256))
            assert len(grid) == steps + 1 and grid[0] == start and grid[-1] == 0
            assert all(a > b for a, b in zip(grid, grid[1:], strict=False))


def test_a_start_above_one_is_one():
    assert FLOW["euler"].schedule(Levels(3, 5.0, 0.3, 256))[0] == 1


def test_polyexponential():
    assert schedules.polyexponential(3, 0.3, 30) == near([30, 3, 0.3, 0])
    assert schedules.polyexponential(1, 0.3, 30) == near([30, 0])


def test_shift_of_stable_audio_3():
    shift = schedules.STABLE_AUDIO_3_SHIFT
    table = [1, 0.994376, 0.984480, 0.957912, 0.890903, 0.745547, 0.512497, 0.273885, 0]
    assert schedules.shifted(8, shift, 323) == near(table)
    assert schedules.shifted(4, shift, 323, 0.7) == near([0.7, 0.689136, 0.623632, 0.358748, 0])


def test_full_shift():
    table = [1, 0.9211, 0.8334, 0.7354, 0.6251, 0.5001, 0.3573, 0.1924, 0]
    assert schedules.shifted(8, schedules.DistributionShift(), 323) == pytest.approx(table, abs=6e-5)
    assert schedules.DistributionShift()(0.3, 10) == schedules.DistributionShift()(0.3, 256)
    assert schedules.DistributionShift(use_sine=True)(1.0, 300) == 1


def test_flux_shift_is_a_power_law_of_the_length():
    shift = schedules.FluxShift(alpha_min=1, alpha_max=16)
    assert shift(0.5, 1024) == pytest.approx(4 / 5)
    assert shift(0.5, 100) == 0.5 and shift(1.0, 4096) == 1


def test_logsnr_shift_starts_lower_for_longer_sequences():
    shift = schedules.LogSNRShift()
    assert shift(0.9, 4000) > shift(0.9, 2000) > shift(0.9, 1000)


def test_shift_from_config():
    assert schedules.shift_from_config(None, "p") is None
    assert schedules.shift_from_config({"min_length": 100}, "p") == schedules.DistributionShift(min_length=100)
    assert schedules.shift_from_config({"type": "none"}, "p")(0.4, 1) == 0.4
    with pytest.raises(ConfigError, match=r"p\.type: 'ful'"):
        schedules.shift_from_config({"type": "ful"}, "p")
    with pytest.raises(ConfigError, match="p: unknown key 'rates', did you mean 'rate'"):
        schedules.shift_from_config({"type": "logsnr", "rates": 1}, "p")
    with pytest.raises(ConfigError):
        schedules.shift_from_config([], "p")
    for name, lengths in (("full", {"min_length": 9, "max_length": 9}), ("flux", {"min_length": 0})):
        with pytest.raises(ConfigError, match="p: min_length"):
            schedules.shift_from_config({"type": name, **lengths}, "p")
    with pytest.raises(ConfigError, match="p: anchor_length"):
        schedules.shift_from_config({"type": "logsnr", "anchor_length": 0}, "p")


@pytest.mark.parametrize("name", SAMPLERS["v"])
def test_v_schedules_fall(name):
    top = 1.0 if name.startswith("v-") else 500.0
    grid = SAMPLERS["v"][name].schedule(Levels(20, top, 0.3, 256))
    assert grid[0] == pytest.approx(top) and len(grid) == 21
    assert all(a > b for a, b in zip(grid, grid[1:], strict=False))
    assert grid[-1] == (pytest.approx(0.3) if name in ("dpm-fast", "dpm-adaptive") else 0)
