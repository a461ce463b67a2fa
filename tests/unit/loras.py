"""LoRA files for tests, in the native layout, for the model of ``checkpoints.diffusion()``."""

import json
from pathlib import Path

import numpy as np

from stable_audio_mlx.lora.adapter import KINDS
from stable_audio_mlx.models.factory import create_model
from stable_audio_mlx.weights.layout import published_tensors

from . import checkpoints

RANK = 2


def weights(config: dict) -> dict[str, tuple[int, ...]]:
    """Checkpoint key -> shape of everything a LoRA trains."""
    published = published_tensors(create_model(config)).items()
    chosen = {k: shape for k, (shape, _) in published if k.endswith(".weight") and len(shape) >= 2}
    return {
        k: s
        for k, s in chosen.items()
        if k.startswith(("model.model.", "conditioner.")) and "timestep_features" not in k
    }


def layer_name(key: str) -> str:
    """As a native file calls the layer of a checkpoint key."""
    return key.removesuffix(".weight").removeprefix("conditioner." if key.startswith("conditioner.") else "model.")


def layer(kind: str, shape: tuple[int, ...], rng: np.random.Generator, rank: int = RANK) -> dict[str, np.ndarray]:
    rows, columns = shape[0], int(np.prod(shape[1:]))
    shapes = {
        "lora_A": (rank, columns),
        "lora_B": (rows, rank),
        "M_xs": (rank, rank),
        "magnitude": (columns if "cols" in kind else rows,),
        "magnitude_r": (rows,),
        "magnitude_c": (columns,),
    }
    return {n: (0.3 * rng.standard_normal(shapes[n])).astype(np.float16) for n in KINDS[kind].tensors}


def tensors(kind: str = "lora", config: dict | None = None, part: str = "", seed: int = 1) -> dict[str, np.ndarray]:
    """A file's tensors for every layer whose checkpoint key contains ``part``."""
    rng = np.random.default_rng(seed)
    return {
        f"{layer_name(key)}.parametrizations.weight.0.{name}": value
        for key, shape in weights(config or checkpoints.diffusion()).items()
        if part in key
        for name, value in layer(kind, shape, rng).items()
    }


def save(path: Path, arrays: dict[str, np.ndarray], settings: dict | None | str = None, **more: str) -> Path:
    """A .safetensors file with ``settings`` as its lora_config (a str as it is)."""
    text = settings if isinstance(settings, str) else json.dumps(settings)
    return checkpoints.save(path, arrays, more | ({} if settings is None else {"lora_config": text}))


def write(path: Path, kind: str = "lora", alpha: float = 3, **options) -> Path:
    return save(path, tensors(kind, **options), {"rank": RANK, "alpha": alpha, "adapter_type": kind})
