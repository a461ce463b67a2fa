"""The embedded model through the real command and the API: what was asked for is what sounds."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stable_audio_mlx import StableAudioPipeline
from stable_audio_mlx.data import synth
from stable_audio_mlx.training import evaluate

ROOT = Path(__file__).parents[2]
TINY = ROOT / "model" / "tiny"


@pytest.fixture(scope="module")
def pipe():
    return StableAudioPipeline.from_pretrained(TINY, keep_models=True)


def made(pipe, prompt: str, seed: int = 0, **options) -> np.ndarray:
    """One clip, (L, 2)."""
    return np.array(pipe.generate(prompt, seed=seed, **options))[0].T


def generate(*arguments) -> subprocess.CompletedProcess:
    """The command as a user without network gives it."""
    env = os.environ | {"HF_HUB_OFFLINE": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "generate.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=120, check=False)


def centroid(clip: np.ndarray, seconds: float = 0.2) -> float:
    """Centre of the spectrum of the first moments, in Hz."""
    x = clip[: int(seconds * synth.SAMPLE_RATE)].mean(axis=1)
    magnitudes = np.abs(np.fft.rfft(x))
    return float((np.fft.rfftfreq(len(x), 1 / synth.SAMPLE_RATE) * magnitudes).sum() / magnitudes.sum())


def digest(path: Path) -> str:
    return hashlib.sha256(soundfile.read(path, dtype="float32")[0].tobytes()).hexdigest()


def test_a_prompt_makes_a_sound_file_without_a_network(tmp_path):
    done = generate("--model", TINY, "--prompt", "kick drum", "--seed", 7, "--output", tmp_path / "kick.wav")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "kick.wav")
    sound, rate = soundfile.read(tmp_path / "kick.wav")
    assert rate == 44100 and sound.shape == (4 * 44100, 2) and 0.1 < np.abs(sound).max() <= 1


def test_the_same_seed_gives_the_same_file_and_another_seed_another(tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        done = generate("--model", TINY, "-p", "rain", "--seconds", 1, "--seed", seed, "-o", tmp_path / f"{name}.wav")
        assert done.returncode == 0, done.stderr
    a, b, c = (digest(tmp_path / f"{name}.wav") for name in "abc")
    assert a == b != c


def test_a_bass_note_and_a_hi_hat_differ_as_they_should(pipe):
    bass, hat = made(pipe, "bass note in e"), made(pipe, "hi-hat")
    assert centroid(bass) < 1000 < 5000 < centroid(hat)
    rms = [np.sqrt((clip[44100 : 2 * 44100] ** 2).mean()) for clip in (bass, hat)]
    assert rms[0] > 10 * rms[1]  # the string still sounds when the cymbal has long been silent


@pytest.mark.parametrize(
    "prompt, kind",
    [
        ("kick drum", "kick"),
        ("snare drum", "snare"),
        ("hi-hat", "closed hat"),
        ("hand clap", "clap"),
        ("plucked string playing a4", "pluck"),
        ("warm pad, c major", "pad"),
        ("rising noise sweep", "sweep"),
        ("heavy rain", "rain"),
        ("slow siren", "siren"),
        ("house beat at 120 bpm", "beat"),
    ],
)
def test_the_kind_asked_for_is_heard(pipe, prompt, kind):
    assert evaluate.nearest(made(pipe, prompt)).kind == kind


@pytest.mark.parametrize("prompt, hz", [("a4 synth", 440.0), ("low synth in e", 164.81), ("synth note c5", 523.25)])
def test_notes_are_in_tune(pipe, prompt, hz):
    assert abs(1200 * np.log2(evaluate.pitch(made(pipe, prompt)) / hz)) < 25  # cents; semitones are 100 apart


@pytest.mark.parametrize("bpm", synth.BEAT_FRAMES)
def test_beats_keep_the_tempo(pipe, bpm):
    assert evaluate.tempo(made(pipe, f"house beat at {bpm} bpm")) == pytest.approx(bpm, rel=0.02)


def test_sounds_end_with_the_seconds_asked(pipe):
    clip = made(pipe, "rain", seconds=2)
    assert len(clip) == 2 * 44100
    ends = [np.sqrt((part**2).mean()) for part in (clip[44100:46305], clip[-441:])]
    assert ends[1] < 0.5 * ends[0]


def test_a_sound_can_be_varied(pipe):
    """Through the encoder: the latents of a given sound steer the result, the prompt names what it becomes."""
    beat = synth.render(synth.Sound("beat", style="house", bpm=120))
    varied = made(pipe, "house beat at 120 bpm", init_audio=(beat.T, 44100), init_noise_level=0.3)
    assert np.corrcoef(beat[: len(varied), 0], varied[:, 0])[0, 1] > 0.8
