"""Encoded sounds to train on: folders that ``pre-encode``, stable-audio-tools or Stable Audio 3 wrote, and their order.

Everything that is chosen is a function of the seed and of the step alone.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import OptionError
from ..latents import DAMAGED
from .encoded import DETAILS, SILENCE, read_json

ORDERS = 2  # epochs whose order is remembered


class Clip(NamedTuple):
    """One place of a batch: the number of the item, its first frame, how many frames sound, what is known of it."""

    item: int
    start: int
    valid: int
    metadata: dict[str, Any]


@dataclass(frozen=True)
class EncodedItem:
    """Latents of one sound; ``valid`` of its ``frames`` sound, the others are padding."""

    path: Path
    frames: int
    valid: int
    metadata: dict[str, Any] = field(repr=False)


class LatentSet:
    """The latents below a folder, ordered by name.

    OptionError for a folder without latents, for files that are damaged or of another latent_dim.
    """

    def __init__(self, folder: str | Path, latent_dim: int, ratio: int, rate: int):
        self.folder, self.latent_dim, self.ratio, self.rate = Path(folder), latent_dim, ratio, rate
        if not self.folder.is_dir():
            raise OptionError(f"{folder}: {'is no folder' if self.folder.exists() else 'no such folder'}")
        self._check_details()
        names = sorted(p for p in self.folder.rglob("*.npy") if p.name != SILENCE and not p.name.startswith("."))
        self.items = [self._item(path) for path in names]
        if not self.items:
            raise OptionError(f"{folder}: no latents in it; pre-encode makes .npy and .json files of sounds")
        silence = self.folder / SILENCE
        self._silence = self._load(silence).reshape(latent_dim, -1) if silence.is_file() else None

    def _check_details(self) -> None:
        details = read_json(self.folder / DETAILS) or {}
        own = {"latent_dim": self.latent_dim, "downsampling_ratio": self.ratio, "sample_rate": self.rate}
        for key, value in own.items():
            if details.get(key, value) != value:
                raise OptionError(
                    f"{self.folder}: made by {details.get('model')} with {key} {details[key]}, but this model's is "
                    f"{value}; pre-encode with its autoencoder"
                )

    def _item(self, path: Path) -> EncodedItem:
        """A file with its metadata, of which only the header is read."""
        metadata = read_json(path.with_suffix(".json"))
        if metadata is None:
            raise OptionError(f"{path}: has no metadata, {path.stem}.json is missing or damaged; pre-encode again")
        array = self._load(path)
        mask = metadata.pop("padding_mask", None) or [1] * array.shape[-1]
        valid = min(array.shape[-1], len(mask) - mask[::-1].index(1)) if 1 in mask else 0
        if array.ndim != 2 or array.shape[0] != self.latent_dim or not valid:
            raise OptionError(f"{path}: is {array.shape}, but this model needs ({self.latent_dim}, frames)")
        return EncodedItem(path, array.shape[1], valid, metadata)

    @staticmethod
    def _load(path: Path) -> np.ndarray:
        try:
            return np.load(path, mmap_mode="r", allow_pickle=False)
        except DAMAGED:
            raise OptionError(f"{path}: is damaged; delete it and pre-encode again") from None

    def order(self, epoch: int, seed: int) -> np.ndarray:
        """The items of an epoch, each once."""
        return shuffled(len(self.items), epoch, seed)

    def clips(self, step: int, size: int, length: int, seed: int) -> list[Clip]:
        """The clips of batch number ``step``: pieces of up to ``length`` frames, from a random place of longer sounds.

        Sounds come in a new order in each epoch; a batch may end one and begin the next.
        """
        clips = []
        for place in range(step * size, (step + 1) * size):
            epoch, index = divmod(place, len(self.items))
            number = int(self.order(epoch, seed)[index])
            item = self.items[number]
            room = item.valid - length
            start = int(np.random.default_rng((seed, 1, place)).integers(0, room + 1)) if room > 0 else 0
            seconds = int(item.metadata.get("seconds_start", 0)) + start * self.ratio // self.rate
            known = {**item.metadata, "seconds_start": seconds}
            clips.append(Clip(number, start, min(item.valid - start, length), known))
        return clips

    def read(self, clips: Sequence[Clip], length: int) -> np.ndarray:
        """Latents (B, length, latent_dim), float32, silence behind what sounds."""
        out = np.zeros((len(clips), length, self.latent_dim), np.float32)
        for row, clip in zip(out, clips, strict=True):
            piece = self._load(self.items[clip.item].path)[:, clip.start : clip.start + length].T
            row[: len(piece)] = piece
            if self._silence is not None and len(piece) < length:
                frames = np.arange(length - len(piece)) % self._silence.shape[1]
                row[len(piece) :] = self._silence[:, frames].T
        return out

    def fingerprint(self) -> str:
        """The names, lengths and captions of all items: what must be the same where a training goes on."""
        from hashlib import sha256

        facts = [
            (str(i.path.relative_to(self.folder)), i.frames, i.valid, i.metadata.get("prompt")) for i in self.items
        ]
        return sha256(json.dumps(facts).encode()).hexdigest()[:16]


@lru_cache(ORDERS)
def shuffled(count: int, epoch: int, seed: int) -> np.ndarray:
    return np.random.default_rng((seed, 0, epoch)).permutation(count)
