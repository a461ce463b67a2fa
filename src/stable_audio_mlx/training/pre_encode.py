"""Sounds into latents, once, for trainings that read them many times: a dataset of Stable Audio 3's kind.

What is stored follows that project's pre-encoding (how long, silence left out, clipped at full scale, the fields of the
metadata) without its chances: nothing is cropped at random or turned upside down.
"""

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from .. import audio as sound
from ..codec import AutoencoderModel
from ..data.encoded import SOURCE, EncodedFolder
from ..data.folder import Item, metadata
from ..errors import AudioError, OptionError, SanityError, StableAudioError
from ..weights.folder import sha256

SILENT = 1e-3  # a peak of -60 dB
MARGIN = 1.0  # seconds read beyond the crop, so that resampling does not know of it
STEADY = 64  # latents after which silence no longer knows where it began; the longest period that is looked for
# Metadata that are ours to say, whatever a manifest or a file of tags has under these names.
COMPUTED = ("timestamps", "seconds_start", "seconds_total", "padding_mask", "sample_rate", SOURCE)


@dataclass(frozen=True)
class Settings:
    """``sample_size``: the most samples of a sound; ``pad``: all sounds are filled up to it with silence.

    ``batch_size``: how many sounds of equal length are encoded together; ``half``: latents are stored as float16.
    """

    sample_size: int = 12_582_912
    batch_size: int = 1
    pad: bool = False
    half: bool = False

    def __post_init__(self):
        for name in ("sample_size", "batch_size"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name}: {getattr(self, name)}, but it is at least 1")


@dataclass(frozen=True)
class Pending:
    """A sound to encode: its number, what is known of it, how many latents it will have."""

    item: Item
    number: int
    known: dict[str, Any]
    frames: int


@dataclass(frozen=True)
class Outcome:
    """What became of a sound: the ``path`` and ``shape`` of its latents, or the ``problem`` for which it is left out.

    ``frames`` is its part of ``PreEncoding.frames``; ``left`` the seconds beyond ``sample_size``.
    """

    item: Item
    frames: int = 0
    path: Path | None = None
    shape: tuple[int, ...] = ()
    left: float = 0.0
    problem: str = ""


