"""What each address does: functions of a ``Handler`` and the id in the address, which reply or raise Refused."""

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from .. import __version__
from . import asked, openai, page, uploads
from .encoded import check_format, encoded
from .library import Shelf
from .replies import Refused, Reply, as_json, event_stream, file_reply, server_sent

if TYPE_CHECKING:
    from .handler import Handler

QUIET = b": still here\n\n"
MOST_LISTED = 200


def health(request: "Handler") -> Reply:
    return as_json({"status": "ok", "version": __version__, "jobs": request.studio.queue.active})


def models(request: "Handler") -> Reply:
    return as_json({"object": "list", "data": request.studio.models.shown()})


def loras(request: "Handler") -> Reply:
    return as_json({"data": [{"name": name} for name in request.studio.loras.files()]})


def add_job(request: "Handler") -> Reply:
    job = request.studio.submit(asked.read(request.json(), request.studio))
    return as_json(request.studio.queue.shown(job), 202, Location=f"/v1/jobs/{job.id}")


def list_jobs(request: "Handler") -> Reply:
    return as_json({"data": request.studio.queue.list()})


def show_job(request: "Handler", id: str) -> Reply:
    queue = request.studio.queue
    return as_json(queue.shown(queue.get(id)))


def cancel_job(request: "Handler", id: str) -> Reply:
    queue = request.studio.queue
    return as_json(queue.shown(queue.cancel(id)))


def job_events(request: "Handler", id: str) -> Reply:
    queue = request.studio.queue
    job = queue.get(id)
    return event_stream(QUIET if news is None else server_sent("job", news) for news in queue.follow(job))


def all_events(request: "Handler") -> Reply:
    """What a page needs to stay up to date: the latest jobs, the models, and a count that says when takes change."""
    return event_stream(_all_events(request))


def _all_events(request: "Handler") -> Iterator[bytes]:
    queue, version, last = request.studio.queue, -1, time.monotonic()
    while not queue.closed:
        now = queue.wait(version, 15.0)
        if now == version:
            yield QUIET
            continue
        version, state = request.studio.state()
        yield state
        time.sleep(max(0.0, 0.05 - (time.monotonic() - last)))
        last = time.monotonic()


def list_takes(request: "Handler") -> Reply:
    limit = whole(request, "limit", 50, 1, MOST_LISTED)
    kept, more = request.studio.takes.newest(limit, request.query.get("before"))
    return as_json({"data": [take.shown() for take in kept], "has_more": more})


def shelf(request: "Handler") -> Shelf:
    """The shelf that the address speaks of."""
    return request.studio.takes if request.path.startswith("/v1/takes/") else request.studio.uploads


def show_sound(request: "Handler", id: str) -> Reply:
    return as_json(shelf(request).get(id).shown())


def sound(request: "Handler", id: str) -> Reply:
    one = shelf(request).get(id)
    wanted = request.query.get("format", "wav")
    if wanted != "wav":
        return encoded(one, check_format(wanted))
    name = one.sound.name if "download" in request.query else None
    return file_reply(one.sound, request.headers.get("Range"), name)


def peaks(request: "Handler", id: str) -> Reply:
    one = shelf(request).get(id)
    reply = as_json({"id": one.id, "seconds": one.facts["seconds"], "peaks": one.peaks})
    reply.headers["Cache-Control"] = "private, max-age=31536000, immutable"
    return reply


def remove_sound(request: "Handler", id: str) -> Reply:
    shelf(request).remove(id)
    request.studio.queue.touch()
    return Reply(status=204)


def add_upload(request: "Handler") -> Reply:
    """The body is the file itself; ``?name=`` says what to call it."""
    kind = (request.headers.get("Content-Type") or "").partition(";")[0].strip().lower()
    if not (kind.startswith(("audio/", "video/")) or kind in ("application/octet-stream", "application/ogg")):
        raise Refused(415, "send the file's bytes with a Content-Type of audio/... or application/octet-stream")
    kept = uploads.add(
        request.studio.uploads,
        request.query.get("name", "sound"),
        lambda path: request.receive(path, uploads.MOST_BYTES),
    )
    return as_json({**kept.shown(), "peaks": kept.peaks}, 201)


def whole(request: "Handler", name: str, default: int, low: int, high: int) -> int:
    text = request.query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 10 and low <= int(text) <= high):
        raise Refused(400, f"{name}: {text[:20]!r} must be a whole number from {low} to {high}")
    return int(text)


ROUTES: tuple[tuple[str, str, Callable[..., Reply]], ...] = (
    ("GET", "/health", health),
    ("GET", "/v1/models", models),
    ("GET", "/v1/loras", loras),
    ("POST", "/v1/audio/generations", openai.generations),
    ("POST", "/v1/audio/speech", openai.speech),
    ("POST", "/v1/jobs", add_job),
    ("GET", "/v1/jobs", list_jobs),
    ("GET", "/v1/jobs/ID", show_job),
    ("DELETE", "/v1/jobs/ID", cancel_job),
    ("GET", "/v1/jobs/ID/events", job_events),
    ("GET", "/v1/events", all_events),
    ("GET", "/v1/takes", list_takes),
    ("POST", "/v1/uploads", add_upload),
    *(
        (method, f"/v1/{kind}/ID{rest}", handler)
        for kind in ("takes", "uploads")
        for method, rest, handler in (
            ("GET", "", show_sound),
            ("DELETE", "", remove_sound),
            ("GET", "/sound", sound),
            ("GET", "/peaks", peaks),
        )
    ),
)


def route(request: "Handler") -> Reply:
    """Refused(404) and Refused(405) for what is not in the table; no part of an address is ever a path of the disk."""
    method = "GET" if request.method == "HEAD" else request.method
    if method == "GET" and (reply := page.reply(request)):
        return reply
    parts, methods = request.path.split("/"), []
    for known, address, handler in ROUTES:
        wanted = address.split("/")
        if len(wanted) == len(parts) and all(w in ("ID", p) for w, p in zip(wanted, parts, strict=True)):
            if known == method:
                return handler(request, *(p for w, p in zip(wanted, parts, strict=True) if w == "ID"))
            methods.append(known)
    if methods:
        raise Refused(405, f"{request.path[:80]} takes {', '.join(methods)} only", {"Allow": ", ".join(methods)})
    raise Refused(404, f"there is nothing at {request.path[:80]}")
