"""The diffusion transformer: released sizes, names, conditioning computed once, padding, and what a config may say."""

import json
import math

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from stable_audio_mlx.errors import ConfigError, OptionError
from stable_audio_mlx.layers.fourier import ExpoFourier, LearnedFourier
from stable_audio_mlx.models.dit import DiT, DiTConfig, nearest

OPEN_SMALL = {"io_channels": 64, "embed_dim": 1024, "depth": 16, "num_heads": 8, "cond_token_dim": 768,
              "global_cond_dim": 768, "transformer_type": "continuous_transformer",
              "attn_kwargs": {"qk_norm": "ln"}}  # fmt: skip
OPEN_1_0 = {"io_channels": 64, "embed_dim": 1536, "depth": 24, "num_heads": 24, "cond_token_dim": 768,
            "global_cond_dim": 1536, "project_cond_tokens": False,
            "transformer_type": "continuous_transformer"}  # fmt: skip
SA3 = {"io_channels": 256, "embed_dim": 1024, "depth": 20, "num_heads": 16, "cond_token_dim": 768,
       "global_cond_dim": 768, "global_cond_type": "adaLN", "local_add_cond_dim": 257, "num_memory_tokens": 64,
       "norm_type": "rms_norm", "norm_kwargs": {"force_fp32": True}, "ff_kwargs": {"mult": 4.0},
       "attn_kwargs": {"qk_norm": "rms", "differential": False}, "timestep_features_type": "expo",
       "timestep_features_logsnr": False}  # fmt: skip
TINY = {"io_channels": 4, "embed_dim": 64, "depth": 2, "num_heads": 2, "cond_token_dim": 24, "global_cond_dim": 12}
TINY_SA3 = {**SA3, "io_channels": 4, "embed_dim": 64, "depth": 2, "num_heads": 2, "cond_token_dim": 24,
            "global_cond_dim": 12, "local_add_cond_dim": 5, "num_memory_tokens": 3}  # fmt: skip


def build(section, **changes):
    mx.random.seed(3)
    return DiT(DiTConfig.from_section({**section, **changes}, "model.diffusion.config"))


def randn(*shape, seed=0):
    return mx.array(np.random.default_rng(seed).standard_normal(shape), dtype=mx.float32)


def error(a, b):
    a, b = np.array(a, dtype=np.float64), np.array(b, dtype=np.float64)
    return np.abs(a - b).max() / np.abs(b).max()


def count(parameters):
    return sum(v.size for _, v in tree_flatten(parameters))


@pytest.mark.parametrize("section,parameters", [(OPEN_SMALL, 340_879_488), (OPEN_1_0, 1_056_828_544)])
def test_released_sizes(section, parameters):
    # The norms' constant biases are in the checkpoints, but are no parameters.
    assert count(build(section).trainable_parameters()) == parameters


@pytest.mark.parametrize("changes,tensors", [({}, 437), ({"embed_dim": 1536, "depth": 24, "num_heads": 24}, 521)])
def test_stable_audio_3_tensor_lists(changes, tensors):
    model = build(SA3, **changes)
    # inv_freq is computed; the expo features have no weights.
    assert len(tree_flatten(model.parameters())) == tensors
    assert model.block_0.self_attn.to_qkv.weight.shape[0] == 3 * model.block_0.pre_norm.weight.size


@pytest.mark.parametrize("section", [TINY, TINY_SA3])
def test_number_and_array_noise_levels_agree(section):
    model = build(section)
    local = randn(2, 7, 5) if section is TINY_SA3 else None
    conditioning = model.condition(randn(2, 6, 24), randn(2, 12), local)
    x = randn(2, 7, 4)
    one = model(x, 0.37, conditioning)
    assert one.shape == (2, 7, 4)
    assert error(model(x, mx.array([0.37, 0.37]), conditioning), one) < 1e-5
    mixed = model(x, mx.array([0.37, 0.9]), conditioning)
    assert error(mixed[0], one[0]) < 1e-5 and error(mixed[1], one[1]) > 1e-3


