"""What every command shares: errors become one line and an exit code, never a traceback."""

import sys
from collections.abc import Callable

from ..errors import StableAudioError


def run(command: Callable[[], int | None]) -> int:
    """Run ``command`` and return the process's exit code (design: 0 ok, 1-5 failures, 130 interrupted)."""
    try:
        return command() or 0
    except StableAudioError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except MemoryError:
        print("error: not enough memory; try a shorter clip or a smaller model", file=sys.stderr)
        return 1
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        print(f"error: {what}", file=sys.stderr)
        return 1
