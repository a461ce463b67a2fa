"""A sound as the bytes of a file of some format."""

import io
from collections.abc import Mapping, Sequence

import numpy as np

from ..errors import OptionError
from ..formats import FORMATS, Format
from . import riff
from .tags import id3, same_serial

# What libsndfile calls a text, by RIFF's names for it.
TAGS = {"title": "INAM", "artist": "IART", "copyright": "ICOP", "software": "ISFT", "comment": "ICMT"}
BLOCK = 1 << 16  # frames that libsndfile is given at once: it encodes Vorbis on the stack


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
        settings = {"format": form.container, "subtype": form.subtypes[depth], "compression_level": form.compression}
        with soundfile.SoundFile(encoded, "w", rate, len(audio), **settings) as file:
            for name, text in texts.items() if form.container != "MP3" else ():
                setattr(file, name, text)
            for start in range(0, len(frames), BLOCK):
                file.write(np.ascontiguousarray(frames[start : start + BLOCK]))
    except soundfile.LibsndfileError as error:
        raise OptionError(f"{form.container}: cannot hold this sound ({error.error_string.rstrip('.')})") from None
    if form.container == "MP3" and texts:
        return id3(texts) + encoded.getvalue()
    return same_serial(encoded.getvalue()) if form.container == "OGG" else encoded.getvalue()
