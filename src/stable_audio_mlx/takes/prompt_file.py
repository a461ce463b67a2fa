"""Prompt files: one sound a line, as plain text, CSV or JSON lines; a line that cannot be read is told, not fatal."""

import csv
import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import OptionError
from . import canonical, kinds

FORMATS = (".txt", ".csv", ".jsonl")
FLAGS = {"true": True, "yes": True, "1": True, "on": True, "false": False, "no": False, "0": False, "off": False}


@dataclass(frozen=True)
class Line:
    """One line: what it says, or the error in it; ``where`` is FILE:NUMBER, files that it names are in ``folder``."""

    where: str
    mapping: Mapping[str, Any]
    error: OptionError | None = None

    @property
    def folder(self) -> Path:
        return Path(self.where).parent


def read_prompts(path: str) -> Iterator[Line]:
    """The lines of a prompt file, ``-`` for standard input; OptionError for a file that cannot be read.

    The extension tells the format; standard input is JSON lines where it begins with a brace, else plain text.
    """
    text = read_text(path)
    kind = Path(path).suffix.lower()
    if path == "-":
        kind = ".jsonl" if text.lstrip().startswith("{") else ".txt"
    if kind not in FORMATS:
        raise OptionError(f"{path}: a prompt file is one of {', '.join(FORMATS)}")
    name = "standard input" if path == "-" else path
    if kind == ".csv":
        yield from csv_lines(name, text)
        return
    read = json_mapping if kind == ".jsonl" else lambda line: {"prompt": line}
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not (kind == ".txt" and line.startswith("#")):
            yield attempt(f"{name}:{number}", read, line.strip())


def read_text(path: str) -> str:
    try:
        data = sys.stdin.buffer.read() if path == "-" else Path(path).expanduser().read_bytes()
        return data.decode("utf-8-sig")
    except OSError as error:
        raise OptionError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise OptionError(f"{path}:{line}: is not text in UTF-8") from None


def attempt(where: str, read: Callable[[Any], Mapping[str, Any]], value: Any) -> Line:
    try:
        return Line(where, read(value))
    except OptionError as error:
        return Line(where, {}, error)


def json_mapping(line: str) -> dict[str, Any]:
    """An object, or a text that is the prompt."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise OptionError("a key is given twice")
        return dict(pairs)

    try:
        value = json.loads(line, object_pairs_hook=once)
    except (json.JSONDecodeError, RecursionError) as error:
        raise OptionError(f"is no JSON ({error})") from None
    if isinstance(value, str):
        return {"prompt": value}
    if not isinstance(value, dict):
        raise OptionError('expected an object such as {"prompt": "kick drum", "seed": 7}')
    return value


def csv_lines(name: str, text: str) -> Iterator[Line]:
    """Rows under a head of option names; an empty cell says nothing.  OptionError for a head that is none."""
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    end = 0
    try:
        head = next(rows, [])
        if "prompt" not in map(canonical, head):
            raise OptionError("the first line must name the columns, prompt among them")
        end = rows.line_num
        for row in rows:
            where, end = f"{name}:{end + 1}", rows.line_num
            if any(cell.strip() for cell in row):
                yield attempt(where, lambda cells: csv_mapping(head, cells), row)
    except (csv.Error, OptionError) as error:
        raise OptionError(f"{name}:{end + 1}: {error}") from None


def csv_mapping(head: list[str], row: list[str]) -> dict[str, Any]:
    if len(row) > len(head):
        raise OptionError(f"{len(row)} cells under {len(head)} columns; a text with a comma needs quotes")
    return {key: from_text(key, cell.strip()) for key, cell in zip(head, row, strict=False) if cell.strip()}


def from_text(word: str, text: str) -> Any:
    """The value of an option written as text: a number, a flag, several joined by semicolons, or JSON."""
    key = canonical(word)
    kind = kinds()[key]
    try:
        if text.startswith(("[", "{")) and kind != "text":
            return json.loads(text)
        if key == "seed":
            return [int(one) for one in text.split()]
        if kind in ("number", "whole"):
            return int(text) if kind == "whole" else float(text)
        if kind == "flag":
            return FLAGS[text.lower()]
        if key == "loop":
            return FLAGS.get(text.lower(), text)
        if key in ("inpaint", "lora", "conditions"):
            return [one.strip() for one in text.split(";")]
        return [float(one) for one in text.split()] if key in ("cfg_interval", "sigmas") else text
    except (ValueError, KeyError):
        raise OptionError(f"{word}: {text!r} cannot be read as {READABLE.get(kind, 'its value')}") from None


READABLE = {
    "number": "a number",
    "whole": "a whole number",
    "flag": "yes or no",
    "cfg_interval": "two numbers",
    "sigmas": "numbers",
}
