"""Sounds that are kept, one WAV and one JSON file each.  The files are the truth; the index is read from them."""

import contextlib
import json
import re
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..files import written_whole
from .replies import Refused

SOUND, PEAKS = ".wav", "peaks"


@dataclass(frozen=True)
class Kept:
    """One sound: ``facts`` is what its JSON file holds but for the outline, ``sound`` lies beside it."""

    id: str
    sound: Path
    facts: dict[str, Any]

    @property
    def json(self) -> Path:
        return self.sound.with_suffix(".json")

    @property
    def peaks(self) -> Any:
        """The outline, which is large and stays in the file; Refused(404) if that has gone."""
        try:
            return json.loads(self.json.read_text(encoding="utf-8"))[PEAKS]
        except (OSError, ValueError, KeyError):
            raise Refused(404, "its outline is not there any more; it may have been deleted") from None

    def shown(self) -> dict[str, Any]:
        """What a client is told: no path of this computer, and the outline only when asked for."""
        place = f"/v1/{self.id.partition('-')[0]}s/{self.id}"
        urls = {"url": f"{place}/sound", "peaks_url": f"{place}/peaks"}
        return {"id": self.id, "file": self.sound.name, **urls, **self.facts}


class Shelf:
    """The sounds of a folder, oldest first; any thread may ask.

    ``kind`` begins their ids ("take-0123456789ab"); beyond ``most`` sounds the oldest ones are given up.
    """

    def __init__(self, folder: Path, kind: str, most: int | None = None):
        self.folder, self.kind, self.most = folder, kind, most
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self.changes = time.time_ns() // 1000  # counts what comes and goes, on from one server to the next
        self._kept = {one.id: one for one in sorted(self._read(), key=lambda one: one.facts["created"])}

    def _read(self) -> Iterator[Kept]:
        """The sounds that are whole; what else lies in the folder is left alone."""
        for path in self.folder.glob(f"*{self.kind}-*.json"):
            found, sound = re.search(rf"{self.kind}-[0-9a-f]{{12}}$", path.stem), path.with_suffix(SOUND)
            try:
                facts = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue
            whole = isinstance(facts, dict) and isinstance(facts.get("created"), float)
            if found and whole and sound.is_file() and not path.is_symlink() and not sound.is_symlink():
                yield Kept(found[0], sound, without_peaks(facts))

    def new_path(self, name: str = "") -> tuple[str, Path]:
        """(id, path) of a sound to come; ``name``, safe for every file system, begins the file's."""
        id = f"{self.kind}-{secrets.token_hex(6)}"
        return id, self.folder / f"{name}{'-' if name else ''}{id}{SOUND}"

    def add(self, id: str, sound: Path, facts: dict[str, Any]) -> Kept:
        """Keep a sound that has been written."""
        facts = {"created": time.time(), **facts}
        one = Kept(id, sound, without_peaks(facts))
        with written_whole(one.json) as part:
            part.write_text(json.dumps(facts, ensure_ascii=False), encoding="utf-8")
        with self._lock:
            self._kept[id], self.changes = one, self.changes + 1
            old = list(self._kept)[: -self.most] if self.most else []
        for other in old:
            with contextlib.suppress(Refused):  # somebody else was quicker
                self.remove(other)
        return one

    def get(self, id: str) -> Kept:
        """Refused(404) where there is none."""
        with self._lock:
            one = self._kept.get(id)
        if one is None:
            raise Refused(404, f"there is no such {self.kind}; it may have been deleted")
        return one

    def newest(self, limit: int, before: str | None = None) -> tuple[list[Kept], bool]:
        """(the newest sounds, of those older than ``before``; whether there are more)."""
        with self._lock:
            kept = list(reversed(self._kept.values()))
        if before is not None:
            place = next((i for i, one in enumerate(kept) if one.id == before), None)
            if place is None:
                raise Refused(404, f"before: there is no such {self.kind}")
            kept = kept[place + 1 :]
        return kept[:limit], len(kept) > limit

    def remove(self, id: str) -> None:
        """Delete a sound and its files."""
        one = self.get(id)
        with self._lock:
            self._kept.pop(id, None)
            self.changes += 1
        one.json.unlink(missing_ok=True)
        one.sound.unlink(missing_ok=True)


def without_peaks(facts: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in facts.items() if key != PEAKS}
