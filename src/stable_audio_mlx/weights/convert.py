"""Conversion of a checkpoint into our folder: config, one NPZ per part, text encoder, manifest; all or nothing."""

import json
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np

from ..errors import OptionError, WeightsError
from . import registry, safetensors
from .arrays import STORAGE
from .checkpoint import TextFiles, part_prefixes, read_entries
from .folder import Extra, Item, Part, Progress, same_result, sha256, write_folder
from .layout import Tensor, parameters
from .measure import velocity_snr
from .quantize import BITS, GROUP, Packing, QuantizedTensor, packed_shapes, quantizable
from .source import DTYPES, ConvertedModel, ModelSource, converted_tensors, open_path
from .store import read_npz
from .text import check_entries, load_tokenizer, read_encoder, text_config

TEXT_FILE = "text_encoder.safetensors"


class Conversion(NamedTuple):
    """The manifest of a converted folder; not ``fresh`` when an equal result was there already."""

    manifest: dict[str, Any]
    fresh: bool


def convert_folder(
    source: Path,
    output: Path,
    dtype: str = "float32",
    *,
    quantize: int | None = None,
    measure: bool = True,
    name: str | None = None,
    autoencoder: bool = False,
    overwrite: bool = False,
    allow_pickle: bool = False,
    download: bool = True,
    progress: Progress | None = None,
) -> Conversion:
    """Convert a checkpoint folder (or weights file) into ``output``.

    Weight norm is fused in float64 and rounded once.  ``dtype`` is how transformer and text encoder are stored,
    ``quantize`` (8 or 4 bits) packs their large matrices; everything else is float32.  What either does to the
    velocity is measured unless ``measure`` is off.  With ``autoencoder``, only that part of a diffusion model is taken.
    Nothing appears under ``output`` before all of it is written.  An output that holds exactly this result already is
    left as it is.  Raises OptionError for an output that is something else (``overwrite`` replaces a converted model),
    WeightsError for weights that do not fit, are not finite or do not find room on the disk.
    """
    model = open_path(source, allow_pickle, autoencoder)
    if isinstance(model, ConvertedModel):
        raise OptionError(f"{source}: is converted already; give the checkpoint it was made from")
    stored = storage(dtype, quantize)
    record = describe_source(model, name, progress) | stored
    done = same_result(output, record)
    if done and not overwrite:
        return Conversion(done, fresh=False)
    text = model.text_files(download)
    parts, extras = contents(model, text, dtype, quantize)
    if measure and "dit" in parts and (dtype != "float32" or quantize):
        extras.append(partial(measured, model))
    manifest = write_folder(
        output,
        model.config_text,
        parts,
        record,
        extras=tuple(extras),
        extra_bytes=text.weights.stat().st_size // 4 if text and text.weights else 0,
        overwrite=overwrite,
        progress=progress,
    )
    return Conversion(manifest, fresh=True)


def storage(dtype: str, quantize: int | None) -> dict[str, Any]:
    """How weights are stored, for the manifest; OptionError for what there is not."""
    if dtype not in DTYPES:
        raise OptionError(f"dtype {dtype!r} is not one of {', '.join(DTYPES)}")
    if quantize not in (None, *BITS):
        raise OptionError(f"quantize {quantize!r} is not one of {', '.join(map(str, BITS))}")
    packed = {"quantization": {"bits": quantize, "group_size": GROUP, "mode": "affine"}} if quantize else {}
    return {"dtype": dtype} | packed


def contents(
    model: ModelSource, text: TextFiles | None, dtype: str, quantize: int | None
) -> tuple[dict[str, Part], list[Extra]]:
    """What a folder made of ``model`` gets: the arrays of its parts, and how its other files are written."""
    built = model.create()
    parts: dict[str, Part] = {}
    for part in model.parts:
        kind, bits = (dtype, quantize) if part == "dit" else ("float32", None)
        parts[part] = planned(model.adapted(part, built[part]), built[part], kind, bits)
    extras: list[Extra] = [partial(write_text, text, dtype, quantize)] if text else []
    if quantize and built.dit is not None:
        extras.append(partial(counted, built.dit))
    return parts, extras


def describe_source(model: ModelSource, name: str | None, progress: Progress | None) -> dict[str, Any]:
    """Name, origin and licence for the manifest; every byte of the source's files is read."""
    files = [{"path": f.name, "bytes": f.stat().st_size, "sha256": sha256(f, progress)} for f in model.weights]
    first, *others = files
    origin: dict[str, Any] = first | ({"also": others} if others else {})
    given = model.name if model.repo else name or ""
    known = registry.find_by_hash(str(first["sha256"])) or registry.KNOWN.get(given)
    if known:
        origin["repo"] = model.repo or known.repo
    return {
        "name": name or (known.name if known else model.name),
        "source": origin,
        "license": known.license if known else "that of the source checkpoint",
    }


