"""What is to be made: a bounded queue, and the one thread that does all of MLX's work."""

import math
import secrets
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

from ..errors import StableAudioError
from .owner import Owner
from .replies import Refused

MOST_WAITING, MOST_DONE = 64, 200
STEPS_APART = 0.05  # seconds: steps that follow faster are not all told
ENDED = ("done", "failed", "cancelled")


class Cancelled(Exception):
    """Raised in the worker between two steps."""


class Job:
    """One request to make sounds.  Only the queue changes it; readers take ``shown()``."""

    news: threading.Condition  # of the queue that it is in: what wakes who follows it

    def __init__(self, request: dict[str, Any], work: Any, total: int):
        self.id, self.created = f"job-{secrets.token_hex(6)}", time.time()
        self.request, self.work = request, work
        self.state = "queued"
        self.version, self.changed = 0, time.monotonic()
        self.takes: list[dict[str, Any]] = []
        self.progress = {"phase": "waiting", "take": 0, "takes": total, "step": 0, "steps": 0}
        self.notes: list[str] = []
        self.error: dict[str, Any] | None = None
        self.cancel = threading.Event()

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    def shown(self, position: int = 0) -> dict[str, Any]:
        """``position``: 1 for the next one to be made, 0 where it doesn't wait."""
        return {
            "id": self.id,
            "state": self.state,
            "position": position,
            "created": self.created,
            "request": self.request,
            "progress": self.progress,
            "takes": self.takes,
            "notes": self.notes,
            "error": self.error,
        }


