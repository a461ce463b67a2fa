"""The queue: one job after the other, whatever happens to each, and no more of them than it has room for."""

import threading

import pytest

from stable_audio_mlx.errors import OptionError
from stable_audio_mlx.web import jobs, library
from stable_audio_mlx.web.jobs import Job, Queue
from stable_audio_mlx.web.replies import Refused


class Bench:
    """A queue whose jobs are functions that are given ``report``."""

    def __init__(self):
        self.notes = []
        self.queue = Queue(lambda job, report: job.work(report), self.notes.append)

    def add(self, work):
        return self.queue.add(Job({}, work, 1))

    def ended(self, job):
        for _ in self.queue.follow(job):
            pass
        return self.queue.shown(job)


@pytest.fixture
def bench():
    bench = Bench()
    yield bench
    bench.queue.close(lambda: None)


def test_jobs_are_made_in_turn_in_one_thread_and_know_their_place(bench):
    gate, done = threading.Event(), []

    def work(report):
        gate.wait(30)
        done.append(threading.get_ident())

    made = [bench.add(work) for _ in range(3)]
    next(shown for shown in bench.queue.follow(made[0]) if shown["state"] == "running")
    assert [bench.queue.shown(job)["position"] for job in made] == [0, 1, 2] and bench.queue.active == 3
    bench.queue.cancel(made[1].id)
    assert bench.queue.shown(made[2])["position"] == 1
    gate.set()
    assert [bench.ended(job)["state"] for job in made] == ["done", "cancelled", "done"]
    assert len(done) == 2 and len(set(done)) == 1 and bench.queue.active == 0


class Counted(threading.Condition):
    """Knows how often somebody waited."""

    waits = 0

    def wait(self, timeout=None):
        self.waits += 1
        return super().wait(timeout)


def test_who_follows_a_job_is_woken_by_its_own_news_and_its_place_alone(bench, monkeypatch):
    monkeypatch.setattr(threading, "Condition", Counted)
    go_on, reported, end = (threading.Event() for _ in range(3))
    told = []

    def work(report):
        go_on.wait(30)
        for step in range(50):
            report(note=str(step))
        reported.set()
        end.wait(30)

    running = bench.add(work)
    next(shown for shown in bench.queue.follow(running) if shown["state"] == "running")
    waiting = bench.add(lambda report: None)
    follower = threading.Thread(target=lambda: told.extend(bench.queue.follow(waiting)))
    follower.start()
    while not waiting.news.waits:
        bench.queue.wait(bench.queue.version, 0.01)
    go_on.set()
    reported.wait(30)
    assert waiting.news.waits == 1 and len(running.notes) == 50
    end.set()
    follower.join()
    assert told[0]["position"] == 1 and told[-1]["state"] == "done"


@pytest.mark.parametrize(
    "error, status, words",
    [
        (OptionError("steps: no"), 400, "steps: no"),
        (Refused(404, "gone"), 404, "gone"),
        (MemoryError(), 500, "not enough memory"),
        (OSError(28, "No space left on device", "/secret/place"), 500, "No space left on device"),
        (RuntimeError("inner matters"), 500, "defect"),
        (SystemExit("odd"), 500, "defect"),
    ],
    ids=lambda v: str(v),
)
def test_a_failure_is_said_and_the_next_job_is_made(bench, error, status, words):
    def fail(report):
        raise error

    bad, good = bench.add(fail), bench.add(lambda report: report(step=1, steps=1))
    shown = bench.ended(bad)
    assert shown["state"] == "failed" and shown["error"]["status"] == status and words in shown["error"]["message"]
    assert "inner" not in shown["error"]["message"] and "/secret" not in shown["error"]["message"]
    assert bench.ended(good)["state"] == "done"
    assert len(bench.notes) == ("defect" in words)  # its traceback is for the terminal


def test_a_running_job_ends_between_two_steps(bench):
    def work(report):
        for step in range(10**9):
            report(step=step, kept={"id": step} if step == 0 else None)

    job = bench.add(work)
    next(shown for shown in bench.queue.follow(job) if shown["takes"])
    bench.queue.cancel(job.id)
    assert bench.ended(job)["state"] == "cancelled" and bench.queue.shown(job)["takes"] == [{"id": 0}]


def test_too_many_are_refused_and_old_ones_forgotten(bench, monkeypatch):
    monkeypatch.setattr(jobs, "MOST_WAITING", 2)
    monkeypatch.setattr(jobs, "MOST_DONE", 3)
    gate = threading.Event()
    first = bench.add(lambda report: gate.wait(30))
    next(shown for shown in bench.queue.follow(first) if shown["state"] == "running")
    last = [bench.add(lambda report: None) for _ in range(2)][-1]
    with pytest.raises(Refused, match="wait already") as refused:
        bench.add(lambda report: None)
    assert refused.value.status == 429 and "Retry-After" in refused.value.headers
    gate.set()
    bench.ended(last)
    for _ in range(6):
        bench.ended(bench.add(lambda report: None))
    assert len(bench.queue.list()) == 4
    with pytest.raises(Refused, match="no such job"):
        bench.queue.get(first.id)


def test_closing_cancels_all_and_waits_for_the_step(bench):
    started, ended = threading.Event(), []

    def work(report):
        started.set()
        while True:
            report(step=1)

    running, waiting = bench.add(work), bench.add(work)
    started.wait(30)
    bench.queue.close(lambda: ended.append(True))
    assert ended and [job.state for job in (running, waiting)] == ["cancelled", "cancelled"]
    with pytest.raises(Refused, match="shutting down"):
        bench.add(work)


def test_an_outline_stays_in_its_file(tmp_path):
    shelf = library.Shelf(tmp_path, "take")
    id, path = shelf.new_path("kick")
    path.write_bytes(b"RIFF")
    shelf.add(id, path, {"seconds": 1.0, "peaks": [-3, 4]})
    for one in (shelf.get(id), library.Shelf(tmp_path, "take").get(id)):
        assert "peaks" not in one.facts and one.peaks == [-3, 4] and one.facts["seconds"] == 1.0
    one.json.unlink()
    with pytest.raises(Refused, match="outline"):
        one.peaks  # noqa: B018
