"""What every command shares: errors as one line and an exit code, streams, names of files."""

import argparse
import contextlib
import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import StableAudioError, WeightsError
from ..files import SOUNDS, check_output
from ..takes.names import free_paths as names_in_folder

if TYPE_CHECKING:
    from ..audio import Written

_quiet: ContextVar[bool] = ContextVar("quiet", default=False)
OUTPUT = "output"
DTYPES = ("float32", "float16", "bfloat16")


class Parser(argparse.ArgumentParser):
    """argparse, but a usage error is one line that says what would be right, and no option may be cut short."""

    def __init__(self, *args, **settings):
        super().__init__(*args, **{"allow_abbrev": False, **settings})

    def error(self, message: str) -> NoReturn:
        import difflib

        *_, rest = message.partition("unrecognized arguments: ")
        word, options = (rest.split() or [""])[0], list(self._option_string_actions)
        close = [o for o in options if len(word) > 2 and o.startswith(word)] or difflib.get_close_matches(word, options)
        hint = f"did you mean {close[0]}?" if close else f"{self.prog} --help lists what there is"
        self.exit(2, f"error: {message}; {hint}\n")


def run(command: Callable[[], int | None], quiet: bool = False) -> int:
    """Run ``command`` and return the process's exit code: 0 ok, 1 to 5 failures (``errors``), 130 interrupted.

    ``quiet``: nothing but errors on stderr.
    """
    prepare_streams()
    token = _quiet.set(quiet)
    try:
        code = command() or 0
        sys.stdout.flush()
        return code
    except StableAudioError as error:
        complain(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        note("interrupted")
        return 130
    except ImportError as error:
        if not isinstance(error.__cause__, KeyboardInterrupt):  # MLX tells an interrupt while it loads like this
            raise
        note("interrupted")
        return 130
    except BrokenPipeError:
        forget_stdout()
        return 1
    except MemoryError:
        complain("not enough memory; try a shorter clip or a smaller model")
        return 1
    except OSError as error:
        complain(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        return 1
    finally:
        _quiet.reset(token)


def prepare_streams() -> None:
    """Paths leave as the bytes they are on disk, whatever the terminal's encoding; a closed stream swallows all."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding=sys.getfilesystemencoding(), errors="surrogateescape")


def note(text: str) -> None:
    """Tell the user something that is no result, unless all is to be quiet."""
    if not _quiet.get():
        tell(text)


def complain(text: str) -> None:
    """Tell the user of an error."""
    tell(f"error: {text}")


def tell(text: str) -> None:
    """A line on stderr; where nobody can be told, the work goes on."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr)


def show(record: dict[str, Any], text: object, as_json: bool) -> None:
    """One result on stdout: its text, or its record as a line of JSON.

    When the reader has gone (``| head``), the files that are still to come are written all the same.
    """
    try:
        print(json.dumps(record, ensure_ascii=False) if as_json else text, flush=True)
    except BrokenPipeError:
        forget_stdout()
    except OSError as error:
        raise OSError(error.errno, error.strerror, "standard output") from None


def forget_stdout() -> None:
    """Send what is still to be said on stdout nowhere, since its reader has gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def progress(total: int | None, unit: str, leave: bool = False, label: str | None = None) -> Any:
    """A bar on stderr; silent when stderr is no terminal or all is to be quiet."""
    from tqdm import tqdm

    return tqdm(total=total, unit=unit, desc=label, disable=_quiet.get() or not sys.stderr.isatty(), leave=leave)


class ProgressBar:
    """For the ``progress`` of conversions: one bar on stderr for each thing that is done, bytes as unit."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._what = ""

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, what: str, done: int, total: int) -> None:
        from tqdm import tqdm

        if what != self._what:
            self._close()
            self._what = what
            self._bar = tqdm(total=total, desc=what, unit="B", unit_scale=True, disable=not sys.stderr.isatty())
        self._bar.update(done - self._bar.n)


def size_text(size: int) -> str:
    """Bytes for people: 12.3 MB, 4 kB."""
    return f"{size / 1e6:,.1f} MB" if size >= 100_000 else f"{size / 1e3:.1f} kB"


def default_model() -> Path:
    """The best converted model on this computer."""
    from ..weights import hub

    found = hub.best_local_model()
    if found is None:
        raise WeightsError(
            "there is no model in ./model/ or $STABLE_AUDIO_MLX_HOME; the project's folder and its package bring the "
            "small one, a real one: stable-audio-mlx convert stable-audio-open-small"
        )
    if found.name == hub.EMBEDDED:
        note("using the small embedded model; python convert.py stable-audio-open-small gets a real one")
    return found


def is_folder(output: str | None) -> bool:
    """Whether an output is none or a folder, so that names are ours to choose."""
    return output is None or output.endswith("/") or Path(output).is_dir()


def free_paths(folder: str | None, names: Sequence[str], extensions: Sequence[str] = SOUNDS) -> list[Path]:
    """A path that can be written to for each name in the folder, none that is taken (``names.free_paths``)."""
    return [check_output(path, True, extensions) for path in names_in_folder(folder or OUTPUT, names)]


def save(path: Path, clip: Any, rate: int, overwrite: bool) -> Path:
    """Write a sound (C, L) and say what had to be done to its level."""
    from ..audio import write

    written = write(path, clip, rate, overwrite)
    note_level(written)
    return written.path


def note_level(written: "Written") -> None:
    """Say what had to be done to the level of a sound for its file to hold it, and what is too loud to play."""
    from ..audio.loudness import to_db

    path, gain, peak = written.path, to_db(written.gain), to_db(written.peak)
    if gain < -0.01:
        note(f"{path.name}: turned down by {-gain:.1f} dB, since this file cannot hold its peak")
    elif written.gain == 1 and peak > 0.01:
        note(f"{path.name}: peaks {peak:.1f} dB over full scale, which the float file keeps; turn it down to play it")
