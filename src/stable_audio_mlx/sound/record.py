"""The record of a clip: every option that made it, with hashes of the model, the LoRAs and the sounds it came from."""

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from .. import __version__
from ..completion import Completed
from ..options import GenerateOptions, as_list, spread
from ..weights.folder import sha256
from ..weights.source import ModelSource

SOFTWARE = f"stable-audio-mlx {__version__}"
PER_CLIP = ("prompt", "negative_prompt", "seconds", "seed")
CHOSEN = ("seed", "steps", "cfg_scale", "sampler")  # recorded also where the model's own values were taken
LENGTHS = ("bars", "continue_to", "extend_by")  # what says how long a clip is in place of seconds
SOUNDS = ("init_audio", "inpaint_audio")
ARRAYS = ("noise", "step_noise")
NEVER = ("batch_size", "return_latents", "lora")


def of_clip(given: GenerateOptions, completed: Completed, clip: int) -> dict[str, Any]:
    """Names and values of ``GenerateOptions`` that make one clip of a run again: what was asked and what was chosen."""
    found = {"prompt": spread(given.prompt, completed.batch_size)[clip]}
    for name, field in GenerateOptions.__dataclass_fields__.items():
        value = getattr(given, name)
        if name in NEVER or (name in SOUNDS + ARRAYS and value is None):
            continue
        if name in SOUNDS:
            found[name] = origin(value)
        elif name in ARRAYS:
            found[name] = {"sha256": samples_sha256(value)}
        elif value != field.default:
            found[name] = jsonable(spread(value, completed.batch_size)[clip] if name in PER_CLIP else value)
    found |= {name: jsonable(as_list(getattr(completed, name))[clip if name in PER_CLIP else 0]) for name in CHOSEN}
    if not any(found.get(name) for name in LENGTHS):
        found["seconds"] = completed.seconds[clip]
    batch = {"batch": completed.batch_size} if completed.batch_size > 1 else {}  # which sums in another order
    return {name: found[name] for name in GenerateOptions.__dataclass_fields__ if name in found} | batch


def of_run(source: ModelSource, acting: Sequence[tuple[Path, float]], dtype: str = "auto") -> dict[str, Any]:
    """What is the same for all clips of a run: model, LoRAs, versions."""
    adapters = {"lora": loras(acting)} if acting else {}
    precision = {"dtype": dtype} if dtype != "auto" else {}
    device, version = mx.default_device().type.name, mx.__version__  # type: ignore[attr-defined]
    return {**model(source), **adapters, **precision, "software": SOFTWARE, "mlx": version, "device": device}


def origin(sound: tuple[Any, float]) -> dict[str, Any]:
    """Where a given sound came from: its file, or what identifies its samples."""
    path = getattr(sound, "path", None)
    if path is None:
        return {"sha256": samples_sha256(sound[0]), "sample_rate": sound[1]}
    return {"path": str(path), "sha256": file_sha256(path)}


def loras(acting: Sequence[tuple[Path, float]]) -> list[dict[str, Any]]:
    return [{"path": str(path), "strength": strength, "sha256": file_sha256(path)} for path, strength in acting]


def model(source: ModelSource) -> dict[str, Any]:
    """Name, licence and the hashes of a model's files: from its manifest, else of its weights."""
    if source.manifest is None:
        return {"model": source.name, "model_files": {path.name: file_sha256(path) for path in source.weights}}
    hashes = {file: facts.get("sha256") for file, facts in source.manifest["files"].items()}
    licence = {"license": source.manifest["license"]} if source.manifest.get("license") else {}
    return {"model": source.name, **licence, "model_files": hashes}


def file_sha256(path: Path) -> str:
    """Hashed once while the file stays the same."""
    status = path.stat()
    return _file_sha256(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=64)
def _file_sha256(path: Path, modified: int, size: int) -> str:
    return sha256(path)


def samples_sha256(arrays: Any) -> str:
    digest = hashlib.sha256()
    for array in arrays if isinstance(arrays, list | tuple) else [arrays]:
        digest.update(np.ascontiguousarray(array, dtype=np.float32).tobytes())
    return digest.hexdigest()


def jsonable(value: Any) -> Any:
    """``value`` with tuples as lists, NumPy's numbers as Python's and paths as text."""
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    return str(value) if isinstance(value, Path) else value
