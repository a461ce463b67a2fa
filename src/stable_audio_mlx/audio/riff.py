"""WAV files as bytes: RIFF chunks for sound, text, loop and tempo, written so that equal sounds are equal files.

Sources: Multimedia Programming Interface and Data Specifications 1.0 (fmt, LIST/INFO), Multimedia Data Standards Update
1994 (fact, smpl), EBU Tech 3285 (bext); ``acid`` as Acid, Live and libsndfile read it.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np

PCM, FLOAT = 1, 3
MOST = 2**32 - 1  # bytes of a RIFF file behind its first eight
UNKNOWN = 0x7FFF  # a level in bext that is not given
LONGEST = 16 << 20  # bytes of a chunk that is read
RECORD = b"json"  # our own chunk, which other programs skip: the whole record where ICMT has no room for it

Chunk = tuple[bytes, bytes]


def wav(samples: np.ndarray, rate: int, bits: int, before: Sequence[Chunk] = ()) -> bytes:
    """A WAV file of ``samples`` (C, L): float32 for 32 bits, whole numbers for 16 and 24; ``before`` precede the data.

    ValueError for more than the format's sizes can say.
    """
    channels, length = samples.shape
    width = bits // 8
    kind = FLOAT if bits == 32 else PCM
    fmt = struct.pack("<HHIIHH", kind, channels, rate, rate * channels * width, channels * width, bits)
    chunks = [(b"fmt ", fmt + struct.pack("<H", 0) * (kind == FLOAT))]
    if kind == FLOAT:
        chunks.append((b"fact", struct.pack("<I", length)))
    head = b"WAVE" + b"".join(map(chunk, [*chunks, *before]))
    size = channels * length * width
    if len(head) + 8 + size + size % 2 > MOST:
        raise ValueError("too long for a WAV file")
    data = b"data" + struct.pack("<I", size) + interleaved(samples, bits) + b"\0" * (size % 2)
    return b"RIFF" + struct.pack("<I", len(head) + len(data)) + head + data


def chunk(item: Chunk) -> bytes:
    """Name, size, content; padded to an even length, which the size does not count."""
    name, content = item
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def interleaved(samples: np.ndarray, bits: int) -> bytes:
    """(C, L) -> little-endian bytes, one frame after the other."""
    frames = np.ascontiguousarray(samples.T, dtype="<f4" if bits == 32 else "<i4")
    if bits == 32:
        return frames.tobytes()
    return frames.view(np.uint8).reshape(-1, 4)[:, : bits // 8].tobytes()


def info(texts: Mapping[str, str]) -> Chunk:
    """LIST/INFO: {"INAM": title, "ICMT": comment, "ISFT": software, ...}, UTF-8 and ended by a zero byte."""
    items = [(name.encode(), text.encode() + b"\0") for name, text in texts.items()]
    return b"LIST", b"INFO" + b"".join(map(chunk, items))


def smpl(rate: int, length: int, root: int = 60) -> Chunk:
    """One endless forward loop over all ``length`` frames; the end is the last frame that plays."""
    head = struct.pack("<9I", 0, 0, round(1e9 / rate), root, 0, 0, 0, 1, 0)
    return b"smpl", head + struct.pack("<6I", 0, 0, 0, length - 1, 0, 0)


def acid(beats: int, bpm: float, root: int | None = None, loop: bool = True, meter: tuple[int, int] = (4, 4)) -> Chunk:
    """Tempo, beats, metre and MIDI ``root`` note; loops may be stretched to the tempo of a song, one-shots may not."""
    flags = (4 if loop else 1) | (2 if root is not None else 0)
    beat, unit = meter
    root = 60 if root is None else root
    return b"acid", struct.pack("<IHHfIHHf", flags, root, 0x8000, 0.0, beats, unit, beat, bpm)


def bext(description: str, originator: str, lufs: float | None, true_peak: float) -> Chunk:
    """A Broadcast Wave chunk, version 2, with loudness and true peak; no date, so that equal sounds are equal files."""
    head = struct.pack("<256s32s58xH64x", ascii_bytes(description, 256), ascii_bytes(originator, 32), 2)
    levels = (lufs, None, true_peak, None, None)
    numbers = [UNKNOWN if v is None or not abs(v) < 327 else round(100 * v) for v in levels]
    return b"bext", head + struct.pack("<5h180x", *numbers)


def ascii_bytes(text: str, most: int) -> bytes:
    return text.encode("ascii", "replace")[:most]


def read_chunks(file: BinaryIO) -> Iterator[Chunk]:
    """Name and content of every chunk but the sound itself, of a WAV file that may be damaged: what is cut ends it."""
    head = file.read(12)
    if head[:4] not in (b"RIFF", b"RF64", b"BW64") or head[8:] != b"WAVE":
        return
    while len(lead := file.read(8)) == 8:
        name, size = lead[:4], int.from_bytes(lead[4:], "little")
        if name == b"data" or size > LONGEST:
            file.seek(size + size % 2, 1)
            continue
        content = file.read(size)
        if len(content) < size:
            return
        file.read(size % 2)
        yield name, content


def read_info(content: bytes) -> dict[str, str]:
    """The texts of a LIST chunk of type INFO by their names; {} for another list."""
    found, at = {}, 4
    while content[:4] == b"INFO" and at + 8 <= len(content):
        name, size = content[at : at + 4].decode("latin-1"), int.from_bytes(content[at + 4 : at + 8], "little")
        found[name] = content[at + 8 : at + 8 + size].rstrip(b"\0").decode("utf-8", "replace")
        at += 8 + size + size % 2
    return found


def read_smpl(content: bytes) -> list[tuple[int, int]]:
    """(first, last) frame of every loop."""
    if len(content) < 36:
        return []
    count = int.from_bytes(content[28:32], "little")
    loops = [content[at : at + 24] for at in range(36, min(36 + 24 * count, len(content) - 23), 24)]
    return [struct.unpack("<II", loop[8:16]) for loop in loops]  # type: ignore[misc]


def read_acid(content: bytes) -> dict[str, Any]:
    """Tempo data as ``acid`` takes them; {} where the chunk is too short."""
    if len(content) < 24:
        return {}
    flags, root, _, _, beats, unit, beat, bpm = struct.unpack("<IHHfIHHf", content[:24])
    key = {"root": root} if flags & 2 else {}
    return {"bpm": round(bpm, 6), "beats": beats, "meter": [beat, unit], "loop": not flags & 1, **key}
