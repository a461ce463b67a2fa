"""The native layout of LoRA files: ``LAYER.parametrizations.weight.0.TENSOR``, settings as JSON in the header."""

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx

from ..errors import OptionError, WeightsError
from ..files import written_whole
from .adapter import AB, KINDS, Adapter
from .tensors import checked, number, save, whole

KEY = re.compile(r"(?P<layer>.+)\.parametrizations\.weight\.(?P<index>\d+)\.(?P<tensor>\w+)")
SETTINGS = ("rank", "alpha", "adapter_type")


def read(path: Path, tensors: dict[str, dict[str, mx.array]], metadata: Mapping[str, str]) -> Adapter:
    """Settings come from the header's ``lora_config``; what it lacks is found in the tensors."""
    config = native_config(path, metadata)
    named = str(config.get("adapter_type") or guess_type(tensors))
    type_ = dora_axis(path, tensors) if named == "dora" else named
    if type_ not in KINDS:
        raise WeightsError(f"{path}: unknown adapter type {named[:40]!r}; known: dora, {', '.join(KINDS)}")
    given = config.get("rank")
    if given is not None and not (type(given) is int and given > 0):
        raise WeightsError(f"{path}: rank {str(given)[:40]!r} in its lora_config must be a positive whole number")
    layers = {}
    for name, found in tensors.items():
        layer = checked(path, name, found, type_)
        rank = layer.rank if given is None else given
        if rank != layer.rank:
            raise WeightsError(f"{path}: {name} has rank {layer.rank}, its lora_config says {str(rank)[:40]}")
        layers[name] = dataclasses.replace(layer, scale=number(path, "alpha", config.get("alpha", rank)) / rank)
    first = next(iter(layers.values()))
    alpha = first.scale * first.rank
    extra = {k: v for k, v in {**metadata_facts(metadata), **config}.items() if k not in SETTINGS}
    return Adapter(path, "native", type_, layers, first.rank, alpha, extra)


def native_config(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    try:
        config = json.loads(metadata.get("lora_config", "{}"))
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise WeightsError(f"{path}: the lora_config in its header is not a JSON object; save it again")
    return config


def metadata_facts(metadata: Mapping[str, str]) -> dict[str, str]:
    return {k: v for k, v in metadata.items() if k not in ("lora_config", "format")}


def guess_type(tensors: Mapping[str, Mapping[str, mx.array]]) -> str:
    """The adapter type of a file that does not say; "dora" still lacks its axis."""
    first = next(iter(tensors.values()))
    base = "bora" if "magnitude_r" in first else "dora" if "magnitude" in first else "lora"
    if "M_xs" not in first:
        return base
    return "dora-rows-xs" if base == "dora" else f"{base}-xs"


def dora_axis(path: Path, tensors: Mapping[str, Mapping[str, mx.array]]) -> str:
    """Old files say "dora": a magnitude (1, in) is per column, (out, 1) per row, and a plain one whatever it fits."""
    layers = [t for t in tensors.values() if {"magnitude", *AB} <= t.keys()]
    if not layers:
        return "dora-rows"
    shape = layers[0]["magnitude"].shape
    if len(shape) == 2 and 1 in shape and shape != (1, 1):
        return "dora-cols" if shape[0] == 1 else "dora-rows"
    rows = all(t["magnitude"].size == t["lora_B"].shape[0] for t in layers)
    columns = all(t["magnitude"].size == t["lora_A"].size // t["lora_A"].shape[0] for t in layers)
    return "dora-cols" if columns and not rows else "dora-rows"


def write(adapter: Adapter, path: Path) -> Path:
    """OptionError where layers differ in rank or scale: the format has one of each."""
    first = next(iter(adapter.layers.values()))
    if any((layer.rank, layer.scale) != (first.rank, first.scale) for layer in adapter.layers.values()):
        raise OptionError(f"{adapter.path}: its layers differ in rank or alpha, the native format has one of each")
    settings = {"rank": first.rank, "alpha": whole(first.scale * first.rank), "adapter_type": adapter.type}
    config = {**settings, "dropout": 0.0, "include": None, "exclude": None, **adapter.extra}
    tensors = {
        f"{name}.parametrizations.weight.0.{key}": tensor
        for name, layer in adapter.layers.items()
        for key, tensor in layer.tensors.items()
    }
    with written_whole(path) as part:
        save(part, tensors, {"lora_config": json.dumps(config)})
    return path
