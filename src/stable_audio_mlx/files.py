"""Files that are written: checked before the work begins, under their final name only when they are complete."""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .errors import OptionError

SOUNDS = (".wav", ".flac", ".aiff", ".aif", ".ogg", ".opus", ".mp3")
LATENTS, CODES = ".npy", ".npz"
SIDECAR = ".json"  # beside a sound: how it was made


def check_output(path: str | Path, overwrite: bool = False, extensions: Sequence[str] = SOUNDS) -> Path:
    """``path`` if a file with one of ``extensions`` can be written there; OptionError otherwise.  Makes the folder."""
    path = Path(path)
    if path.suffix.lower() not in extensions:
        raise OptionError(f"{path}: unknown format {path.suffix!r}; use {', '.join(extensions)}")
    try:
        if path.is_dir():
            raise OptionError(f"{path}: is a folder")
        if path.exists() and not overwrite:
            raise OptionError(f"{path}: exists already; choose another name or pass --overwrite")
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OptionError(f"{error.filename}: cannot be made ({error.strerror})") from None
    if not os.access(path.parent, os.W_OK):
        raise OptionError(f"{path.parent}: cannot be written to")
    return path


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A name beside ``path`` to write to; it becomes ``path`` if all goes well and vanishes if not.

    An OSError that names no file, such as that of a full disk, is given ``path``.
    """
    part = path.with_name(f".{os.getpid()}-{threading.get_ident()}.part{path.suffix}")
    try:
        yield part
        os.replace(part, path)
    except OSError as error:
        if error.filename or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        part.unlink(missing_ok=True)
