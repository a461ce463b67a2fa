"""The tensors of LoRA files: found by name, checked layer by layer, written with the dtype that they have."""

import math
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from ..errors import WeightsError
from ..weights import safetensors
from ..weights.arrays import FLOATS, Entry
from ..weights.checkpoint import summary
from .adapter import AB, BASES, KINDS, XS, Layer

TENSORS = {*AB, *XS, *BASES, "magnitude", "magnitude_r", "magnitude_c"}


def grouped(
    path: Path, entries: Mapping[str, Entry], pattern: re.Pattern[str], names: Mapping[str, str] | None = None
) -> dict[str, dict[str, mx.array]]:
    """Layer name -> tensor name -> array, as the file has it; ``names``: its own names of the tensors -> ours."""
    out: dict[str, dict[str, mx.array]] = {}
    strange = []
    for key, entry in sorted(entries.items()):
        match = pattern.fullmatch(key)
        name = (names or {}).get(match["tensor"], match["tensor"]) if match else ""
        if not match or name not in TENSORS or entry.dtype not in FLOATS or not entry.size:
            strange.append(f"{key} {entry.dtype} {entry.shape}")
            continue
        layer = out.setdefault(match["layer"], {})
        if name in layer:
            raise WeightsError(
                f"{path}: {match['layer']} has {name} twice; a file holds one LoRA, save them one by one"
            )
        layer[name] = entry.load()
        if not mx.isfinite(layer[name]).all().item():
            raise WeightsError(f"{path}: {key} has values that are not finite; the file is damaged or training failed")
    if strange:
        raise WeightsError(f"{path}: {len(strange)} tensors are no LoRA's: {summary(strange)}")
    if not out:
        raise WeightsError(f"{path}: holds no tensor; this is no LoRA")
    return out


def checked(path: Path, name: str, found: Mapping[str, mx.array], type_: str) -> Layer:
    """A layer, matrices 2-D and magnitudes 1-D; WeightsError for tensors missing, too many or misshapen."""
    kind = KINDS[type_]
    wanted = {*kind.tensors, *(BASES if kind.needs_bases and found.keys() >= set(BASES) else ())}
    missing, extra = sorted(wanted - found.keys()), sorted(found.keys() - wanted)
    if missing or extra:
        what = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"has {', '.join(extra)}"] * bool(extra)
        raise WeightsError(f"{path}: {name} {' and '.join(what)}, which does not make a layer of type {type_}")
    tensors = {}
    for key, tensor in found.items():
        vector = key.startswith("magnitude")
        fits = max(tensor.shape, default=0) == tensor.size if vector else tensor.ndim >= 2
        if not fits or (key == "M_xs" and tensor.shape != tensor.shape[:1] * 2):
            raise WeightsError(f"{path}: {name} {key} has the shape {tensor.shape}, which it cannot have")
        tensors[key] = tensor.reshape(-1) if vector else tensor.reshape(tensor.shape[0], -1)
    layer = Layer(tensors, 1.0)
    if "lora_B" in tensors and tensors["lora_B"].shape[1] != layer.rank:
        shapes = f"lora_A {tensors['lora_A'].shape} and lora_B {tensors['lora_B'].shape}"
        raise WeightsError(f"{path}: {name}: {shapes} do not have one rank")
    return layer


def number(path: Path, name: str, value: Any) -> float:
    huge = isinstance(value, int) and abs(value) > 1 << 60
    if isinstance(value, bool) or not isinstance(value, int | float) or huge or not math.isfinite(value):
        raise WeightsError(f"{path}: {name} {str(value)[:40]!r} must be a number")
    return float(value)


def whole(value: float) -> int | float:
    """4.0 -> 4: how settings are usually written."""
    return int(value) if value == int(value) else value


def save(path: Path, tensors: Mapping[str, mx.array], metadata: dict[str, str]) -> None:
    """Write arrays into a .safetensors file, each with the dtype that it has."""
    payloads = {
        key: safetensors.computed(partial(values, tensor), str(tensor.dtype).rpartition(".")[2], tensor.shape)
        for key, tensor in tensors.items()
    }
    safetensors.write(path, payloads, metadata)


def values(tensor: mx.array) -> np.ndarray:
    return np.array(tensor.astype(mx.float32))
