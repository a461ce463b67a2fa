"""A sound made again from its record: what is asked for, the files it came from, and what is no longer as it was."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config import describe
from ..errors import AudioError, OptionError, WeightsError
from ..options import FinishOptions, GenerateOptions
from . import metadata
from .record import ARRAYS, LENGTHS, SOUNDS

# Of these one is enough: what is given now takes the place of what the record says.
ALTERNATIVES = (("seconds", *LENGTHS), ("strength", "init_noise_level"), ("steps", "sigmas"))
PLACES = {"software": "with", "mlx": "with MLX", "device": "on the", "batch": "in a batch of"}


@dataclass(frozen=True)
class Replay:
    """``mapping`` as ``takes.take_from_mapping`` reads it; ``model`` and ``dtype`` of the record."""

    record: Mapping[str, Any]
    mapping: Mapping[str, Any]
    given: Collection[str]

    @property
    def model(self) -> str | None:
        return self.record.get("model")

    @property
    def dtype(self) -> str:
        return self.record.get("dtype", "auto")

    def differences(self, made: Mapping[str, Any]) -> list[str]:
        """What makes a sound with the record ``made`` other than the first one, but for what was given now."""
        then = self.record
        found = [
            f"the first sound was made {words} {before}, this one {words} {now}; their last digits can differ"
            for name, words in PLACES.items()
            if (before := then.get(name, 1)) != (now := made.get(name, 1))
        ]
        if "model" not in self.given and changed(then.get("model_files"), made.get("model_files")):
            files = ", ".join(changed(then.get("model_files"), made.get("model_files")))
            found.append(f"the model {made.get('model')} is no longer the same ({files}); this is another sound")
        for name in ("lora", *SOUNDS):
            before, now = hashes(then.get(name)), hashes(made.get(name))
            if name not in self.given and before != now:
                found.append(f"{name}: the file is no longer the same; this is another sound")
        return found


def changed(then: Any, now: Any) -> list[str]:
    """Names of files whose hashes differ."""
    then, now = (item if isinstance(item, Mapping) else {} for item in (then, now))
    return sorted(name for name in {*then, *now} if then.get(name) != now.get(name))


def hashes(item: Any) -> list[Any]:
    items = item if isinstance(item, list) else [item] if item else []
    return [one.get("sha256") if isinstance(one, Mapping) else None for one in items]


def read_replay(path: str | Path, given: Collection[str] = ()) -> Replay:
    """What the record in a sound file or a sidecar asks for, but for the options in ``given``, which win.

    Files are looked for where the record says, seen from here and from the record, and beside the record.  AudioError
    or WeightsError for one that is gone, OptionError where there is no record or it came from arrays.
    """
    path = Path(path)
    record = metadata.read(path)
    replaced = {name for group in ALTERNATIVES if {*group} & {*given} for name in group} | {*given}
    known = {"model", *GenerateOptions.__dataclass_fields__, *FinishOptions.__dataclass_fields__}
    mapping = {name: value for name, value in record.items() if name in known and name not in replaced}
    for name in ARRAYS:
        if name in mapping:
            raise OptionError(f"{path}: was made from {name} given as an array, which its record does not hold")
    for name in SOUNDS:
        if name in mapping:
            mapping[name] = sound_file(name, mapping[name], path)
    if "lora" in mapping:
        items = mapping["lora"]
        mapping["lora"] = [lora_file(item, path) for item in (items if isinstance(items, list) else [items])]
    return Replay(record, mapping, given)


def sound_file(name: str, item: Any, record: Path) -> str:
    """The file of a given sound; ``item`` is what the record says of it."""
    flag = "--" + name.replace("_", "-")
    if isinstance(item, Mapping) and "path" not in item:
        raise AudioError(f"{record}: was made from a sound given as an array; pass it with {flag} FILE")
    said = path_in(item, name, record)
    found = look_for(said, record)
    if found is None:
        raise AudioError(f"{said}: {record} was made from it, but it is gone; pass it with {flag} FILE")
    return str(found)


def lora_file(item: Any, record: Path) -> list[Any]:
    """[file, strength] of a LoRA; ``item`` is what the record says of it."""
    said = path_in(item, "lora", record)
    found = look_for(said, record)
    if found is None:
        raise WeightsError(f"{said}: {record} was made with this LoRA, but it is gone; pass it with --lora FILE")
    return [str(found), item.get("strength", 1.0)]


def path_in(item: Any, name: str, record: Path) -> str:
    path = item.get("path") if isinstance(item, Mapping) else None
    if not isinstance(path, str):
        raise OptionError(f"{record}: {name}: expected {{path, sha256}}, got {describe(item)}")
    return path


def look_for(name: str, record: Path) -> Path | None:
    places = (Path(name), record.parent / name, record.parent / Path(name).name)
    return next((place for place in places if place.is_file()), None)
