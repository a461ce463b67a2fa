"""Oobleck: lengths, tiles, names and limits; its numbers are held against PyTorch in tests/parity."""

import math
from dataclasses import replace

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten, tree_map_with_path

from stable_audio_mlx.config import build
from stable_audio_mlx.errors import ConfigError
from stable_audio_mlx.memory import NORMAL, spending
from stable_audio_mlx.models.oobleck import OobleckDecoder, OobleckEncoder
from stable_audio_mlx.weights.layout import rename


def network(cls, **config):
    model = cls(build(cls.Config, {"channels": 4, "latent_dim": 3, **config}, "config"))
    model.update(tree_map_with_path(lambda name, p: randomised(name, p.shape), model.parameters()))
    return model


def randomised(name: str, shape: tuple[int, ...]) -> mx.array:
    """Gains below one: a network that amplifies the last bit of its input could not tell tiles from rounding."""
    scale = 0.5 / math.sqrt(math.prod(shape[1:])) if name.endswith("weight") else 0.3
    return scale * mx.random.normal(shape, key=mx.random.key(len(name) + shape[0]))


@pytest.fixture
def small_tiles():
    with spending(replace(NORMAL, cpu_tile=1 << 8, gpu_tile=1 << 8, least=24, block=7)):
        yield


CONFIGS = [
    {"c_mults": [1, 2], "strides": [2, 4], "use_snake": True},
    {"c_mults": [1, 2], "strides": [3, 5], "use_snake": True},
    {"c_mults": [1, 2, 3], "strides": [2, 1, 3]},
    {"c_mults": [2], "strides": [4]},
    {"c_mults": [1, 2], "strides": [2, 3], "use_snake": True, "antialias_activation": True},
]


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("frames", [1, 20, 33])
def test_tiles_equal_the_whole(config, frames, small_tiles):
    ratio = math.prod(config["strides"])
    for cls, shape in ((OobleckEncoder, (1, frames * ratio, 2)), (OobleckDecoder, (1, frames, 3))):
        model, x = network(cls, **config), mx.random.normal(shape, key=mx.random.key(frames))
        whole, parts = model(x), list(model.tiled(x))
        tiled = mx.concatenate(parts, axis=1)
        assert tiled.shape == whole.shape
        assert mx.abs(tiled - whole).max().item() <= 1e-6 * mx.abs(whole).max().item()
        assert len(parts) > 1 or frames == 1


def test_tiles_of_the_nearest_upsampling_decoder(small_tiles):
    model = network(OobleckDecoder, c_mults=[1, 2], strides=[2, 3], use_nearest_upsample=True)
    z = mx.random.normal((1, 30, 3))
    assert mx.abs(mx.concatenate(list(model.tiled(z)), axis=1) - model(z)).max().item() < 1e-6
    keys = dict(tree_flatten(model.parameters()))
    assert "layers.1.layers.1.conv.weight" in keys and "layers.1.layers.1.conv.bias" not in keys
    assert rename(model, "layers.1.layers.1.1.weight") == "layers.1.layers.1.conv.weight"


def test_lengths():
    even, odd = {"c_mults": [1, 2], "strides": [2, 4]}, {"c_mults": [1, 2], "strides": [3, 5]}
    assert network(OobleckEncoder, **even)(mx.zeros((1, 80, 2))).shape == (1, 10, 3)
    assert network(OobleckDecoder, **even)(mx.zeros((1, 10, 3))).shape == (1, 80, 2)
    assert network(OobleckEncoder, **odd)(mx.zeros((1, 300, 2))).shape == (1, 20, 3)
    assert network(OobleckDecoder, **odd)(mx.zeros((1, 20, 3))).shape == (1, 296, 2)  # as PyTorch, a few short


def test_the_decoders_graph_upsamples_without_convolving_zeros(tmp_path):
    model = network(OobleckDecoder, c_mults=[1, 2], strides=[2, 4], use_snake=True)
    mx.export_to_dot(str(tmp_path / "graph.dot"), model(mx.zeros((1, 4, 3))))
    assert "ConvolutionTranspose" not in (tmp_path / "graph.dot").read_text()


def test_names_are_those_of_the_checkpoint():
    keys = dict(tree_flatten(network(OobleckDecoder, c_mults=[1, 2], strides=[2, 4], use_snake=True).parameters()))
    assert keys["layers.1.layers.1.weight"].shape == (4, 8, 8)  # (Out, K, In)
    assert {"layers.0.bias", "layers.1.layers.2.layers.0.alpha", "layers.3.beta", "layers.4.weight"} <= keys.keys()
    assert "layers.4.bias" not in keys


@pytest.mark.parametrize(
    "config, words",
    [
        ({"c_mults": [1, 2], "strides": [2]}, "one entry"),
        ({"c_mults": [], "strides": []}, "one entry"),
        ({"c_mults": [1], "strides": [0]}, "strides"),
        ({"c_mults": [1] * 4, "strides": [256] * 4}, "product"),
        ({"c_mults": [1] * 99, "strides": [1] * 99}, "blocks"),
        ({"c_mults": [10**9], "strides": [2]}, "channel"),
        ({"c_mults": [1], "strides": [2], "latent_dim": -1}, "channel"),
        ({"c_mults": [1], "strides": [2], "chanels": 3}, "did you mean 'channels'"),
    ],
)
def test_sizes_that_no_codec_has_are_refused(config, words):
    with pytest.raises(ConfigError, match=words):
        build(OobleckDecoder.Config, config, "model.decoder.config")
