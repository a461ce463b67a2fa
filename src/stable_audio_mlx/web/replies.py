"""What a request is answered with: JSON, files with ranges, streams of events; refusals as one sentence."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

CHUNK = 1 << 18
MOST_WORDS = 600  # characters of a refusal, which may quote what was sent
TYPES = {
    ".wav": "audio/wav",
    ".flac": "audio/flac",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".mp3": "audio/mpeg",
    ".aiff": "audio/aiff",
    ".aif": "audio/aiff",
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}


class Refused(Exception):
    """A request that is answered with ``status`` and one sentence."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None):
        super().__init__(message)
        self.status, self.message, self.headers = status, message, dict(headers or {})


@dataclass
class Reply:
    """``body``: bytes, a part of a file, or an iterator of bytes that goes on until it ends or the client leaves."""

    body: "bytes | FilePart | Iterator[bytes]" = b""
    type: str = "application/json"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def length(self) -> int | None:
        """Bytes of the body; None where nobody knows before."""
        if isinstance(self.body, FilePart):
            return self.body.length
        return len(self.body) if isinstance(self.body, bytes) else None

    def chunks(self) -> Iterator[bytes]:
        return iter((self.body,)) if isinstance(self.body, bytes) else iter(self.body)


@dataclass(frozen=True)
class FilePart:
    """``length`` bytes of a file from ``start`` on."""

    path: Path
    start: int
    length: int

    def __iter__(self) -> Iterator[bytes]:
        with open(self.path, "rb") as file:
            file.seek(self.start)
            left = self.length
            while left and (chunk := file.read(min(left, CHUNK))):
                left -= len(chunk)
                yield chunk


def as_json(value: Any, status: int = 200, **headers: str) -> Reply:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Reply(text.encode(), "application/json", status, {k.replace("_", "-"): v for k, v in headers.items()})


def refusal(status: int, message: str, headers: Mapping[str, str] | None = None) -> Reply:
    """An error in the shape that clients of OpenAI's API read."""
    message = message if len(message) <= MOST_WORDS else message[:MOST_WORDS] + " ..."
    kind = "invalid_request_error" if status < 500 else "server_error"
    reply = as_json({"error": {"message": message, "type": kind, "code": status}}, status)
    reply.headers.update(headers or {})
    return reply


def file_reply(path: Path, wanted: str | None, name: str | None = None) -> Reply:
    """A file, or the range of it that the ``Range`` header asks for (RFC 9110 section 14); Refused(416) beyond its end.

    ``name``: saved under this name instead of shown.  Several ranges at once are answered with the whole file.
    """
    try:
        size = path.stat().st_size
    except OSError:
        raise Refused(404, "the file is gone") from None
    headers = {"Accept-Ranges": "bytes", "Cache-Control": "private, max-age=31536000, immutable"}
    if name:
        headers["Content-Disposition"] = attachment(name)
    part = byte_range(wanted, size)
    if part is None:
        return Reply(FilePart(path, 0, size), TYPES[path.suffix], 200, headers)
    first, last = part
    headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    return Reply(FilePart(path, first, last - first + 1), TYPES[path.suffix], 206, headers)


def attachment(name: str) -> str:
    """A ``Content-Disposition`` that saves under this name, in whatever script (RFC 6266)."""
    return f"attachment; filename*=UTF-8''{quote(name, safe='')}"


def byte_range(wanted: str | None, size: int) -> tuple[int, int] | None:
    """(first, last) byte that a ``Range`` header asks for; None for all.  Refused(416) beyond the end."""
    found = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", wanted or "")
    if not found or not any(found.groups()):
        return None
    first, last = found.groups()
    if not first:
        start, end = max(0, size - int(last)), size - 1
    else:
        start, end = int(first), min(int(last or size - 1), size - 1)
        if last and int(last) < int(first):
            return None  # no valid range: as if there were none
    if start >= size or start > end:
        raise Refused(416, f"the file has {size} bytes", {"Content-Range": f"bytes */{size}"})
    return start, end


def server_sent(event: str, data: Any) -> bytes:
    """One event of an event stream."""
    return f"event: {event}\ndata: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()


def event_stream(events: Iterator[bytes]) -> Reply:
    return Reply(events, "text/event-stream", 200, {"Cache-Control": "no-store"})
