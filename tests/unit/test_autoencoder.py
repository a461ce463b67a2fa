"""How the parts of an autoencoder fit, and how chunks of it are joined."""

import copy

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx.utils import tree_flatten, tree_unflatten

from stable_audio_mlx.errors import ConfigError, OptionError
from stable_audio_mlx.layers.chunks import chunks, join_chunks
from stable_audio_mlx.models.autoencoder import Autoencoder

from .checkpoints import AUTOENCODER, OOBLECK
from .test_same import autoencoder as same_section


def section(**changes) -> dict:
    return copy.deepcopy(AUTOENCODER) | changes


def test_chunks_are_those_of_the_reference():
    assert list(chunks(40, 16, 6)) == [(0, 0, 13, 16), (10, 13, 23, 26), (20, 23, 27, 36), (24, 27, 40, 40)]
    assert list(chunks(26, 16, 6)) == [(0, 0, 13, 16), (10, 13, 26, 26)]
    assert list(chunks(10, 16, 6)) == [(0, 0, 10, 10)]
    assert list(chunks(16, 16, 0)) == [(0, 0, 16, 16)]


@pytest.mark.parametrize("total", [1, 7, 16, 17, 40, 41])
@pytest.mark.parametrize("size, overlap", [(16, 6), (16, 5), (5, 0), (2, 1), (100, 32)])
def test_joined_chunks_are_the_whole(total, size, overlap):
    x = mx.arange(total * 3).reshape(1, total * 3, 1)
    y = join_chunks(lambda start, stop: x[:, 3 * start : 3 * stop], total, size, overlap, ratio=3)
    assert mx.array_equal(x, y)


@pytest.mark.parametrize("size, overlap", [(0, 0), (8, 8), (8, -1)])
def test_chunks_that_cannot_be_are_refused(size, overlap):
    with pytest.raises(OptionError, match="overlap"):
        join_chunks(lambda *_: mx.zeros((1, 1, 1)), 10, size, overlap)


def test_chunked_equals_whole_beyond_the_reach_and_for_short_inputs():
    model = Autoencoder.from_section(section(), "model")
    z, x = mx.random.normal((1, 70, 4)), mx.random.normal((1, 70 * 8, 2))
    assert mx.allclose(model.decode_chunked(z, 48, 40), model.decode(z), atol=1e-5)
    assert mx.allclose(model.encode_chunked(x, 48, 40), model.encode(x), atol=1e-5)
    assert mx.allclose(model.decode_chunked(z[:, :3], 48, 40), model.decode(z[:, :3]), atol=1e-5)
    assert model.encode_chunked(x[:, :13], 48, 40).shape == (1, 2, 4)
    assert not mx.allclose(model.decode_chunked(z, 8, 0), model.decode(z), atol=1e-5)


def test_odd_strides_keep_their_place_in_chunks():
    part = section(downsampling_ratio=15)
    for name in ("encoder", "decoder"):
        part[name]["config"]["strides"] = [3, 5]
    model = Autoencoder.from_section(part, "model")
    z = mx.random.normal((1, 60, 4))
    assert mx.allclose(model.decode_chunked(z, 40, 30), model.decode(z), atol=1e-5)


DAC = {"channels": 8, "rates": [4, 2], "latent_dim": 4}
CODECS = {
    "oobleck": section(),
    "odd strides": section(
        decoder={"type": "oobleck", "config": OOBLECK | {"strides": [3, 5], "out_channels": 2, "latent_dim": 4}},
        encoder={"type": "oobleck", "config": OOBLECK | {"strides": [3, 5], "in_channels": 2, "latent_dim": 8}},
        downsampling_ratio=15,
    ),
    "repeated frames": section(
        decoder={"type": "oobleck", "config": OOBLECK | {"use_nearest_upsample": True, "latent_dim": 4}}
    ),
    "antialiased": section(
        decoder={"type": "oobleck", "config": OOBLECK | {"antialias_activation": True, "latent_dim": 4}}
    ),
    "dac": section(decoder={"type": "dac", "config": DAC | {"out_channels": 2}}),
    "same-s": same_section({"chunk_size": 8, "chunk_midpoint_shift": True}, conv_mapping=True),
    "same-l": same_section({"sliding_window": [1, 1]}),
}


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("samples", [1, 16, 39, 250])
def test_latents_that_a_beginning_depends_on(name, samples):
    model = Autoencoder.from_section(CODECS[name], "model")
    mx.random.seed(0)
    for key, value in tree_flatten(model.decoder.parameters()):
        if isinstance(value, mx.array):
            model.decoder.update(tree_unflatten([(key, mx.random.normal(value.shape) * 0.5 + 0.1)]))
    needed = model.latents_for(samples)
    z = mx.random.normal((1, needed + 24, model.latent_dim))
    whole = model.decode(z)[:, :samples]
    assert needed * model.downsampling_ratio < samples + 30 * model.downsampling_ratio
    error = mx.abs(model.decode_tiled(z[:, :needed])[:, :samples] - whole).max() / mx.abs(whole).max()
    assert error.item() < 1e-5


