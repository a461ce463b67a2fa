"""Names and layouts in both directions, and the published tensor lists of the two released models."""

import math

import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from stable_audio_mlx.models.factory import create_model
from stable_audio_mlx.weights.arrays import Entry
from stable_audio_mlx.weights.layout import Tensor, fuse, invert, original, plan, published_tensors, rename

from .checkpoints import CODEC, diffusion

BIG = {"channels": 128, "c_mults": [1, 2, 4, 8, 16], "strides": [2, 4, 4, 8, 8], "use_snake": True}
PRETRANSFORM = {
    "type": "autoencoder",
    "config": {
        "encoder": {"type": "oobleck", "config": {**BIG, "in_channels": 2, "latent_dim": 128}},
        "decoder": {"type": "oobleck", "config": {**BIG, "out_channels": 2, "latent_dim": 64, "final_tanh": False}},
        "bottleneck": {"type": "vae"},
        "latent_dim": 64,
        "downsampling_ratio": 2048,
        "io_channels": 2,
    },
}


def released(seconds, limit, objective, dit):
    """stable-audio-open-small and 1.0 differ in these."""
    ids = [*seconds]
    items = [{"id": i, "type": "number", "config": {"min_val": 0, "max_val": limit}} for i in ids]
    prompt = {"id": "prompt", "type": "t5", "config": {"t5_model_name": "t5-base", "max_length": 64}}
    return {
        "model_type": "diffusion_cond",
        "sample_size": 524288,
        "sample_rate": 44100,
        "model": {
            "io_channels": 64,
            "pretransform": PRETRANSFORM,
            "conditioning": {"configs": [prompt, *items], "cond_dim": 768},
            "diffusion": {
                "type": "dit",
                "cross_attention_cond_ids": ["prompt", *ids],
                "global_cond_ids": ids,
                "diffusion_objective": objective,
                "config": {"io_channels": 64, "cond_token_dim": 768, **dit},
            },
        },
    }


SMALL = released(
    ["seconds_total"],
    256,
    "rf_denoiser",
    {"embed_dim": 1024, "depth": 16, "num_heads": 8, "global_cond_dim": 768, "attn_kwargs": {"qk_norm": "ln"}},
)
ONE = released(
    ["seconds_start", "seconds_total"],
    512,
    "v",
    {"embed_dim": 1536, "depth": 24, "num_heads": 24, "global_cond_dim": 1536, "project_cond_tokens": False},
)


def numbers(tensors, buffers):
    return sum(math.prod(shape) for shape, buffer in tensors.values() if buffers or not buffer)


def test_published_tensors_of_stable_audio_open_small():
    tensors = published_tensors(create_model(SMALL))
    assert len(tensors) == 750 and numbers(tensors, False) == 497_190_274
    assert tensors["pretransform.model.decoder.layers.1.layers.1.weight_g"] == ((2048, 1, 1), False)
    assert tensors["pretransform.model.decoder.layers.1.layers.1.weight_v"] == ((2048, 1024, 16), False)
    assert tensors["model.model.transformer.layers.15.ff.ff.0.proj.weight"] == ((8192, 1024), False)
    assert tensors["model.model.transformer.layers.3.self_attn.q_norm.bias"] == ((128,), False)
    assert tensors["model.model.transformer.layers.3.ff_norm.beta"] == ((1024,), True)
    assert tensors["model.model.transformer.rotary_pos_emb.inv_freq"] == ((32,), True)
    assert tensors["model.model.timestep_features.weight"] == ((128, 1), False)
    assert tensors["conditioner.conditioners.seconds_total.embedder.embedding.0.weights"] == ((128,), False)
    assert "pretransform.model.decoder.layers.7.bias" not in tensors


def test_published_tensors_of_stable_audio_open_1_0():
    tensors = published_tensors(create_model(ONE))
    assert len(tensors) == 745 and 4 * numbers(tensors, True) == 4_853_792_840
    assert tensors["model.model.transformer.layers.0.cross_attn.to_kv.weight"] == ((1536, 768), False)


@pytest.mark.parametrize(
    "config",
    [
        CODEC,
        diffusion(),
        diffusion(global_cond_type="adaLN", num_memory_tokens=3, layer_scale=True, attn_kwargs={"qk_norm": "dyt"}),
        diffusion(conformer=True, use_abs_pos_emb=True, abs_pos_emb_max_length=40, ff_kwargs={"glu": False}),
        diffusion(rotary_pos_emb=False, add_rope=True, attn_kwargs={"qk_norm": "ln", "differential": True}),
    ],
    ids=["codec", "small", "adaln", "conformer", "block-rope"],
)
def test_names_go_there_and_back(config):
    model = create_model(config)
    for part in (p for p in ("dit", "autoencoder", "conditioner") if model.get(p)):
        module = model[part]
        names = [name for name, _ in tree_flatten(module.parameters())]
        keys = [original(module, name) for name in names]
        assert len(set(keys)) == len(keys)
        assert [rename(module, key) for key in keys] == names


def test_rules_are_inverted():
    assert invert(r"^transformer\.layers\.(\d+)\.", r"block_\1.") == (r"^block_(\d+)\.", r"transformer.layers.\1.")
    assert invert(r"\.a\.(b|c)$", r".\1.d") == (r"\.(b|c)\.d$", r".a.\1")


def test_fusing_rounds_once():
    rng = np.random.default_rng(1)
    v, g = (rng.standard_normal(s).astype(np.float32) for s in ((300, 70, 9), (300, 1, 1)))
    exact = g * v.astype(np.longdouble) / np.sqrt((v.astype(np.longdouble) ** 2).sum(axis=(1, 2), keepdims=True))
    assert np.abs(fuse(g, v) - exact).max() / np.abs(exact).max() < 6e-8


def test_layout_follows_the_type_of_the_layer(tmp_path):
    """A square transposed convolution looks like a plain one: only its type can tell."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.up = nn.Conv1d(4, 4, 4, bias=False), nn.ConvTranspose1d(4, 4, 4, bias=False)

    weight = np.arange(64, dtype=np.float32).reshape(4, 4, 4)
    file = tmp_path / "w"
    file.write_bytes(weight.tobytes())
    entry = Entry("float32", (4, 4, 4), file, 0)
    tensors = plan(Net(), {"conv.weight": entry, "up.weight": entry}, "here")
    assert isinstance(tensors["conv.weight"], Tensor)
    np.testing.assert_array_equal(tensors["conv.weight"].read(), weight.transpose(0, 2, 1))
    np.testing.assert_array_equal(tensors["up.weight"].read(), weight.transpose(1, 2, 0))
    np.testing.assert_array_equal(np.array(tensors["up.weight"].load()), weight.transpose(1, 2, 0))
