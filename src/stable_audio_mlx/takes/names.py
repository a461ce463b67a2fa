"""Names of sounds: from a prompt, from a template, safe on every file system, none given out twice."""

import difflib
import re
import string
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import OptionError
from ..files import SOUNDS

TEMPLATE = "{slug}-{seed}"
SLUG_LENGTH, SLUG_BYTES = 60, 120
PART_BYTES = 200  # of the 255 that file systems take: room for a number, the extension, a sidecar's ending
SEPARATORS = "-_ ."
_SPEC = re.compile(r"\d{0,2}(\.\d{1,2})?[dfg]?")  # a width of a billion is a way to take all memory
_UNSAFE = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
_DEVICES = {
    "con",
    "prn",
    "aux",
    "nul",
    "conin$",
    "conout$",
    *(f"{d}{n}" for d in ("com", "lpt") for n in "0123456789¹²³"),
}


def slug(text: str) -> str:
    """Letters and digits of ``text`` joined by hyphens, accents left out."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    plain = unicodedata.normalize("NFC", plain).lower()
    # Vowel signs are no letters to Python, but words of many scripts are made with them.
    words = "".join(c if c.isalnum() or unicodedata.category(c) in ("Mc", "Mn") else " " for c in plain).split()
    return cut("-".join(words)[:SLUG_LENGTH], SLUG_BYTES).strip("-") or "sound"


def cut(text: str, size: int) -> str:
    """The beginning of ``text`` that takes no more than ``size`` bytes."""
    return text.encode("utf-8", "surrogateescape")[:size].decode("utf-8", "ignore")


def safe(part: str) -> str:
    """``part`` as one component of a path that every file system takes; empty where nothing is left of it."""
    part = _UNSAFE.sub("-", unicodedata.normalize("NFC", part))
    part = cut(part.strip(". "), PART_BYTES).rstrip(". ")
    return f"{part}_" if part.partition(".")[0].rstrip().lower() in _DEVICES else part


def fields(template: str) -> list[str]:
    """The names in braces; OptionError for what is no template."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise OptionError(f"name: {template!r} is no template ({error}); write {{{{ for a brace") from None
    for _, name, spec, _ in parts:
        if not _SPEC.fullmatch(spec or ""):
            raise OptionError(f"name: {{{name}:{spec}}} is no format; give digits, such as {{index:03}}")
    return [name + (f"!{conversion}" if conversion else "") for _, name, _, conversion in parts if name is not None]


def check_template(template: Any, known: Collection[str]) -> None:
    """OptionError for a template with another field than ``known``, out of its folder, or of no format."""
    if not isinstance(template, str) or not template.strip():
        raise OptionError(f"name: {template!r} must be text such as {TEMPLATE!r}")
    for name in fields(template):
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {{{close[0]}}}?" if close else f"there are {', '.join(sorted(known))}"
            raise OptionError(f"name: {template!r} has an unknown field {{{name}}}; {hint}")
    if template.startswith(("/", "\\", "~")) or ".." in re.split(r"[/\\]", template):
        raise OptionError(f"name: {template!r} leads out of the output folder; --output DIR/ chooses another folder")
    ending = re.search(r"\.[A-Za-z]\w{1,3}$", template)
    if ending and ending[0].lower() not in SOUNDS:
        raise OptionError(f"name: {template!r} has an unknown format {ending[0]!r}; use {', '.join(SOUNDS)}")


def fill(template: str, values: Mapping[str, Any]) -> str:
    """A relative path with an extension; a field that has no value is left out, with the separator before it."""
    text, gap = "", False
    for literal, name, spec, _ in string.Formatter().parse(template):
        text += literal.lstrip(SEPARATORS) if gap and not text else literal
        if name is not None:
            value = written(name, values.get(name), spec or "")
            gap = not value
            text = text.rstrip(SEPARATORS) if gap else text + value
    ending = Path(text).suffix if Path(text).suffix.lower() in SOUNDS else ""
    *folders, last = (safe(part) for part in text.removesuffix(ending).split("/"))
    return "/".join([*filter(None, folders), (last or "sound") + (ending or ".wav")])


def written(name: str, value: Any, spec: str) -> str:
    """A value as a part of a name; a flag is its name."""
    if value is None or value is False:
        return ""
    value = name if value is True else value
    try:
        text = format(value, spec or ("g" if isinstance(value, float) else ""))
    except (ValueError, TypeError) as error:
        raise OptionError(f"name: {{{name}:{spec}}} does not fit {value!r} ({error})") from None
    return text.replace("/", "-")


def free_paths(folder: str | Path, names: Iterable[str], overwrite: bool = False, beside: str = "") -> list[Path]:
    """A path in the folder for each name, with -2, -3 ... before the extension where the name is taken.

    Taken is what was given out, in whatever case, and without ``overwrite`` what exists.  ``beside`` is the extension
    of a file that is written next to each and must be free, too.
    """
    taken: set[str] = set()
    numbers: dict[str, int] = {}
    paths = []

    def free(path: Path) -> bool:
        there = path.exists() and not (overwrite and path.is_file())
        return str(path).lower() not in taken and not there

    for name in names:
        first, number = Path(folder) / name, numbers.get(name.lower(), 1)
        while not all(map(free, written_as(numbered(first, number), beside))):
            number += 1
        numbers[name.lower()] = number
        paths.append(numbered(first, number))
        taken.update(str(path).lower() for path in written_as(paths[-1], beside))
    return paths


def written_as(path: Path, beside: str) -> list[Path]:
    return [path, path.with_suffix(beside)] if beside else [path]


def numbered(path: Path, number: int) -> Path:
    return path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")
