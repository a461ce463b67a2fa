"""Bottlenecks and quantisers: what goes in comes out where it should; numbers in tests/parity."""

import mlx.core as mx
import numpy as np
import pytest

from stable_audio_mlx.config import build
from stable_audio_mlx.errors import ConfigError
from stable_audio_mlx.layers import quantize
from stable_audio_mlx.layers.quantize import ScalarGrid, nearest, unit
from stable_audio_mlx.models.autoencoder import BOTTLENECKS, make

DISCRETE = {
    "dac_rvq": {"input_dim": 6, "n_codebooks": 3, "codebook_size": 16, "codebook_dim": [2, 3, 4]},
    "dac_rvq_vae": {"input_dim": 6, "n_codebooks": 2, "codebook_size": 16},
    "rvq": {"dim": 6, "codebook_size": 16, "num_quantizers": 3},
    "rvq_vae": {"dim": 6, "codebook_size": 16, "num_quantizers": 3, "codebook_dim": 4},
    "fsq": {"levels": [8, 5, 3], "dim": 6},
    "dithered_fsq": {"dim": 3, "levels": 5, "num_codebooks": 2},
}


def bottleneck(kind: str, latent: int = 6, **config):
    section = {"type": kind} | ({"config": config} if config else {})
    model = make(BOTTLENECKS, section, "model.bottleneck", latent)
    for layer in getattr(getattr(model, "quantizer", None), "layers", ()):
        layer.codebook.embed = mx.random.normal(layer.codebook.embed.shape)
    return model


@pytest.mark.parametrize("kind", DISCRETE)
def test_codes_and_latents_say_the_same(kind):
    model = bottleneck(kind, **DISCRETE[kind])
    h = mx.random.normal((2, 11, model.in_channels))
    z, codes = model.quantize(h)
    assert z.shape == (2, 11, 6) and codes.shape == (2, model.codebooks, 11)
    assert codes.min().item() >= 0 and codes.max().item() < model.codebook_size
    assert len(np.unique(np.array(codes))) > 1
    assert mx.abs(model.dequantize(codes) - z).max().item() < 1e-5
    assert mx.array_equal(model.encode(h), z)
    assert model.decode(z).shape[-1] == model.out_channels


def test_nearest_is_the_nearest_also_in_pieces(monkeypatch):
    x, codebook = mx.random.normal((2, 50, 4)), mx.random.normal((9, 4))
    distances = mx.square(x[:, :, None] - codebook).sum(axis=-1)
    assert mx.array_equal(nearest(x, codebook), mx.argmin(distances, axis=-1))
    monkeypatch.setattr(quantize, "DISTANCES", 9 * 7)
    assert mx.array_equal(nearest(x, codebook), mx.argmin(distances, axis=-1))


def test_vae_gives_its_mean_or_the_sample_of_a_noise():
    model, h = bottleneck("vae"), mx.random.normal((1, 5, 12))
    mean, deviation = model.moments(h)
    assert mx.array_equal(model.encode(h), mean)
    assert mx.allclose(model.encode(h, mx.ones((1, 5, 6))), mean + deviation)
    assert mx.allclose(deviation, mx.log(1 + mx.exp(h[..., 6:])) + 1e-4, atol=1e-6)


def test_noise_channels_are_zero_unless_given():
    model, z = bottleneck("wasserstein", noise_augment_dim=2, use_tanh=True), mx.random.normal((1, 5, 6))
    assert mx.array_equal(model.decode(z), mx.pad(z, [(0, 0), (0, 0), (0, 2)]))
    assert mx.array_equal(model.decode(z, mx.ones((1, 5, 2)))[..., 6:], mx.ones((1, 5, 2)))
    assert mx.abs(model.encode(100 * z)).max().item() <= 5


def test_softnorm_scales_back_what_it_scaled():
    model, h = bottleneck("softnorm", dim=6, auto_scale=True, noise_regularize=True), mx.random.normal((2, 7, 6))
    model.running_std, model.bias = mx.array([4.0]), mx.ones((1, 6, 1))
    z = model.encode(h)
    assert mx.allclose(z, (h + 1) / 4)
    assert mx.allclose(model.decode(z), h + 1, atol=1e-6)
    assert mx.allclose(model.decode(z, mx.ones((2, 7, 6))), h + 1 + 4e-3, atol=1e-5)


def test_l2_and_tanh():
    x = mx.random.normal((1, 5, 6))
    assert mx.allclose(mx.linalg.norm(bottleneck("l2_norm").encode(x), axis=-1), mx.ones((1, 5)), atol=1e-6)
    assert mx.abs(bottleneck("tanh", scale=2.0).encode(100 * x)).max().item() == 2
    assert unit(mx.zeros((1, 3))).tolist() == [[0, 0, 0]]


def test_scalar_codes_are_mixed_radix_numbers():
    grid = ScalarGrid((3, 5, 2))
    assert grid.join(mx.array([[2, 4, 1], [1, 0, 0]])).tolist() == [29, 1]
    assert grid.split(mx.array([29, 1])).tolist() == [[2, 4, 1], [1, 0, 0]]
    large = ScalarGrid((17,) * 15)
    assert large.split(large.join(mx.array([16] * 15))).tolist() == [16] * 15


@pytest.mark.parametrize(
    "kind, config",
    [
        ("dac_rvq", DISCRETE["dac_rvq"] | {"codebook_dim": [2]}),
        ("dac_rvq", DISCRETE["dac_rvq"] | {"input_dim": 7}),
        ("dac_rvq", DISCRETE["dac_rvq"] | {"n_codebooks": 10**9, "codebook_dim": 8}),
        ("dac_rvq", {"input_dim": 6, "n_codebooks": 1}),
        ("rvq", {"dim": 6, "use_cosine_sim": True}),
        ("rvq", {"dim": 5}),
        ("fsq", {"levels": [1, 2]}),
        ("fsq", {"levels": [8, 5]}),
        ("dithered_fsq", {"dim": 6, "levels": [3, 3]}),
        ("dithered_fsq", {"dim": 6, "levels": 1}),
        ("dithered_fsq", {"dim": 6, "levels": 10**6}),
        ("softnorm", {"dim": 5}),
        ("tanh", {"scale": 0}),
        ("vae", {"beta": 3}),
        ("vqvae", {}),
    ],
)
def test_what_cannot_be_built_is_refused_with_its_path(kind, config):
    with pytest.raises(ConfigError, match=r"^model\.bottleneck"):
        bottleneck(kind, **config)


def test_settings_of_training_are_not_errors():
    section = {"type": "rvq", "config": {"dim": 6, "decay": 0.9, "kmeans_init": True}, "requires_grad": False}
    assert make(BOTTLENECKS, section, "model.bottleneck", 6).codebooks == 8
    assert build(BOTTLENECKS["wasserstein"].Config, {"bypass_mmd": True}, "x").noise_augment_dim == 0
