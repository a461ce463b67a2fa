"""``models`` and ``doctor``: what is said of this computer is true of it, what is missing is said with what to do."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import make_checkpoint
from stable_audio_mlx import diagnosis
from stable_audio_mlx.cli.main import main
from stable_audio_mlx.presets import ModelFacts
from stable_audio_mlx.weights import catalog, hub, registry
from stable_audio_mlx.weights.published import published_config

ROOT = Path(__file__).parents[2]


@pytest.fixture
def go(tmp_path, monkeypatch, capsys):
    """A command in an empty folder, with its own model folder, offline -> (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STABLE_AUDIO_MLX_HOME", str(tmp_path / "models"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def call(*arguments):
        code = main([*map(str, arguments)])
        out = capsys.readouterr()
        return code, out.out, out.err

    return call


def records(text: str) -> dict[str, dict]:
    return {record["name"]: record for record in map(json.loads, text.splitlines())}


def test_models_that_are_here(go, tmp_path):
    broken = tmp_path / "models" / "broken"
    broken.mkdir(parents=True)
    (broken / hub.MANIFEST).write_text('{"format": 99}')
    code, out, _ = go("models", "--installed", "--json")
    found = records(out)
    assert code == 0 and set(found) >= {"broken", "tiny"}
    tiny = found["tiny"]
    manifest = json.loads((ROOT / "model/tiny/manifest.json").read_text())
    config = json.loads((ROOT / "model/tiny/model_config.json").read_text())
    assert tiny["seconds"] == pytest.approx(config["sample_size"] / config["sample_rate"], abs=1e-3)
    assert tiny["steps"] == manifest["defaults"]["steps"] and tiny["license"] == manifest["license"]
    assert tiny["bytes"] == sum(f.stat().st_size for f in (ROOT / "model/tiny").iterdir())
    assert "format 99" in found["broken"]["problem"]
    text = go("models", "--installed")[1]
    assert "up to 8 s, 1 step" in text and "MIT" in text and "cannot be used" in text and "To be had" not in text


def test_models_that_can_be_had(go):
    found = {name: one for name, one in records(go("models", "--json")[1]).items() if not one["installed"]}
    assert set(found) == {
        *registry.KNOWN,
        *(f"stable-audio-3-optimized/{n}" for n in registry.OPTIMIZED if "same" not in n),
    }
    small, half = found["stable-audio-3-small-music"], found["stable-audio-3-optimized/small-music"]
    assert small["gated"] and not half["gated"] and half["repo"] == registry.OPTIMIZED_REPO
    assert small["seconds"] == half["seconds"] == pytest.approx(120, abs=0.1) and small["steps"] == 8
    assert found["stable-audio-open-1.0"]["steps"] == 100 and found["same-l"]["kind"] == "autoencoder"
    text = go("models")[1]
    assert "an account that accepts the licence" in text and "Gemma Terms of Use; no account" in text


@pytest.mark.parametrize("known", [m for m in registry.MODELS if m.window], ids=lambda m: m.name)
def test_limits_are_those_of_the_published_configs(known):
    config = published_config(known.name) or make_checkpoint.read_config(known.name)
    diffusion = config["model"]["diffusion"]
    assert known.window == config["sample_size"]
    assert known.objective == diffusion.get("diffusion_objective", "v")
    facts = ModelFacts(known.objective, catalog.SAMPLE_RATE, known.window, stable_audio_3="-3-" in known.name)
    assert config["sample_rate"] == catalog.SAMPLE_RATE
    assert facts.stable_audio_3 == bool(diffusion.get("mask_padding_attention"))


def test_what_was_downloaded_is_told(go, tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "snapshot", lambda repo, *a, **k: tmp_path if repo.endswith("open-small") else None)
    (tmp_path / "model_config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"")
    found = records(go("models", "--json")[1])
    assert [name for name, one in found.items() if one.get("downloaded")] == ["stable-audio-open-small"]
    assert "is downloaded already" in go("models")[1]


def test_a_healthy_computer(go):
    code, out, err = go("doctor", "--json")
    found = records(out)
    assert (code, err) == (0, "")
    assert found["models"]["state"] == "ok" and "tiny" in found["models"]["found"]
    assert "HF_HUB_OFFLINE" in found["network"]["found"] and found["network"]["state"] == "warning"
    assert {"system", "mlx", "device", "libraries", "cache", "login", "memory", "folder"} <= set(found)
    lines = go("doctor")[1].splitlines()
    assert lines[0].startswith("ok       system") and any("models that are here work without" in line for line in lines)


def test_a_computer_without_models(go, monkeypatch):
    monkeypatch.setattr(hub, "model_homes", lambda: [Path("nowhere")])
    code, out, err = go("doctor")
    assert (code, err) == (1, "1 problem to solve before sounds can be made\n")
    assert "problem  models        none in nowhere\n" in out and "convert stable-audio-3-optimized/small-music" in out


def test_a_model_that_is_damaged(go, tmp_path):
    broken = tmp_path / "models" / "stable-audio-open-small"
    broken.mkdir(parents=True)
    (broken / hub.MANIFEST).write_text('{"format": 99}')
    code, out, _ = go("doctor", "--json")
    assert code == 1 and "format 99" in records(out)["models"]["found"]


@pytest.mark.parametrize(
    ("name", "setting", "state", "words"),
    [
        ("LITTLE_MEMORY", 1 << 60, "memory", "--low-memory"),
        ("LITTLE_DISK", 1 << 60, "cache", "HF_HOME=DIR"),
        ("MLX", ((0, 1), (0, 2)), "mlx", "pip install"),
    ],
)
def test_what_is_scarce_is_a_warning(go, monkeypatch, name, setting, state, words):
    monkeypatch.setattr(diagnosis, name, setting)
    code, out, _ = go("doctor", "--json")
    found = records(out)[state]
    assert code == 0 and found["state"] == "warning" and words in found["advice"]


@pytest.mark.skipif(sys.platform != "linux", reason="a BLAS of our own is a matter of Linux")
def test_a_slow_blas_is_a_warning(tmp_path):
    """In a process of its own, since MLX is prepared once; with libraries that are not there."""
    for name in ("soxr.py", "matplotlib.py"):
        (tmp_path / name).write_text("raise ImportError('no such thing')")
    env = os.environ | {"STABLE_AUDIO_MLX_BLAS": "0", "STABLE_AUDIO_MLX_FAST_CPU": "0", "HF_HUB_OFFLINE": "1"}
    env |= {"PYTHONPATH": f"{tmp_path}:{ROOT / 'src'}"}
    command = [sys.executable, "-m", "stable_audio_mlx", "doctor", "--json"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    found = records(done.stdout)
    assert done.returncode == 1, done.stderr
    assert found["libraries"]["state"] == "problem" and found["libraries"]["advice"] == "pip install soxr"
    assert found["blas"]["state"] == "warning" and "scipy-openblas32" in found["blas"]["advice"]
    assert found["fast forms"]["state"] == "warning"


def test_without_mlx(tmp_path):
    (tmp_path / "mlx").mkdir()
    (tmp_path / "mlx" / "__init__.py").write_text("")
    (tmp_path / "mlx" / "core.py").write_text("raise ImportError('libmlx.so: cannot open shared object file')")
    env = os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT / 'src'}", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "stable_audio_mlx", "doctor", "--json"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, cwd=ROOT)
    found = records(done.stdout)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert "libmlx.so" in found["mlx"]["found"] and "pip install 'mlx" in found["mlx"]["advice"]
    assert found["models"]["state"] == "ok"
