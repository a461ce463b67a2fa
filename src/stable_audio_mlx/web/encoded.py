"""A kept sound in the format that a client wants."""

import tempfile
import threading
from pathlib import Path

from .. import audio
from ..files import SOUNDS
from ..sound import Sound
from .library import SOUND, Kept
from .replies import TYPES, Refused, Reply, attachment, file_reply

ENCODING = threading.Lock()  # one at a time: the memory of one long sound


def check_format(name: object) -> str:
    """The extension of a format; Refused for one that there is not."""
    if not isinstance(name, str) or f".{name}" not in SOUNDS:
        raise Refused(400, f"format: {str(name)[:20]!r} is not one of {', '.join(s[1:] for s in SOUNDS)}")
    return f".{name}"


def encoded(kept: Kept, suffix: str) -> Reply:
    """The whole file, which says what made it.  OptionError for what the format cannot hold."""
    if suffix == SOUND:
        return file_reply(kept.sound, None)
    with ENCODING, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / kept.sound.with_suffix(suffix).name
        Sound(*audio.read(kept.sound), kept.facts.get("settings", {})).save(path)
        headers = {"Content-Disposition": attachment(path.name)}
        return Reply(path.read_bytes(), TYPES[suffix], 200, headers)
