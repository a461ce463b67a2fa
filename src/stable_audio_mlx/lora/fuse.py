"""LoRAs made permanent: a model folder with merged weights, and LoRA files in another layout."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from .. import cpu
from ..errors import WeightsError
from ..weights.convert import contents, describe_source, storage
from ..weights.folder import Progress, sha256, write_folder
from ..weights.source import ModelSource, open_model
from .adapter import BASES, Adapter, Layer, singular_bases
from .files import read_lora, write_lora
from .stack import Fit, LoraStack, find_targets, fit

# What of a base model's manifest is not that of a model made from it.
OWN = ("format", "name", "source", "dtype", "converter", "files", "license")


def fuse_model(
    model: str | Path,
    loras: Sequence[tuple[str | Path, float]],
    output: Path,
    *,
    dtype: str | None = None,
    quantize: int | None = None,
    overwrite: bool = False,
    download: bool = True,
    progress: Progress | None = None,
) -> tuple[dict[str, Any], list[Fit]]:
    """Write ``model`` with LoRAs merged in float32 as a converted folder; returns its manifest and what was touched.

    ``dtype`` (default: the base's) is how the transformer is stored, ``quantize`` (8 or 4 bits) packs its merged
    matrices.  Raises WeightsError for a base that is quantised already and LoRAs that do not fit, OptionError for an
    output that must not be replaced.
    """
    cpu.setup()
    source = open_model(model, download)
    base = source.manifest or {}
    if base.get("quantization"):
        raise WeightsError(f"{source.name}: quantised already; fuse into the model it was made from, with --quantize")
    dtype = dtype or str(base.get("dtype", "float32"))
    stored, stack = storage(dtype, quantize), LoraStack(source)
    fits = [stack.add(path, strength) for path, strength in loras]
    stack.select()
    parts, extras = contents(source, source.text_files(download), dtype, quantize)
    record = fused_record(source, output.name, stack.loras, progress) | stored
    made = write_folder(
        output, source.config_text, parts, record, extras=tuple(extras), overwrite=overwrite, progress=progress
    )
    return made, fits


def fused_record(
    source: ModelSource, name: str, loras: Sequence[tuple[Fit, float]], progress: Progress | None
) -> dict[str, Any]:
    """The manifest's account of base and LoRAs; what else the base's says (its defaults) is handed on."""
    base = source.manifest or describe_source(source, None, progress)
    files = [
        {"path": found.adapter.path.name, "sha256": sha256(found.adapter.path), "strength": strength}
        for found, strength in loras
    ]
    origin = {"base": base.get("name"), "base_source": base.get("source"), "lora": files}
    rest = {key: value for key, value in base.items() if key not in OWN}
    return {"name": name, "source": origin, "license": base.get("license", ""), **rest}


def convert_lora(
    file: str | Path,
    output: Path,
    format: str,
    *,
    base: str | Path | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    overwrite: bool = False,
) -> Path:
    """Write a LoRA as "native" or "peft"; returns the weights file.

    With ``base`` (the model it was trained on) an -xs kind takes along the singular vectors that it stands on, so that
    it is the same on every model; PEFT, which knows no -xs kinds, gets a plain update of them.  OptionError for what
    the format cannot say, WeightsError for a LoRA that does not fit ``base``.
    """
    adapter = read_lora(file)
    if base is not None:
        adapter = with_bases(adapter, open_model(base))
    if format == "peft" and all(layer.tensors.keys() >= set(BASES) for layer in adapter.layers.values()):
        adapter = without_bases(adapter)
    return write_lora(adapter, output, format, include, exclude, overwrite)


def with_bases(adapter: Adapter, source: ModelSource) -> Adapter:
    """An -xs kind with the U and V of the model's weights in its layers; other kinds as they are, if they fit."""
    built = source.create()
    targets = find_targets(built)
    found = fit(adapter, targets, source.name)
    if not adapter.kind.needs_bases:
        return adapter
    tensors = {part: source.tensors(part, built[part]) for part in {targets[key].part for key in found.keys}}
    layers: dict[str, Layer] = {}
    for key, name in found.keys.items():
        part, parameter, shape, turn = targets[key]
        weight = np.array(tensors[part][parameter].load(mx.float32))
        matrix = (weight.transpose(turn) if turn else weight).reshape(shape[0], -1)
        layer = adapter.layers[name]
        bases = dict(zip(BASES, map(mx.array, singular_bases(matrix, layer.rank)), strict=True))
        layers[name] = dataclasses.replace(layer, tensors={**bases, **layer.tensors})
    return dataclasses.replace(adapter, layers=layers)


def without_bases(adapter: Adapter) -> Adapter:
    """U M V as a plain update: lora_B = U M, lora_A = V transposed."""
    layers = {}
    for name, layer in adapter.layers.items():
        tensors = {key: tensor.astype(mx.float32) for key, tensor in layer.tensors.items()}
        u, v, core = tensors.pop("U"), tensors.pop("V"), tensors.pop("M_xs")
        with mx.stream(mx.cpu):
            layers[name] = dataclasses.replace(layer, tensors={"lora_A": v.T, "lora_B": u @ core, **tensors})
    return dataclasses.replace(adapter, type=adapter.type.removesuffix("-xs"), layers=layers)
