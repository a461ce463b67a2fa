"""The embedded model through the real command and the API: what was asked for is what sounds."""

import hashlib
import json
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
from tests.unit import loras

ROOT = Path(__file__).parents[2]
TINY = ROOT / "model" / "tiny"


# What there is to be mistaken for: every kind, at the usual tempo, and of the notes some.
CANDIDATES = [
    sound
    for sound in synth.vocabulary()
    if sound.bpm in (0, 120) and sound.octave in (0, 2, 4) and (sound.note[:2].strip() or "A") in ("A", "C", "G")
]


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


def onsets(clip: np.ndarray, seconds: float) -> np.ndarray:
    """When something sets in, in seconds: where the level of windows of 5 ms rises steeply."""
    hop = 220
    x = np.diff(clip.mean(axis=1), prepend=0)[: int(seconds * synth.SAMPLE_RATE) // hop * hop]
    rise = np.diff(np.sqrt((x.reshape(-1, hop) ** 2).mean(axis=1)), prepend=0)
    highest = [rise[max(0, i - 8) : i + 9].max() for i in range(len(rise))]
    peaks = np.flatnonzero((rise > 0.25 * rise.max()) & (rise == highest))
    return peaks * hop / synth.SAMPLE_RATE


def digest(path: Path) -> str:
    return hashlib.sha256(soundfile.read(path, dtype="float32")[0].tobytes()).hexdigest()


def test_a_prompt_makes_a_sound_file_without_a_network(tmp_path):
    done = generate("--model", TINY, "--prompt", "kick drum", "--seed", 7, "--output", tmp_path / "kick.wav")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "kick.wav")
    sound, rate = soundfile.read(tmp_path / "kick.wav")
    assert rate == 44100 and sound.shape == (8 * 44100, 2) and 0.1 < np.abs(sound).max() <= 1


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
        ("808 kick", "sub kick"),
        ("deep tom", "low tom"),
        ("crash cymbal", "crash"),
        ("cowbell", "cowbell"),
        ("piano note c4", "piano"),
        ("ocean waves", "waves"),
        ("strong wind", "wind"),
        ("thunder", "thunder"),
        ("laser zap", "laser"),
        ("bass line in g at 120 bpm", "bass line"),
        ("a minor arpeggio at 120 bpm", "arpeggio"),
        ("chord progression in c major", "progression"),
        ("house beat at 120 bpm", "beat"),
        ("Kick drum, 120 BPM", "kick"),  # a tempo makes no beat of it
        ("crispy closed hi-hats", "closed hat"),
        ("people clapping: handclaps", "clap"),
        ("police sirens in the distance", "siren"),
        ("gentle rainfall on a roof", "rain"),
    ],
)
def test_the_kind_asked_for_is_heard(pipe, prompt, kind):
    assert evaluate.nearest(made(pipe, prompt), CANDIDATES).kind == kind


@pytest.mark.parametrize("prompt, hz", [("a4 synth", 440.0), ("low synth in e", 164.81), ("synth note c5", 523.25)])
def test_notes_are_in_tune(pipe, prompt, hz):
    assert abs(1200 * np.log2(evaluate.pitch(made(pipe, prompt)) / hz)) < 25  # cents; semitones are 100 apart


def test_a_high_note_is_as_far_above_a_low_one_as_its_name_says(pipe):
    low, high = (evaluate.pitch(made(pipe, f"saw synth playing {note}")) for note in ("d3", "a4"))
    assert 12 * np.log2(high / low) == pytest.approx(19, abs=0.3)  # an octave and a fifth


@pytest.mark.parametrize("style, bpm", [("house", 120), ("rock", 75), ("trap", 100), ("drum and bass", 150)])
def test_beats_keep_the_tempo(pipe, style, bpm):
    clip = made(pipe, f"{style} beat at {bpm} bpm")
    assert evaluate.tempo(clip, bpm) == pytest.approx(bpm, rel=0.02)


def test_a_beat_of_120_has_its_onsets_on_the_grid(pipe):
    """Hi-hats between the beats, kicks on them, nothing anywhere else."""
    clip, eighth = made(pipe, "four on the floor, 120 BPM"), 11025
    found = onsets(clip, 4) / 0.25
    assert np.abs(found - found.round()).max() < 0.1
    assert set(range(1, 16, 2)) <= set(found.round().astype(int))
    slow = np.abs(np.fft.rfft(clip.mean(axis=1)[: 16 * eighth].reshape(16, eighth), axis=1))[:, :40].sum(axis=1)
    assert slow[::2].min() > 2 * slow[1::2].max()  # below 160 Hz


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


def test_only_the_range_that_is_asked_for_is_made_anew(pipe):
    given = synth.render(synth.Sound("synth", "A", 4))[: 3 * 44100]
    made_anew = made(pipe, "snare drum", inpaint_audio=(given.T, 44100), inpaint=[(1.0, 2.0)], seconds=3)
    inside, quiet = slice(44100 + 4410, 2 * 44100 - 4410), 0.02
    assert np.array_equal(made_anew[:44100], given[:44100]) and np.array_equal(
        made_anew[2 * 44100 :], given[2 * 44100 :]
    )
    assert np.abs(made_anew[inside] - given[inside]).mean() > quiet


def test_a_given_sound_that_is_not_varied_stays_what_it_is(pipe):
    """Almost no noise: what comes back is the sound through the autoencoder; much noise: it is another one."""
    given = synth.render(synth.Sound("pluck", "E", 4))[: 2 * 44100]
    near, far = (
        made(pipe, "hi-hat", init_audio=(given.T, 44100), init_noise_level=level, seconds=2) for level in (0.02, 1.0)
    )
    likeness = [abs(np.corrcoef(given[: len(clip), 0], clip[:, 0])[0, 1]) for clip in (near, far)]
    assert likeness[0] > 0.95 and likeness[1] < 0.3


def test_a_lora_changes_what_is_made_and_nothing_else(tmp_path):
    config = json.loads((TINY / "model_config.json").read_text())
    arrays = loras.tensors(config=config, part="layers.0.self_attn")
    assert arrays
    path = loras.save(tmp_path / "l.safetensors", arrays, {"rank": loras.RANK})
    pipe = StableAudioPipeline.from_pretrained(TINY)
    asked = {"seconds": 1, "steps": 4}
    plain = made(pipe, "snare drum", **asked)
    fit = pipe.load_lora(path, 0.0)
    assert fit.keys and np.array_equal(made(pipe, "snare drum", **asked), plain)  # strength 0 is the model itself
    with_lora = made(StableAudioPipeline.from_pretrained(TINY), "snare drum", lora=[(path, 1.0)], **asked)
    assert np.abs(with_lora - plain).max() > 0.01
    once = StableAudioPipeline.from_pretrained(TINY)
    assert np.array_equal(made(once, "snare drum", lora=[(path, 1.0)], **asked), with_lora)
    assert np.array_equal(made(once, "snare drum", **asked), plain)  # it was for that one sound
