"""The record of a sound in its file and out of it again, and what a DAW reads: loop, tempo, key."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..audio import riff
from ..audio.loudness import Levels
from ..errors import AudioError, OptionError
from ..files import SIDECAR
from ..music import BEATS_PER_BAR, Key

SOFTWARE = "software"
# Bytes of a comment that every reader takes; FLAC and MP3 know no limit.
COMMENT = {".wav": 1900, ".aiff": 8000, ".aif": 8000, ".opus": 60_000}
SHORT = ("model", "seed", "steps", "cfg_scale", "sampler", "seconds", "software")  # of a record that is too long
MIDDLE_C = 60  # MIDI
LARGEST = 16 << 20  # bytes of a record that is read


def texts(record: Mapping[str, Any], suffix: str) -> dict[str, str]:
    """What a file's tags say, by the names of ``encoding.TAGS``: prompt as title, the whole record as comment."""
    if not record:
        return {}
    title, licence = one_line(record.get("prompt", "")), record.get("license")
    said = {"title": title, "copyright": licence, SOFTWARE: record.get(SOFTWARE)}
    return {name: str(text) for name, text in said.items() if text} | {"comment": comment(record, suffix)}


def comment(record: Mapping[str, Any], suffix: str) -> str:
    """The record as compact JSON; where it is too long for the format, the most important of it."""
    text = compact(record)
    if len(text.encode()) <= COMMENT.get(suffix, LARGEST):
        return text
    short = {name: record[name] for name in SHORT if name in record}
    return compact({"prompt": str(record.get("prompt", ""))[:200], **short, "shortened": True})


def compact(record: Mapping[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"))


def one_line(text: str, most: int = 120) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 3] + "..."


def chunks(record: Mapping[str, Any], rate: int, samples: int, levels: Levels) -> list[riff.Chunk]:
    """What a WAV file holds beside its sound: loudness, loop, tempo, the record if the comment has no room."""
    found = []
    if record:
        text = one_line(record.get("prompt", ""), 256)
        found.append(riff.bext(text, record.get(SOFTWARE, ""), levels.lufs, levels.true_peak_dbtp))
        if len(compact(record).encode()) > COMMENT[".wav"]:
            found.append((riff.RECORD, compact(record).encode()))
    root = MIDDLE_C + Key.parse(record["key"]).root if record.get("key") else None
    if record.get("loop"):
        found.append(riff.smpl(rate, samples, MIDDLE_C if root is None else root))
    if bpm := record.get("bpm"):
        whole = not record.get("trimmed") and bool(record.get("loop") or record.get("bars"))
        beats = max(round(samples / rate * bpm / 60), 1)
        found.append(riff.acid(beats, bpm, root, whole, (record.get("beats_per_bar", BEATS_PER_BAR), 4)))
    return found


def read(path: str | Path) -> dict[str, Any]:
    """The record of a sound: from its file, or from a sidecar (.json).

    AudioError for a file that cannot be read, OptionError for one without a record.
    """
    path = Path(path)
    text = read_text(path) if path.suffix.lower() == SIDECAR else embedded(path)
    try:
        record = json.loads(text) if text else None
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict) or "seed" not in record or SOFTWARE not in record:
        raise OptionError(f"{path}: holds no record of how it was made; only what this project made has one")
    if record.get("shortened"):
        raise OptionError(f"{path}: its record was too long for the file; give the .json that --metadata wrote")
    return record


def read_text(path: Path) -> str:
    if not path.is_file():
        raise AudioError(f"{path}: {'is a folder' if path.exists() else 'no such file'}")
    if path.stat().st_size > LARGEST:
        raise OptionError(f"{path}: is too large for a record")
    return path.read_text(encoding="utf-8", errors="replace")


def embedded(path: Path) -> str:
    """The text of the record in a sound file; empty if there is none."""
    wave = wave_chunks(path) if path.suffix.lower() == ".wav" else {}
    if riff.RECORD in wave:
        return wave[riff.RECORD].decode("utf-8", "replace")
    if b"LIST" in wave:
        return riff.read_info(wave[b"LIST"]).get("ICMT", "")
    return tags(path).get("comment", "")


def wave_chunks(path: Path) -> dict[bytes, bytes]:
    """The chunks of a WAV file; of several of a name the first, but of lists the one with texts."""
    if not path.is_file():
        raise AudioError(f"{path}: {'is a folder' if path.exists() else 'no such audio file'}")
    found: dict[bytes, bytes] = {}
    with open(path, "rb") as file:
        for name, content in riff.read_chunks(file):
            if name not in found or (name == b"LIST" and content[:4] == b"INFO"):
                found[name] = content
    return found


def tags(path: Path) -> dict[str, str]:
    """The texts that libsndfile finds in a file."""
    import soundfile

    if not path.is_file():
        raise AudioError(f"{path}: {'is a folder' if path.exists() else 'no such audio file'}")
    try:
        with soundfile.SoundFile(os.fsencode(path)) as file:
            return {name: text for name, text in file.copy_metadata().items() if text}
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{path}: cannot be read as audio ({error.error_string.rstrip('.')})") from None
