"""Sound to the loudspeaker, by what the system has for it."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from ..errors import StableAudioError

# Tried in this order; each plays the file that is put at the end and returns when it is over.
PLAYERS = (
    ("afplay",),
    ("pw-play",),
    ("paplay",),
    ("aplay", "-q"),
    ("ffplay", "-nodisp", "-autoexit", "-loglevel", "error"),
    ("play", "-q"),
)


class PlayError(StableAudioError):
    """A sound that cannot be played here; it is made all the same."""


def play(wav: bytes) -> None:
    """Play a WAV file and wait for its end; an interrupt stops it.  PlayError where no player works."""
    found = [command for command in PLAYERS if shutil.which(command[0])]
    if not found:
        names = "afplay" if sys.platform == "darwin" else ", ".join(command[0] for command in PLAYERS[1:])
        raise PlayError(f"cannot play: none of {names} is installed")
    told = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "sound.wav"
        file.write_bytes(wav)
        for command in found:
            done = subprocess.run([*command, str(file)], stdin=subprocess.DEVNULL, capture_output=True, check=False)
            if done.returncode == 0:
                return
            lines = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
            told.append(f"{command[0]}: {lines[-1]}")
    raise PlayError(f"cannot play: {'; '.join(told)}")
