"""Names to folders, and one answer for each way a download can fail: against a small hub on this computer."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from stable_audio_mlx.errors import WeightsError
from stable_audio_mlx.weights import hub, registry
from stable_audio_mlx.weights.convert import convert_folder

from .checkpoints import CODEC, write

SRC = Path(__file__).parents[2] / "src"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def homes(tmp_path, monkeypatch):
    """An empty computer: no models, no cache, and a hub that nobody answers at."""
    monkeypatch.setenv("STABLE_AUDIO_MLX_HOME", str(tmp_path / "model"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hub, "model_homes", lambda: [tmp_path / "model"])
    return tmp_path


def convert(homes, name):
    convert_folder(write(homes / "source", CODEC), homes / "model" / name, name=name)
    return homes / "model" / name


def test_a_path_comes_first_then_converted_models(homes):
    folder = convert(homes, "stable-audio-open-small")
    for name in ("stable-audio-open-small", "stabilityai/stable-audio-open-small", str(folder), folder):
        assert hub.find_model(name, download=False) == folder
    (homes / "stable-audio-open-small").mkdir()
    assert hub.find_model("stable-audio-open-small", download=False) == Path("stable-audio-open-small")


def test_the_best_model_at_hand(homes):
    assert hub.best_local_model() is None
    for name in (
        "tiny",
        "same-s",
        "my-own",
        "stable-audio-3-medium-base",
        "stable-audio-open-1.0",
        "stable-audio-open-small",
    ):
        folder = convert(homes, name)
        expected = {"same-s": "tiny", "stable-audio-3-medium-base": "my-own"}.get(name, name)
        assert hub.best_local_model() == folder.with_name(expected)


def test_names():
    assert registry.find("small-music").repo == "stabilityai/stable-audio-3-small-music"
    assert registry.find("stabilityai/SAME-S").name == "same-s" and registry.find("same-x") is None
    for name, message in (
        ("stable-audio-open-smal", "did you mean stable-audio-open-small"),
        ("qqqq", "known: stable-audio-open-small"),
        ("./nowhere/model", "no such folder or file"),
    ):
        with pytest.raises(WeightsError, match=message):
            hub.find_model(name, download=False)
    assert all(model.repo.startswith("stabilityai/") for model in registry.MODELS), "no copies by third parties"


def test_text_encoders_have_public_homes():
    assert registry.text_repository({"type": "t5", "config": {}}) == "google-t5/t5-base"
    assert (
        registry.text_repository({"type": "t5", "config": {"t5_model_name": "google/flan-t5-xl"}})
        == "google/flan-t5-xl"
    )
    assert registry.text_repository({"type": "t5gemma", "config": {}}) == "google/t5gemma-b-b-ul2"


class Hub(BaseHTTPRequestHandler):
    """The few answers of huggingface.co that a download needs."""

    files: dict[str, bytes] = {}

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = self.path.partition("?")[0]
        if "gated" in path and "/resolve/" in path:
            return self.answer(403, error="GatedRepo")
        if "gone" in path:
            return self.answer(404, error="RepoNotFound")
        if "/api/" in path and "no-such-revision" in path:
            return self.answer(404, error="RevisionNotFound")
        if "login" in path:
            return self.answer(200, b"<html>log in to this network</html>")
        if "broken" in path:
            return self.answer(500)
        if "/tree/" in path:
            listing = [{"type": "file", "path": n, "size": len(b), "oid": "0" * 40} for n, b in self.files.items()]
            return self.answer(200, json.dumps(listing).encode())
        if "/api/" in path:
            info = {"id": "someone/here", "sha": COMMIT, "siblings": [{"rfilename": name} for name in self.files]}
            return self.answer(200, json.dumps(info).encode())
        name = path.partition(f"/resolve/{COMMIT}/")[2]
        return self.answer(200, self.files[name]) if name in self.files else self.answer(404, error="EntryNotFound")

    def answer(self, status, body=b"{}", error=None):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hash(body) & 0xFFFFFFFF:08x}"')
        if error:
            self.send_header("X-Error-Code", error)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def small_hub(tmp_path):
    source = write(tmp_path / "published", CODEC)
    Hub.files = {f.name: f.read_bytes() for f in source.iterdir()} | {"README.md": b"not wanted"}
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def run(tmp_path, endpoint, *arguments, **environment):
    """convert.py in a process of its own: the hub's address is read when its library is imported."""
    env = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING_FACE"))},
        "PYTHONPATH": str(SRC),
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(tmp_path / "cache"),
        "STABLE_AUDIO_MLX_HOME": str(tmp_path / "model"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        **environment,
    }
    start = "import sys; from stable_audio_mlx.cli.convert import main;"
    code = f"{start} sys.exit(max(main(line.split()) for line in sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], env=env, cwd=tmp_path, capture_output=True, text=True
    )


