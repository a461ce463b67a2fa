"""A folder of made sounds: ``000000.flac`` and ``000000.txt`` for each, the facts in ``manifest.jsonl``.

The same settings give the same bytes, so a run that was stopped goes on, and a larger count only adds clips.
"""

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from ... import audio
from ...errors import OptionError
from ...files import written_whole
from ..encoded import read_json, write_json
from .clips import KINDS, make_clip
from .signal import RATE

MANIFEST, SETTINGS = "manifest.jsonl", "make-data.json"
FORMATS = ("flac", "wav")
LONGEST = 60.0  # seconds
AHEAD = 4  # clips that wait for each process


@dataclass(frozen=True)
class Settings:
    """What the clips of a folder depend on, but for their number."""

    seed: int = 0
    shortest: float = 4.0
    longest: float = 4.0
    kinds: tuple[str, ...] = tuple(KINDS)
    format: str = "flac"

    def __post_init__(self):
        if not 0.1 <= self.shortest <= self.longest <= LONGEST:
            raise OptionError(f"seconds: must be from 0.1 to {LONGEST:g}, as 4 or 2-8")
        if self.seed < 0:
            raise OptionError("seed: must be a whole number from 0 on")
        for kind in self.kinds:
            if kind not in KINDS:
                raise OptionError(f"kinds: unknown kind {kind!r}; use {', '.join(KINDS)}")
        if self.format not in FORMATS:
            raise OptionError(f"format: unknown format {self.format!r}; use {', '.join(FORMATS)}")

    def seconds(self, index: int) -> float:
        """How long a clip is, in hundredths of a second."""
        draw = np.random.default_rng((self.seed, index, 1)).uniform(self.shortest, self.longest)
        return round(float(draw), 2)

    @property
    def weights(self) -> Mapping[str, float]:
        return {kind: KINDS[kind][0] for kind in self.kinds}


def make_file(folder: Path, index: int, settings: Settings) -> dict[str, Any]:
    """Make one clip, write its sound and its caption; its line of the manifest."""
    clip = make_clip(settings.seed, index, settings.seconds(index), settings.weights)
    path = folder / f"{index:06d}.{settings.format}"
    audio.write(path, clip.audio, RATE, overwrite=True, bit_depth="16")
    with written_whole(path.with_suffix(".txt")) as part:
        part.write_text(clip.caption + "\n", encoding="utf-8")
    return {"path": path.name, "prompt": clip.caption, **clip.facts.record()}


class Dataset:
    """``folder`` with ``count`` clips.  OptionError for a folder with clips of other settings, or with other things."""

    def __init__(self, folder: str | Path, count: int, settings: Settings):
        self.folder, self.count, self.settings = Path(folder), count, settings
        if count < 1:
            raise OptionError(f"count: must be a number above 0, not {count}")
        if self.folder.exists() and not self.folder.is_dir():
            raise OptionError(f"{folder}: is no folder")
        self._check_settings()
        self.rows = {row["path"]: row for row in self._read_manifest() if (self.folder / row["path"]).is_file()}

    def _check_settings(self) -> None:
        file = self.folder / SETTINGS
        now = json.loads(json.dumps(asdict(self.settings)))
        if not file.exists():
            if self.folder.is_dir() and any(self.folder.iterdir()):
                raise OptionError(f"{self.folder}: is not empty; choose another folder")
            return
        before = read_json(file) or {}
        for key, value in now.items():
            if before.get(key) != value:
                raise OptionError(
                    f"{self.folder}: was made with {key} {before.get(key)}, not {value}; choose another folder"
                )

    def _read_manifest(self) -> Iterator[dict[str, Any]]:
        file = self.folder / MANIFEST
        if file.is_file():
            yield from (json.loads(line) for line in file.read_text(encoding="utf-8").splitlines())

    @property
    def missing(self) -> list[int]:
        """Numbers of the clips that are not there yet."""
        return [i for i in range(self.count) if f"{i:06d}.{self.settings.format}" not in self.rows]

    def run(self, jobs: int = 1) -> Iterator[Path]:
        """Make what is missing, in ``jobs`` processes; yields paths.  The manifest is written even when stopped."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OptionError(f"{self.folder}: cannot be made ({error.strerror})") from None
        write_json(self.folder / SETTINGS, asdict(self.settings))
        try:
            for row in self._rows(self.missing, jobs):
                self.rows[row["path"]] = row
                yield self.folder / row["path"]
        finally:
            self._write_manifest()

    def _rows(self, indices: list[int], jobs: int) -> Iterator[dict[str, Any]]:
        if jobs <= 1:
            yield from (make_file(self.folder, i, self.settings) for i in indices)
            return
        left = iter(indices)
        with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
            running: set[Future] = set()
            try:
                while True:
                    more = islice(left, jobs * AHEAD - len(running))
                    running |= {pool.submit(make_file, self.folder, i, self.settings) for i in more}
                    if not running:
                        return
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _write_manifest(self) -> None:
        lines = [json.dumps(self.rows[name], ensure_ascii=False) for name in sorted(self.rows)]
        with written_whole(self.folder / MANIFEST) as part:
            part.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
