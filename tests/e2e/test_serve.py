"""``stable-audio-mlx serve`` as a process: it prints its address, survives, ends cleanly and finds its takes again."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "stable_audio_mlx", "serve", "--model", str(ROOT / "model" / "tiny"), "--no-browser"]
ENVIRONMENT = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT / "src")}


@contextmanager
def serving(folder, *arguments, **environment):
    """(the process, its address) of a studio on a free port; it is interrupted in the end if nobody did."""
    command = [*COMMAND, "--port", "0", "--library", str(folder), *arguments]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT | environment
    )
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def ask(address, path, body=None, **headers):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address.partition("?")[0].rstrip("/") + path, data, headers)
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.loads(reply.read())


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_cancels_what_runs_and_keeps_what_is_finished(tmp_path, how):
    with serving(tmp_path) as (process, address):
        quick = {"prompt": "kick drum", "seconds": 0.3, "steps": 1}
        (take,) = ask(address, "/v1/audio/generations", quick)["data"]
        for steps in (9000, 5):
            job = ask(address, "/v1/jobs", {**quick, "steps": steps})
        events = urllib.request.urlopen(f"{address}v1/jobs/{job['id']}/events", timeout=60)
        assert events.readline() == b"event: job\n"
        process.send_signal(how)
        _, errors = process.communicate(timeout=60)
        events.read()
    assert process.returncode == 130 and errors.splitlines()[-1] == "interrupted" and "Traceback" not in errors
    assert sorted(p.suffix for p in tmp_path.iterdir() if p.is_file()) == [".json", ".wav"]
    with serving(tmp_path) as (_, address):
        assert [one["id"] for one in ask(address, "/v1/takes")["data"]] == [take["id"]]


def test_a_token_is_printed_and_asked_for(tmp_path):
    with serving(tmp_path, "--token", STABLE_AUDIO_MLX_TOKEN="chosen-by-me") as (_, address):
        assert address.endswith("/?token=chosen-by-me")
        with pytest.raises(urllib.error.HTTPError, match="401"):
            ask(address, "/v1/takes")
        assert ask(address, "/v1/takes", Authorization="Bearer chosen-by-me")["data"] == []


@pytest.mark.parametrize(
    "arguments, environment, words",
    [
        (["--port", "70000"], {}, "--port 70000: must be from 0 to 65535"),
        (["--host", "203.0.113.9"], {}, "203.0.113.9 port 0: cannot listen there"),
        (["--loras", "nowhere"], {}, "--loras nowhere: is no folder"),
        (["--token"], {"STABLE_AUDIO_MLX_TOKEN": "a b"}, "$STABLE_AUDIO_MLX_TOKEN: must be 8 or more"),
    ],
)
def test_what_cannot_be_is_one_line(tmp_path, arguments, environment, words):
    command = [*COMMAND, "--port", "0", "--library", str(tmp_path), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT | environment, timeout=60)
    assert result.returncode == 2 and result.stdout == ""
    assert re.fullmatch(rf"error: {re.escape(words)}.*\n", result.stderr)


def test_help_loads_nothing_heavy():
    command = [sys.executable, "-X", "importtime", "-m", "stable_audio_mlx", "serve", "--help"]
    result = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=60)
    loaded = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    assert result.returncode == 0 and "argparse" in loaded
    assert not loaded & {"mlx.core", "numpy", "soundfile", "http.server", "webbrowser"}
