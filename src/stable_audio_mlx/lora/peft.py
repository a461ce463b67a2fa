"""Folders of Hugging Face PEFT: adapter_model.safetensors and adapter_config.json."""

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx

from ..errors import OptionError, WeightsError
from ..files import written_whole
from .adapter import AB, Adapter, Layer
from .tensors import checked, number, save, whole

KEY = re.compile(
    r"(?:base_model\.model\.)?(?P<layer>.+)\.lora_(?P<tensor>[AB]|magnitude_vector)(?:\.default)?(?:\.weight)?"
)
NAMES = {"A": "lora_A", "B": "lora_B", "magnitude_vector": "magnitude"}
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
# PEFT's ways to begin that put the adapter on top of other base weights than the checkpoint's.
OTHER_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
# The convolutions of released transformers; their kernel is one, and PEFT keeps its axis.
CONVOLUTIONS = ("preprocess_conv", "postprocess_conv")


def read(path: Path, tensors: dict[str, dict[str, mx.array]], config: dict[str, Any], where: Path) -> Adapter:
    """Settings come from adapter_config.json; without one, alpha is the rank."""
    refuse_other_peft(config, where)
    dora = config.get("use_dora", any("magnitude" in t for t in tensors.values()))
    type_ = "dora-rows" if dora else "lora"
    layers = {}
    for name, found in tensors.items():
        layer = checked(path, name, found, type_)
        rank = pattern(config, "rank_pattern", name, config.get("r", layer.rank))
        if rank != layer.rank:
            raise WeightsError(f"{path}: {name} has rank {layer.rank}, {where.name} says {str(rank)[:40]}")
        alpha = number(where, "lora_alpha", pattern(config, "alpha_pattern", name, config.get("lora_alpha", rank)))
        layers[name] = dataclasses.replace(layer, scale=alpha / (math.sqrt(rank) if config.get("use_rslora") else rank))
    first = next(iter(layers.values()))
    extra = {"base_model": config["base_model_name_or_path"]} if config.get("base_model_name_or_path") else {}
    return Adapter(path, "peft", type_, layers, first.rank, first.scale * first.rank, extra)


def refuse_other_peft(config: Mapping[str, Any], where: Path) -> None:
    """WeightsError for settings of PEFT that would need another formula."""
    start = str(config.get("init_lora_weights", "")).lower()
    wrong = {
        "peft_type": config.get("peft_type", "LORA") != "LORA",
        "init_lora_weights": start.startswith(OTHER_BASE),
        **{k: bool(config.get(k)) for k in ("fan_in_fan_out", "lora_bias", "layer_replication", "use_bdlora")},
    }
    for key in (k for k, bad in wrong.items() if bad):
        raise WeightsError(f"{where}: {key} {str(config[key])[:40]!r} is not supported; merge it with PEFT first")


def pattern(config: Mapping[str, Any], key: str, name: str, default: Any) -> Any:
    """PEFT's exceptions by layer: the key is the end of a layer's name."""
    table = config.get(key) or {}
    if not isinstance(table, dict):
        return default
    return next((v for k, v in table.items() if name == k or name.endswith(f".{k}")), default)


def write(adapter: Adapter, path: Path) -> Path:
    """``path`` and adapter_config.json beside it; OptionError for kinds that PEFT does not have."""
    if adapter.type not in ("lora", "dora-rows"):
        hint = "; with --base MODEL it becomes one of them" if adapter.type in ("lora-xs", "dora-rows-xs") else ""
        raise OptionError(f"{adapter.path}: PEFT has no {adapter.type}, only lora and dora-rows{hint}")
    layers, alphas = adapter.layers, {n: whole(layer.scale * layer.rank) for n, layer in adapter.layers.items()}
    rank, alpha = next(iter(layers.values())).rank, next(iter(alphas.values()))
    config: dict[str, Any] = {
        "peft_type": "LORA",
        "base_model_name_or_path": str(adapter.extra.get("base_model") or ""),
        "r": rank,
        "lora_alpha": alpha,
        "use_dora": adapter.type == "dora-rows",
        "use_rslora": False,
        "target_modules": sorted(layers),
        "rank_pattern": {n: layer.rank for n, layer in layers.items() if layer.rank != rank},
        "alpha_pattern": {n: value for n, value in alphas.items() if value != alpha},
        "lora_dropout": 0.0,
        "bias": "none",
        "inference_mode": True,
    }
    tensors: dict[str, mx.array] = {}
    for name, layer in layers.items():
        tensors |= peft_tensors(f"base_model.model.{name}", layer, convolution=name.endswith(CONVOLUTIONS))
    with written_whole(path) as part:
        save(part, tensors, {"format": "pt"})
    with written_whole(path.with_name(CONFIG)) as part:
        part.write_text(json.dumps(config, indent=1) + "\n")
    return path


def peft_tensors(name: str, layer: Layer, convolution: bool) -> dict[str, mx.array]:
    """A layer's tensors as PEFT has them."""
    out = {}
    for key, tensor in layer.tensors.items():
        if key in AB:
            out[f"{name}.{key}.weight"] = tensor[..., None] if convolution else tensor
        else:
            out[f"{name}.lora_magnitude_vector"] = tensor[None, :, None] if convolution else tensor
    return out
