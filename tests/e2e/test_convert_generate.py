"""The real commands on a complete small model: a PyTorch checkpoint becomes a folder, words become a WAV."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.parity import case as cases
from tests.parity.project import write_checkpoint

ROOT = Path(__file__).parents[2]
RATE, WINDOW = 4000, 8000  # the small model at a rate that gives it two seconds


def command(script: str, *args) -> list[str]:
    return [sys.executable, str(ROOT / script), *map(str, args)]


def call(script: str, *args, **environment) -> subprocess.CompletedProcess:
    """Run a command as a user without network does."""
    env = os.environ | {"HF_HUB_OFFLINE": "1", "OPENBLAS_NUM_THREADS": "1"} | environment
    return subprocess.run(command(script, *args), capture_output=True, text=True, env=env, timeout=120, check=False)


def refused(done: subprocess.CompletedProcess, code: int, *words: str) -> None:
    """The command failed as promised: its exit code, nothing on stdout, one or two lines that name the matter."""
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    lines = done.stderr.strip().splitlines()
    assert "Traceback" not in done.stderr
    assert 1 <= len(lines) <= 2, done.stderr
    for word in words:
        assert word in done.stderr


def make_checkpoint(folder: Path, vocabulary: int | None = None) -> Path:
    """The small rectified-flow model of the golden files, at a rate that gives it a window of two seconds."""
    case = cases.load("clips_flow")
    case = dataclasses.replace(case, config=case.config | {"sample_rate": RATE, "sample_size": WINDOW})
    if vocabulary:
        case.text["config"]["vocab_size"] = vocabulary
        case.text["tensors"]["shared.weight"][0] = vocabulary
    return write_checkpoint(case, folder)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("e2e") / "checkpoint")


@pytest.fixture(scope="module")
def model(checkpoint) -> Path:
    output = checkpoint.parent / "converted"
    done = call("convert.py", checkpoint, "--output", output)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{output}\n"
    return output


def generate(model: Path, output: Path, *args) -> subprocess.CompletedProcess:
    given = ("--model", model, "--prompt", "rain on a roof", "--steps", 2, "--output", output)
    return call("generate.py", *given, *args)


# ---- what works


def test_convert_writes_the_promised_files(model):
    names = {"model_config.json", "manifest.json", "dit.npz", "autoencoder.npz", "conditioner.npz"}
    names |= {"text_encoder.safetensors", "text_encoder.json", "tokenizer.json"}
    assert {f.name for f in model.iterdir()} == names
    manifest = json.loads((model / "manifest.json").read_text())
    for name in names - {"manifest.json"}:
        assert manifest["files"][name]["bytes"] == (model / name).stat().st_size


def test_converting_twice_is_safe(checkpoint, model):
    before = {f.name: f.stat().st_mtime_ns for f in model.iterdir()}
    done = call("convert.py", checkpoint, "--output", model)
    assert done.returncode == 0, done.stderr
    assert {f.name: f.stat().st_mtime_ns for f in model.iterdir()} == before


def test_generate_writes_the_sound_asked_for(model, tmp_path):
    output = tmp_path / "sound.wav"
    done = generate(model, output, "--seconds", 1.25, "--seed", 7)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{output}\n"
    assert "7" in done.stderr  # the seed is always shown
    sound, rate = soundfile.read(output)
    assert rate == RATE
    assert sound.shape == (1.25 * RATE, 2)
    assert np.isfinite(sound).all()
    assert sound.std() > 1e-3
    assert [f.name for f in tmp_path.iterdir()] == ["sound.wav"]


def test_the_seed_decides(model, tmp_path):
    first, again, other = (tmp_path / name for name in ("first.wav", "again.wav", "other.wav"))
    for path, seed in ((first, 3), (again, 3), (other, 4)):
        assert generate(model, path, "--seconds", 1, "--seed", seed).returncode == 0
    samples = [soundfile.read(path)[0] for path in (first, again, other)]
    np.testing.assert_array_equal(samples[0], samples[1])
    assert np.abs(samples[0] - samples[2]).max() > 1e-2


def test_the_source_folder_sounds_like_the_converted_one(checkpoint, model, tmp_path):
    sounds = []
    for name, folder in (("a.wav", checkpoint), ("b.wav", model)):
        assert generate(folder, tmp_path / name, "--seconds", 1, "--seed", 1).returncode == 0
        sounds.append(soundfile.read(tmp_path / name)[0])
    np.testing.assert_array_equal(*sounds)


# ---- what is refused


def test_a_model_that_is_nowhere(tmp_path):
    refused(generate(tmp_path / "nowhere", tmp_path / "x.wav"), 3, "nowhere")


def test_offline_without_the_gated_weights(tmp_path):
    done = call("convert.py", "stable-audio-open-small", "--output", tmp_path / "m", HF_HOME=str(tmp_path / "cache"))
    refused(done, 3, "stable-audio-open-small")
    assert not (tmp_path / "m").exists()


def test_a_config_with_an_unknown_key(checkpoint, tmp_path):
    folder = shutil.copytree(checkpoint, tmp_path / "bad")
    config = json.loads((folder / "model_config.json").read_text())
    config["model"]["diffusion"]["config"]["num_headz"] = 2
    (folder / "model_config.json").write_text(json.dumps(config))
    refused(call("convert.py", folder, "--output", tmp_path / "m"), 3, "num_headz", "num_heads")
    assert not (tmp_path / "m").exists()


def test_a_checkpoint_that_does_not_fit(checkpoint, tmp_path):
    folder = shutil.copytree(checkpoint, tmp_path / "bad")
    config = json.loads((folder / "model_config.json").read_text())
    config["model"]["diffusion"]["config"]["depth"] = 3
    (folder / "model_config.json").write_text(json.dumps(config))
    refused(call("convert.py", folder, "--output", tmp_path / "m"), 3, "missing")
    assert not (tmp_path / "m").exists()


def test_a_truncated_file(model, tmp_path):
    folder = shutil.copytree(model, tmp_path / "cut")
    data = (folder / "dit.npz").read_bytes()
    (folder / "dit.npz").write_bytes(data[: len(data) // 2])
    refused(generate(folder, tmp_path / "x.wav"), 3, "dit.npz")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--seconds", 3), ("2",)),
        (("--sampler", "dpmpp-3m-sde"), ("pingpong",)),
        (("--sampler", "nonsense"), ("nonsense",)),
        (("--steps", 0), ("steps",)),
    ],
)
def test_options_that_cannot_be_honoured(model, tmp_path, args, words):
    done = generate(model, tmp_path / "x.wav", *args)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(model, tmp_path):
    output = tmp_path / "x.wav"
    output.write_bytes(b"precious")
    done = generate(model, output, "--seconds", 1)
    assert done.returncode == 2, done.stderr
    assert "x.wav" in done.stderr
    assert output.read_bytes() == b"precious"
    assert generate(model, output, "--seconds", 1, "--overwrite").returncode == 0
    assert soundfile.info(output).frames == RATE


def test_an_interrupted_conversion_leaves_nothing(tmp_path):
    source = make_checkpoint(tmp_path / "checkpoint", vocabulary=20000)
    process = subprocess.Popen(
        command("convert.py", source, "--output", tmp_path / "model"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 60
    while len(list(tmp_path.iterdir())) == 1 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.0005)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors.decode()
    assert "Traceback" not in errors.decode()
    assert [f.name for f in tmp_path.iterdir()] == ["checkpoint"]
