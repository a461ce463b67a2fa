"""Sound in and out: files, sample rates, channels.  Arrays here are NumPy float32 of shape (channels, samples)."""

import math
import numbers
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import AudioError
from ..files import check_output, written_whole
from ..formats import check_format, gain_for
from .encoding import encode
from .riff import Chunk

MAX_CHANNELS = 8  # 7.1
FOREIGN = (".m4a", ".mp4", ".aac", ".mov", ".wma", ".webm")  # what people have and libsndfile does not read


class Source(tuple[np.ndarray, int]):
    """(audio (C, L), sample rate) that remembers the file it was read from, for the record of what is made of it."""

    path: Path

    def __new__(cls, audio: np.ndarray, rate: int, path: Path) -> "Source":
        source = super().__new__(cls, (audio, rate))
        source.path = path
        return source


def read(path: str | Path, seconds: float | None = None) -> Source:
    """(audio (C, L), sample rate) of any file that libsndfile reads; AudioError says what is wrong with it.

    ``seconds``: no more than these of the beginning.
    """
    _, rate = probe(path)
    return read_piece(path, 0, -1 if seconds is None else math.ceil(seconds * rate))


def read_piece(path: str | Path, start: int, frames: int) -> Source:
    """As ``read``, ``frames`` samples from sample ``start`` on, fewer where the file ends, all for -1."""
    import soundfile

    try:
        data, rate = soundfile.read(os.fsencode(path), frames, start, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise unreadable(path, error.error_string) from None
    return Source(check(data.T, rate, str(path)), rate, Path(path))


def probe(path: str | Path) -> tuple[int, int]:
    """(samples, sample rate) of a sound file by its header alone; AudioError for what is none."""
    import soundfile

    path = Path(path)
    if not path.is_file():
        raise AudioError(f"{path}: {'is a folder' if path.exists() else 'no such audio file'}")
    try:
        info = soundfile.info(os.fsencode(path))  # it cannot encode every name itself
    except soundfile.LibsndfileError as error:
        raise unreadable(path, error.error_string) from None
    if info.frames == 0:
        raise AudioError(f"{path}: is empty")
    if info.channels > MAX_CHANNELS:
        raise AudioError(f"{path}: {info.channels} channels, the most is {MAX_CHANNELS}; mix it down first")
    return info.frames, info.samplerate


def unreadable(path: str | Path, why: str) -> AudioError:
    path = Path(path)
    hint = f"; make it a WAV file first: ffmpeg -i {path} {path.stem}.wav" if path.suffix.lower() in FOREIGN else ""
    return AudioError(f"{path}: cannot be read as audio ({why.rstrip('.')}){hint}")


def check(audio: Any, rate: float, where: str = "audio") -> np.ndarray:
    """``audio`` (C, L) or (L,), of NumPy, MLX or nested lists, as float32 (C, L); AudioError if it cannot be sound."""
    try:
        array = np.asarray(audio, dtype=np.float32)
    except (TypeError, ValueError):
        raise AudioError(f"{where}: not an array of numbers") from None
    if array.ndim == 1:
        array = array[None]
    if array.ndim != 2:
        raise AudioError(f"{where}: expected (channels, samples), got shape {array.shape}")
    if array.shape[0] == 0 or array.shape[1] == 0:
        raise AudioError(f"{where}: is empty")
    if array.shape[0] > MAX_CHANNELS:
        raise AudioError(f"{where}: {array.shape[0]} channels, the most is {MAX_CHANNELS}; is it (samples, channels)?")
    if not np.isfinite(array).all():
        raise AudioError(f"{where}: holds values that are not finite (NaN or infinity)")
    if not isinstance(rate, numbers.Real) or not 1 <= rate <= 1_000_000:
        raise AudioError(f"{where}: a sample rate of {rate} Hz cannot be used")
    return array


def resample(audio: np.ndarray, rate: float, target: float) -> np.ndarray:
    """``audio`` (C, L) at another sample rate, by soxr at high quality."""
    if rate == target:
        return audio
    import soxr

    return np.ascontiguousarray(soxr.resample(audio.T, rate, target, quality="HQ").T, dtype=np.float32)


def match_channels(audio: np.ndarray, channels: int) -> np.ndarray:
    """``audio`` (C, L) with ``channels`` channels: mean for mono, a mono source in each, else the first ones.

    AudioError where a source has fewer channels than wanted, but is not mono.
    """
    have = audio.shape[0]
    if have == channels:
        return audio
    if channels == 1:
        return audio.mean(axis=0, keepdims=True)
    if have == 1:
        return np.repeat(audio, channels, axis=0)
    if have > channels:
        return audio[:channels]
    raise AudioError(f"audio: {have} channels, but the model needs {channels}")


def prepare(audio: Any, rate: float, target: float, channels: int, where: str = "audio") -> np.ndarray:
    """Any sound as a model takes it: float32 (channels, samples) at the rate ``target``."""
    return match_channels(resample(check(audio, rate, where), rate, target), channels)


def fit_length(audio: np.ndarray, samples: int) -> np.ndarray:
    """``audio`` (C, L) cut, or padded with silence, on the right."""
    return np.pad(audio[:, :samples], ((0, 0), (0, max(samples - audio.shape[1], 0))))


@dataclass(frozen=True)
class Written:
    """What was written: ``peak`` of the sound (full scale is 1) and the one ``gain`` it was given to fit the format.

    ``rate`` is that of the file, which differs from the sound's where the format does not know it.
    """

    path: Path
    peak: float
    gain: float
    rate: int


def write(
    path: str | Path,
    audio: Any,
    rate: int,
    overwrite: bool = False,
    bit_depth: str | None = None,
    tags: Mapping[str, str] | None = None,
    chunks: Sequence[Chunk] = (),
) -> Written:
    """Write ``audio`` (C, L) in the format of the extension; the file appears only when it is complete.

    ``bit_depth``: "16", "24" or "32f", None for the best.  Float WAV keeps peaks over full scale; for all else the
    whole sound is turned down to fit, never clipped.  MP3 and Opus are resampled where they do not know the rate.
    ``tags``: texts by the names of ``encoding.TAGS``; ``chunks`` are put into WAV files.  OptionError for what the
    format cannot hold.
    """
    path = check_output(path, overwrite)
    audio = check(audio, rate, str(path))
    form = check_format(path, bit_depth, len(audio))
    peak, file_rate = float(np.abs(audio).max()), form.rate_for(rate)
    depth = bit_depth or form.best
    audio = resample(audio, rate, file_rate)
    gain = gain_for(float(np.abs(audio).max()), depth)
    audio = audio * np.float32(gain) if gain < 1 else audio
    with written_whole(path) as part:
        part.write_bytes(encode(audio, file_rate, path.suffix.lower(), depth, tags or {}, chunks))
    return Written(path, peak, gain, file_rate)


def wav_bytes(audio: np.ndarray, rate: int) -> bytes:
    """A float32 WAV file of ``audio`` (C, L); the same sound gives the same bytes."""
    return encode(audio, rate, ".wav", "32f", {}, ())
