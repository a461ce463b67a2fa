"""The formats of sound files: what each can hold, and a sound as the bytes of one of them."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import riff
from .errors import OptionError
from .tags import id3, same_serial

# What libsndfile calls a text, by RIFF's names for it.
TAGS = {"title": "INAM", "artist": "IART", "copyright": "ICOP", "software": "ISFT", "comment": "ICMT"}
BLOCK = 1 << 16  # frames that libsndfile is given at once: it encodes Vorbis on the stack
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
OPUS_RATES = (8000, 12000, 16000, 24000, 48000)


@dataclass(frozen=True)
class Format:
    """``subtypes`` by bit depth, the best first (None: it has no bit depth); ``rates`` it can hold, any if empty."""

    container: str
    subtypes: Mapping[str | None, str]
    rates: Sequence[int] = ()
    channels: int = 8

    @property
    def best(self) -> str | None:
        return next(iter(self.subtypes))

    def rate_for(self, rate: int) -> int:
        """The rate of a file for a sound of ``rate``: the same, else the next higher one, else the highest."""
        if not self.rates or rate in self.rates:
            return rate
        return min((r for r in self.rates if r > rate), default=max(self.rates))


PCM = {"24": "PCM_24", "16": "PCM_16"}
FORMATS = {
    ".wav": Format("WAV", {"32f": "FLOAT", "24": "PCM_24", "16": "PCM_16"}),
    ".flac": Format("FLAC", PCM),
    ".aiff": Format("AIFF", PCM),
    ".aif": Format("AIFF", PCM),
    ".ogg": Format("OGG", {None: "VORBIS"}),
    ".opus": Format("OGG", {None: "OPUS"}, OPUS_RATES),
    ".mp3": Format("MP3", {None: "MPEG_LAYER_III"}, MP3_RATES, channels=2),
}


def check_format(path: Path, bit_depth: str | None = None, channels: int = 1) -> Format:
    """The format of the extension; OptionError for a bit depth or channels that it cannot hold."""
    suffix = path.suffix.lower()
    found = FORMATS[suffix]
    if bit_depth is not None and bit_depth not in found.subtypes:
        depths = [depth for depth in found.subtypes if depth]
        can = f"can have {' or '.join(depths)}" if depths else "has none"
        raise OptionError(f"bit_depth: {bit_depth}, but {suffix} {can}")
    if channels > found.channels:
        raise OptionError(f"{path}: {channels} channels, but {suffix} can have {found.channels}; use .wav or .flac")
    return found


def ceiling(depth: str | None) -> float:
    """The largest magnitude that can be written without clipping; infinite for float."""
    if depth == "32f":
        return float("inf")
    return 1.0 if depth is None else 1 - (2 if depth == "16" else 1) / 2 ** (int(depth) - 1)


def encode(
    audio: np.ndarray, rate: int, suffix: str, depth: str | None, texts: Mapping[str, str], chunks: Sequence[riff.Chunk]
) -> bytes:
    """``audio`` (C, L), which fits the format, as a file's bytes; ``chunks`` are for WAV.  OptionError if too big."""
    if suffix != ".wav":
        return with_libsndfile(audio, rate, FORMATS[suffix], depth, texts)
    bits = 32 if depth == "32f" else int(depth or 0)
    info = [riff.info({TAGS[name]: text for name, text in texts.items()})] if texts else []
    try:
        return riff.wav(audio if bits == 32 else quantized(audio, bits), rate, bits, [*info, *chunks])
    except ValueError as error:
        raise OptionError(f"{audio.shape[1]} samples in {len(audio)} channels: {error}; write .flac") from None


def quantized(audio: np.ndarray, bits: int) -> np.ndarray:
    """Whole numbers of ``bits`` (C, L), int32.  At 16 bits with triangular dither of two steps, the same every time.

    Samples that the format can hold exactly stay as they are: what came from such a file goes back unchanged.
    """
    scaled = audio.astype(np.float64) * 2 ** (bits - 1)
    if bits == 16:
        noise = np.random.Generator(np.random.Philox(0)).random((2, *audio.shape), dtype=np.float32)
        scaled += (noise[0] - noise[1]) * (scaled != np.rint(scaled))
    return np.rint(scaled).astype(np.int32)


def with_libsndfile(audio: np.ndarray, rate: int, form: Format, depth: str | None, texts: Mapping[str, str]) -> bytes:
    import soundfile

    frames = (audio if depth is None else quantized(audio, int(depth)) << (32 - int(depth))).T
    encoded = io.BytesIO()  # libsndfile calls a full disk "System error"
    try:
        with soundfile.SoundFile(
            encoded, "w", rate, len(audio), form.subtypes[depth], format=form.container, endian="FILE"
        ) as file:
            for name, text in texts.items() if form.container != "MP3" else ():
                setattr(file, name, text)
            for start in range(0, len(frames), BLOCK):
                file.write(np.ascontiguousarray(frames[start : start + BLOCK]))
    except soundfile.LibsndfileError as error:
        raise OptionError(f"{form.container}: cannot hold this sound ({error.error_string.rstrip('.')})") from None
    if form.container == "MP3" and texts:
        return id3(texts) + encoded.getvalue()
    return same_serial(encoded.getvalue()) if form.container == "OGG" else encoded.getvalue()
