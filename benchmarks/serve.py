"""The studio's server under many clients at once: jobs, cancels, hang-ups and nonsense; what it loses and leaks.

    python -m benchmarks.serve                                # 50 clients for a minute
    python -m benchmarks.serve --clients 50 --seconds 300

Every job that the server took must end, nothing may be answered with a traceback, memory must not grow, and the health
address, asked all the while by a process of its own, should answer within 100 ms.
"""

import argparse
import http.client
import json
import multiprocessing
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .takes import held

ROOT = Path(__file__).resolve().parent.parent
JSON = {"Content-Type": "application/json"}
WARM = 3  # tenths of the time, before memory is held against what follows
WORDS = ("kick drum", "heavy rain", "warm pad, c major", "plucked string playing a4", "fast siren", "hi-hat")
NONSENSE = (
    ("POST", "/v1/jobs", b"{", JSON, 400),
    ("POST", "/v1/jobs", b'{"prompt": "x", "colour": 1}', JSON, 400),
    ("POST", "/v1/jobs", b'{"prompt": "x"}', {"Content-Type": "text/plain"}, 415),
    ("POST", "/v1/jobs", b'{"prompt": "x"}', {**JSON, "Origin": "https://evil.example"}, 403),
    ("POST", "/v1/uploads", b"no sound", {"Content-Type": "audio/wav"}, 400),
    ("POST", "/v1/jobs", b" " * 300_000, JSON, 413),
    ("GET", "/v1/takes/../../etc/passwd", None, {}, 404),
    ("GET", "/v1/takes", None, {"Host": "evil.example"}, 421),
    ("DELETE", "/v1/jobs/job-none", None, {}, 404),
    ("BREW", "/health", None, {}, 405),
)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="tiny", help="name or folder of a model (default: %(default)s)")
    parser.add_argument("--clients", type=int, default=50, help="at once (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=60.0, help="for so long (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    result = measure(options.model, options.clients, options.seconds)
    print(json.dumps(result) if options.json else "\n".join(f"{key:<28}{value}" for key, value in result.items()))
    return 1 if result["lost jobs"] or result["wrong answers"] or result["tracebacks"] else 0


def measure(model: str, clients: int, seconds: float) -> dict[str, Any]:
    """Start a server, let the clients at it, and count."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "stable_audio_mlx", "serve", "--model", model, "--port", "0", "--no-browser"]
        with open(Path(folder, "errors"), "w+") as errors:
            server = subprocess.Popen(
                [*command, "--library", f"{folder}/library"],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
            )
            assert server.stdout is not None
            address = server.stdout.readline()
            port = int(address.rstrip("/\n").rpartition(":")[2])
            result = under_load(port, server.pid, clients, seconds)
            server.terminate()
            code = server.wait(120)
            errors.seek(0)
            result |= {"exit code": code, "tracebacks": errors.read().count("Traceback")}
    return result


def under_load(port: int, pid: int, clients: int, seconds: float) -> dict[str, Any]:
    crowd = [Client(port, number, time.monotonic() + seconds) for number in range(clients)]
    spawn = multiprocessing.get_context("spawn")
    reader, writer = spawn.Pipe(duplex=False)
    probe = spawn.Process(target=ask_health, args=(port, seconds, writer))
    probe.start()
    memory = [held(pid)]
    for client in crowd:
        client.start()
    while any(client.is_alive() for client in crowd):
        time.sleep(0.5)
        memory.append(held(pid))
    latencies = reader.recv()
    probe.join()
    count = sum((client.count for client in crowd), Counter())
    tenth = max(1, len(memory) // 10)
    course = [statistics.median(memory[i : i + tenth]) for i in range(0, len(memory) - tenth + 1, tenth)]
    before, after = course[min(WARM, len(course) - 1)], course[-1]
    return {
        "clients, seconds": f"{clients}, {seconds:g}",
        **{name: count[name] for name in ("jobs", "takes", "cancelled", "hung up", "refused as too many", "nonsense")},
        "lost jobs": count["lost"],
        "wrong answers": count["wrong"],
        "first wrong answers": [text for client in crowd for text in client.wrong][:3],
        "memory by tenths, MB": [round(m / 1e6) for m in course],
        "growth after warming": f"{after / before - 1:+.1%}",
        "health asked": len(latencies),
        "health median, ms": round(1000 * statistics.median(latencies), 2),
        "health 99 %, ms": round(1000 * sorted(latencies)[int(0.99 * len(latencies))], 1),
        "health slowest, ms": round(1000 * max(latencies), 1),
        "health over 100 ms": sum(latency > 0.1 for latency in latencies),
    }


class Client(threading.Thread):
    """Does at random what clients do, until its time is over and its last job has ended."""

    def __init__(self, port: int, number: int, until: float):
        super().__init__(name=f"client {number}")
        self.port, self.until, self.random = port, until, random.Random(number)
        self.count: Counter[str] = Counter()
        self.wrong: list[str] = []

    def run(self) -> None:
        acts = (self.job, self.job, self.job, self.leave, self.speech, self.nonsense, self.nonsense, self.listen)
        while time.monotonic() < self.until:
            act = self.random.choice(acts)
            try:
                act()
            except (OSError, http.client.HTTPException) as error:
                self.expect(False, f"{act.__name__}: {error!r}")
            time.sleep(self.random.random() / 5)

    def expect(self, good: bool, what: str) -> None:
        if not good:
            self.count["wrong"] += 1
            self.wrong.append(what[:200])

    def request(self) -> dict[str, Any]:
        return {"prompt": self.random.choice(WORDS), "seconds": 0.5, "steps": self.random.choice((1, 2, 4))}

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        try:
            body = json.dumps(body) if isinstance(body, dict) else body
            connection.request(method, path, body, headers if headers is not None else JSON)
            reply = connection.getresponse()
            return reply.status, reply.read()
        finally:
            connection.close()

    def job(self) -> None:
        """Ask for one, follow it, maybe cancel it; it must end."""
        status, data = self.ask("POST", "/v1/jobs", self.request())
        if status == 429:
            self.count["refused as too many"] += 1
            return
        self.expect(status == 202, f"job: {status} {data!r}")
        id = json.loads(data)["id"]
        self.count["jobs"] += 1
        way = self.random.random()
        if way < 0.3:
            self.ask("DELETE", f"/v1/jobs/{id}")
        elif way < 0.5:
            self.hang_up("GET", f"/v1/jobs/{id}/events", None)
        status, data = self.ask("GET", f"/v1/jobs/{id}/events")
        states = [json.loads(line[6:])["state"] for line in data.splitlines() if line.startswith(b"data: ")]
        end = states[-1] if states else f"{status} {data[:100]!r}"
        if end == "cancelled" and way < 0.3:
            self.count["cancelled"] += 1
        elif end == "done":
            self.take(json.loads(data.splitlines()[-2][6:])["takes"][0])
        else:
            self.count["lost"] += 1
            self.wrong.append(f"job {end}")

    def take(self, take: dict[str, Any]) -> None:
        """Read a part of the sound and delete it, so that the disk stays as it is."""
        self.count["takes"] += 1
        status, data = self.ask("GET", take["url"], headers={"Range": "bytes=0-99"})
        self.expect(status == 206 and data.startswith(b"RIFF"), f"range: {status}")
        status, _ = self.ask("DELETE", f"/v1/takes/{take['id']}")
        self.expect(status == 204, f"delete: {status}")

    def speech(self) -> None:
        body = {
            "input": "kick drum",
            "model": "tts-1",
            "voice": "x",
            "response_format": "flac",
            "seconds": 0.5,
            "steps": 1,
        }
        status, data = self.ask("POST", "/v1/audio/speech", body)
        self.count["refused as too many"] += status == 429
        self.expect(status == 429 or (status == 200 and data.startswith(b"fLaC")), f"speech: {status} {data[:100]!r}")

    def leave(self) -> None:
        self.hang_up(
            "POST", "/v1/audio/generations", json.dumps({**self.request(), "stream": self.random.random() < 0.5})
        )

    def hang_up(self, method: str, path: str, body: str | None) -> None:
        """Ask, wait a moment, and leave without reading on."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        connection.request(method, path, body, JSON)
        time.sleep(self.random.random() / 2)
        connection.close()
        self.count["hung up"] += 1

    def nonsense(self) -> None:
        method, path, body, headers, wanted = self.random.choice(NONSENSE)
        status, data = self.ask(method, path, body, headers)
        self.count["nonsense"] += 1
        good = status == wanted and b"Traceback" not in data and "message" in json.loads(data)["error"]
        self.expect(good, f"{method} {path}: {status} instead of {wanted}")

    def listen(self) -> None:
        """Follow everything for a while, as a page does."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        connection.request("GET", "/v1/events")
        lines: Iterator[bytes] = iter(connection.getresponse().readline, b"")
        for _ in zip(range(self.random.randrange(2, 30)), lines, strict=False):
            pass
        connection.close()
        self.ask("GET", "/v1/takes?limit=20")


def ask_health(port: int, seconds: float, results: Any) -> None:
    """Latencies in seconds, each of a connection of its own."""
    until, latencies = time.monotonic() + seconds, []
    while time.monotonic() < until:
        began = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", "/health")
        assert connection.getresponse().status == 200
        connection.close()
        latencies.append(time.perf_counter() - began)
        time.sleep(0.05)
    results.send(latencies)


if __name__ == "__main__":
    sys.exit(main())
