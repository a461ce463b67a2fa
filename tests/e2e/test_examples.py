"""The example scripts, as a user runs them."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stable_audio_mlx import audio
from stable_audio_mlx.audio import riff
from stable_audio_mlx.data import synth
from stable_audio_mlx.sound import metadata

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.fixture
def run(tmp_path):
    """-> lines of stdout, in a folder that holds two sounds."""
    for name in ("a", "b"):
        beat = synth.render(synth.Sound("beat", style="house", bpm=120)).T
        audio.write(tmp_path / f"{name}.wav", beat[:, :66150] * (1 if name == "a" else 0.5), 44100)

    def call(name: str, *arguments: str) -> list[str]:
        command = [sys.executable, str(ROOT / "examples" / f"{name}.py"), *arguments]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return call


def test_many_variations(run, tmp_path):
    lines = run("many_variations", "snare drum", "output/snares", "4")
    files = sorted((tmp_path / "output/snares").iterdir())
    assert len(lines) == 3 and [f.suffix for f in files] == [".json", ".wav"] * 3
    assert metadata.read(files[0])["prompt"] == "snare drum"


def test_vary_a_sound(run, tmp_path):
    files = run("vary_a_sound", "a.wav")
    start, _ = audio.read(tmp_path / "a.wav")
    near, far = (np.corrcoef(audio.read(tmp_path / files[i])[0][0], start[0])[0, 1] for i in (0, 2))
    assert len(files) == 3 and near > far and near > 0.8


def test_progress_and_cancel(run):
    lines = run("progress_and_cancel")
    assert [line.partition(":")[0] for line in lines[:8]] == [f"step {k} of 8" for k in range(1, 9)]
    assert all("LUFS" in line for line in lines[:8])
    assert lines[-2:] == ["output/rain.wav", "cancelled after 2 steps"] and "decode" in lines[-3]


def test_through_the_autoencoder(run, tmp_path):
    run("through_the_autoencoder", "a.wav", "b.wav", "halfway.wav")
    assert audio.read(tmp_path / "halfway.wav")[0].shape[1] >= 66150


def test_exact_loop(run, tmp_path):
    (file,) = run("exact_loop")
    chunks = metadata.wave_chunks(tmp_path / file)
    assert riff.read_smpl(chunks[b"smpl"]) == [(0, 88199)]
    tempo = riff.read_acid(chunks[b"acid"])
    assert (tempo["bpm"], tempo["beats"], tempo["loop"]) == (120, 4, True)


def test_likeness(run):
    same, other = run("likeness", ".", "a.wav", "b.wav")
    assert same == "a.wav: 0.0 dB" and other == "b.wav: 0.0 dB"  # level does not count


def test_every_example_is_run():
    assert {f"test_{f.stem}" for f in EXAMPLES} <= set(globals())
