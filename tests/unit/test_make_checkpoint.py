"""Rehearsal checkpoints of Stable Audio 3: every tensor of the published files, weights that signals survive."""

import json
import math

import mlx.core as mx
import numpy as np
import pytest
from tokenizers import Tokenizer

from benchmarks import make_checkpoint
from stable_audio_mlx import StableAudioPipeline
from stable_audio_mlx.models.factory import create_model
from stable_audio_mlx.weights.layout import published_tensors
from stable_audio_mlx.weights.safetensors import read_header

from .test_npz_source import tiny_config


def test_every_released_model_can_be_rehearsed():
    wanted = {"stable-audio-open-small", "stable-audio-open-1.0", "stable-audio-3-medium", "same-s", "same-l"}
    assert wanted < set(make_checkpoint.NAMES)
    for name in make_checkpoint.NAMES:
        assert make_checkpoint.read_config(name)["sample_rate"] == 44100


def test_t5gemma_has_the_published_encoder():
    """134 tensors, 281,580,288 parameters."""
    config = make_checkpoint.T5GEMMA | {"vocab_size": make_checkpoint.T5GEMMA_VOCABULARY}
    shapes = make_checkpoint.t5gemma_shapes(config)
    assert len(shapes) == 134 and sum(map(math.prod, shapes.values())) == 281_580_288


@pytest.mark.parametrize("size", [512, 2000])
def test_the_tokenizer_knows_the_words_and_falls_back_to_bytes(size):
    tokenizer = Tokenizer.from_str(json.dumps(make_checkpoint.gemma_tokenizer(size)))
    assert tokenizer.get_vocab_size() == size
    found = tokenizer.encode("a warm synth é").tokens
    assert found == ["a", "▁warm", "▁synth", "▁", "<0xC3>", "<0xA9>"]
    assert tokenizer.encode("").ids == []


@pytest.fixture
def folder(tmp_path):
    """The smallest checkpoint of this family, with the weights that a true-size one would get."""
    config = tiny_config()
    config["sample_rate"], config["sample_size"] = 160, 3200
    config["model"]["conditioning"]["cond_dim"] = 16
    shapes = {key: shape for key, (shape, _) in published_tensors(create_model(config)).items()}
    (tmp_path / "model_config.json").write_text(json.dumps(config))
    make_checkpoint.write_safetensors(
        tmp_path / "model.safetensors", make_checkpoint.checkpoint_tensors(shapes, half=False)
    )
    text = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}
    text |= {"head_dim": 8, "intermediate_size": 24, "query_pre_attn_scalar": 8, "vocab_size": 512}
    make_checkpoint.write_t5gemma(tmp_path, make_checkpoint.T5GEMMA | text)
    return tmp_path


def test_signals_neither_explode_nor_die(folder):
    entries = read_header(folder / "t5gemma-b-b-ul2" / "model.safetensors")
    assert {entry.dtype for entry in entries.values()} == {"bfloat16"}
    pipe = StableAudioPipeline.from_pretrained(folder)
    cross = np.array(pipe.conditioning_arrays(["a warm synth"], [5.0])["cross_cond"])
    assert np.isfinite(cross).all() and 0.2 < cross.std() < 3
    latents = pipe.generate("a warm synth", seconds=5, steps=2, seed=1, return_latents=True)
    assert 0.1 < mx.std(latents).item() < 5
    audio = np.array(pipe.generate("a warm synth", seconds=5, steps=2, seed=1))
    assert audio.std() > 1e-3 and np.abs(audio).max() < 1
