"""The flags of ``generate.py`` for edits, bars, loops and long sounds: each does what it says, each error says so."""

from pathlib import Path

import numpy as np
import pytest

from stable_audio_mlx import audio
from stable_audio_mlx.cli.generate import main

from . import checkpoints

SOUND = np.random.default_rng(0).standard_normal((2, 300)).astype(np.float32) / 4


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return checkpoints.write(tmp_path_factory.mktemp("model"), checkpoints.diffusion())


@pytest.fixture
def go(model, tmp_path, monkeypatch, capsys):
    """Run in a folder with in.wav -> (exit code, sound or None, stderr)."""
    monkeypatch.chdir(tmp_path)
    audio.write("in.wav", SOUND, 32)
    words = ("--model", str(model), "--steps", "2", "--seed", "1", "-p", "x", "-o", "out.wav", "--overwrite")

    def call(*arguments):
        Path("out.wav").unlink(missing_ok=True)
        code = main([*words, *map(str, arguments)])
        sound = audio.read("out.wav")[0] if Path("out.wav").exists() else None
        return code, sound, capsys.readouterr().err

    return call


def test_every_way_to_name_parts(go):
    forms = (
        ("--inpaint", 2, 3, "--inpaint", 5, 6),
        ("--inpaint", "2-3", "5-6"),
        ("--inpaint", "2-3", "--inpaint", "0:05-0:06"),
        ("--inpaint-range", "2,3", "--inpaint-range", "5,6"),
        ("--inpaint-start", 2, "--inpaint-end", 3, "--inpaint-start", 5, "--inpaint-end", 6),
    )
    first, *others = [go("--init-audio", "in.wav", *form)[1] for form in forms]
    kept = np.ones(300, bool)
    kept[64:96] = kept[160:192] = False
    assert np.array_equal(first[:, kept], SOUND[:, kept]) and np.abs((first - SOUND)[:, ~kept]).max() > 1e-3
    assert all(np.array_equal(first, other) for other in others)
    bars = go("--init-audio", "in.wav", "--bpm", 60, "--beats-per-bar", 3, "--inpaint", "2:1-3:1")[1]
    assert np.array_equal(bars, go("--init-audio", "in.wav", "--inpaint", "3-6")[1])


@pytest.mark.parametrize("flag", ["--init-audio", "--inpaint-audio"])
def test_continuing(go, flag):
    to, by = go(flag, "in.wav", "--continue-to", 20)[1], go(flag, "in.wav", "--extend-by", 20 - 300 / 32)[1]
    assert to.shape[1] == 640 and np.array_equal(to[:, :300], SOUND) and np.array_equal(to, by)


def test_strength(go):
    near, far = (go("--init-audio", "in.wav", "--strength", s)[1] for s in (0.01, 1))
    assert not np.array_equal(near, far)
    assert np.array_equal(near, go("--init-audio", "in.wav", "--init-noise-level", 0.01)[1])
    assert np.array_equal(far, go("--seconds", 8)[1]), "at 1 nothing is left of the sound"


def test_long_bars_and_loops(go):
    assert go("--seconds", 20, "--long")[1].shape[1] == 640
    assert go("--bars", 2, "--bpm", 120)[1].shape[1] == 128
    assert go("--bars", 2, "--bpm", 120, "--beats-per-bar", 3)[1].shape[1] == 96
    plain = go("--bars", 2, "--bpm", 60)[1]
    for loop in (("--loop",), ("--loop", "crossfade"), ("--loop", "--loop-seam", 3)):
        sound = go("--bars", 2, "--bpm", 60, *loop)[1]
        assert sound.shape == plain.shape and not np.array_equal(sound, plain)


@pytest.mark.parametrize(
    ("arguments", "code", "what"),
    [
        (("--seconds", 9), 2, "--long"),
        (("--bars", 2), 2, "needs bpm"),
        (("--bars", 2, "--bpm", 60, "--seconds", 3), 2, "give one of them"),
        (("--key", "H"), 2, "A minor"),
        (("--strength", 0.5), 2, "needs init_audio"),
        (("--continue-to", 20), 2, "needs inpaint_audio or init_audio"),
        (("--init-audio", "in.wav", "--continue-to", 2), 2, "lasts 9.375 seconds already"),
        (("--init-audio", "in.wav", "--inpaint", "3"), 2, "no range"),
        (("--init-audio", "in.wav", "--inpaint-start", "3"), 2, "must be (start, end)"),
        (("--init-audio", "in.wav", "--inpaint", "2:01-1:02"), 2, "0 <= start < end"),
    ],
)
def test_errors_are_one_line(go, arguments, code, what):
    got, sound, err = go(*arguments)
    assert (got, sound) == (code, None) and what in err and len(err.splitlines()) <= 2
