"""A studio that listens on a free port, with the embedded model, and a plain client of it."""

import http.client
import json
import math
import threading
from contextlib import contextmanager
from pathlib import Path

from stable_audio_mlx.web.catalogue import Loras, Models
from stable_audio_mlx.web.guard import Guard
from stable_audio_mlx.web.server import StudioServer
from stable_audio_mlx.web.studio import Studio

TINY = Path(__file__).parents[2] / "model" / "tiny"
CONFIG = json.loads((TINY / "model_config.json").read_text())
WINDOW = CONFIG["sample_size"] / CONFIG["sample_rate"]  # seconds
SAID = math.floor(WINDOW * 100) / 100  # how long it is said to be
QUICK = {"prompt": "kick drum", "seconds": 0.5, "steps": 2}


class Client:
    """Requests to one server; ``notes`` is what its terminal was told."""

    def __init__(self, server, notes):
        self.server, self.notes, self.studio = server, notes, server.studio
        self.port = server.guard.port

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def ask(self, method, path, body=None, headers=None):
        """(status, headers, body) of a reply; a dict as body is sent as JSON."""
        headers = dict(headers or {})
        if isinstance(body, dict):
            body = json.dumps(body)
            headers.setdefault("Content-Type", "application/json")
        connection = self.connect()
        try:
            connection.request(method, path, body, headers)
            reply = connection.getresponse()
            return reply.status, reply.headers, reply.read()
        finally:
            connection.close()

    def json(self, method, path, body=None, headers=None, status=200):
        """The JSON of a reply, which must have this status."""
        got, _, data = self.ask(method, path, body, headers)
        assert got == status, data
        return json.loads(data) if data else None

    def refused(self, method, path, body=None, headers=None):
        """(status, message) of a refusal, which must be one sentence of JSON."""
        got, reply, data = self.ask(method, path, body, headers)
        message = json.loads(data)["error"]["message"]
        assert got >= 400 and reply["Content-Type"] == "application/json"
        assert "Traceback" not in message and "\n" not in message
        return got, message

    def take(self, **options):
        """One finished take."""
        return self.json("POST", "/v1/audio/generations", {**QUICK, **options})["data"][0]

    def finished(self, job):
        """The job once it has ended."""
        job = self.studio.queue.get(job["id"])
        for _ in self.studio.queue.follow(job):
            pass
        return self.studio.queue.shown(job)


@contextmanager
def running(folder, host="127.0.0.1", token=None, loras=None):
    """A client of a studio with its library in ``folder``, until the end of the block."""
    notes = []
    studio = Studio(Path(folder), Models(TINY), Loras(loras), notes.append)
    server = StudioServer(host, 0, studio, Guard(host, token), notes.append)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    studio.ready()
    try:
        yield Client(server, notes)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        studio.close()
    assert not notes, "".join(notes)
