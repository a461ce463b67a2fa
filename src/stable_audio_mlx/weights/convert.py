"""Conversion of a checkpoint into our folder: config, one NPZ per part, text encoder, manifest; all or nothing."""

import errno
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np

from .. import __version__
from ..config import lookup
from ..errors import OptionError, StableAudioError, WeightsError
from . import registry, safetensors
from .arrays import Entry
from .checkpoint import CONFIG, TextFiles, find_source, part_prefixes, read_entries, read_json
from .source import DTYPES, FORMAT, MANIFEST, ConvertedModel, check_manifest, open_path
from .store import write_npz
from .text import ENCODERS, check_entries, load_tokenizer

# (what is done now, bytes done, bytes in all)
Progress = Callable[[str, int, int], None]
Part = dict[str, tuple[int, Callable[[], np.ndarray]]]  # parameter -> (source bytes, how to read it)


class Conversion(NamedTuple):
    """The manifest of a converted folder; not ``fresh`` when an equal result was there already."""

    manifest: dict[str, Any]
    fresh: bool


def convert_folder(
    source: Path,
    output: Path,
    dtype: str = "float32",
    *,
    name: str | None = None,
    overwrite: bool = False,
    allow_pickle: bool = False,
    download: bool = True,
    progress: Progress | None = None,
) -> Conversion:
    """Convert a checkpoint folder (or weights file) into ``output``.

    Weight norm is fused in float64 and rounded once; ``dtype`` is how float weights are stored.  Nothing appears under
    ``output`` before all of it is written.  An output that holds exactly this result already is left as it is.
    Raises OptionError for an output that is something else (``overwrite`` replaces a converted model), WeightsError for
    weights that do not fit, are not finite or do not find room on the disk.
    """
    model = open_path(source, allow_pickle)
    if isinstance(model, ConvertedModel):
        raise OptionError(f"{source}: is converted already; give the checkpoint it was made from")
    if dtype not in DTYPES:
        raise OptionError(f"dtype {dtype!r} is not one of {', '.join(DTYPES)}")
    files = find_source(source)
    digest = sha256(files.weights, progress)
    origin = {"path": files.weights.name, "bytes": files.weights.stat().st_size, "sha256": digest}
    known = registry.find_by_hash(digest) or registry.KNOWN.get(name or "")
    record = {
        "name": name or (known.name if known else model.name),
        "source": origin | ({"repo": known.repo} if known else {}),
        "dtype": dtype,
        "license": known.license if known else "that of the source checkpoint",
    }
    done = same_result(output, record)
    if done and not overwrite:
        return Conversion(done, fresh=False)
    built = model.create()
    parts: dict[str, Part] = {
        part: {key: (t.nbytes, t.read) for key, t in model.tensors(part, built[part]).items()} for part in model.parts
    }
    text = model.text_files(download)
    manifest = write_folder(output, files.config_path.read_bytes(), parts, text, record, overwrite, progress)
    return Conversion(manifest, fresh=True)


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
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write trained weights (part -> parameter -> array, our names) as a converted folder; returns its manifest."""
    record = {"name": name or output.name, "source": source or {}, "dtype": dtype, "license": license}
    lazy: dict[str, Part] = {
        part: {key: (array.nbytes, partial(to_numpy, array)) for key, array in arrays.items()}
        for part, arrays in parts.items()
    }
    lost = set(part_prefixes(config)) ^ set(parts)
    if lost:
        raise WeightsError(f"the config and the weights do not have the same parts: {', '.join(sorted(lost))}")
    raw = json.dumps(config, indent=1).encode()
    return write_folder(output, raw, lazy, text, record, overwrite, None)


def to_numpy(array: mx.array) -> np.ndarray:
    return np.array(array.astype(mx.float32) if mx.issubdtype(array.dtype, mx.floating) else array)


def write_folder(
    output: Path,
    config: bytes,
    parts: dict[str, Part],
    text: TextFiles | None,
    record: dict[str, Any],
    overwrite: bool,
    progress: Progress | None,
) -> dict[str, Any]:
    """Write everything into a folder beside ``output``, then give it its name."""
    check_output(output, overwrite)
    check_space(output, parts, text, record["dtype"])
    unfinished = output.parent / f".{output.name}.partial"
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        unfinished.mkdir(parents=True)
        (unfinished / CONFIG).write_bytes(config)
        counts: dict[str, dict[str, Any] | None] = {}
        for part, tensors in parts.items():
            stream = reported(part, tensors, record["dtype"], progress)
            counts[f"{part}.npz"] = write_npz(unfinished / f"{part}.npz", stream)
        if text:
            counts["text_encoder.safetensors"] = write_text(unfinished, text, record["dtype"])
        files = {f.name: describe(f, counts.get(f.name)) for f in sorted(unfinished.iterdir())}
        manifest = {"format": FORMAT, **record, "converter": f"stable-audio-mlx {__version__}", "files": files}
        (unfinished / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
        replace(unfinished, output)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise WeightsError(
                f"{output}: the disk is full, nothing was written; free some space or use --output"
            ) from None
        raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return manifest


def reported(
    part: str, tensors: Part, dtype: str, progress: Progress | None
) -> Iterator[tuple[str, str, Callable[[], np.ndarray]]]:
    """The tensors of a part for ``write_npz``: checked to be finite on their way, progress told."""
    done, total = 0, sum(size for size, _ in tensors.values())
    for key, (size, read) in tensors.items():
        yield key, dtype, partial(finite, read, f"{part}.{key}")
        done += size
        if progress:
            progress(part, done, total)


def finite(read: Callable[[], np.ndarray], key: str) -> np.ndarray:
    array = read()
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise WeightsError(f"{key}: holds values that are not finite; the checkpoint is damaged, download it again")
    return array


def write_text(folder: Path, text: TextFiles, dtype: str) -> dict[str, Any] | None:
    """Copy the encoder's share of a text model (never widened) and its tokenizer; returns what was counted."""
    words = load_tokenizer(text.tokenizer, text.config)
    (folder / "tokenizer.json").write_text(words.to_str(), "utf-8")
    if text.config is None or text.weights is None:
        return None
    (folder / "text_encoder.json").write_bytes(text.config.read_bytes())
    section = read_json(text.config)
    kind = lookup(ENCODERS, section, str(text.config), key="model_type")
    network = kind(kind.Config.from_hugging_face(section, str(text.config)))
    entries = read_entries(text.weights)
    used = set(check_entries(network, entries, text.weights).values())
    kept: dict[str, Entry] = {}
    for key, item in entries.items():
        if item in used:
            used.remove(item)
            kept[key] = item
    safetensors.write(
        folder / "text_encoder.safetensors", kept, {"format": "mlx"}, None if dtype == "float32" else dtype
    )
    return {"tensors": len(kept), "parameters": sum(e.size for e in kept.values())}


