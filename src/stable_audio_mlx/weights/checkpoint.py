"""A checkpoint as people have it: the files of a source folder and their tensors, without the trainer around the model.

Nothing is read here but headers; every tensor stays an ``Entry`` (file, offset, shape, dtype) until it is needed.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigError, WeightsError
from . import pickles, safetensors
from .arrays import Entry
from .hub import CONFIG
from .registry import OPTIMIZED_TEXT
from .store import read_npz

MAX_JSON = 64 << 20
PICKLES = (".ckpt", ".pt", ".pth", ".bin")
# Checkpoint prefix of each part, by kind of model.
DIFFUSION_PARTS = {"dit": "model.model.", "autoencoder": "pretransform.model.", "conditioner": "conditioner."}
AUTOENCODER_PARTS = {"autoencoder": ""}
# Trainer's name for the model -> where its moving average (EMA) of the weights belongs in the model.
TRAINERS = {"diffusion": "model.", "autoencoder": ""}


@dataclass(frozen=True)
class TextFiles:
    """Where a text encoder lies: Hugging Face config.json, weights (.safetensors, may be sharded), tokenizer.json.

    All three may be one NPZ file, which has the config as ``META`` and a SentencePiece model as ``TOKENIZER_MODEL``.
    """

    config: Path | None
    weights: Path | None
    tokenizer: Path | None


# Folder of config and weights, folder of the tokenizer: Stable Audio Open, Stable Audio 3, a plain Hugging Face repo.
TEXT_FOLDERS = (("text_encoder", "tokenizer"), ("t5gemma-b-b-ul2", "t5gemma-b-b-ul2"), ("", ""))


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint folder: parsed config, its path, the weights file (or shard index)."""

    folder: Path
    config: dict[str, Any]
    config_path: Path
    weights: Path


def find_checkpoint(path: Path) -> Checkpoint:
    """The config and weights of a folder, or of one weights file with its config beside it.

    WeightsError says which file is missing; ConfigError that the config is no JSON object.
    """
    if path.is_file():
        stem = path.stem
        names = [f"{stem}_config.json", f"{stem.removesuffix('_model')}_config.json", CONFIG]
        config = next((path.parent / n for n in names if (path.parent / n).is_file()), None)
        if config is None:
            raise WeightsError(f"{path}: no config beside it; put its {CONFIG} into {path.parent}")
        return Checkpoint(path.parent, read_json(config), config, path)
    config = path / CONFIG
    if not config.is_file():
        raise WeightsError(f"{path}: no {CONFIG} in this folder; a source folder has {CONFIG} and model.safetensors")
    return Checkpoint(path, read_json(config), config, find_weights(path))


def find_weights(folder: Path) -> Path:
    """model.safetensors, its shard index, the only other .safetensors file, or the only pickle."""
    for name in ("model.safetensors", "model.safetensors.index.json"):
        if (folder / name).is_file():
            return folder / name
    for suffixes in ((".safetensors",), PICKLES):
        found = sorted(f for f in folder.iterdir() if f.suffix in suffixes and f.is_file())
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(f.name for f in found)
            raise WeightsError(f"{folder}: several weight files ({names}); name the one to use instead of the folder")
    raise WeightsError(f"{folder}: no model.safetensors in this folder; put the checkpoint there")


def read_entries(path: Path, allow_pickle: bool = False) -> dict[str, Entry]:
    """Key -> Entry of a .safetensors or .npz file, a shard index, or (only when allowed) a PyTorch pickle."""
    if path.suffix == ".safetensors":
        return safetensors.read_header(path)
    if path.suffix == ".npz":
        return read_npz(path)
    if path.name.endswith(".index.json"):
        return read_shards(path)
    if not allow_pickle:
        raise WeightsError(
            f"{path}: a PyTorch pickle, which can hide programs; it is only read by `convert.py --allow-pickle`, "
            "tensors only. A .safetensors file of the same weights needs no such permission."
        )
    return pickles.read_pickle(path)


def read_shards(index: Path) -> dict[str, Entry]:
    """All tensors of the files that a shard index names."""
    table = read_json(index).get("weight_map")
    if not isinstance(table, dict) or not all(isinstance(name, str) for name in table.values()):
        raise WeightsError(f"{index}: no 'weight_map'; download it again")
    entries: dict[str, Entry] = {}
    for name in sorted(set(table.values())):
        shard = index.parent / name
        if Path(name).name != name or not shard.is_file():
            raise WeightsError(f"{index}: its part {name!r} is missing beside it; download it too")
        entries |= safetensors.read_header(shard)
    lost = sorted(set(table) - set(entries))
    if lost:
        raise WeightsError(f"{index}: {len(lost)} tensors are not in their files, first {lost[0]!r}; download it again")
    return entries


