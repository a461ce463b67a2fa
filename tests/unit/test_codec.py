"""AutoencoderModel: what may be handed to it, and what comes back."""

import copy

import mlx.core as mx
import numpy as np
import pytest

from stable_audio_mlx import AutoencoderModel
from stable_audio_mlx.errors import AudioError, ConfigError, OptionError

from .checkpoints import CODEC, DIFFUSION, write

RVQ = {"type": "dac_rvq", "config": {"input_dim": 4, "n_codebooks": 3, "codebook_size": 8, "codebook_dim": 2}}


@pytest.fixture(scope="module")
def codec(tmp_path_factory):
    return AutoencoderModel.from_pretrained(write(tmp_path_factory.mktemp("codec") / "vae", CODEC))


@pytest.fixture(scope="module")
def quantised(tmp_path_factory):
    config = copy.deepcopy(CODEC)
    config["model"]["bottleneck"] = RVQ
    config["model"]["encoder"]["config"]["latent_dim"] = 4
    return AutoencoderModel.from_pretrained(write(tmp_path_factory.mktemp("codec") / "rvq", config))


def sound(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_shapes_rates_and_attributes(codec):
    assert (codec.sample_rate, codec.latent_dim, codec.downsampling_ratio) == (4000, 4, 8)
    z = codec.encode(sound(2, 800), 4000)
    assert z.shape == (1, 4, 100) and z.dtype == mx.float32
    assert codec.decode(z).shape == (1, 2, 800)
    assert codec.encode(sound(2, 800), 8000).shape == (1, 4, 50)
    assert codec.encode(sound(801)).shape == (1, 4, 101)  # mono, padded to whole latents
    assert codec.encode(mx.array(sound(3, 2, 16))).shape == (3, 4, 2)


def test_a_list_of_clips_is_padded_to_the_longest(codec):
    a, b = sound(2, 100), sound(1, 60, seed=1)
    z = codec.encode([a, b])
    assert z.shape == (2, 4, 13)
    padded = np.pad(np.repeat(b, 2, axis=0), ((0, 0), (0, 44)))
    assert mx.allclose(z[1:], codec.encode(padded), atol=1e-6)
    assert codec.encode([a, b], [4000, 2000]).shape == (2, 4, 15)


def test_encoding_is_deterministic_unless_a_sample_is_asked_for(codec):
    x = sound(2, 160)
    mean = codec.encode(x)
    assert mx.array_equal(mean, codec.encode(x))
    drawn = codec.encode(x, sample=True, seed=3)
    assert mx.array_equal(drawn, codec.encode(x, sample=True, seed=3))
    assert not mx.array_equal(drawn, mean) and not mx.array_equal(drawn, codec.encode(x, sample=True, seed=4))
    assert mx.allclose(codec.encode(x, noise=np.zeros((1, 4, 20))), mean)
    assert mx.allclose(codec.encode(x, noise=sound(1, 4, 20), chunked=True), codec.encode(x, noise=sound(1, 4, 20)))


def test_chunked_equals_whole(codec):
    x, z = sound(2, 1600), sound(1, 4, 200)
    assert mx.allclose(codec.encode(x, chunked=True, chunk_size=60, overlap=40), codec.encode(x), atol=1e-6)
    assert mx.allclose(codec.decode(z, chunked=True, chunk_size=60, overlap=40), codec.decode(z), atol=1e-6)
    assert mx.allclose(codec.decode(z[:, :, :3], chunked=True), codec.decode(z[:, :, :3]), atol=1e-6)


def test_codes(quantised):
    codes = quantised.encode_codes(sound(2, 160))
    assert codes.shape == (1, 3, 20) and codes.dtype == mx.int32
    assert mx.allclose(quantised.decode_codes(codes), quantised.decode(quantised.encode(sound(2, 160))), atol=1e-5)
    assert mx.array_equal(quantised.decode_codes(np.array(codes)[0]), quantised.decode_codes(codes))


@pytest.mark.parametrize(
    "codes",
    [np.zeros((1, 4, 5), int), np.full((1, 3, 5), 8), np.zeros((1, 3, 5)), np.zeros((1, 3, 0), int), np.zeros(3, int)],
)
def test_codes_of_another_model_are_refused(quantised, codes):
    with pytest.raises(AudioError, match="codes"):
        quantised.decode_codes(codes)


def test_no_codes_without_codebooks(codec):
    with pytest.raises(OptionError, match="no codebooks"):
        codec.encode_codes(sound(2, 80))
    with pytest.raises(OptionError, match="no codebooks"):
        codec.decode_codes(np.zeros((1, 1, 4), int))


@pytest.mark.parametrize(
    "audio, rate",
    [
        (np.full((2, 80), np.nan), 4000),
        (np.zeros((2, 0)), 4000),
        (np.zeros((2, 2, 2, 2)), 4000),
        (np.zeros((80, 2)), 4000),
        ([], 4000),
        ("song.wav", 4000),
        (np.zeros((2, 80)), 0.5),
        ([np.zeros((2, 80)), np.full((2, 80), np.inf)], 4000),
    ],
)
def test_what_is_no_sound_is_refused(codec, audio, rate):
    with pytest.raises(AudioError):
        codec.encode(audio, rate)


@pytest.mark.parametrize("latents", [np.zeros((1, 5, 9)), np.zeros((1, 4, 0)), np.full((1, 4, 9), np.nan), np.zeros(4)])
def test_latents_of_another_model_are_refused(codec, latents):
    with pytest.raises(AudioError, match="latents"):
        codec.decode(latents)


def test_one_rate_per_clip(codec):
    with pytest.raises(OptionError, match="2 sample rates for 1"):
        codec.encode([sound(2, 80)], [4000, 8000])


def test_the_autoencoder_of_a_diffusion_model(tmp_path):
    config = copy.deepcopy(DIFFUSION)
    config["model"]["pretransform"]["scale"] = 2.0
    scaled = AutoencoderModel.from_pretrained(write(tmp_path / "scaled", config))
    plain = AutoencoderModel.from_pretrained(write(tmp_path / "plain", DIFFUSION))
    x = sound(2, 64)
    assert mx.allclose(scaled.encode(x) * 2, plain.encode(x), atol=1e-6)
    assert mx.allclose(scaled.decode(scaled.encode(x)), plain.decode(plain.encode(x)), atol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_near_and_comes_out_as_float32(tmp_path, codec, dtype):
    half = AutoencoderModel.from_pretrained(write(tmp_path / "half", CODEC), dtype=dtype)
    x = sound(2, 160)
    z, exact = half.encode(x), codec.encode(x)
    assert z.dtype == mx.float32 and not mx.array_equal(z, exact)
    assert mx.abs(z - exact).max().item() < 0.05 * mx.abs(exact).max().item()
    assert mx.allclose(half.decode(exact), codec.decode(exact), atol=0.05)


def test_a_model_without_autoencoder(tmp_path):
    config = copy.deepcopy(DIFFUSION)
    del config["model"]["pretransform"]
    with pytest.raises(ConfigError, match="no autoencoder"):
        AutoencoderModel.from_pretrained(write(tmp_path / "bare", config))
