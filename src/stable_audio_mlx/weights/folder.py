"""A model folder on disk: written as a whole or not at all, found unchanged, replaced only when it is asked for."""

import errno
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import __version__
from ..errors import OptionError, StableAudioError, WeightsError
from .hub import CONFIG, MANIFEST
from .source import FORMAT, check_manifest
from .store import write_npz

# (what is done now, bytes done, bytes in all)
Progress = Callable[[str, int, int], None]


class Item(NamedTuple):
    """An array to be written: bytes in the source, dtype of its floats in the file, how to read it."""

    nbytes: int
    dtype: str
    read: Callable[[], np.ndarray]


Part = dict[str, Item]
# What else a folder gets: called with the unfinished folder, returns facts for the manifest by file name.
Extra = Callable[[Path], dict[str, dict[str, Any]]]


def write_folder(
    output: Path,
    config: bytes,
    parts: dict[str, Part],
    record: dict[str, Any],
    *,
    extras: tuple[Extra, ...] = (),
    extra_bytes: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write everything into a folder beside ``output``, then give it its name; returns the manifest.

    ``record`` becomes part of the manifest; ``extra_bytes`` is the room that ``extras`` need.
    """
    check_output(output, overwrite)
    check_space(output, sum(least_bytes(item) for part in parts.values() for item in part.values()) + extra_bytes)
    unfinished = output.parent / f".{output.name}.partial"
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        unfinished.mkdir(parents=True)
        (unfinished / CONFIG).write_bytes(config)
        facts: dict[str, dict[str, Any]] = {}
        for part, items in parts.items():
            facts[f"{part}.npz"] = write_npz(unfinished / f"{part}.npz", reported(part, items, progress))
        for extra in extras:
            for name, known in extra(unfinished).items():
                facts[name] = facts.get(name, {}) | known
        files = {f.name: describe(f, facts.get(f.name)) for f in sorted(unfinished.iterdir())}
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


def least_bytes(item: Item) -> int:
    """Bytes that an array will take at least; sources may be 16-bit, files 32-bit, so this is a lower bound."""
    return item.nbytes // (1 if item.dtype == "float32" else 2)


def reported(part: str, items: Part, progress: Progress | None) -> Iterator[tuple[str, str, Callable[[], np.ndarray]]]:
    """The arrays of a part for ``write_npz``: checked to be finite on their way, progress told."""
    done, total = 0, sum(item.nbytes for item in items.values())
    for key, item in items.items():
        yield key, item.dtype, partial(finite, item.read, f"{part}.{key}")
        done += item.nbytes
        if progress:
            progress(part, done, total)


def finite(read: Callable[[], np.ndarray], key: str) -> np.ndarray:
    array = read()
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise WeightsError(f"{key}: holds values that are not finite; the checkpoint is damaged, download it again")
    return array


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
    same = all(manifest.get(key) == record.get(key) for key in ("source", "dtype", "quantization"))
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


def check_space(output: Path, need: int) -> None:
    """WeightsError when the disk has not the room."""
    place = output.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < need:
        raise WeightsError(f"{output}: about {need / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free on this disk")


def replace(finished: Path, output: Path) -> None:
    """Give the finished folder its name; an old model is gone only when the new one is in its place."""
    old = output.parent / f".{output.name}.old"
    shutil.rmtree(old, ignore_errors=True)
    if output.exists():
        output.rename(old)
    finished.rename(output)
    shutil.rmtree(old, ignore_errors=True)
