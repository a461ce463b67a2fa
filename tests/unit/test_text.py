"""The text encoder read from files: tokens, the rows it needs, true length, damage."""

import json
import shutil
import struct
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from stable_audio_mlx.errors import ConfigError, OptionError, WeightsError
from stable_audio_mlx.models.t5 import T5Config, T5Encoder
from stable_audio_mlx.models.t5gemma import T5GemmaConfig, T5GemmaEncoder
from stable_audio_mlx.weights.text import TextEncoder

WORDS = ["<pad>", "</s>", "<unk>", "warm", "pad", "rain", "on", "a", "roof"]
T5 = {"d_model": 12, "d_kv": 4, "d_ff": 20, "num_layers": 2, "num_heads": 3, "vocab_size": len(WORDS)}
GEMMA = {
    "hidden_size": 12, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "head_dim": 6, "vocab_size": len(WORDS), "query_pre_attn_scalar": 6,
}  # fmt: skip


def save_tokenizer(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.save(str(path))


def save_network(folder: Path, network, prefix: str, embedding: str, config: dict, dtype=mx.float32) -> mx.array:
    """Write a Hugging Face folder; returns the embedding table."""
    folder.mkdir(parents=True, exist_ok=True)
    table = mx.random.normal((len(WORDS), 12)).astype(dtype)
    tensors = {prefix + key: value.astype(dtype) for key, value in tree_flatten(network.parameters())}
    mx.save_safetensors(
        str(folder / "model.safetensors"), tensors | {embedding: table, "lm_head.weight": mx.zeros((2,))}
    )
    (folder / "config.json").write_text(json.dumps(config))
    return table.astype(mx.float32)


@pytest.fixture
def t5(tmp_path):
    """(checkpoint folder, network, table) of a T5 in Stable Audio Open's layout."""
    mx.random.seed(0)
    network = T5Encoder(T5Config(**T5))
    config = T5 | {"model_type": "t5", "num_decoder_layers": 2}
    table = save_network(tmp_path / "text_encoder", network, "encoder.", "shared.weight", config)
    save_tokenizer(tmp_path / "tokenizer" / "tokenizer.json")
    return tmp_path, network, table


def test_prompts_of_different_length_are_each_encoded_at_their_own(t5):
    folder, network, table = t5
    encoder = TextEncoder.from_folder(folder)
    prompts = ["warm pad", "", "rain on a roof", "warm pad"]
    out = encoder.encode(prompts, 6)
    assert out.tokens.ids.tolist() == [[3, 4, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0], [5, 6, 7, 8, 1, 0], [3, 4, 1, 0, 0, 0]]
    assert out.tokens.mask.sum(axis=1).tolist() == [3, 1, 5, 3] and out.tokens.unread == [""] * 4
    assert out.embeddings.shape == (4, 6, 12) and out.embeddings.dtype == mx.float32
    for tokens, found in zip(([3, 4, 1], [1], [5, 6, 7, 8, 1], [3, 4, 1]), out.embeddings, strict=True):
        expected = np.array(network(table[mx.array(tokens)][None])[0])
        assert np.abs(np.array(found[: len(tokens)]) - expected).max() < 1e-5
        assert not found[len(tokens) :].any()


def test_a_long_prompt_is_cut_with_the_end_mark_last_and_reported(t5):
    encoder = TextEncoder.from_folder(t5[0])
    out = encoder.encode(["rain on a roof rain on", "rain on a"], 4)
    assert out.tokens.ids.tolist() == [[5, 6, 7, 1], [5, 6, 7, 1]]
    assert out.tokens.unread == ["roof rain on", ""]
    with pytest.raises(OptionError, match="max_length 1"):
        encoder.encode(["rain"], 1)


def test_released_weights_are_read_again(t5):
    encoder = TextEncoder.from_folder(t5[0])
    before = np.array(encoder.encode(["rain"], 4).embeddings)
    encoder.release()
    assert encoder._network is None
    assert (np.array(encoder.encode(["rain"], 4).embeddings) == before).all()


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_sixteen_bit_files_are_computed_in_float32(t5, dtype):
    folder, network, _ = t5
    table = save_network(
        folder / "text_encoder", network, "encoder.", "encoder.embed_tokens.weight", T5 | {"model_type": "t5"}, dtype
    )
    network.load_weights([(k, v.astype(dtype).astype(mx.float32)) for k, v in tree_flatten(network.parameters())])
    out = TextEncoder.from_folder(folder).encode(["warm"], 2).embeddings
    assert np.abs(np.array(out[0]) - np.array(network(table[mx.array([[3, 1]])])[0])).max() < 1e-5


def test_only_the_rows_of_the_prompt_are_read(t5):
    folder = t5[0]
    path = folder / "text_encoder" / "model.safetensors"
    expected = np.array(TextEncoder.from_folder(folder).encode(["warm"], 3).embeddings)
    tensors = mx.load(str(path))
    unread = mx.array([i not in (3, 1) for i in range(len(WORDS))])[:, None]
    tensors["shared.weight"] = mx.where(unread, mx.nan, tensors["shared.weight"])
    mx.eval(tensors)
    mx.save_safetensors(str(path), tensors)
    assert (np.array(TextEncoder.from_folder(folder).encode(["warm"], 3).embeddings) == expected).all()


def test_t5gemma_has_no_end_mark_and_an_empty_prompt_no_token(tmp_path):
    mx.random.seed(1)
    folder = tmp_path / "t5gemma-b-b-ul2"
    network = T5GemmaEncoder(T5GemmaConfig(**GEMMA))
    table = save_network(
        folder,
        network,
        "model.encoder.",
        "model.encoder.embed_tokens.weight",
        {"model_type": "t5gemma", "encoder": GEMMA},
    )
    save_tokenizer(folder / "tokenizer.json")
    out = TextEncoder.from_folder(tmp_path).encode(["", "warm pad rain", "pad"], 2)
    assert out.tokens.ids.tolist() == [[0, 0], [3, 4], [4, 0]] and out.tokens.unread == ["", "rain", ""]
    assert not out.embeddings[0].any() and not out.embeddings[2, 1].any()
    for tokens, found in (([3, 4], out.embeddings[1]), ([4], out.embeddings[2, :1])):
        assert np.abs(np.array(found) - np.array(network(table[mx.array([tokens])])[0])).max() < 1e-5
    assert not TextEncoder.from_folder(tmp_path).encode([""], 3).embeddings.any()


def test_a_tokenizer_alone_tokenizes_with_a_config_s_own_special_tokens(t5):
    tokenizer = TextEncoder.from_files(None, None, t5[0] / "tokenizer" / "tokenizer.json")
    assert tokenizer.tokenize(["warm[loop]"], 4, ("[loop]",))[0].tolist() == [[3, len(WORDS), 1, 0]]
    assert tokenizer.tokenize(["warm"], 4)[0].tolist() == [[3, 1, 0, 0]]
    assert len(WORDS) not in tokenizer.tokenize(["warm[loop]"], 9)[0][0].tolist()
    with pytest.raises(WeightsError, match="no text encoder"):
        tokenizer.encode(["warm"], 4)


def edit(folder: Path, change) -> None:
    path = folder / "text_encoder" / "model.safetensors"
    tensors = mx.load(str(path))
    mx.eval(tensors)
    change(tensors)
    mx.save_safetensors(str(path), tensors)


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


NORM = "encoder.final_layer_norm.weight"
DAMAGE = {
    "missing": (lambda f: edit(f, lambda t: t.pop(NORM)), "1 tensors missing: final_layer_norm.weight"),
    "shape": (lambda f: edit(f, lambda t: t.update({NORM: mx.zeros(3)})), r"final_layer_norm.weight \(3,\), wanted"),
    "integers": (lambda f: edit(f, lambda t: t.update({NORM: mx.zeros(12, mx.int32)})), "is int32"),
    "no table": (lambda f: edit(f, lambda t: t.pop("shared.weight")), "missing: embedding"),
    "scalar table": (lambda f: edit(f, lambda t: t.update({"shared.weight": mx.array(1.0)})), "embedding"),
    "few rows": (lambda f: edit(f, lambda t: t.update({"shared.weight": mx.zeros((2, 12))})), "has 2 embeddings"),
    "nan": (lambda f: edit(f, lambda t: t.update({NORM: mx.full(12, mx.nan)})), "not finite"),
    "truncated": (lambda f: cut(f / "text_encoder" / "model.safetensors", 3000), "not a usable .safetensors"),
    "no weights": (lambda f: (f / "text_encoder" / "model.safetensors").unlink(), "model.safetensors is missing"),
    "no config": (lambda f: (f / "text_encoder" / "config.json").unlink(), "config.json is missing"),
    "tokenizer text": (lambda f: (f / "tokenizer" / "tokenizer.json").write_text("{}"), "not a usable tokenizer.json"),
    "tokenizer bytes": (lambda f: (f / "tokenizer" / "tokenizer.json").write_bytes(b"\xff\x00"), "tokenizer.json"),
    "no tokenizer": (lambda f: shutil.rmtree(f / "tokenizer"), "tokenizer"),
    "huge header": (
        lambda f: (f / "text_encoder" / "model.safetensors").write_bytes(struct.pack("<Q", 1 << 60) + b"{}"),
        "header claims",
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_or_missing_files_are_named(t5, kind):
    damage, message = DAMAGE[kind]
    damage(t5[0])
    with pytest.raises(WeightsError, match=message):
        TextEncoder.from_folder(t5[0]).encode(["warm"], 4)


@pytest.mark.parametrize(
    "text, message", [("{", "not valid JSON"), ('{"model_type": "bert"}', "'bert' is not supported")]
)
def test_an_unknown_config_is_named(t5, text, message):
    (t5[0] / "text_encoder" / "config.json").write_text(text)
    with pytest.raises(ConfigError, match=message):
        TextEncoder.from_folder(t5[0])
