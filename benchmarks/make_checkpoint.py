"""Write a checkpoint of true size with random weights, in the layout in which the model is published.

    python -m benchmarks.make_checkpoint stable-audio-open-small /tmp/small

Every key, shape and file of the published model is there, so converting and generating cost what the real model
costs; the weights are scaled so that signals neither explode nor die, and depend on the keys alone.  T5Gemma has its
encoder half and, without ``--full-vocabulary``, few words: only the rows of a prompt's words are ever read.
"""

import argparse
import json
import math
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from stable_audio_mlx.weights.arrays import STORAGE, store_as
from stable_audio_mlx.weights.published import HALVES, VARIANTS, published_config

CONFIGS = Path(__file__).parent / "configs"
NAMES = sorted([path.stem for path in CONFIGS.glob("*.json")] + [f"stable-audio-3-{v}" for v in VARIANTS] + [*HALVES])
DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}

WORDS = ("the", "and", "with", "drum", "loop", "kick", "snare", "hat", "bass", "synth", "pad", "piano", "warm", "rain")

T5_BASE = {
    "architectures": ["T5EncoderModel"],
    "model_type": "t5",
    "d_model": 768,
    "d_kv": 64,
    "d_ff": 3072,
    "num_layers": 12,
    "num_heads": 12,
    "vocab_size": 32128,
    "feed_forward_proj": "relu",
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
    "layer_norm_epsilon": 1e-6,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
T5GEMMA = {
    "model_type": "t5_gemma_module",
    "vocab_size": 512,
    "hidden_size": 768,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_key_value_heads": 12,
    "head_dim": 64,
    "hidden_activation": "gelu_pytorch_tanh",
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "attention_bias": False,
    "query_pre_attn_scalar": 64,
    "sliding_window": 4096,
    "attn_logit_softcapping": 50.0,
    "pad_token_id": 0,
}
T5GEMMA_VOCABULARY = 256_000


def read_config(name: str) -> dict:
    """The published ``model_config.json`` of a model."""
    return published_config(name) or json.loads((CONFIGS / f"{name}.json").read_text())


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.make_checkpoint", description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--full-vocabulary", action="store_true", help="T5Gemma's whole embedding table, 0.4 GB more")
    options = parser.parse_args(arguments)
    if options.folder.exists() and any(options.folder.iterdir()):
        parser.error(f"{options.folder} is not empty")
    write_model(options.name, options.folder, options.seed, T5GEMMA_VOCABULARY if options.full_vocabulary else 512)
    print(options.folder)
    return 0


def write_model(name: str, folder: Path, seed: int = 0, vocabulary: int = 512) -> None:
    """Write the checkpoint of a published model: config, weights and, where the model reads text, its encoder."""
    from stable_audio_mlx.models.factory import create_model
    from stable_audio_mlx.weights.layout import published_tensors

    config = read_config(name)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model_config.json").write_text(json.dumps(config, indent=2))
    shapes = {key: shape for key, (shape, _) in published_tensors(create_model(config)).items()}
    half = config["model"].get("pretransform", {}).get("model_half", False)
    write_safetensors(folder / "model.safetensors", checkpoint_tensors(shapes, half), seed)
    conditions = config["model"].get("conditioning", {}).get("configs", ())
    if any(condition["type"] == "t5" for condition in conditions):
        write_t5(folder, T5_BASE, seed)
    if any(condition["type"] == "t5gemma" for condition in conditions):
        write_t5gemma(folder, {**T5GEMMA, "vocab_size": vocabulary}, seed)


def write_t5(folder: Path, config: dict, seed: int = 0) -> None:
    """Write ``text_encoder/`` and ``tokenizer/`` for a T5 encoder of the given Hugging Face config."""
    (folder / "text_encoder").mkdir()
    (folder / "text_encoder" / "config.json").write_text(json.dumps(config, indent=2))
    tensors = [(key, shape, "float32") for key, shape in t5_shapes(config).items()]
    write_safetensors(folder / "text_encoder" / "model.safetensors", tensors, seed)
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer" / "tokenizer.json").write_text(json.dumps(tokenizer(32100)))


def write_t5gemma(folder: Path, config: dict, seed: int = 0) -> None:
    """Write ``t5gemma-b-b-ul2/`` for an encoder of the given config (the ``encoder`` object of Hugging Face's)."""
    place = folder / "t5gemma-b-b-ul2"
    place.mkdir()
    (place / "config.json").write_text(json.dumps({"model_type": "t5gemma", "encoder": config}, indent=2))
    tensors = [(key, shape, "bfloat16") for key, shape in t5gemma_shapes(config).items()]
    write_safetensors(place / "model.safetensors", tensors, seed)
    (place / "tokenizer.json").write_text(json.dumps(gemma_tokenizer(config["vocab_size"])))


