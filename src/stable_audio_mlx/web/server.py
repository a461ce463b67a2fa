"""The HTTP server: a thread for each of a bounded number of connections, none kept open by doing nothing."""

import _thread
import contextlib
import math
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable
from http.server import ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from .guard import Guard
from .handler import Handler

if TYPE_CHECKING:
    from .studio import Studio

MOST_CONNECTIONS = 256
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"


class StudioServer(ThreadingHTTPServer):
    """``note`` is given what the terminal should know."""

    request_queue_size = 128

    def __init__(self, host: str, port: int, studio: "Studio", guard: Guard, note: Callable[[str], None]):
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.studio, self.guard, self.note = studio, guard, note
        self._room = threading.BoundedSemaphore(MOST_CONNECTIONS)
        self._deadlines: dict[socket.socket, float] = {}  # of every connection
        self._lock = threading.Lock()
        super().__init__((host, port), Handler)
        guard.port = self.server_address[1]

    def server_bind(self) -> None:
        """Without the look-up of the host's name that ``HTTPServer`` makes, which can take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._room.acquire(blocking=False):
            with contextlib.suppress(OSError):
                request.settimeout(0.1)
                request.sendall(BUSY)
            self.shutdown_request(request)
            return
        try:
            # threading.Thread.start waits until the thread runs: under load nobody else is let in for that long.
            _thread.start_new_thread(self.process_request_thread, (request, client_address))
        except RuntimeError:
            self._room.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._deadlines.pop(request, None)
            self._room.release()

    def set_deadline(self, connection: socket.socket, seconds: float | None) -> None:
        """Close the connection in ``seconds`` unless another deadline, or None, is set before."""
        with self._lock:
            self._deadlines[connection] = math.inf if seconds is None else time.monotonic() + seconds

    def service_actions(self) -> None:
        """Called every half second or so: a timeout on each read alone would let a client send a byte a minute."""
        self._cut(time.monotonic())

    def _cut(self, now: float) -> None:
        """End the connections whose deadline is over; their threads find that out and end too."""
        with self._lock:
            late = [connection for connection, deadline in self._deadlines.items() if deadline <= now]
        for connection in late:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def server_close(self) -> None:
        """Let nobody in any more, end all connections and wait until each has given back its room.

        A thread that frees MLX's arrays while Python ends would abort the process.
        """
        self.studio.queue.stop()
        self._cut(math.inf)
        super().server_close()
        for _ in range(MOST_CONNECTIONS):
            self._room.acquire()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went is no error; anything else is a defect, which the terminal should show."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            import traceback

            self.note(traceback.format_exc())
