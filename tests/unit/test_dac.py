"""The Descript codec's networks: lengths, tiles, names and limits; numbers in tests/parity."""

import math
from dataclasses import replace

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten

from stable_audio_mlx.config import build
from stable_audio_mlx.errors import ConfigError
from stable_audio_mlx.memory import NORMAL, spending
from stable_audio_mlx.models.dac import DACDecoder, DACEncoder

ENCODER = {"d_model": 4, "strides": [2, 4], "in_channels": 2, "latent_dim": 3}
DECODER = {"latent_dim": 3, "channels": 16, "rates": [4, 2], "out_channels": 2}


def network(cls, config):
    return cls(build(cls.Config, config, "config"))


@pytest.mark.parametrize("cls, config, shape", [(DACEncoder, ENCODER, (1, 240, 2)), (DACDecoder, DECODER, (1, 30, 3))])
def test_tiles_equal_the_whole(cls, config, shape):
    with spending(replace(NORMAL, cpu_tile=1 << 8, gpu_tile=1 << 8, least=16, block=5)):
        model, x = network(cls, config), mx.random.normal(shape)
        parts = list(model.tiled(x))
    assert len(parts) > 1
    assert mx.abs(mx.concatenate(parts, axis=1) - model(x)).max().item() < 1e-6


def test_names_and_shapes_are_those_of_the_checkpoint():
    keys = {k: v.shape for k, v in tree_flatten(network(DACEncoder, ENCODER).parameters())}
    assert keys["encoder.block.1.block.0.block.0.alpha"] == (1, 4, 1)
    assert keys["encoder.block.1.block.4.weight"] == (8, 4, 4)
    assert keys["proj_out.weight"] == (3, 1, 16)
    keys = {k: v.shape for k, v in tree_flatten(network(DACDecoder, DECODER).parameters())}
    assert keys["decoder.model.1.block.1.weight"] == (8, 8, 16)
    assert keys["decoder.model.4.bias"] == (2,)


def test_without_latent_dim_there_is_no_projection():
    model = network(DACEncoder, {"d_model": 2, "strides": [2, 2]})
    assert model.out_channels == 8 and model(mx.zeros((1, 16, 1))).shape == (1, 4, 8)
    assert not any(key.startswith("proj_out") for key, _ in tree_flatten(model.parameters()))


@pytest.mark.parametrize(
    "cls, config",
    [
        (DACDecoder, DECODER | {"channels": 6}),
        (DACDecoder, DECODER | {"rates": [2] * 40}),
        (DACEncoder, ENCODER | {"strides": [2] * 10**5}),
        (DACEncoder, ENCODER | {"d_model": 1 << 14}),
        (DACEncoder, {"strides": [2]}),
    ],
)
def test_sizes_that_no_codec_has_are_refused(cls, config):
    with pytest.raises(ConfigError, match="config"):
        network(cls, config)


def test_lengths_divide_and_multiply():
    assert network(DACEncoder, ENCODER)(mx.zeros((1, 80, 2))).shape[1] * math.prod(ENCODER["strides"]) == 80
    decoder = network(DACDecoder, DECODER)
    assert decoder(mx.zeros((1, 10, 3))).shape == (1, 80, 2)
    first, last = decoder.reach(400, 408)
    assert first < 50 < 51 < last
