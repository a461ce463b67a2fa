"""What the server has: models, LoRAs, uploads, finished takes and the queue; and how a job becomes takes."""

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from .. import audio
from ..completion import Completed, complete
from ..errors import AudioError, OptionError
from ..sound import Sound, finish
from ..takes import Take, with_sounds
from .asked import Asked
from .catalogue import Loras, Models
from .jobs import Job, Queue
from .library import Kept, Shelf
from .peaks import outline
from .replies import server_sent

UPLOADS_KEPT = 64
LATELY, LONGEST = 60.0, 600.0  # seconds


class Studio:
    """``folder`` holds the library; ``note`` is given what the terminal should know."""

    def __init__(self, folder: Path, models: Models, loras: Loras, note: Callable[[str], None]):
        self.takes = Shelf(folder, "take")
        self.uploads = Shelf(folder / "uploads", "upload", UPLOADS_KEPT)
        self.models, self.loras = models, loras
        self.queue = Queue(self.make, note)
        self._telling, self._told = threading.Lock(), (-1, b"")

    def ready(self) -> None:
        """Look at the models, the chosen one first, in the thread that owns them."""
        for name in self.models.names():
            self.queue.do(partial(self._describe, name))

    def _describe(self, name: str) -> None:
        self.models.describe(name, self.loras.files())
        self.queue.touch()

    def state(self) -> tuple[int, bytes]:
        """(version, what a page needs to stay up to date, as an event), made once for all who listen.

        The jobs that go on or ended lately, the models, and a count that says when takes change.
        """
        with self._telling:
            version = self.queue.version
            if self._told[0] != version:
                state = {"jobs": self.queue.list(LATELY), "models": self.models.shown(), "takes": self.takes.changes}
                self._told = version, server_sent("state", state)
            return self._told

    def submit(self, asked: Asked) -> Job:
        """Queue what was asked, once it is known to be possible as far as the model is known.  OptionError, Refused."""
        facts = self.models.facts(asked.model)
        for name, _ in asked.request.get("lora", ()):
            self.models.check_lora(asked.model, name)
        for take in asked.takes:
            if facts:
                check_length(complete(take.options, facts))
        return self.queue.add(Job({**asked.request, "model": asked.model}, asked, len(asked.takes)))

    def make(self, job: Job, report: Callable[..., None]) -> None:
        """Make the takes of a job one by one.  Only the queue calls this, in the thread that owns the model."""
        asked: Asked = job.work
        for number, take in enumerate(asked.takes, 1):
            report(phase="loading", take=number, step=0, steps=0)
            began, notes = time.perf_counter(), []
            pipeline = self.models.open(asked.model)
            options = with_sounds(take.options, given_sound)
            with contextlib.closing(pipeline.steps(options)) as events:
                for event in events:
                    if event.kind == "options":
                        check_length(event.options)
                    elif event.kind == "note":
                        notes.append(event.message)
                        report(note=event.message)
                    elif event.kind == "step":
                        report(phase="sampling", step=event.step, steps=event.total or 0)
                    elif event.kind in ("text", "decode"):
                        report(phase={"text": "starting", "decode": "decoding"}[event.kind])
            for sound in pipeline.sounds(event):
                sound = finish(replace(sound, notes=(*notes, *sound.notes)), take.finish)
                kept = self.keep(sound, asked, take, time.perf_counter() - began)
                report(kept=kept.shown())

    def keep(self, sound: Sound, asked: Asked, take: Take, took: float) -> Kept:
        """Put a sound into the library."""
        record = dict(sound.record)
        seed = record["seed"]
        id, path = self.takes.new_path(asked.file_name(take, seed))
        sound.save(path)
        facts: dict[str, Any] = {
            "prompt": take.options.prompt,
            "seed": seed,
            "model": asked.model,
            "seconds": sound.seconds,
            "sample_rate": sound.sample_rate,
            "channels": sound.audio.shape[0],
            "settings": asked.settings(record),
            "request": {**asked.request, "model": asked.model, "seed": seed},
            "notes": list(sound.notes),
            "took": round(took, 3),
            "peaks": outline(sound.audio),
        }
        return self.takes.add(id, path, facts)

    def close(self) -> None:
        """Wait for the step that is being made and let the model go, in the thread that owns it."""
        self.queue.close(self.models.close)


def given_sound(path: str) -> tuple[Any, int]:
    """A sound of the library; AudioError where it has been deleted since it was asked for."""
    if not Path(path).is_file():
        raise AudioError("the sound to start from has been deleted")
    return audio.read(path)


def check_length(options: Completed | None) -> None:
    """OptionError for a sound that would keep everybody waiting."""
    if options and max(options.seconds) > LONGEST:
        raise OptionError(f"seconds: {max(options.seconds):g} is more than the studio makes; the most is {LONGEST:g}")
