"""Sounds that clients send: decoded at once and kept as WAV under an id."""

import re
import threading
from collections.abc import Callable
from pathlib import Path

from .. import audio
from ..errors import AudioError
from .library import Kept, Shelf
from .peaks import outline
from .replies import Refused

MOST = 64
MOST_BYTES = 100 << 20
MOST_SECONDS, MOST_FRAMES = 600, 600 * 48_000
DECODING = threading.Lock()  # one at a time: the memory of one long sound


def add(shelf: Shelf, name: str, receive: Callable[[Path], None]) -> Kept:
    """Keep the sound file that ``receive`` writes to the path that it is given; Refused for what is none."""
    id, path = shelf.new_path()
    raw, name = path.with_suffix(".part"), clean(name)  # soundfile asks more of a .raw
    try:
        receive(raw)
        with DECODING:
            frames, rate = audio.probe(raw)
            if frames > min(MOST_FRAMES, MOST_SECONDS * rate):
                raise Refused(413, f"{name}: lasts {frames / rate:.0f} s at {rate} Hz; the most is {MOST_SECONDS} s")
            sound, rate = audio.read(raw, seconds=MOST_SECONDS)
            audio.write(path, sound, rate)
            facts = {"name": name, "seconds": sound.shape[1] / rate, "sample_rate": rate, "peaks": outline(sound)}
    except AudioError as error:
        raise Refused(400, str(error).replace(str(raw), name)) from None
    finally:
        raw.unlink(missing_ok=True)
    return shelf.add(id, path, facts)


def clean(name: str) -> str:
    """A client's file name as something to show: its last part, printable, not long."""
    last = re.split(r"[/\\]", name)[-1]
    return "".join(c for c in last if c.isprintable())[:120] or "sound"
