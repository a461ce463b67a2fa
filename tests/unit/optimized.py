"""The official optimised NPZ layout written from a checkpoint: the reader's rules from the other side."""

import json
from pathlib import Path

import numpy as np

FLAT = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "intermediate_size",
    "vocab_size",
    "rope_theta",
    "rms_norm_eps",
    "attn_logit_softcapping",
    "query_pre_attn_scalar",
    "pad_token_id",
)


def write_folder(
    folder: Path, tensors: dict[str, np.ndarray], dit: str = "dit_sm-music_f16.npz", codec: str = "same_s"
):
    """``tensors``: a whole checkpoint's, by published key.  Transformer in float16, the rest in float32."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / dit, **dict(transformer(tensors)))
    for half in ("encoder", "decoder"):
        np.savez(folder / f"{codec}_{half}_f32.npz", **dict(autoencoder(tensors, half)))


def transformer(tensors):
    for key, value in tensors.items():
        if key.startswith("model.model."):
            name = key.removeprefix("model.model.").replace(".to_local_embed.", ".to_local_embed.seq.")
            name = name.removesuffix("gamma") + "weight" if name.endswith(".gamma") else name
            value = value.transpose(0, 2, 1) if "process_conv" in name else value
            yield name, value.astype(np.float16)
    conditioners = "conditioner.conditioners."
    yield "cond.padding_embedding", tensors[f"{conditioners}prompt.padding_embedding"]
    for leaf in ("weight", "bias"):
        yield f"cond.seconds_total_{leaf}", tensors[f"{conditioners}seconds_total.embedder.embedding.1.{leaf}"]


def autoencoder(tensors, half):
    prefix = "pretransform.model."
    inner, project = (f"{prefix}{half}.layers.{i}." for i in ((0, 2) if half == "encoder" else (3, 1)))
    for key, value in tensors.items():
        name = key.removeprefix(inner)
        if not key.startswith(inner) or name.endswith("inv_freq") or name.startswith("mapping.weight"):
            continue
        if name.startswith("transformers."):
            name = name.replace("transformers.", "blocks.").replace(".self_attn.", ".attn.")
            name = name.replace(".ff.ff.0.proj.", ".ff.glu_proj.").replace(".ff.ff.2.", ".ff.proj_out.")
        yield name, value
    g, v = (tensors[f"{inner}mapping.weight_{x}"].astype(np.float64) for x in "gv")
    yield "mapping.weight", (g * v / np.sqrt((v * v).sum(axis=(1, 2), keepdims=True))).astype(np.float32)
    for leaf in ("weight", "bias"):
        yield f"project_{'out' if half == 'encoder' else 'in'}.{leaf}", tensors[project + leaf]
    for leaf in ("running_std", "scaling_factor", "bias") if half == "encoder" else ("running_std",):
        yield leaf, tensors[f"{prefix}bottleneck.{leaf}"]


def write_text(folder: Path, config: dict, tensors: dict[str, np.ndarray], tokenizer: bytes) -> None:
    """``config``: the encoder's part of a T5Gemma config.json; ``tensors`` by its published keys, stored in float16."""
    prefix = "model.encoder."
    own = {
        key.removeprefix(prefix): value.astype(np.float16) for key, value in tensors.items() if key.startswith(prefix)
    }
    meta = json.dumps({key: config[key] for key in FLAT}).encode()
    blobs = {"META": meta, "TOKENIZER_MODEL": tokenizer}
    own["rope_inv_freq"] = np.ones(config["head_dim"] // 2, np.float32)
    np.savez(folder / "t5gemma_f16.npz", **own, **{k: np.frombuffer(b, np.uint8) for k, b in blobs.items()})
