"""SAME: attention within chunks and bands, exact pieces, noise, published tensors, configs that are refused."""

import copy
import json
import math
from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_unflatten

from stable_audio_mlx.errors import ConfigError, OptionError
from stable_audio_mlx.layers.attention import SelfAttention
from stable_audio_mlx.layers.banded import BandedSelfAttention
from stable_audio_mlx.layers.block_config import BlockConfig
from stable_audio_mlx.memory import NORMAL, spending
from stable_audio_mlx.models.autoencoder import Autoencoder
from stable_audio_mlx.models.factory import create_model
from stable_audio_mlx.weights.layout import published_tensors
from stable_audio_mlx.weights.published import published_config
from stable_audio_mlx.weights.source import open_model

from . import checkpoints

SMALL = {"chunk_size": 8, "chunk_midpoint_shift": True}
LARGE = {"sliding_window": [1, 1]}
STRIDE = 4


def autoencoder(span: dict, **decoder) -> dict:
    """The ``model`` object of a tiny SAME: 3 latent channels, 2 channels of audio in patches of 2, stride 4."""
    both = {"channels": 4, "c_mults": [3], "strides": [STRIDE], "latent_dim": 3, "dim_heads": 4}
    both |= {"variable_stride": True}
    both |= span
    return {
        "encoder": {"type": "taae_v2", "config": both | {"in_channels": 4, "transformer_depths": [2]}},
        "decoder": {"type": "taae_v2", "config": both | {"out_channels": 4, "transformer_depths": [3]} | decoder},
        "bottleneck": {"type": "softnorm", "config": {"dim": 3, "auto_scale": True, "noise_regularize": True}},
        "pretransform": {"type": "patched", "config": {"channels": 2, "patch_size": 2}},
        "latent_dim": 3,
        "downsampling_ratio": 8,
        "io_channels": 2,
    }


def random_model(section: dict, seed: int = 0) -> Autoencoder:
    """Weights of which every one matters; convolution over time in the decoder where the config has it."""
    model = Autoencoder.from_section(section, "model")
    rng = np.random.default_rng(seed)
    flat = [(key, mx.array(rng.normal(0.2, 0.5, value.shape).astype(np.float32))) for key, value in named(model)]
    model.update(tree_unflatten(flat))
    return model


def named(model) -> list[tuple[str, mx.array]]:
    return [(key, value) for key, value in tree_flatten(model.parameters()) if isinstance(value, mx.array)]