def test_download_then_the_cache(tmp_path, small_hub):
    done = run(tmp_path, small_hub, "someone/here")
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("part ") and "%" not in done.stderr, "no bars without a terminal"
    assert Path(done.stdout.strip()) == tmp_path / "model" / "here"
    assert (tmp_path / "model" / "here" / "autoencoder.npz").is_file()
    assert not list((tmp_path / "cache").rglob("README.md"))
    again = run(tmp_path, "http://127.0.0.1:1", "someone/here --output again", HF_HUB_OFFLINE="1")
    assert again.returncode == 0, again.stderr


def test_every_failure_has_its_own_answer(tmp_path, small_hub):
    done = run(
        tmp_path,
        small_hub,
        "someone/gated",
        "stabilityai/stable-audio-open-small-gated",
        "someone/gone",
        "someone/here --revision no-such-revision",
        "someone/here --offline",
        "some:one/here",
    )
    assert done.returncode == 3 and "Traceback" not in done.stderr
    answers = ["error: " + text for text in done.stderr.split("error: ")[1:]]
    assert all(text.count("\n") <= 2 for text in answers), answers
    for answer, words in zip(
        answers,
        (
            ("someone/gated is gated", "/someone/gated", "hf auth login", "convert.py FOLDER"),
            ("gated", "hf auth login"),
            ("someone/gone: no such repository", "renamed", "hf auth login"),
            ("no revision no-such-revision", "commits/main"),
            ("not on this computer", "downloads and converts it"),
            ("not a possible Hugging Face id",),
        ),
        strict=True,
    ):
        assert all(word in answer for word in words), answer


def test_networks_that_are_in_the_way(tmp_path, small_hub):
    page = run(tmp_path, small_hub, "someone/login")
    proxy = run(tmp_path, "https://huggingface.co", "someone/here", HTTPS_PROXY=small_hub, https_proxy=small_hub)
    wrong = run(tmp_path, "https://huggingface.co:port", "someone/here")
    for done, words in ((page, "login page"), (proxy, "the download failed"), (wrong, "no address")):
        assert done.returncode == 3 and words in done.stderr and "Traceback" not in done.stderr
        assert done.stderr.count("\n") <= 2


def test_offline_answers_at_once(tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    start = time.perf_counter()
    done = run(tmp_path, address, "stable-audio-open-small")
    assert done.returncode == 3 and time.perf_counter() - start < 8
    assert "127.0.0.1 is not reachable (offline?)" in done.stderr and done.stderr.count("\n") == 2
    forbidden = run(tmp_path, address, "stable-audio-open-small", HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE forbids" in forbidden.stderr


def test_an_installed_package_brings_the_embedded_model(tmp_path, monkeypatch):
    installed = tmp_path / "prefix" / "share" / "stable-audio-mlx" / "model"
    monkeypatch.setattr(hub.sys, "prefix", str(tmp_path / "prefix"))
    assert installed not in hub.model_homes()
    installed.mkdir(parents=True)
    assert hub.model_homes()[-1] == installed
    assert hub.default_output("mine").parent != installed  # nothing of a user's goes there


def test_the_package_holds_the_whole_embedded_model():
    root = Path(__file__).parents[2]
    assert '"share/stable-audio-mlx/model/tiny" = ["model/tiny/*"]' in (root / "pyproject.toml").read_text()
