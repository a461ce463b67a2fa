"""One connection: HTTP/1.1 requests read within bounds, checked, answered by ``routes``."""

import contextlib
import http.client
import json
import select
import socket
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from ..errors import StableAudioError
from .guard import one
from .replies import Refused, Reply, refusal
from .routes import route

if TYPE_CHECKING:
    from .server import StudioServer
    from .studio import Studio

MOST_HEADERS = 32 << 10
MOST_JSON = 256 << 10
IDLE, HEADERS, SLOWEST = 30.0, 15.0, 100_000  # seconds, seconds, bytes a second
SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "media-src 'self' blob:; connect-src 'self'; manifest-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}


class Lines:
    """The request's lines, up to MOST_HEADERS bytes in all."""

    def __init__(self, file: Any):
        self._file, self._left = file, MOST_HEADERS

    def readline(self, limit: int = -1) -> bytes:
        line = self._file.readline(min(limit, self._left + 1) if limit >= 0 else self._left + 1)
        self._left -= len(line)
        if self._left < 0:
            raise http.client.LineTooLong("request and headers")
        return line


class Handler(BaseHTTPRequestHandler):
    """What routes see of a request: ``method``, ``path``, ``query``, ``headers``, ``json()``, ``receive()``."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "stable-audio-mlx", ""
    timeout = 30  # of each read and write
    disable_nagle_algorithm = True
    server: "StudioServer"
    query: dict[str, str]

    def handle_one_request(self) -> None:
        self.server.set_deadline(self.connection, IDLE)
        file, self.rfile = self.rfile, Lines(self.rfile)  # type: ignore[assignment]
        self.close_connection, self.answered, self.unread = True, False, 0
        try:
            self.raw_requestline = self.rfile.readline()
            self.server.set_deadline(self.connection, HEADERS)
            if not self.raw_requestline or not self.parse_request():
                return
        except http.client.LineTooLong:
            self.requestline = self.command = ""
            self.send_error(431)
            return
        except (TimeoutError, ConnectionError):
            return
        finally:
            self.rfile = file
        self.server.set_deadline(self.connection, None)
        try:
            self.answer()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def answer(self) -> None:
        """Send what ``routes`` reply; a defect is told as such and goes on to the server's ``handle_error``."""
        self.method = self.command
        reply = refusal(500, "this is a defect of the program; its terminal says more")
        try:
            reply = self._reply()
        finally:
            self.send(reply)

    def _reply(self) -> Reply:
        try:
            self._prepare()
            return route(self)
        except Refused as error:
            return refusal(error.status, error.message, error.headers)
        except StableAudioError as error:
            return refusal(400 if error.exit_code in (2, 4) else 500, str(error))
        except MemoryError:
            return refusal(500, "not enough memory")
        except (ConnectionError, TimeoutError):
            raise
        except OSError as error:
            return refusal(500, f"the disk refused ({error.strerror or error})")

    def _prepare(self) -> None:
        """Check who asks and what is said of the body; a connection whose requests are in doubt is closed."""
        keep, self.close_connection = self.close_connection, True
        try:
            parts = urlsplit(self.path)
            self.query = dict(parse_qsl(parts.query, keep_blank_values=True, max_num_fields=20))
        except ValueError:
            raise Refused(400, "the address cannot be read") from None
        self.path = parts.path
        length = one(self.headers, "Content-Length") or "0"
        if "Transfer-Encoding" in self.headers:
            raise Refused(411, "send the body with a Content-Length")
        if not (length.isascii() and length.isdigit()) or len(length) > 15:
            raise Refused(400, f"Content-Length: {length[:20]!r} is no number of bytes")
        self.unread, self.close_connection = int(length), keep
        self.server.guard.check(self.method, self.path, self.query, self.headers)

    @property
    def studio(self) -> "Studio":
        return self.server.studio

    # The body

    def json(self) -> dict[str, Any]:
        """The request's JSON object."""
        if one(self.headers, "Content-Type").partition(";")[0].strip().lower() != "application/json":
            raise Refused(415, "send JSON, with Content-Type: application/json")
        self._check_size(MOST_JSON)
        try:
            value = json.loads(self._read().decode("utf-8"), parse_constant=_no_constant)
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # half a surrogate pair can be escaped, but not said
        except (ValueError, RecursionError) as error:
            raise Refused(400, f"the body is no JSON ({error})") from None
        if not isinstance(value, dict):
            raise Refused(400, f"the body must be a JSON object, not {type(value).__name__}")
        return value

    def receive(self, path: Path, most: int) -> None:
        """Write the body to a file."""
        self._check_size(most)
        if not self.unread:
            raise Refused(400, "the body is empty; send the bytes of a sound file")
        self.server.set_deadline(self.connection, HEADERS + self.unread / SLOWEST)
        with open(path, "wb") as file:
            while self.unread:
                file.write(self._some(1 << 18))
        self.server.set_deadline(self.connection, None)

    def _check_size(self, most: int) -> None:
        if self.unread > most:
            raise Refused(413, f"{self.unread:,} bytes are too many here; the most is {most:,}")

    def _read(self) -> bytes:
        self.server.set_deadline(self.connection, HEADERS)
        parts = []
        while self.unread:
            parts.append(self._some(self.unread))
        self.server.set_deadline(self.connection, None)
        return b"".join(parts)

    def _some(self, most: int) -> bytes:
        data = self.rfile.read1(min(most, self.unread))
        if not data:
            raise ConnectionError("the client left before the end of its request")
        self.unread -= len(data)
        return data

    def _drain(self) -> None:
        """Read on a little, so that a client that is still sending sees the answer instead of a broken connection."""
        if not self.unread:
            return
        self.close_connection = True
        self.connection.settimeout(0.5)
        self.server.set_deadline(self.connection, 2.0)
        with contextlib.suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_WR)
            while self.unread and self.rfile.read1(1 << 16):
                pass

    @property
    def gone(self) -> bool:
        """Whether the client has left; what it may have sent on is not read."""
        try:
            readable, _, _ = select.select([self.connection], [], [], 0)
            return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)
        except (OSError, ValueError):
            return True

    # The answer

    def send(self, reply: Reply) -> None:
        length = reply.length
        if length is None or self.unread:
            self.close_connection = True
        self.send_response(reply.status)
        headers: Mapping[str, str] = {"Cache-Control": "no-store", **SECURITY, **reply.headers}
        for name, value in headers.items():
            self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        if length or length is None:
            self.send_header("Content-Type", reply.type)
        self.send_header("Connection", "close" if self.close_connection else "keep-alive")
        self.end_headers()
        if self.method != "HEAD":
            chunks = reply.chunks()
            try:
                for chunk in chunks:
                    self.wfile.write(chunk)
            finally:
                if hasattr(chunks, "close"):
                    chunks.close()
        self._drain()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What ``http.server`` itself refuses, in our shape."""
        self.method, self.close_connection, self.request_version = self.command or "", True, self.protocol_version
        text = message or self.responses.get(code, ("cannot be answered", ""))[0]
        self.send(refusal(code, f"the request cannot be read: {text}"))

    def version_string(self) -> str:
        return self.server_version

    def log_message(self, format: str, *args: Any) -> None:
        """The terminal is told of defects only."""


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")