def noise(*shape: int, seed: int = 1) -> mx.array:
    return mx.array(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def error(a: mx.array, b: mx.array) -> float:
    assert a.shape == b.shape
    return (mx.abs(a - b).max() / mx.abs(b).max()).item()


MODELS = {
    "chunks": autoencoder(SMALL, conv_mapping=True),
    "wide_chunks": autoencoder({"chunk_size": 16, "chunk_midpoint_shift": True}, conv_mapping=True),
    "still_chunks": autoencoder({"chunk_size": 12}, conv_mapping=True),
    "band": autoencoder(LARGE, sinusoidal_blocks=[2]),
    "uneven_band": autoencoder({"sliding_window": [2, 0]}, conv_mapping=True),
}


@pytest.fixture(params=MODELS)
def model(request) -> Autoencoder:
    """Each kind of attention, in pieces so small that every length above a few latents has several."""
    with spending(replace(NORMAL, window=8, piece=2)):
        yield random_model(MODELS[request.param])


@pytest.mark.parametrize(("before", "after"), [(3, 3), (2, 5), (4, 0), (0, 0)])
@pytest.mark.parametrize("length", [1, 3, 12, 13, 40, 67])
def test_a_band_is_what_a_mask_over_all_pairs_gives(before, after, length):
    cfg = BlockConfig(dim=12, dim_heads=6, rope_dims=2, differential=True, qk_norm="dyt", norm="dyt")
    banded, whole = BandedSelfAttention(cfg, before, after), SelfAttention(cfg)
    whole.update(banded.parameters())
    x = noise(2, length, 12)
    distance = mx.arange(length) - mx.arange(length)[:, None]
    mask = ((distance >= -before) & (distance <= after))[None, None]
    assert mx.abs(banded(x) - whole(x, mask)).max().item() < 1e-6  # a single key gives zero


def test_a_band_costs_the_same_for_every_token(monkeypatch):
    banded = BandedSelfAttention(BlockConfig(dim=8, dim_heads=4, rope_dims=2), 2, 2)
    scores = []

    def count(self, q, k, v, mask):
        assert mask.shape[0] == mask.shape[1] == 1
        scores.append(q.shape[1] * q.shape[2] * k.shape[2])
        return q

    monkeypatch.setattr(SelfAttention, "weigh", count)
    for length in (400, 800):
        q = mx.zeros((1, 2, length, 4))
        assert banded.weigh(q, q, q, None).shape == q.shape
    assert sum(scores[3:]) < 2.05 * sum(scores[:3])


@pytest.mark.parametrize("length", range(1, 14))
def test_pieces_are_the_whole(model, length):
    z = noise(2, length, 3)
    whole = model.decode(z)
    assert whole.shape == (2, length * 8, 2)
    pieces = list(model.decoder.tiled(model.bottleneck.decode(z)))
    assert len(pieces) > 1 or length <= 4  # four of each clip of the batch
    assert error(model.decode_tiled(z), whole) < 5e-6
    audio = noise(2, length * 8 - 3, 2)
    assert error(model.encode_tiled(audio), model.encode(audio)) < 5e-6


@pytest.mark.parametrize("length", range(1, 20))
@pytest.mark.parametrize("name", ["chunks", "band"])
def test_chunks_are_the_whole_where_they_share_enough(name, length):
    model, (size, overlap) = random_model(MODELS[name]), {"chunks": (7, 5), "band": (9, 7)}[name]
    z = noise(1, length, 3)
    assert error(model.decode_chunked(z, size, overlap), model.decode(z)) < 5e-6
    audio = noise(1, length * 8, 2)
    chunked = model.encode_chunked(audio, size, overlap)
    assert chunked.shape[1] == length
    assert error(chunked, model.encode(audio)[:, :length]) < 5e-6


def test_a_latent_is_heard_as_far_as_attention_reaches():
    changed = {}
    for name, reach in (("chunks", (3, 3)), ("band", (3, 3)), ("uneven_band", (0, 6))):
        model = random_model(MODELS[name])
        z = noise(1, 20, 3)
        other = mx.array(np.array(z))
        other[:, 9] += 1.0
        difference = np.abs(np.array(model.decode(z) - model.decode(other))).max(axis=(0, 2)).reshape(20, 8).max(axis=1)
        changed[name] = np.flatnonzero(difference > 0)
        low, high = 9 - reach[0], 9 + reach[1]
        inside = changed[name][(changed[name] >= low - 1) & (changed[name] <= high + 1)]
        assert len(inside) == len(changed[name]) >= 4, (name, changed[name])


def test_lengths_follow_the_reference():
    small, large = random_model(MODELS["chunks"]), random_model(MODELS["band"])
    assert small.encode(noise(1, 24, 2)).shape[1] == 4  # three latents, and silence up to two chunks
    assert large.encode(noise(1, 24, 2)).shape[1] == 3
    assert small.decode(noise(1, 3, 3)).shape[1] == large.decode(noise(1, 3, 3)).shape[1] == 24


def test_silence_is_mapped_and_not_the_mapping_of_silence():
    model = random_model(MODELS["chunks"])
    audio = noise(1, 24, 2)
    longer = mx.pad(audio, [(0, 0), (0, 8), (0, 0)])
    assert error(model.encode(audio), model.encode(longer)) < 1e-6


def test_noise_is_off_until_given(model):
    model.decoder.layers[-1].mask_noise = 0.1
    z = noise(2, 6, 3)
    assert mx.array_equal(model.decode(z), model.decode(z))
    given = {"bottleneck": noise(2, 6, 3), "tokens": noise(2, 6, STRIDE, 12, seed=2)}
    plain, noisy = model.decode(z), model.decode(z, given)
    assert error(noisy, plain) > 1e-3
    assert error(model.decode_tiled(z, given), noisy) < 5e-6


def test_token_noise_is_added_to_each_learned_token():
    model = random_model(autoencoder(LARGE, mask_noise=0.5))
    level, z = model.decoder.layers[-1], noise(1, 3, 3)
    step = noise(1, 1, 1, 12)
    moved = model.decode(z, {"tokens": mx.broadcast_to(step, (1, 3, STRIDE, 12))})
    level.new_tokens = level.new_tokens + 0.5 * step[0]
    assert error(model.decode(z), moved) < 1e-6


@pytest.mark.parametrize("shape", [(1, 5, STRIDE, 12), (1, 3, STRIDE, 11), (1, 3, 1, 12)])
def test_noise_of_another_shape_is_refused(shape):
    model = random_model(autoencoder(LARGE, mask_noise=0.5))
    with pytest.raises(OptionError, match="noise of the tokens"):
        model.decode(noise(1, 3, 3), {"tokens": mx.zeros(shape)})


@pytest.mark.parametrize(
    ("name", "tensors", "parameters"), [("same-s", 244, 108_244_721), ("same-l", 472, 852_127_457)]
)
def test_published_tensors(name, tensors, parameters):
    alone = published_tensors(create_model(published_config(name)))
    assert len(alone) == tensors and sum(math.prod(shape) for shape, _ in alone.values()) == parameters
    assert alone["bottleneck.noise_scaling_factor"][0] == (1, 0, 1)
    assert alone["encoder.layers.0.transformers.5.rope.inv_freq"] == ((16,), True)
    kernel = 3 if name == "same-s" else 1
    assert alone["decoder.layers.3.mapping.weight_v"][0] == (512, 768 if name == "same-s" else 1536, kernel)


def test_sine_gates_are_where_the_reference_has_them():
    autoencoder = create_model(published_config("same-l")).autoencoder
    gates = [block.ff.ff.layers[0].gate for block in autoencoder.decoder.layers[-1].blocks]
    assert gates == ["silu"] * 5 + ["sin"] * 7
    assert {block.ff.ff.layers[0].gate for block in autoencoder.encoder.layers[0].blocks} == {"silu"}


@pytest.mark.parametrize("drop_empty", [False, True])
def test_a_checkpoint_is_read_with_and_without_its_empty_tensor(tmp_path, drop_empty):
    config = {"model_type": "autoencoder", "sample_rate": 800, "audio_channels": 2, "model": MODELS["chunks"]}
    arrays = checkpoints.tensors(config)
    if drop_empty:
        del arrays["bottleneck.noise_scaling_factor"]
    (tmp_path / "model_config.json").write_text(json.dumps(config))
    checkpoints.save(tmp_path / "model.safetensors", arrays)
    source = open_model(tmp_path)
    model = source.load("autoencoder", source.create().autoencoder)
    block = model.decoder.layers[-1].block_2
    wanted = arrays["decoder.layers.3.transformers.2.self_attn.to_qkv.weight"]
    np.testing.assert_array_equal(np.array(block.self_attn.to_qkv.weight), wanted)
    alpha = arrays["decoder.layers.3.transformers.2.ff_norm.alpha"]
    np.testing.assert_array_equal(np.array(block.ff_norm.alpha), alpha)
    g, v = (arrays[f"decoder.layers.3.mapping.weight_{half}"] for half in "gv")
    fused = g * v / np.sqrt((v**2).sum(axis=(1, 2), keepdims=True))
    np.testing.assert_allclose(np.array(model.decoder.layers[-1].mapping.weight), fused.transpose(0, 2, 1), rtol=1e-5)


@pytest.mark.parametrize(
    ("part", "change", "words"),
    [
        ("encoder", {"strides": [4, 2]}, "one entry each"),
        ("encoder", {"transformer_depths": []}, "one entry each"),
        ("encoder", {"transformer_depths": [0]}, "transformer_depths must be 1"),
        ("encoder", {"chunk_size": 6}, "multiple of the stride"),
        ("encoder", {"chunk_size": 12}, "even number of latents"),
        ("encoder", {"sliding_window": [1]}, "two counts"),
        ("encoder", {"conformer": True}, "conformer is not supported"),
        ("encoder", {"dim_heads": 5}, "heads of 5"),
        ("encoder", {"mask_noise": -1}, "mask_noise"),
        ("encoder", {"sinusoidal_blocks": [1]}, "unknown key 'sinusoidal_blocks'"),
        ("decoder", {"sinusoidal_blocks": [1, 2]}, "sinusoidal_blocks must have one entry"),
        ("decoder", {"latent_dim": 5}, "decoder's input channels are 5, but 3"),
        ("decoder", {"chanels": 4}, "did you mean 'channels'"),
        ("decoder", {"out_channels": 5}, "decoder's output channels are 5, but 4"),
    ],
)
def test_what_is_not_done_is_refused_with_its_path(part, change, words):
    section = copy.deepcopy(MODELS["chunks"])
    section[part]["config"].update(change)
    with pytest.raises(ConfigError) as caught:
        Autoencoder.from_section(section, "model")
    assert str(caught.value).startswith("model") and words in str(caught.value)


def test_keys_without_effect_are_accepted():
    section = copy.deepcopy(MODELS["band"])
    ignored = {"checkpointing": True, "mapping_style": "none", "use_flash": True, "freeze_backbone": False}
    section["decoder"]["config"].update(ignored | {"use_snake": False, "use_dilated_conv": False, "conv_bias": False})
    Autoencoder.from_section(section, "model")
