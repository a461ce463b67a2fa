"""create_model: the published configs build, and whatever a config says that is not done is refused with its path."""

import contextlib
import copy
import json
from pathlib import Path

import mlx.core as mx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx.utils import tree_flatten

from stable_audio_mlx.errors import ConfigError
from stable_audio_mlx.models.conditioners import assemble, inpaint_conditions
from stable_audio_mlx.models.factory import create_model
from stable_audio_mlx.sampling.schedules import DistributionShift, LogSNRShift

CONFIGS = Path(__file__).parents[2] / "benchmarks" / "configs"
OOBLECK = {"channels": 4, "c_mults": [1, 2], "strides": [2, 4], "use_snake": True}
AUTOENCODER = {
    "encoder": {"type": "oobleck", "config": {**OOBLECK, "in_channels": 2, "latent_dim": 8}, "requires_grad": False},
    "decoder": {"type": "oobleck", "config": {**OOBLECK, "out_channels": 2, "latent_dim": 4, "final_tanh": False}},
    "bottleneck": {"type": "vae"},
    "latent_dim": 4,
    "downsampling_ratio": 8,
    "io_channels": 2,
}
CONDITIONAL = {
    "model_type": "diffusion_cond",
    "sample_size": 256,
    "sample_rate": 32,
    "audio_channels": 2,
    "model": {
        "pretransform": {"type": "autoencoder", "scale": 0.8, "model_half": True, "config": AUTOENCODER},
        "conditioning": {
            "configs": [
                {"id": "prompt", "type": "t5", "config": {"t5_model_name": "own", "max_length": 5}},
                {"id": "seconds_total", "type": "number", "config": {"max_val": 8}},
            ],
            "cond_dim": 32,
        },
        "diffusion": {
            "type": "dit",
            "diffusion_objective": "rf_denoiser",
            "cross_attention_cond_ids": ["prompt", "seconds_total"],
            "global_cond_ids": ["seconds_total"],
            "config": {
                "io_channels": 4, "embed_dim": 64, "depth": 1, "num_heads": 1,
                "cond_token_dim": 32, "global_cond_dim": 32,
            },
        },
        "io_channels": 4,
    },
    "training": {"learning_rate": 1e-4},
}  # fmt: skip
UNCONDITIONAL = {
    "model_type": "diffusion_uncond",
    "sample_size": 256,
    "sample_rate": 32,
    "model": {
        "type": "dit",
        "config": {"in_channels": 4, "embed_dim": 64, "depth": 1, "num_heads": 1},
        "pretransform": {"type": "autoencoder", "config": AUTOENCODER},
    },
}
DIFFUSION = ("model", "diffusion")


def changed(source: dict, /, *keys, **values) -> dict:
    """A copy of ``source`` with ``values`` put into the object at ``keys``."""
    result = copy.deepcopy(source)
    place = result
    for key in keys:
        place = place[key]
    place.update(values)
    return result


def inpainting() -> dict:
    config = changed(CONDITIONAL, model_type="diffusion_cond_inpaint")
    config = changed(config, *DIFFUSION, local_add_cond_ids=["inpaint_mask", "inpaint_masked_input"])
    return changed(config, *DIFFUSION, "config", local_add_cond_dim=5, global_cond_type="adaLN")


def test_a_conditional_model_has_its_parts_and_settings():
    model = create_model(CONDITIONAL)
    parts = {key.split(".")[0] for key, _ in tree_flatten(model.parameters())}
    assert parts == {"dit", "autoencoder", "conditioner"}
    assert (model.objective, model.sample_size, model.sample_rate, model.scale) == ("rf_denoiser", 256, 32, 0.8)
    assert (model.io_channels, model.downsampling_ratio, model.audio_channels) == (4, 8, 2)
    assert (model.cross_ids, model.global_ids) == (("prompt", "seconds_total"), ("seconds_total",))
    assert model.distribution_shift is None and not model.mask_padding_attention


def test_building_leaves_the_config_as_it_was():
    config = copy.deepcopy(CONDITIONAL)
    create_model(config)
    assert config == CONDITIONAL


def test_an_unconditional_model_has_its_network_without_a_diffusion_object():
    model = create_model(UNCONDITIONAL)
    assert (model.model_type, model.objective, model.io_channels, model.conditioner) == (
        "diffusion_uncond",
        "v",
        4,
        None,
    )
    assert model.dit(mx.zeros((1, 8, 4)), 0.5, model.dit.condition()).shape == (1, 8, 4)


def test_a_model_may_denoise_samples_without_an_autoencoder():
    config = copy.deepcopy(UNCONDITIONAL)
    del config["model"]["pretransform"]
    model = create_model(config)
    assert model.autoencoder is None and model.downsampling_ratio == 1


def test_an_autoencoder_alone():
    model = create_model({"model_type": "autoencoder", "sample_rate": 32, "model": AUTOENCODER})
    assert (model.dit, model.io_channels, model.downsampling_ratio) == (None, 4, 8)


def test_an_inpainting_model_reads_mask_and_latents_beside_the_prompt():
    model = create_model(
        changed(inpainting(), *DIFFUSION, distribution_shift_options={"min_length": 2, "max_length": 9})
    )
    assert model.distribution_shift == DistributionShift(min_length=2, max_length=9)
    number = model.conditioner.conditioners["seconds_total"]
    conditions = number(*number.inputs([3.0]))
    given = {"prompt": conditions, "seconds_total": conditions} | inpaint_conditions(1, 4)
    joined = assemble(model, given, length=6)
    conditioning = model.dit.condition(joined.cross, joined.global_cond, joined.local)
    assert model.dit(mx.zeros((1, 6, 4)), 0.5, conditioning).shape == (1, 6, 4)


