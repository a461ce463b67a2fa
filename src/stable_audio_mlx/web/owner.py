"""The one thread in which MLX works."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from types import TracebackType
from typing import Any


class Owner:
    """Does what it is given, one thing after the other.

    Its thread never ends.  MLX keeps Python objects for each thread that it worked in and gives them back when the
    thread has ended, which is after ``Thread.join`` returns: if Python is ending by then, the process is aborted.
    """

    def __init__(self) -> None:
        self._work: SimpleQueue[tuple[Callable[[], Any], Future]] = SimpleQueue()
        threading.Thread(target=self._run, name="mlx", daemon=True).start()

    def do(self, work: Callable[[], Any]) -> Future:
        """The future result of ``work()``, or what it raises."""
        future: Future = Future()
        self._work.put((work, future))
        return future

    def _run(self) -> None:
        while True:
            work, future = self._work.get()
            with Outcome(future):
                future.set_result(work())
            del work, future  # nothing of it is kept until the next


class Outcome:
    """Whatever is raised in its block goes into a future."""

    def __init__(self, future: Future):
        self._future = future

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if error is not None:
            self._future.set_exception(error)
        return True
