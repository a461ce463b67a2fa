"""Requests in the shapes of OpenAI's API: ``/v1/audio/generations`` and ``/v1/audio/speech``."""

import base64
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from . import asked
from .encoded import check_format, encoded
from .jobs import Job
from .library import Kept
from .replies import Refused, Reply, as_json, event_stream, server_sent

if TYPE_CHECKING:
    from .handler import Handler

LONGEST_HEADER = 8000
# What clients of text-to-speech send and what means nothing here.
IGNORED = ("voice", "speed", "instructions", "user", "stream_format", "lang_code")
SPEECH = ("model", "input", "seconds", "seed", "steps", "cfg_scale", "negative_prompt")


def generations(request: "Handler") -> Reply:
    """Make takes and answer when they are there; with ``"stream": true`` in events."""
    body = request.json()
    stream, form = body.pop("stream", False), body.pop("response_format", "url")
    if not isinstance(stream, bool):
        raise Refused(400, f"stream: {stream!r} must be true or false")
    if form not in ("url", "b64_json"):
        raise Refused(
            400, f"response_format: {str(form)[:20]!r} is not url or b64_json; the sound itself is a WAV file"
        )
    body.pop("user", None)
    job = request.studio.submit(asked.read(body, request.studio))
    if stream:
        return event_stream(streamed(request, job, form))
    wait(request, job)
    return as_json(result(request, job, form))


def streamed(request: "Handler", job: Job, form: str) -> Iterator[bytes]:
    """``progress`` while the job goes on, then ``result`` or ``error``; who leaves cancels it."""
    try:
        for news in request.studio.queue.follow(job):
            if news and news["state"] in ("queued", "running"):
                yield server_sent("progress", news)
            elif not news:
                yield b": still here\n\n"
        if job.state == "done":
            yield server_sent("result", result(request, job, form))
        else:
            yield server_sent("error", {"error": job.error or {"message": "the job was cancelled", "status": 409}})
        yield b"data: [DONE]\n\n"
    finally:
        request.studio.queue.cancel(job.id)


def wait(request: "Handler", job: Job) -> None:
    """Until the job is done; Refused with its error, or where somebody cancelled it.  Who leaves cancels it."""
    queue = request.studio.queue
    try:
        for _ in queue.follow(job, 0.5):
            if request.gone:
                raise ConnectionAbortedError("the client left")
    finally:
        queue.cancel(job.id)
    if job.error:
        raise Refused(job.error["status"], job.error["message"])
    if job.state != "done":
        raise Refused(409, "the job was cancelled")


def result(request: "Handler", job: Job, form: str) -> dict[str, Any]:
    """What OpenAI's image API answers, one item for each take."""
    items = []
    for take in job.takes:
        item = dict(take)
        if form == "b64_json":
            item["b64_json"] = base64.b64encode(request.studio.takes.get(take["id"]).sound.read_bytes()).decode()
        items.append(item)
    return {"created": int(job.created), "id": job.id, "data": items}


def speech(request: "Handler") -> Reply:
    """The sound itself, with its seed and record in the headers."""
    body = {key: value for key, value in request.json().items() if key not in IGNORED}
    suffix = check_format(body.pop("response_format", "mp3"))
    if not isinstance(body.get("input"), str) or not body["input"].strip():
        raise Refused(400, "input: say what to hear, as text")
    body["prompt"] = body.pop("input")
    studio = request.studio
    job = studio.submit(asked.read(one_take(body, request), studio))
    wait(request, job)
    kept = studio.takes.get(job.takes[0]["id"])
    reply = encoded(kept, suffix)
    reply.headers |= headers(kept)
    return reply


def one_take(body: dict[str, Any], request: "Handler") -> Mapping[str, Any]:
    """Models that only OpenAI has mean the default here."""
    if body.get("n", 1) != 1:
        raise Refused(400, "n: speech answers with one sound; /v1/audio/generations makes several")
    if str(body.get("model", "")).startswith(("tts-", "gpt-")):
        body["model"] = None
    return body


def headers(kept: Kept) -> dict[str, str]:
    """JSON in ASCII, as headers must be; a record that is too long for one is read from the take."""
    record = json.dumps(kept.facts["settings"], ensure_ascii=True, separators=(",", ":"))
    found = {"X-Seed": str(kept.facts["seed"]), "X-Take": kept.id}
    return found | ({"X-Generation-Json": record} if len(record) < LONGEST_HEADER else {})