def test_gradients_reach_every_weight():
    model, x = Autoencoder.from_section(section(), "model"), mx.random.normal((1, 64, 2))
    loss = nn.value_and_grad(model, lambda: mx.square(model.decode(model.encode(x)) - x).mean())
    gradients = dict(nn.utils.tree_flatten(loss()[1]))
    flat = [v for k, v in gradients.items() if not k.endswith("bias") and "encoder.layers.4" not in k]
    assert all(mx.abs(v).max().item() > 0 for v in flat)


def test_patches_come_back():
    patched = section(
        downsampling_ratio=8 * 4,
        io_channels=2,
        pretransform={"type": "patched", "config": {"channels": 2, "patch_size": 4}},
    )
    patched["encoder"]["config"]["in_channels"] = patched["decoder"]["config"]["out_channels"] = 8
    model = Autoencoder.from_section(patched, "model")
    x = mx.random.normal((2, 61, 2))
    frames = model.pretransform.encode(x)
    assert frames.shape == (2, 16, 8) and mx.array_equal(frames[0, 3, 4:], x[0, 12:16, 1])
    assert mx.array_equal(model.pretransform.decode(frames)[:, :61], x)
    assert model.encode(mx.concatenate([x, x[:, :3]], axis=1)).shape == (2, 2, 4)


def test_an_autoencoder_within_an_autoencoder():
    outer = section(downsampling_ratio=8 * 8, pretransform={"type": "autoencoder", "config": section(), "scale": 2.0})
    outer["encoder"]["config"]["in_channels"] = outer["decoder"]["config"]["out_channels"] = 4
    model, x = Autoencoder.from_section(outer, "model"), mx.random.normal((1, 128, 2))
    inner = model.pretransform.model
    expected = model.bottleneck.encode(model.encoder(inner.encode(x) / 2))
    assert mx.allclose(model.encode(x), expected) and mx.allclose(model.encode_tiled(x), expected, atol=1e-6)
    y = model.decode(expected)
    assert y.shape == (1, 128, 2) and mx.allclose(model.decode_tiled(expected), y, atol=1e-6)


@pytest.mark.parametrize(
    "changes, path",
    [
        ({"latent_dim": 5}, "model: the encoder's output"),
        ({"downsampling_ratio": 16}, "model.downsampling_ratio"),
        ({"io_channels": 1}, "model: the encoder's input"),
        ({"bottleneck": {"type": "none"}}, "model.bottleneck.type"),
        ({"encoder": {"type": "seanet", "config": {}}}, "model.encoder.type"),
        ({"pretransform": {"type": "wavelet", "config": {}}}, "model.pretransform.type"),
        (
            {"pretransform": {"type": "patched", "config": {"channels": 2, "patch_size": 0}}},
            "model.pretransform.config",
        ),
        ({"pretransform": {"type": "patched", "config": {"channels": 2}}}, "model.pretransform.config: missing"),
        ({"latent_dims": 5}, "model: unknown key"),
        ({"encoder": section()["encoder"] | {"soft_clip": True}}, "model.encoder: unknown key 'soft_clip'"),
        ({"bottleneck": None}, "model: the encoder's output"),
    ],
)
def test_parts_that_do_not_fit_are_refused_with_their_path(changes, path):
    with pytest.raises(ConfigError) as error:
        Autoencoder.from_section(section(**changes), "model")
    assert str(error.value).startswith(path)


def test_nesting_has_an_end():
    nested = section()
    for _ in range(9):
        nested = section(pretransform={"type": "autoencoder", "config": nested})
    with pytest.raises(ConfigError, match="deep"):
        Autoencoder.from_section(nested, "model")


def test_codes_need_codebooks():
    with pytest.raises(OptionError, match="no codebooks"):
        Autoencoder.from_section(section(), "model").encode_codes(mx.zeros((1, 64, 2)))