def planned(tensors: dict[str, Tensor], module: Any, dtype: str, bits: int | None) -> Part:
    """How each array of a part will be made; with ``bits``, large matrices become three arrays each."""
    packed = set(quantizable(module)) if bits else set()
    part: Part = {}
    for key, tensor in tensors.items():
        if key not in packed or not bits:
            part[key] = Item(tensor.nbytes, dtype, tensor.read)
            continue
        part |= packing(key, tensor, bits, dtype)
    return part


def packing(key: str, tensor: Tensor, bits: int, dtype: str) -> Part:
    """The three arrays of a quantised matrix."""
    rows, columns = tensor.shape
    matrix, group = Packing(tensor.read, bits, DTYPES[dtype]), rows * columns // GROUP * STORAGE[dtype].itemsize
    sizes = (rows * columns * bits // 8, group, group)
    kinds = ("uint32", dtype, dtype)
    return {
        name: Item(sizes[i], kinds[i], partial(matrix.array, i)) for i, name in enumerate(QuantizedTensor.names(key))
    }


def measured(model: ModelSource, folder: Path) -> dict[str, dict[str, Any]]:
    """What storage does to the velocity of the transformer in ``folder``, for its line in the manifest."""
    path = folder / "dit.npz"
    entries = read_npz(path)
    snr = velocity_snr(
        lambda: model.create().dit,
        lambda dit: model.tensors("dit", dit),
        lambda dit: converted_tensors(entries, dit, str(path)),
    )
    return {path.name: {"velocity_snr_db": round(snr, 1)}}


def counted(dit: Any, _: Path) -> dict[str, dict[str, Any]]:
    """How many parameters a quantised transformer stands for, and how many of its matrices are quantised."""
    total = sum(value.size for value in parameters(dit).values())
    return {"dit.npz": {"parameters": total, "quantized": len(quantizable(dit))}}


def write_model_folder(
    output: Path,
    config: dict[str, Any],
    parts: dict[str, dict[str, mx.array]],
    text: TextFiles | None = None,
    *,
    name: str | None = None,
    dtype: str = "float32",
    license: str = "",
    source: dict[str, Any] | None = None,
    defaults: dict[str, Any] | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write trained weights (part -> parameter -> array, our names) as a converted folder; returns its manifest.

    ``defaults``: what to sample this model with where its objective does not say it well (steps, cfg_scale, sampler).
    """
    record = {"name": name or output.name, "source": source or {}, "license": license, "dtype": dtype}
    record |= {"defaults": defaults} if defaults else {}
    lazy: dict[str, Part] = {
        part: {key: Item(array.nbytes, dtype, partial(to_numpy, array)) for key, array in arrays.items()}
        for part, arrays in parts.items()
    }
    lost = set(part_prefixes(config)) ^ set(parts)
    if lost:
        raise WeightsError(f"the config and the weights do not have the same parts: {', '.join(sorted(lost))}")
    raw = json.dumps(config, indent=1).encode()
    extras = (partial(write_text, text, dtype, None),) if text else ()
    return write_folder(output, raw, lazy, record, extras=extras, overwrite=overwrite)


def to_numpy(array: mx.array) -> np.ndarray:
    return np.array(array.astype(mx.float32) if mx.issubdtype(array.dtype, mx.floating) else array)


def write_text(text: TextFiles, dtype: str, bits: int | None, folder: Path) -> dict[str, dict[str, Any]]:
    """Write the encoder's share of a text model (never widened) and its tokenizer; returns what was counted."""
    words = load_tokenizer(text.tokenizer, text.config)
    (folder / "tokenizer.json").write_text(words.to_str(), "utf-8")
    if text.config is None or text.weights is None:
        return {}
    (folder / "text_encoder.json").write_text(json.dumps(text_config(text.config), indent=1) + "\n", "utf-8")
    kind, cfg = read_encoder(text.config)
    network = kind(cfg)
    entries = read_entries(text.weights)
    used = {item: name for name, item in check_entries(network, entries, text.weights).items()}
    packed = set(quantizable(network)) if bits else set()
    kept: dict[str, safetensors.Payload] = {}
    total = quantised = 0
    for key, item in entries.items():
        if item not in used:
            continue
        name = used.pop(item)
        total += item.size
        kind_of = safetensors.narrowed(item, None if dtype == "float32" else dtype)
        if bits and name in packed:
            quantised += 1
            items = packing(key, Tensor((item,), item.shape, None), bits, kind_of if kind_of in DTYPES else "float32")
            shapes = packed_shapes(item.shape, bits)
            for (part, made), shape in zip(items.items(), shapes, strict=True):
                kept[part] = safetensors.computed(made.read, made.dtype, shape)
        else:
            kept[key] = safetensors.copied(item, kind_of)
    safetensors.write(folder / TEXT_FILE, kept, {"format": "mlx"})
    counts = {"tensors": len(kept), "parameters": total}
    return {TEXT_FILE: counts | ({"quantized": quantised} if quantised else {})}