def test_a_constant_local_condition_needs_one_frame():
    model = build(TINY_SA3)
    cross, global_cond, local, x = randn(1, 6, 24), randn(1, 12), randn(1, 1, 5), randn(1, 9, 4)
    whole = model.condition(cross, global_cond, mx.broadcast_to(local, (1, 9, 5)))
    assert error(model(x, 0.5, model.condition(cross, global_cond, local)), model(x, 0.5, whole)) < 1e-6
    assert error(model(x, 0.5, model.condition(cross, global_cond)), model(x, 0.5, whole)) > 1e-4


def test_nothing_that_is_fixed_is_computed_in_a_step():
    model = build(TINY_SA3)
    conditioning = model.condition(randn(1, 6, 24), randn(1, 12), randn(1, 1, 5))
    mx.eval(conditioning)
    x = randn(1, 9, 4)
    before = model(x, 0.5, conditioning)
    broken = mx.full((1,), math.nan)
    for block in model.blocks:
        block.cross_attn.to_kv.weight = block.to_local_embed.layers[0].weight = broken
        block.to_scale_shift_gate = broken
    model.to_cond_embed.layers[0].weight = model.to_global_embed.layers[0].weight = broken
    assert (model(x, 0.5, conditioning) == before).all().item()


def test_the_last_clip_takes_the_weights_of_its_conditions_along():
    model = build(TINY_SA3)
    inputs, x = (randn(1, 6, 24), randn(1, 12), randn(1, 1, 5)), randn(1, 9, 4)
    before = model(x, 0.5, model.condition(*inputs, times=[0.5]))
    held = sum(p.size for _, p in tree_flatten(model.parameters()))
    after = model(x, 0.5, model.condition(*inputs, times=[0.5], last=True))
    assert (after == before).all().item()
    given_back = {"cross_attn.to_kv", "to_local_embed"}
    for block in model.blocks:
        assert not any(key.startswith(tuple(given_back)) for key, _ in tree_flatten(block.parameters()))
    assert sum(p.size for _, p in tree_flatten(model.parameters())) < 0.95 * held


def test_conditions_of_the_first_clips_of_a_batch():
    model = build(TINY_SA3)
    cross, global_cond, local, x = randn(4, 6, 24), randn(4, 12), randn(1, 1, 5), randn(2, 9, 4)
    whole = model.condition(cross, global_cond, local, times=[0.5])
    half = model.condition(cross[:2], global_cond[:2], local, times=[0.5])
    assert error(model(x, 0.5, whole.first(2)), model(x, 0.5, half)) < 1e-6


@pytest.mark.parametrize("section", [TINY, TINY_SA3])
def test_masked_equals_cropped(section):
    model = build(section)
    cross, global_cond, x = randn(2, 6, 24), randn(2, 12), randn(2, 10, 4)
    local = randn(2, 1, 5) if section is TINY_SA3 else None
    y = model(x, 0.6, model.condition(cross, global_cond, local), mx.arange(10)[None] < mx.array([10, 6])[:, None])
    for i, valid in enumerate((10, 6)):
        one = model.condition(cross[i : i + 1], global_cond[i : i + 1], None if local is None else local[i : i + 1])
        assert error(y[i, :valid], model(x[i : i + 1, :valid], 0.6, one)[0]) < 1e-5


def test_zero_cross_condition_equals_none():
    model = build(TINY, attn_kwargs={"qk_norm": "ln"})
    x = randn(1, 8, 4)
    zero = model(x, 0.5, model.condition(mx.zeros((1, 6, 24)), randn(1, 12)))
    assert error(model(x, 0.5, model.condition(None, randn(1, 12))), zero) < 1e-6


def test_input_concat_is_stretched_and_prepended_tokens_count():
    model = build(TINY, input_concat_dim=2, prepend_cond_dim=3, patch_size=2)
    x, concat = randn(1, 8, 4), randn(1, 4, 2)
    conditioning = model.condition(randn(1, 6, 24), randn(1, 12), input_concat=concat, prepend=randn(1, 5, 3))
    stretched = conditioning._replace(input_concat=mx.repeat(concat, 2, axis=1))
    y = model(x, 0.5, conditioning)
    assert y.shape == x.shape and error(y, model(x, 0.5, stretched)) < 1e-6
    with pytest.raises(OptionError, match="patch size 2"):
        model(x[:, :7], 0.5, conditioning)


