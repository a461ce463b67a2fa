"""The record of a clip: every option that made it, with hashes of the model, the LoRAs and the sounds it came from."""

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from . import __version__
from .options import Completed, GenerateOptions, as_list, complete
from .presets import ModelFacts
from .weights.folder import sha256
from .weights.source import ModelSource

SOFTWARE = f"stable-audio-mlx {__version__}"
PER_CLIP = ("prompt", "negative_prompt", "seconds", "seed")
ALWAYS = ("prompt", "seconds", "seed", "steps", "cfg_scale", "sampler")
SOUNDS = ("init_audio", "inpaint_audio")
ARRAYS = ("noise", "step_noise")
NEVER = ("batch_size", "return_latents", "lora")


def of_clip(options: Completed, clip: int, facts: ModelFacts) -> dict[str, Any]:
    """Names and values of ``GenerateOptions`` for one clip of a run.

    What is as the model or the sampler has it anyway is left out, but for what people look for.
    """
    plain = complete(GenerateOptions(sampler=options.sampler, init_audio=options.init_audio), facts)
    found = {}
    for name in GenerateOptions.__dataclass_fields__:
        value, default = getattr(options, name), getattr(plain, name)
        if name in PER_CLIP and value is not None:
            value, default = value[clip], as_list(default)[0] if default else None
        if name in NEVER or value is None or (value == default if name not in (*ALWAYS, *SOUNDS, *ARRAYS) else False):
            continue
        if name in SOUNDS:
            value = origin(value)
        elif name in ARRAYS:
            value = {"sha256": samples_sha256(value)}
        found[name] = jsonable(value)
    if found.get("inpaint_audio") == found.get("init_audio"):
        found.pop("inpaint_audio", None)
    return found


def origin(sound: tuple[Any, float]) -> dict[str, Any]:
    """Where a given sound came from: its file, or what identifies its samples."""
    path = getattr(sound, "path", None)
    if path is None:
        return {"sha256": samples_sha256(sound[0]), "sample_rate": sound[1]}
    return {"path": str(path), "sha256": file_sha256(path)}


def of_run(source: ModelSource, acting: Sequence[tuple[Path, float]], dtype: str = "auto") -> dict[str, Any]:
    """What is the same for all clips of a run: model, LoRAs, versions."""
    adapters = {"lora": loras(acting)} if acting else {}
    precision = {"dtype": dtype} if dtype != "auto" else {}
    device = mx.default_device().type.name
    return {**model(source), **adapters, **precision, "software": SOFTWARE, "mlx": mx.__version__, "device": device}


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