def describe(path: Path, counted: dict[str, Any] | None) -> dict[str, Any]:
    """A file's line in the manifest."""
    return {"bytes": path.stat().st_size, "sha256": sha256(path)} | (counted or {})


def sha256(path: Path, progress: Progress | None = None) -> str:
    """The file's SHA-256 in hex; ``progress`` is told about files that take a while."""
    digest, done, total = hashlib.sha256(), 0, path.stat().st_size
    buffer = bytearray(4 << 20)
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(memoryview(buffer)[:count])
            done += count
            if progress:
                progress("reading", done, total)
    return digest.hexdigest()


def same_result(output: Path, record: dict[str, Any]) -> dict[str, Any] | None:
    """The manifest of an output folder that was made from the same checkpoint in the same way and is complete."""
    if not (output / MANIFEST).is_file():
        return None
    try:
        manifest = check_manifest(output)
    except StableAudioError:
        return None
    same = all(manifest.get(key) == record[key] for key in ("source", "dtype"))
    return manifest if same and manifest.get("converter") == f"stable-audio-mlx {__version__}" else None


def check_output(output: Path, overwrite: bool) -> None:
    """OptionError unless ``output`` is free, or a converted model that may be replaced."""
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if not (output / MANIFEST).is_file():
        raise OptionError(f"{output}: exists and is no converted model, it is left alone; choose another --output")
    if not overwrite:
        raise OptionError(
            f"{output}: holds another conversion; --overwrite replaces it, --output DIR puts it elsewhere"
        )


def check_space(output: Path, parts: dict[str, Part], text: TextFiles | None, dtype: str) -> None:
    """WeightsError when the disk has not the room; sources may be 16-bit, so this counts what will be written."""
    width = 4 if dtype == "float32" else 2
    need = sum(size for tensors in parts.values() for size, _ in tensors.values()) * width // 2
    need += text.weights.stat().st_size if text and text.weights else 0
    place = output.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < need // 2:
        raise WeightsError(f"{output}: about {need / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free on this disk")


def replace(finished: Path, output: Path) -> None:
    """Give the finished folder its name; an old model is gone only when the new one is in its place."""
    old = output.parent / f".{output.name}.old"
    shutil.rmtree(old, ignore_errors=True)
    if output.exists():
        output.rename(old)
    finished.rename(output)
    shutil.rmtree(old, ignore_errors=True)