def test_shift_options_belong_to_their_type():
    options = {"type": "logsnr", "rate": 0.0}
    model = create_model(changed(CONDITIONAL, *DIFFUSION, sampling_distribution_shift_options=options))
    assert model.sampling_distribution_shift == LogSNRShift(rate=0.0)


def test_sizes_that_a_config_cannot_say_decide_about_the_projection():
    keys = dict(tree_flatten(create_model(CONDITIONAL, {"prompt": 9}).parameters()))
    assert keys["conditioner.conditioners.prompt.proj_out.weight"].shape == (32, 9)


REFUSED = {
    "model_config.model_type: 'lm' is not supported": changed(CONDITIONAL, model_type="lm"),
    "model_config: unknown key 'sampl_rate', did you mean 'sample_rate'": changed(CONDITIONAL, sampl_rate=1),
    "model_config.sample_rate: expected int, got '44100'": changed(CONDITIONAL, sample_rate="44100"),
    "model_config: sample_rate and audio_channels must be positive": changed(CONDITIONAL, sample_rate=0),
    "model_config.model: expected dict|model_config.model: expected an object": changed(CONDITIONAL, model=3),
    "model_config.model: unknown key 'pre_transform', did you mean 'pretransform'": changed(
        CONDITIONAL, "model", pre_transform={}
    ),
    r"model_config.model.diffusion.type: 'adp_cfg_1d' is not supported, known: dit": changed(
        CONDITIONAL, *DIFFUSION, type="adp_cfg_1d"
    ),
    "model_config.model.diffusion: unknown key 'global_cond_id', did you mean 'global_cond_ids'": changed(
        CONDITIONAL, *DIFFUSION, global_cond_id=[]
    ),
    "model_config.model.diffusion.config: unknown key 'num_head', did you mean 'num_heads'": changed(
        CONDITIONAL, *DIFFUSION, "config", num_head=3
    ),
    "model_config.model.diffusion: diffusion_objective 'x0'": changed(
        CONDITIONAL, *DIFFUSION, diffusion_objective="x0"
    ),
    "modular_local_cond_configs is not supported": changed(CONDITIONAL, *DIFFUSION, modular_local_cond_configs=[{}]),
    r"diffusion.global_cond_ids: no conditioner has the id 'seconds_totl', did you mean 'seconds_total'": changed(
        CONDITIONAL, *DIFFUSION, global_cond_ids=["seconds_totl"]
    ),
    "diffusion.local_add_cond_ids: no conditioner has the id 'inpaint_mas', did you mean 'inpaint_mask'": changed(
        CONDITIONAL, *DIFFUSION, local_add_cond_ids=["inpaint_mas"]
    ),
    r"diffusion.config.global_cond_dim: 32, but seconds_total, seconds_total are \[32, 32\] wide": changed(
        CONDITIONAL, *DIFFUSION, global_cond_ids=["seconds_total", "seconds_total"]
    ),
    r"diffusion.config.local_add_cond_dim: 5, but inpaint_mask are \[1\] wide": changed(
        inpainting(), *DIFFUSION, local_add_cond_ids=["inpaint_mask"]
    ),
    "diffusion.config.io_channels: 4, but model.io_channels: 6": changed(CONDITIONAL, "model", io_channels=6),
    "distribution_shift_options.type: 'linear' is not supported": changed(
        CONDITIONAL, *DIFFUSION, distribution_shift_options={"type": "linear"}
    ),
    "distribution_shift_options: unknown key 'alpha_min'": changed(
        CONDITIONAL, *DIFFUSION, distribution_shift_options={"type": "full", "alpha_min": 1}
    ),
    "model.pretransform.type: 'pqmf' is not supported": changed(CONDITIONAL, "model", "pretransform", type="pqmf"),
    "model.pretransform: scale must be positive": changed(CONDITIONAL, "model", "pretransform", scale=0),
    "pretransform.config.latent_dim: 4, but the transformer denoises 3 channels": changed(
        UNCONDITIONAL, "model", "config", in_channels=3
    ),
    "an unconditional network names its channels 'in_channels'": changed(
        UNCONDITIONAL, "model", config={"io_channels": 4}
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_refuses_what_it_cannot_build(message):
    with pytest.raises(ConfigError, match=message):
        create_model(REFUSED[message])


@pytest.mark.parametrize("config", [None, [], "x", {}, {"model_type": ["lm"]}, {"model_type": "autoencoder"}], ids=str)
def test_refuses_what_is_no_config(config):
    with pytest.raises(ConfigError):
        create_model(config)


def places(value, path=()):
    """Every key of a config, as the path to it."""
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield (*path, key)
            yield from places(value[key], (*path, key))


SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.integers(-3, 300) | st.floats() | st.text(max_size=8)
)
JSON = st.recursive(SCALARS, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=8), v, max_size=3))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(list(places(CONDITIONAL))), JSON)
def test_any_value_anywhere_builds_or_is_refused(path, value):
    config = copy.deepcopy(CONDITIONAL)
    place = config
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with contextlib.suppress(ConfigError):
        create_model(config)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.json")), ids=lambda p: p.stem)
def test_published_configs_build(path):
    model = create_model(json.loads(path.read_text()))
    assert model.sample_rate == 44100