def checkpoint_tensors(shapes: dict[str, tuple[int, ...]], half: bool) -> list[tuple[str, tuple[int, ...], str]]:
    """(key, shape, dtype) of every tensor; an autoencoder that ran in half precision is published so."""
    return [
        (key, shape, "float16" if half and key.startswith("pretransform.") else "float32")
        for key, shape in sorted(shapes.items())
    ]


def t5_shapes(config: dict) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of a T5 encoder as Hugging Face writes them."""
    width, inner, feed = config["d_model"], config["num_heads"] * config["d_kv"], config["d_ff"]
    bias = (config["relative_attention_num_buckets"], config["num_heads"])
    shapes: dict[str, tuple[int, ...]] = {"shared.weight": (config["vocab_size"], width)}
    shapes["encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"] = bias
    for i in range(config["num_layers"]):
        attention, feedforward = f"encoder.block.{i}.layer.0", f"encoder.block.{i}.layer.1"
        shapes |= {f"{attention}.SelfAttention.{name}.weight": (inner, width) for name in "qkv"}
        shapes[f"{attention}.SelfAttention.o.weight"] = (width, inner)
        shapes[f"{feedforward}.DenseReluDense.wi.weight"] = (feed, width)
        shapes[f"{feedforward}.DenseReluDense.wo.weight"] = (width, feed)
        shapes |= {f"{layer}.layer_norm.weight": (width,) for layer in (attention, feedforward)}
    shapes["encoder.final_layer_norm.weight"] = (width,)
    return shapes


def t5gemma_shapes(config: dict) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of T5Gemma's encoder as Hugging Face writes them."""
    width, feed, head = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    queries, keys = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    rows = {"q": (queries, width), "k": (keys, width), "v": (keys, width), "o": (width, queries)}
    shapes: dict[str, tuple[int, ...]] = {"model.encoder.embed_tokens.weight": (config["vocab_size"], width)}
    for i in range(config["num_hidden_layers"]):
        layer = f"model.encoder.layers.{i}"
        shapes |= {f"{layer}.self_attn.{name}_proj.weight": shape for name, shape in rows.items()}
        shapes |= {f"{layer}.mlp.{name}_proj.weight": (feed, width) for name in ("gate", "up")}
        shapes[f"{layer}.mlp.down_proj.weight"] = (width, feed)
        for place in ("pre", "post"):
            shapes |= {f"{layer}.{place}_{what}_layernorm.weight": (width,) for what in ("self_attn", "feedforward")}
    shapes["model.encoder.norm.weight"] = (width,)
    return shapes