def test_nearest_takes_the_earlier_frame():
    assert nearest(mx.arange(4).reshape(1, 4, 1), 6).flatten().tolist() == [0, 0, 1, 2, 2, 3]


@pytest.mark.parametrize("section", [TINY, TINY_SA3])
def test_half_precision_weights_take_and_give_float32(section):
    model = build(section)
    local = randn(1, 1, 5) if section is TINY_SA3 else None
    inputs = randn(1, 6, 24), randn(1, 12), local
    exact = model(randn(1, 8, 4), 0.5, model.condition(*inputs))
    model.set_dtype(mx.float16)
    conditioning = model.condition(*inputs)
    assert {a.dtype for _, a in tree_flatten(list(conditioning)) if a is not None} == {mx.float16}
    y = model(randn(1, 8, 4), 0.5, conditioning)
    assert y.dtype == mx.float32 and error(y, exact) < 0.02


def test_fourier_features():
    learned = LearnedFourier(8)
    phase = 2 * np.pi * 0.3 * np.array(learned.weight)[:, 0]
    assert error(learned(0.3), np.concatenate([np.cos(phase), np.sin(phase)])[None]) < 1e-6
    expo = ExpoFourier(16, 0.5, 8.0)
    phase = 2 * np.pi * 0.3 * 0.5 * 16 ** (np.arange(8) / 7)
    assert error(expo(0.3), np.concatenate([np.cos(phase), np.sin(phase)])[None]) < 1e-5
    assert error(expo(mx.array([0.3, 0.7]))[0], expo(0.3)[0]) < 1e-6


def test_logsnr_features_are_bounded():
    model = build(TINY_SA3, timestep_features_logsnr=True)
    x, conditioning = randn(1, 8, 4), model.condition(randn(1, 6, 24), randn(1, 12))
    assert all(mx.isfinite(model(x, t, conditioning)).all().item() for t in (0.0, 0.5, 1.0))


@pytest.mark.parametrize(
    "changes,message",
    [
        ({"embed_dims": 64}, "unknown key 'embed_dims', did you mean 'embed_dim'"),
        ({"attn_kwargs": {"qk_norm": "cosine"}}, "qk_norm 'cosine'"),
        ({"attn_kwargs": {"flash": True}}, "attn_kwargs: unknown key 'flash'"),
        ({"timestep_cond_type": "input_concat"}, "timestep_cond_type 'input_concat' is not supported"),
        ({"transformer_type": "mm_transformer"}, "transformer_type"),
        ({"sliding_window": [1, 1]}, "sliding_window"),
        ({"cross_attn_rotary_pos_emb": True}, "cross_attn_rotary_pos_emb"),
        ({"modular_local_cond_configs": [{"id": "f0", "dim": 1}]}, "modular_local_cond_configs"),
        ({"num_heads": 3}, "multiple of num_heads"),
        ({"num_heads": 4}, "at least 32"),
        ({"num_heads": 0}, "num_heads 0"),
        ({"depth": 100000}, "depth 100000"),
        ({"embed_dim": -64}, "embed_dim -64"),
        ({"patch_size": 0}, "patch_size 0"),
        ({"num_memory_tokens": 10**9}, "num_memory_tokens"),
        ({"project_cond_tokens": False}, "context width 24"),
        ({"project_global_cond": False}, "global_cond_dim"),
        ({"final_cross_attn_ix": -2}, "final_cross_attn_ix"),
        ({"norm_kwargs": {"eps": -1}}, "eps"),
        ({"timestep_features_dim": 7}, "even"),
        ({"depth": "two"}, "depth: expected int"),
    ],
)
def test_what_is_not_supported_is_named_with_its_path(changes, message):
    with pytest.raises(ConfigError) as caught:
        build(TINY, **changes)
    assert message in str(caught.value) and str(caught.value).startswith("model.diffusion.config")
    assert "\n" not in json.dumps(str(caught.value))


def test_keys_that_matter_only_to_training_are_accepted():
    build(TINY, zero_init_branch_outputs=False, diffusion_objective="v", norm_kwargs={"force_fp32": True})
