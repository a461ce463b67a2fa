"""Options: what no model could do is refused at once, what this model cannot do when it is known."""

import subprocess
import sys

import numpy as np
import pytest

from stable_audio_mlx.completion import complete
from stable_audio_mlx.errors import OptionError
from stable_audio_mlx.options import GenerateOptions
from stable_audio_mlx.presets import ModelFacts

SMALL = ModelFacts("rf_denoiser", 44100, 524288)
BASE = ModelFacts("rectified_flow", 44100, 524288)
OPEN_1_0 = ModelFacts("v", 44100, 2097152)
SOUND = (np.zeros((2, 100), np.float32), 44100)


def test_defaults_are_the_models_own():
    small, base, large = (complete(GenerateOptions("x"), facts) for facts in (SMALL, BASE, OPEN_1_0))
    assert (small.sampler, small.steps, small.cfg_scale, small.seconds) == ("pingpong", 8, 1.0, [11.0])
    assert (base.sampler, base.steps, base.cfg_scale) == ("euler", 50, 7.0)
    assert (large.sampler, large.steps, large.cfg_scale, large.seconds) == ("dpmpp-3m-sde", 100, 7.0, [47.0])
    assert (large.sigma_min, large.sigma_max) == (0.3, 500.0)
    assert small.apg_scale == 0
    assert complete(GenerateOptions(), ModelFacts("rf_denoiser", 1, 40, stable_audio_3=True)).apg_scale == 1


def test_a_model_without_conditions_is_not_guided():
    facts = ModelFacts("v", 44100, 2097152, guidable=False, takes_text=False)
    options = complete(GenerateOptions(), facts)
    assert (options.sampler, options.cfg_scale, options.sigma_max) == ("v-ddim", 1.0, 1.0)
    with pytest.raises(OptionError, match="cfg_scale"):
        complete(GenerateOptions(cfg_scale=3.0), facts)


def test_a_models_manifest_may_know_better():
    facts = ModelFacts("rectified_flow", 100, 1000, defaults={"steps": 12, "cfg_scale": 2.5, "seconds": 3, "other": 1})
    options = complete(GenerateOptions(), facts)
    assert (options.steps, options.cfg_scale, options.seconds, options.sampler) == (12, 2.5, [3.0], "euler")


def test_v_ddim_starts_at_time_1():
    assert complete(GenerateOptions(sampler="v-ddim"), OPEN_1_0).sigma_max == 1.0


def test_more_seconds_than_the_model_has():
    with pytest.raises(OptionError, match=r"12 is more than this model can make; the limit is 11\.88 seconds"):
        complete(GenerateOptions(seconds=[3, 12]), SMALL)
    assert complete(GenerateOptions(seconds=524288 / 44100), SMALL)


@pytest.mark.parametrize(
    "wrong",
    [
        {"seconds": 0},
        {"seconds": float("nan")},
        {"seconds": [1, -1]},
        {"seconds": "3"},
        {"steps": 0},
        {"steps": 2.5},
        {"steps": True},
        {"steps": 10**9},
        {"batch_size": 0},
        {"cfg_scale": -1},
        {"cfg_scale": float("inf")},
        {"apg_scale": 2},
        {"cfg_rescale": 1.5},
        {"seed": -2},
        {"seed": 2**64},
        {"seed": 1.5},
        {"prompt": None},
        {"prompt": 3},
        {"negative_prompt": ["a", 1]},
        {"sigma_min": 0},
        {"sigma_min": 3, "sigma_max": 2},
        {"sigmas": [1.0]},
        {"sigmas": [0.5, 1.0, 0]},
        {"sigmas": [1.0, 0.5, 0], "steps": 3},
        {"cfg_interval": (0.5, 0.1)},
        {"inpaint": [(1, 2)]},
        {"inpaint": [(2, 1)], "init_audio": SOUND},
        {"inpaint_audio": SOUND},
        {"init_noise_level": 0.5},
        {"init_noise_level": -0.5, "init_audio": SOUND},
        {"init_audio": SOUND[0]},
        {"inpaint_audio": "a.wav", "inpaint": [(0, 1)]},
        {"inpaint": (0, 1), "init_audio": SOUND},
        {"cfg_interval": 0.5},
        {"sigmas": 3},
        {"sampler": 3},
        {"noise": "x"},
        {"step_noise": 3},
        {"conditions": ["bpm"]},
    ],
    ids=str,
)
def test_what_no_model_could_do(wrong):
    with pytest.raises(OptionError, match=next(iter(wrong)).split("_")[0]):
        complete(GenerateOptions(**wrong), SMALL)


def test_numpy_numbers_are_numbers():
    options = complete(GenerateOptions(seconds=np.float32(2), steps=np.int64(4), seed=np.uint32(7)), SMALL)
    assert options.seconds == [2.0] and options.seed == [7]


def test_lists_make_a_batch():
    options = complete(GenerateOptions(["a", "b", "c"], seconds=2, seed=5), SMALL)
    assert options.prompt == ["a", "b", "c"] and options.seconds == [2.0] * 3 and options.seed == [5, 6, 7]
    assert complete(GenerateOptions("a", seed=[9, 4]), SMALL).prompt == ["a", "a"]
    assert complete(GenerateOptions("a", noise=np.zeros((2, 4, 8))), SMALL).batch_size == 2
    with pytest.raises(OptionError, match="prompt has 2, seconds has 3"):
        complete(GenerateOptions(["a", "b"], seconds=[1, 2, 3]), SMALL)
    with pytest.raises(OptionError, match="prompt has 2, batch_size has 3"):
        complete(GenerateOptions(["a", "b"], batch_size=3), SMALL)
    with pytest.raises(OptionError, match="prompt is empty"):
        complete(GenerateOptions([]), SMALL)


def test_seeds_are_chosen_when_none_is_given():
    first, second = (complete(GenerateOptions("x", seed=s, batch_size=2), SMALL).seed for s in (None, -1))
    assert first != second and first[1] == first[0] + 1 and min(*first, *second) >= 0


def test_variation():
    assert complete(GenerateOptions(init_audio=SOUND), SMALL).init_noise_level == 0.7
    assert complete(GenerateOptions(init_audio=SOUND), OPEN_1_0).init_noise_level == 5.0
    with pytest.raises(OptionError, match="at most 1"):
        complete(GenerateOptions(init_audio=SOUND, init_noise_level=2.0), SMALL)
    with pytest.raises(OptionError, match="must be above 0"):
        complete(GenerateOptions(init_audio=SOUND, init_noise_level=0), OPEN_1_0)
    low = complete(GenerateOptions(init_audio=SOUND, init_noise_level=0.2), OPEN_1_0)
    assert low.sigma_min < low.init_noise_level


def test_init_audio_is_what_inpainting_keeps():
    options = complete(GenerateOptions(init_audio=SOUND, inpaint=[(1, 2)]), SMALL)
    assert options.inpaint_audio is SOUND and options.init_noise_level is None
    both = complete(GenerateOptions(init_audio=SOUND, init_noise_level=0.5, inpaint=[(1, 2)]), SMALL)
    assert both.inpaint_audio is SOUND and both.init_noise_level == 0.5


def test_importing_the_options_is_light():
    code = "import sys, stable_audio_mlx.options; print([m for m in ('mlx', 'numpy', 'soundfile') if m in sys.modules])"
    env = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
