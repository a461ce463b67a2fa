"""A folder of latents with their metadata, as trainers of Stable Audio read it; it knows what is finished.

``000000000000.npy`` (latent_dim, T) and ``.json`` for each sound, ``silence.npy`` (1, latent_dim, T) to pad with, and
``details.json``: the model and the settings, which are the same for the whole folder.
"""

import itertools
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import OptionError
from ..files import written_whole
from ..latents import DAMAGED

DETAILS, SILENCE = "details.json", "silence.npy"
SOURCE = "pre_encode"  # the field of an item's metadata that says which file it was made of
NAMES = ("model",)  # of the details, what may differ: the same weights under another name


class EncodedFolder:
    """``details``: what all latents of the folder share.  OptionError for a folder with other latents in it."""

    def __init__(self, path: str | Path, details: dict[str, Any]):
        self.path, self.details = Path(path), details
        if self.path.exists() and not self.path.is_dir():
            raise OptionError(f"{path}: is no folder")
        foreign = any(self.path.glob("*.npy"))
        file = self.path / DETAILS
        if not file.is_file():
            if foreign:
                raise OptionError(f"{path}: holds other .npy files; choose another folder")
            return
        before = read_json(file)
        if before is None:
            raise OptionError(f"{file}: is damaged; choose another folder")
        for key in (*details, *before):
            if key not in NAMES and before.get(key) != details.get(key):
                raise OptionError(
                    f"{path}: holds latents of {before.get('model')} with {key} {before.get(key)}, not "
                    f"{details.get(key)}; choose another folder"
                )

    def create(self) -> None:
        """Make the folder and its details, where they are not there yet."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OptionError(f"{self.path}: cannot be made ({error.strerror})") from None
        if not (self.path / DETAILS).exists():
            write_json(self.path / DETAILS, self.details)

    def stored(self) -> Iterator[tuple[int, str]]:
        """(number, name of the sound) of all that have metadata."""
        for file in sorted(self.path.glob("*.json")):
            if re.fullmatch(r"\d{12}", file.stem):
                yield int(file.stem), str((read_json(file) or {}).get("relpath"))

    def assign(self, names: Sequence[str]) -> tuple[dict[str, int], int]:
        """A number for each sound: the one that it has, or the next free one, in order; how many others there are."""
        stored = dict(self.stored())
        known = {name: number for number, name in stored.items()}
        free = (number for number in itertools.count() if number not in stored)
        numbers = {name: known[name] if name in known else next(free) for name in names}
        return numbers, len(stored.keys() - numbers.values())

    def latents_path(self, number: int) -> Path:
        return self.path / f"{number:012d}.npy"

    def finished(self, number: int, dtype: np.dtype) -> dict[str, Any] | None:
        """The metadata of a sound whose latents are there and whole; else None."""
        latents = self.latents_path(number)
        found = read_json(latents.with_suffix(".json"))
        if found is None or not isinstance(found.get(SOURCE), dict):
            return None
        try:
            array = np.load(latents, mmap_mode="r", allow_pickle=False)
        except DAMAGED:
            return None
        whole = array.dtype == dtype and array.shape == (self.details["latent_dim"], len(found.get("padding_mask", ())))
        return found if whole else None

    def write(self, number: int, latents: np.ndarray, metadata: dict[str, Any]) -> Path:
        """Write latents (latent_dim, T) and their metadata, which comes last: with it a sound is finished."""
        path = self.latents_path(number)
        path.with_suffix(".json").unlink(missing_ok=True)
        write_array(path, latents)
        self.describe(number, metadata)
        return path

    def describe(self, number: int, metadata: dict[str, Any]) -> None:
        """Write the metadata of a sound alone."""
        write_json(self.latents_path(number).with_suffix(".json"), metadata)

    @property
    def has_silence(self) -> bool:
        return (self.path / SILENCE).exists()

    def write_silence(self, latents: np.ndarray) -> None:
        """latents: (1, latent_dim, T)"""
        write_array(self.path / SILENCE, latents)


def write_array(path: Path, array: np.ndarray) -> None:
    with written_whole(path) as part:
        np.save(part, array)


def write_json(path: Path, record: dict[str, Any]) -> None:
    with written_whole(path) as part:
        part.write_text(json.dumps(record, allow_nan=False), encoding="utf-8")


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a file; None if there is no file or none in it."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
