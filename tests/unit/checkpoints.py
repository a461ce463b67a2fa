"""Tiny checkpoints in PyTorch's names and layouts, random weights, made from the model's own published tensor list."""

import copy
import json
from pathlib import Path

import numpy as np

from stable_audio_mlx.models.factory import create_model
from stable_audio_mlx.weights.layout import published_tensors

OOBLECK = {"channels": 4, "c_mults": [1, 2], "strides": [2, 4], "use_snake": True}
AUTOENCODER = {
    "encoder": {"type": "oobleck", "config": {**OOBLECK, "in_channels": 2, "latent_dim": 8}},
    "decoder": {"type": "oobleck", "config": {**OOBLECK, "out_channels": 2, "latent_dim": 4, "final_tanh": False}},
    "bottleneck": {"type": "vae"},
    "latent_dim": 4,
    "downsampling_ratio": 8,
    "io_channels": 2,
}
CODEC = {
    "model_type": "autoencoder",
    "sample_size": 4096,
    "sample_rate": 4000,
    "audio_channels": 2,
    "model": AUTOENCODER,
}
NUMBER = {"id": "seconds_total", "type": "number", "config": {"min_val": 0, "max_val": 64}}
DIT = {
    "io_channels": 4,
    "embed_dim": 64,
    "depth": 2,
    "num_heads": 2,
    "cond_token_dim": 32,
    "global_cond_dim": 32,
    "attn_kwargs": {"qk_norm": "ln"},
}
DIFFUSION = {
    "model_type": "diffusion_cond",
    "sample_size": 256,
    "sample_rate": 32,
    "audio_channels": 2,
    "model": {
        "pretransform": {"type": "autoencoder", "config": AUTOENCODER},
        "conditioning": {"configs": [NUMBER], "cond_dim": 32},
        "diffusion": {
            "cross_attention_cond_ids": ["seconds_total"],
            "global_cond_ids": ["seconds_total"],
            "diffusion_objective": "rectified_flow",
            "type": "dit",
            "config": DIT,
        },
        "io_channels": 4,
    },
}

# Padding is masked, inpainting enters frame by frame, memory tokens stand in front; a window of 25 s.
STABLE_AUDIO_3 = {
    "model_type": "diffusion_cond_inpaint",
    "sample_size": 800,
    "sample_rate": 32,
    "audio_channels": 2,
    "model": {
        **DIFFUSION["model"],
        "diffusion": {
            **DIFFUSION["model"]["diffusion"],
            "local_add_cond_ids": ["inpaint_mask", "inpaint_masked_input"],
            "mask_padding_attention": True,
            "use_effective_length_for_schedule": True,
            "config": {
                **DIT,
                "global_cond_type": "adaLN",
                "local_add_cond_dim": 5,
                "num_memory_tokens": 3,
                "norm_type": "rms_norm",
                "attn_kwargs": {"qk_norm": "rms", "differential": True},
                "timestep_features_type": "expo",
            },
        },
    },
}


def diffusion(**dit) -> dict:
    """DIFFUSION with other settings of the transformer."""
    config = copy.deepcopy(DIFFUSION)
    config["model"]["diffusion"]["config"].update(dit)
    return config


def tensors(config: dict, seed: int = 0) -> dict[str, np.ndarray]:
    """Every tensor that the checkpoint of ``config`` publishes."""
    rng = np.random.default_rng(seed)
    published = published_tensors(create_model(config)).items()
    return {key: (0.1 * rng.standard_normal(shape)).astype(np.float32) for key, (shape, _) in published}


def save(path: Path, arrays: dict[str, np.ndarray], metadata: dict[str, str] | None = None) -> Path:
    """A .safetensors file, written here byte by byte (uint16 stands for bfloat16)."""
    codes = {"float32": "F32", "float16": "F16", "uint16": "BF16", "int64": "I64", "float64": "F64"}
    header, blobs, offset = {"__metadata__": {"format": "pt"} | (metadata or {})}, [], 0
    for key, array in arrays.items():
        blobs.append(array.tobytes())
        ends = [offset, offset + len(blobs[-1])]
        header[key] = {"dtype": codes[array.dtype.name], "shape": list(array.shape), "data_offsets": ends}
        offset = ends[1]
    raw = json.dumps(header).encode()
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + b"".join(blobs))
    return path


def write(folder: Path, config: dict, arrays: dict[str, np.ndarray] | None = None) -> Path:
    """A source folder: model_config.json and model.safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model_config.json").write_text(json.dumps(config))
    save(folder / "model.safetensors", tensors(config) if arrays is None else arrays)
    return folder