def unwrap(entries: dict[str, Entry], autoencoder: bool) -> dict[str, Entry]:
    """Rename to the model's own keys: without the trainer, with averaged (EMA) weights where the trainer kept them.

    ``autoencoder``: the config describes an autoencoder alone; then a full model's file gives its autoencoder.
    """
    for trainer, place in TRAINERS.items():
        plain, averaged = f"{trainer}.", f"{trainer}_ema.ema_model."
        if any(key.startswith(plain) for key in entries):
            model = {key.removeprefix(plain): e for key, e in entries.items() if key.startswith(plain)}
            ema = {place + key.removeprefix(averaged): e for key, e in entries.items() if key.startswith(averaged)}
            entries = model | ema
            break
    prefix = DIFFUSION_PARTS["autoencoder"]
    if autoencoder and any(key.startswith(prefix) for key in entries):
        return {key.removeprefix(prefix): e for key, e in entries.items() if key.startswith(prefix)}
    return entries


def is_autoencoder(config: dict[str, Any]) -> bool:
    return config.get("model_type") == "autoencoder"


def autoencoder_config(config: dict[str, Any]) -> dict[str, Any]:
    """The config of a diffusion model's autoencoder alone; that of an autoencoder as it is."""
    model = config.get("model")
    section = model.get("pretransform") if isinstance(model, dict) else None
    if is_autoencoder(config) or not isinstance(section, dict):
        return config
    common: dict[str, Any] = {
        key: config[key] for key in ("sample_rate", "sample_size", "audio_channels") if key in config
    }
    return {"model_type": "autoencoder", **common, "model": section.get("config")}


def part_prefixes(config: dict[str, Any]) -> dict[str, str]:
    """Part name -> checkpoint prefix, for the parts that the config has."""
    if is_autoencoder(config):
        return AUTOENCODER_PARTS
    model = config.get("model")
    model = model if isinstance(model, dict) else {}
    absent = {"autoencoder": not model.get("pretransform"), "conditioner": not model.get("conditioning")}
    return {part: prefix for part, prefix in DIFFUSION_PARTS.items() if not absent.get(part)}


def split_parts(entries: dict[str, Entry], config: dict[str, Any], where: Path) -> dict[str, dict[str, Entry]]:
    """Part name -> its tensors, prefix removed; tensors that belong to no part are an error."""
    prefixes = part_prefixes(config)
    parts: dict[str, dict[str, Entry]] = {part: {} for part in prefixes}
    lost = []
    for key, item in entries.items():
        part = next((p for p, prefix in prefixes.items() if key.startswith(prefix)), None)
        if part is None:
            lost.append(key)
        else:
            parts[part][key.removeprefix(prefixes[part])] = item
    if lost:
        raise WeightsError(f"{where}: tensors that {CONFIG} has no place for ({len(lost)}): {summary(lost)}")
    return parts


def text_conditioner(config: dict[str, Any]) -> dict[str, Any] | None:
    """The ``conditioning`` item that reads text through a tokenizer, or None."""
    model = config.get("model")
    conditioning = model.get("conditioning") if isinstance(model, dict) else None
    items = conditioning.get("configs") if isinstance(conditioning, dict) else None
    for item in items if isinstance(items, list) else []:
        if isinstance(item, dict) and item.get("type") in ("t5", "t5gemma", "lut"):
            return item
    return None


def find_text(folder: Path) -> TextFiles:
    """The text encoder's files beside a checkpoint; None for each that is not there."""
    if archive := present(folder / OPTIMIZED_TEXT):
        return TextFiles(archive, archive, archive)
    for place, words in TEXT_FOLDERS:
        config, weights = folder / place / "config.json", folder / place / "model.safetensors"
        if not weights.is_file():
            weights = folder / place / "model.safetensors.index.json"
        tokenizer = folder / words / "tokenizer.json"
        if place and (config.is_file() or tokenizer.is_file()):
            return TextFiles(present(config), present(weights), present(tokenizer))
    return TextFiles(None, None, present(folder / "tokenizer.json"))


def present(path: Path) -> Path | None:
    return path if path.is_file() else None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; ConfigError for anything else, whatever the bytes are."""
    try:
        if path.stat().st_size > MAX_JSON:
            raise ConfigError(f"{path}: too large for a JSON file of a model")
        value = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid JSON ({str(error)[:80]})") from None
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: expected a JSON object, got {type(value).__name__}")
    return value


def summary(keys: list[str]) -> str:
    """Every key, those that differ only in their numbers written once: ``layers.*.weight (24)``."""
    groups: dict[str, list[str]] = {}
    for key in keys:
        pattern = ".".join("*" if p.isdigit() else p for p in key.split("."))
        groups.setdefault(pattern, []).append(key)
    return ", ".join(k[0] if len(k) == 1 else f"{p} ({len(k)})" for p, k in sorted(groups.items()))