@dataclass
class PreEncoding:
    """``plan`` looks at every sound without decoding it, ``start`` prepares the folder, ``run`` encodes what is left.

    Under ``mlx.launch`` each process takes its share of the sounds; ``rank`` is its number.  Raises OptionError where
    ``output`` holds something else.
    """

    model: AutoencoderModel
    items: Sequence[Item]
    output: Path
    settings: Settings
    pending: list[Pending] = field(default_factory=list)
    finished: int = 0
    others: int = 0  # sounds in the folder that are not among the items

    def __post_init__(self):
        model, settings = self.model, self.settings
        group = mx.distributed.init()
        self.rank, self.size = group.rank(), group.size()
        self.dtype = np.dtype(np.float16 if settings.half else np.float32)
        self.folder = EncodedFolder(
            self.output,
            {
                "format": 1,
                "model": model.name,
                "fingerprint": hashlib.sha256(model.fingerprint().tobytes()).hexdigest(),
                "latent_dim": model.latent_dim,
                "downsampling_ratio": model.downsampling_ratio,
                "sample_rate": model.sample_rate,
                "sample_size": settings.sample_size,
                "pad": settings.pad,
                "half": settings.half,
            },
        )

    @property
    def mine(self) -> Sequence[Item]:
        """The items of this process."""
        return self.items[self.rank :: self.size]

    @property
    def frames(self) -> int:
        """How many latents there are to make, the silence among them."""
        return sum(p.frames for p in self.pending) + self._silence_frames

    def plan(self) -> Iterator[Outcome]:
        """Find out what is to do, sound by sound.  StableAudioError if the disk is too small for it."""
        self.pending, self.finished = [], 0
        numbers, self.others = self.folder.assign([item.name for item in self.items])
        self.wait()  # nobody may write before all have numbered the sounds
        for item in self.mine:
            try:
                known = metadata(item)
                samples, rate = sound.probe(item.path)
                done = self._finished(item, numbers[item.name])
            except AudioError as error:
                yield Outcome(item, problem=str(error))
                continue
            if done is None:
                frames = self._frames(min(self._resampled(samples, rate), self.settings.sample_size))
                self.pending.append(Pending(item, numbers[item.name], known, frames))
            else:
                self.finished += 1
                record = self._record(item, known, done)
                if record != done:
                    self.folder.describe(numbers[item.name], record)
            yield Outcome(item)
        self._check_space()

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            mx.eval(mx.distributed.all_sum(mx.array(1.0), stream=mx.cpu))

    def start(self) -> int:
        """Make the folder and its silence, where they are not there yet; how many latents that took."""
        self.folder.create()
        if frames := self._silence_frames:
            self.folder.write_silence(self._silence(frames).astype(self.dtype))
        return frames

    def run(self) -> Iterator[Outcome]:
        """Encode what ``plan`` found; a sound is finished when its outcome is here."""
        for batch in batches(self.pending, self.settings.batch_size):
            clips = []
            for pending in batch:
                try:
                    clips.append((pending, *self._read(pending.item)))
                except AudioError as error:
                    yield Outcome(pending.item, pending.frames, problem=str(error))
            yield from self._encode(clips)

    def _encode(self, clips: list[tuple[Pending, np.ndarray, dict[str, Any]]]) -> Iterator[Outcome]:
        """Encode (what, audio (C, L), computed metadata) together and write each."""
        if not clips:
            return
        try:
            encoded = self._latents([self._padded(clip) for _, clip, _ in clips])
        except SanityError:
            if len(clips) > 1:
                for one in clips:
                    yield from self._encode([one])
            else:
                pending, hint = clips[0][0], " in float16" if self.settings.half else ""
                yield Outcome(
                    pending.item, pending.frames, problem=f"{pending.item.path}: its latents are not finite{hint}"
                )
            return
        for (pending, clip, computed), latents in zip(clips, encoded, strict=True):
            frames = self._frames(clip.shape[1])
            valid = -(-clip.shape[1] // self.model.downsampling_ratio)
            latents = latents[:, :frames].astype(self.dtype)
            computed["padding_mask"] = [1] * valid + [0] * (frames - valid)
            path = self.folder.write(pending.number, latents, self._record(pending.item, pending.known, computed))
            left = clip.shape[1] / self.model.sample_rate * (1 / computed["timestamps"][1] - 1)
            yield Outcome(pending.item, pending.frames, path, latents.shape, left)

    def _latents(self, clips: list[np.ndarray]) -> np.ndarray:
        """Latents (B, latent_dim, T) as the encoder gives them: trainers divide by the scale themselves."""
        return np.array(self.model.encode(clips, batch_size=len(clips)) * self.model.scale)

    def _silence(self, frames: int) -> np.ndarray:
        """Latents (1, latent_dim, frames) of silence.  Away from its ends they repeat: a long one is put together."""
        short = min(frames, 4 * STEADY + frames % STEADY)
        z = self._latents([np.zeros((self.model.in_channels, short * self.model.downsampling_ratio), np.float32)])
        for period in (2**i for i in range(STEADY.bit_length()) if short < frames):
            steady = z[..., STEADY : -STEADY - period]
            if np.allclose(steady, z[..., STEADY + period : -STEADY], rtol=0, atol=1e-5 * np.abs(z).max()):
                middle = np.tile(z[..., 2 * STEADY : 2 * STEADY + period], (frames - short) // period)
                return np.concatenate([z[..., : 2 * STEADY], middle, z[..., 2 * STEADY :]], axis=-1)
        if short < frames:
            z = self._latents([np.zeros((self.model.in_channels, self.settings.sample_size), np.float32)])
        return z

    def _read(self, item: Item) -> tuple[np.ndarray, dict[str, Any]]:
        """(audio (C, L) as it is encoded, computed metadata)"""
        rate, size = self.model.sample_rate, self.settings.sample_size
        samples, own_rate = sound.probe(item.path)
        source = {"size": item.path.stat().st_size, "sha256": digest(item.path)}
        audio, _ = sound.read(item.path, size / rate + MARGIN)
        clip = sound.prepare(audio, own_rate, rate, self.model.in_channels, str(item.path))[:, :size].clip(-1, 1)
        if not clip.size or np.abs(clip).max() < SILENT:
            raise AudioError(f"{item.path}: is silent, no peak above -60 dB")
        return clip, {
            "timestamps": [0.0, size / max(size, self._resampled(samples, own_rate))],
            "seconds_start": 0,
            "seconds_total": -(-samples // own_rate),
            "sample_rate": rate,
            SOURCE: source,
        }

    def _record(self, item: Item, known: dict[str, Any], computed: dict[str, Any]) -> dict[str, Any]:
        """The metadata of a sound as they are stored."""
        own = {key: computed[key] for key in COMPUTED}
        return {**known, "path": str(item.path), "relpath": item.name, **own}

    def _finished(self, item: Item, number: int) -> dict[str, Any] | None:
        """The stored metadata of a sound that has not changed since it was encoded."""
        record = self.folder.finished(number, self.dtype)
        if record is None or record.get("relpath") != item.name:
            return None
        source = record[SOURCE]
        same = source.get("size") == item.path.stat().st_size and source.get("sha256") == digest(item.path)
        return record if same and all(key in record for key in COMPUTED) else None

    def _padded(self, clip: np.ndarray) -> np.ndarray:
        return sound.fit_length(clip, self.settings.sample_size) if self.settings.pad else clip

    def _frames(self, samples: int) -> int:
        """Latents that are stored for so many samples."""
        return -(-(self.settings.sample_size if self.settings.pad else samples) // self.model.downsampling_ratio)

    def _resampled(self, samples: int, rate: int) -> int:
        return -(-samples * self.model.sample_rate // rate)

    @property
    def _silence_frames(self) -> int:
        """Latents of silence that this process has to make: one of them does."""
        missing = self.rank == 0 and not self.folder.has_silence
        return missing * -(-self.settings.sample_size // self.model.downsampling_ratio)

    def _check_space(self) -> None:
        a_mask = 3  # bytes of JSON a latent: "1, "
        needed = self.frames * (self.model.latent_dim * self.dtype.itemsize + a_mask) + 4096 * len(self.pending)
        there = next(p for p in (self.output.absolute(), *self.output.absolute().parents) if p.exists())
        free = shutil.disk_usage(there).free
        if needed > free:
            raise StableAudioError(
                f"{self.output}: {needed / 1e9:.1f} GB are needed, the disk has {free / 1e9:.1f} GB left"
            )


def batches(pending: Sequence[Pending], size: int) -> list[list[Pending]]:
    """Groups of up to ``size`` sounds of equal length, ordered by the first of each."""
    open_groups: dict[int, list[Pending]] = {}
    groups = []
    for one in pending:
        group = open_groups.get(one.frames)
        if group is None or len(group) == size:
            group = open_groups[one.frames] = []
            groups.append(group)
        group.append(one)
    return groups


def digest(path: Path) -> str:
    """SHA-256 of a file's content; AudioError if it cannot be read."""
    try:
        return sha256(path)
    except OSError as error:
        raise AudioError(f"{path}: cannot be read ({error.strerror})") from None