class Queue:
    """Jobs in the order in which they came, made one by one by ``make(job, report)`` in one thread.

    Whoever wants to know of changes waits for a higher ``version``: a slow reader misses steps, never the end.
    """

    def __init__(self, make: Callable[[Job, Callable[..., None]], None], note: Callable[[str], None]):
        self._make, self._note = make, note
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._waiting: list[Job] = []
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)  # wakes who follows everything
        self._owner = Owner()
        self.version, self.closed = 0, False
        self._told = 0.0

    def do(self, work: Callable[[], Any]) -> Future:
        """Something else for the thread that owns the model, between jobs."""
        future = self._owner.do(work)
        future.add_done_callback(lambda future: (error := future.exception()) and self._explain(error))
        return future

    def add(self, job: Job) -> Job:
        """Refused(429) where too many wait."""
        with self._lock:
            if self.closed:
                raise Refused(503, "the server is shutting down")
            if len(self._waiting) >= MOST_WAITING:
                raise Refused(429, f"{MOST_WAITING} jobs wait already; try again later", {"Retry-After": "10"})
            job.news = threading.Condition(self._lock)
            self._jobs[job.id] = job
            self._waiting.append(job)
            ended = [one.id for one in self._jobs.values() if one.ended]
            for id in ended[:-MOST_DONE]:
                del self._jobs[id]
            self._touch(job)
        self._owner.do(lambda: self._run(job)).add_done_callback(lambda future: self._finish(job, future.exception()))
        return job

    def _run(self, job: Job) -> None:
        with self._lock:
            if job.ended:
                return
            self._waiting.remove(job)
            job.state = "running"
            self._touch(job, *self._waiting)
        self._make(job, lambda **news: self._report(job, news))

    def _report(self, job: Job, news: dict[str, Any]) -> None:
        """Called by ``make`` between steps: ``kept`` and ``note`` are added, the rest is progress."""
        with self._lock:
            if kept := news.pop("kept", None):
                job.takes = [*job.takes, kept]
            if note := news.pop("note", None):
                job.notes = list(dict.fromkeys([*job.notes, note]))
            job.progress = {**job.progress, **news}
            now = time.monotonic()
            if kept or note or "step" not in news or now - self._told > STEPS_APART:
                self._told = now
                self._touch(job)
        if job.cancel.is_set() or self.closed:
            raise Cancelled

    def _finish(self, job: Job, error: BaseException | None) -> None:
        """Whatever happened, the job ends and the next one can begin."""
        with self._lock:
            if job.ended:
                return
            if isinstance(error, Cancelled):
                job.state = "cancelled"
            elif error is None:
                job.state = "done"
            else:
                job.state, job.error = "failed", self._explain(error)
            job.work = None
            self._touch(job)

    def _explain(self, error: BaseException) -> dict[str, Any]:
        """What the client is told; a defect of ours goes to the terminal in full."""
        if isinstance(error, Refused):
            return {"status": error.status, "message": error.message}
        if isinstance(error, StableAudioError):
            return {"status": 400 if error.exit_code in (2, 4) else 500, "message": str(error)}
        if isinstance(error, MemoryError):
            return {"status": 500, "message": "not enough memory; try a shorter sound or a smaller model"}
        if isinstance(error, OSError):
            return {"status": 500, "message": f"the sound could not be kept ({error.strerror or error})"}
        self._note("".join(traceback.format_exception(error)))
        return {"status": 500, "message": "this is a defect of the program; its terminal says more"}

    def _touch(self, *jobs: Job) -> None:
        """These jobs or their places have changed: only who follows one of them, or everything, is woken."""
        self.version += 1
        for job in jobs:
            job.version, job.changed = self.version, time.monotonic()
            job.news.notify_all()
        self._changed.notify_all()

    def touch(self) -> None:
        """Something else has changed that readers want to know."""
        with self._lock:
            self._touch()

    def cancel(self, id: str) -> Job:
        """A queued job ends now, a running one before its next step."""
        job = self.get(id)
        with self._lock:
            job.cancel.set()
            if job.state == "queued":
                job.state, job.work = "cancelled", None
                place = self._waiting.index(job)
                del self._waiting[place]
                self._touch(job, *self._waiting[place:])
        return job

    def get(self, id: str) -> Job:
        """Refused(404) where there is none."""
        with self._lock:
            job = self._jobs.get(id)
        if job is None:
            raise Refused(404, "there is no such job; old ones are forgotten, their takes are kept")
        return job

    def shown(self, job: Job) -> dict[str, Any]:
        with self._lock:
            position = self._waiting.index(job) + 1 if job in self._waiting else 0
            return job.shown(position)

    def list(self, seconds: float = math.inf) -> list[dict[str, Any]]:
        """The jobs that are remembered, oldest first, but for those that ended more than ``seconds`` ago."""
        since = time.monotonic() - seconds
        with self._lock:
            places = {job.id: i for i, job in enumerate(self._waiting, 1)}
            return [
                job.shown(places.get(job.id, 0)) for job in self._jobs.values() if not job.ended or job.changed >= since
            ]

    @property
    def active(self) -> int:
        with self._lock:
            return sum(not job.ended for job in self._jobs.values())

    def wait(self, version: int, seconds: float) -> int:
        """Until something is newer than ``version``, or the time is over; returns the version now."""
        with self._changed:
            self._changed.wait_for(lambda: self.version > version or self.closed, seconds)
            return self.version

    def follow(self, job: Job, seconds: float = 15.0) -> Iterator[dict[str, Any] | None]:
        """The job whenever it or its place has changed, until it has ended; None where nothing did for a while."""
        seen = -1
        while True:
            with job.news:
                news = job.news.wait_for(lambda: job.version > seen or self.closed, seconds)  # noqa: B023
                seen, last = job.version, job.ended or self.closed
            yield self.shown(job) if news else None
            if last:
                return

    def stop(self) -> None:
        """Cancel everything: what runs ends before its next step, who follows is told."""
        with self._lock:
            self.closed = True
            waiting, self._waiting = self._waiting, []
            for job in waiting:
                job.state, job.work = "cancelled", None
            self._touch(*self._jobs.values())

    def close(self, last: Callable[[], None]) -> None:
        """Stop, and wait for the thread, which does ``last`` in the end."""
        self.stop()
        self._owner.do(last).result()