def write_safetensors(path: Path, tensors: Iterable[tuple[str, tuple[int, ...], str]], seed: int = 0) -> None:
    """Write random tensors one after the other: memory stays at one tensor, whatever the size of the file."""
    tensors, header, offset = list(tensors), {}, 0
    shapes = {key: shape for key, shape, _ in tensors}
    for key, shape, dtype in tensors:
        size = math.prod(shape) * STORAGE[dtype].itemsize
        header[key] = {"dtype": DTYPES[dtype], "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for key, shape, dtype in tensors:
            file.write(store_as(random_tensor(key, shape, shapes, seed), dtype).tobytes())


def random_tensor(key: str, shape: tuple[int, ...], shapes: dict[str, tuple[int, ...]], seed: int) -> np.ndarray:
    """A float32 tensor fit for its place in the network: see ``spread``."""
    rng = np.random.Generator(np.random.SFC64([seed, zlib.crc32(key.encode())]))
    center, scale = spread(key, shape, shapes)
    if key.endswith("inv_freq"):
        return 10000.0 ** (-np.arange(shape[0], dtype=np.float32) / shape[0])
    if scale == 0:
        return np.full(shape, center, np.float32)
    return center + np.float32(scale) * rng.standard_normal(shape, np.float32)


def spread(key: str, shape: tuple[int, ...], shapes: dict[str, tuple[int, ...]]) -> tuple[float, float]:
    """Mean and standard deviation of a tensor that keep the size of what passes through it.

    A matrix takes 1/sqrt(inputs); what is added to a residual stream takes a third of it.  A weight-normed
    convolution's gain is the norm of each row, so 1 keeps the size; a transposed one spreads a row over its stride.
    """
    owner, _, name = key.rpartition(".")
    if name == "beta" and not owner.startswith("pretransform"):
        return 0.0, 0.0
    if name in ("running_std", "scaling_factor") or (name == "alpha" and shape == (1,)):
        return 1.0, 0.0
    if name in ("alpha", "beta", "to_scale_shift_gate"):
        return 0.0, 0.1
    if "_layernorm" in owner or key == "model.encoder.norm.weight":  # T5Gemma stores the distance from one
        return 0.0, 0.1
    if name == "gamma" or (name == "weight" and len(shape) == 1):
        return 1.0, 0.1
    if name == "bias":
        return 0.0, 0.02
    if name == "weight_g":
        return convolution_gain(owner, shapes[f"{owner}.weight_v"]), 0.0
    if name in ("weights", "new_tokens", "padding_embedding") or owner == "shared" or owner.endswith("step_features"):
        return 0.0, 1.0
    residual = owner.endswith(("to_out", "ff.2", "process_conv", ".o", ".wo"))
    inputs = max(1, math.prod(shape[1:])) if name != "relative_attention_bias" else 1
    # T5 does not divide its scores by the root of the head dimension: its query projection carries the factor.
    query = 64 if owner.endswith("SelfAttention.q") else 1
    return 0.0, (0.3 if residual else 1.0) / math.sqrt(inputs * query)


def convolution_gain(owner: str, shape: tuple[int, ...]) -> float:
    """Row norm of a weight-normed convolution of the Oobleck autoencoder, or of SAME's mapping; the last are quiet."""
    if owner.endswith(("decoder.layers.7", "decoder.layers.3.mapping")):
        return 0.05 if owner.endswith("7") else 0.2
    if ".decoder.layers." in owner and owner.count(".layers.") == 2 and owner.endswith(".layers.1"):
        inputs, outputs, taps = shape
        return math.sqrt(outputs * taps / 2 / inputs)
    return 0.3 if owner.endswith(".layers.3") and owner.count(".layers.") == 3 else 1.0


def tokenizer(size: int) -> dict:
    """A ``tokenizer.json`` of T5's kind: unigram pieces with a leading mark for spaces, ``</s>`` appended."""
    letters = [chr(code) for code in range(33, 127)]
    pieces = [["<pad>", 0.0], ["</s>", 0.0], ["<unk>", 0.0], ["▁", -2.0]]
    pieces += [[f"▁{word}", -4.0] for word in WORDS]
    pieces += [[letter, -8.0] for letter in letters] + [[f"▁{letter}", -9.0] for letter in letters]
    pieces += [[f"<filler_{i}>", -20.0] for i in range(len(pieces), size)]
    special = [
        {"id": i, "content": token, "special": True, "lstrip": False, "rstrip": False, "normalized": False}
        | {"single_word": False}
        for i, token in enumerate(("<pad>", "</s>", "<unk>"))
    ]
    mark = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    end = {"SpecialToken": {"id": "</s>", "type_id": 0}}
    template = {
        "type": "TemplateProcessing",
        "single": [{"Sequence": {"id": "A", "type_id": 0}}, end],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, end, {"Sequence": {"id": "B", "type_id": 0}}, end],
        "special_tokens": {"</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}},
    }
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special,
        "normalizer": {"type": "NFKC"},
        "pre_tokenizer": mark,
        "post_processor": template,
        "decoder": mark,
        "model": {"type": "Unigram", "unk_id": 2, "vocab": pieces, "byte_fallback": False},
    }


def gemma_tokenizer(size: int) -> dict:
    """A ``tokenizer.json`` of Gemma's kind: BPE with bytes to fall back on, a mark for each space, nothing appended."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    pieces = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *(chr(code) for code in range(33, 127))]
    joints: list[tuple[str, str]] = []
    for word in (f"▁{word}" for word in WORDS):
        joints += [(word[:cut], word[cut]) for cut in range(1, len(word))]
    joints = list(dict.fromkeys(joints))
    pieces += dict.fromkeys(left + right for left, right in joints)
    pieces += [f"<unused{i}>" for i in range(size - len(pieces))]
    tokens = [{"id": i, "content": piece, "special": True} for i, piece in enumerate(special)]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{**token, **flags} for token in tokens],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "BPE",
            "unk_token": "<unk>",
            "fuse_unk": True,
            "byte_fallback": True,
            "vocab": {piece: i for i, piece in enumerate(pieces)},
            "merges": joints,
        },
    }


if __name__ == "__main__":
    raise SystemExit(main())
