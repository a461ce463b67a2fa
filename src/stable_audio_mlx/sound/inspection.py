"""What a sound file is and says: format, length, levels, loops, tempo, and how it was made."""

import os
from pathlib import Path
from typing import Any

from .. import audio
from ..audio import loudness, riff
from ..errors import OptionError
from ..files import SIDECAR
from . import metadata


def inspect(path: str | Path) -> dict[str, Any]:
    """Facts of a sound file, JSON-able; of a sidecar only its record.  AudioError for what is neither.

    "format", "encoding", "sample_rate", "channels", "samples", "seconds"; levels (``loudness.Levels``); "loops" as
    [first, last] frame and "tempo" of a WAV file that has them; "record", or the "tags" of others' files.
    """
    path = Path(path)
    if path.suffix.lower() == SIDECAR:
        return {"path": str(path), "record": metadata.read(path)}
    found = {"path": str(path), **container(path)}
    found |= loudness.measure(*audio.read(path)).facts()
    found |= samplers_data(path)
    try:
        return {**found, "record": metadata.read(path)}
    except OptionError:
        tags = metadata.tags(path)
        return {**found, "tags": tags} if tags else found


def container(path: Path) -> dict[str, Any]:
    """What the header says."""
    import soundfile

    samples, rate = audio.probe(path)
    info = soundfile.info(os.fsencode(path))
    return {
        "format": info.format,
        "encoding": info.subtype,
        "sample_rate": rate,
        "channels": info.channels,
        "samples": samples,
        "seconds": samples / rate,
    }


def samplers_data(path: Path) -> dict[str, Any]:
    """Loops and tempo in the chunks of a WAV file."""
    chunks = metadata.wave_chunks(path)
    loops, tempo = riff.read_smpl(chunks.get(b"smpl", b"")), riff.read_acid(chunks.get(b"acid", b""))
    return ({"loops": [list(loop) for loop in loops]} if loops else {}) | ({"tempo": tempo} if tempo else {})
