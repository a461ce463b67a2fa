"""Sounds with captions: a folder as the Stable Audio 3 documentation lays it out, or the rows of a manifest."""

import csv
import io
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import AudioError, OptionError

SOUNDS = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".aif", ".aiff")
FILELIST = "filelist.txt"
MANIFESTS = (".jsonl", ".csv")


@dataclass(frozen=True)
class Item:
    """One sound; ``name`` is its path within the data folder, with slashes, ``fields`` what a manifest says of it."""

    path: Path
    name: str
    fields: Mapping[str, Any] = field(default_factory=dict)


def find(folder: str | Path) -> list[Item]:
    """Every sound in ``folder`` and the folders in it, ordered by name, or those that its filelist.txt names.

    Names that begin with a dot are passed over, folders too.  Raises OptionError for a folder without sounds.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise OptionError(f"{folder}: {'is no folder' if folder.exists() else 'no such folder'}")
    listed = folder / FILELIST
    if listed.is_file():
        names = [line.strip() for line in read_text(listed, OptionError).split("\n") if line.strip()]
    else:
        names = sorted(path.relative_to(folder).as_posix() for path in walk(folder))
    items = [Item(folder / name, name) for name in dict.fromkeys(names)]
    if not items:
        raise OptionError(f"{folder}: no sounds in it ({', '.join(SOUNDS)})")
    return items


def walk(folder: Path) -> Iterator[Path]:
    """The sounds below ``folder``; links are followed, but no folder is entered twice."""
    seen: set[str] = set()
    for here, folders, files in os.walk(folder, followlinks=True):
        seen.add(os.path.realpath(here))
        folders[:] = [
            f for f in sorted(folders) if not f.startswith(".") and os.path.realpath(Path(here) / f) not in seen
        ]
        for name in files:
            if not name.startswith(".") and name.lower().endswith(SOUNDS):
                yield Path(here) / name


def read_manifest(path: str | Path, folder: str | Path | None = None) -> list[Item]:
    """The sounds of a manifest, in its order: JSON lines, or CSV with a header, with "path" and most often "prompt".

    Paths are relative to ``folder``, by default the manifest's.  OptionError names the line that is wrong.
    """
    path = Path(path)
    if path.suffix.lower() not in MANIFESTS:
        raise OptionError(f"{path}: unknown kind of manifest; use {' or '.join(MANIFESTS)}")
    if not path.is_file():
        raise OptionError(f"{path}: {'is a folder' if path.exists() else 'no such manifest'}")
    folder = path.parent if folder is None else Path(folder)
    rows = json_rows if path.suffix.lower() == ".jsonl" else csv_rows
    items: dict[str, Item] = {}
    for line, row in rows(path):
        where = f"{path}, line {line}"
        sound, prompt = row.pop("path", None), row.get("prompt", "")
        if not isinstance(sound, str) or not sound:
            raise OptionError(f'{where}: no "path" of a sound')
        if not isinstance(prompt, str):
            raise OptionError(f'{where}: "prompt" is no text')
        name = Path(os.path.normpath(sound)).as_posix()
        if name in items:
            raise OptionError(f"{where}: {sound} is named a second time")
        items[name] = Item(folder / sound, name, row)
    if not items:
        raise OptionError(f"{path}: names no sounds")
    return list(items.values())


def json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, object) of a file of JSON lines."""
    for number, line in enumerate(read_text(path, OptionError).split("\n"), 1):
        if line.strip():
            yield number, parse_object(line, f"{path}, line {number}", OptionError)


def csv_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, row) of a CSV file with a header; empty cells are left out."""
    lines = csv.DictReader(io.StringIO(read_text(path, OptionError)), strict=True)
    try:
        for row in lines:
            if None in row:
                raise OptionError(f"{path}, line {lines.line_num}: more cells than the header has; quote the commas")
            yield lines.line_num, {key: value for key, value in row.items() if value}
    except csv.Error as error:
        raise OptionError(f"{path}, line {lines.line_num}: {error}") from None


def metadata(item: Item) -> dict[str, Any]:
    """What is known of a sound, with its caption as "prompt".

    The caption is the manifest's, else the text of the .txt file of the same stem, else "prompt" of the .json file of
    that stem, else the fields of that file in words: "Genre: Ambient, BPM: 90".  AudioError if there is none of these.
    """
    text, tags = item.path.with_suffix(".txt"), item.path.with_suffix(".json")
    known = parse_object(read_text(tags, AudioError), str(tags), AudioError) if tags.is_file() else {}
    written = {"prompt": read_text(text, AudioError).strip()} if text.is_file() else {}
    known = {**known, **written, **item.fields}
    if "prompt" not in known:
        words = [f"{key}: {said}" for key, value in known.items() if (said := in_words(value))]
        if not words:
            raise AudioError(f"{item.path}: no caption; write one to {text.name}")
        known["prompt"] = ", ".join(words)
    if not isinstance(known["prompt"], str):
        raise AudioError(f'{tags}: "prompt" is no text')
    return known


def in_words(value: Any) -> str:
    """A tag's value as a caption says it; nothing for what is neither text, number nor a list of them."""
    if isinstance(value, list):
        return ", ".join(filter(None, map(in_words, value)))
    return str(value).strip() if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


def read_text(path: Path, error: type[Exception]) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise error(f"{path}: is not UTF-8 text") from None
    except OSError as problem:
        raise error(f"{path}: cannot be read ({problem.strerror})") from None


def parse_object(text: str, where: str, error: type[Exception]) -> dict[str, Any]:
    """A JSON object of numbers that can be written again: no NaN, nothing too large for one."""
    try:
        found = json.loads(text, parse_constant=finite, parse_float=finite)
    except (ValueError, RecursionError) as problem:
        raise error(f"{where}: not JSON ({problem})") from None
    if not isinstance(found, dict):
        raise error(f"{where}: expected an object with fields, as {{...}}")
    return found


def finite(number: str) -> float:
    if not math.isfinite(value := float(number)):
        raise ValueError(f"{number} is no finite number")
    return value
