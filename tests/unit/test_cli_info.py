"""``info``: what it says of sounds of ours, of others and of what is none."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stable_audio_mlx import Sound, audio
from stable_audio_mlx.audio import riff
from stable_audio_mlx.cli.info import main
from stable_audio_mlx.plots import envelope

ROOT = Path(__file__).parents[2]
TONE = np.stack([0.5 * np.sin(np.arange(22050) / 10), np.zeros(22050)]).astype(np.float32)
RECORD = {"prompt": "a ☃", "seed": 3, "software": "x", "model_files": {"dit.npz": "ab" * 32}, "bpm": 120, "loop": True}


@pytest.fixture
def go(tmp_path, monkeypatch, capsys):
    """Run in a folder with sounds -> (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    Sound(TONE, 44100, RECORD).save("ours.wav", metadata=True)
    Sound(TONE, 44100, RECORD, bit_depth="16").save("ours.flac")
    audio.write("other.mp3", TONE, 44100, tags={"title": "Song"})
    Path("none.wav").write_text("no sound")

    def call(*arguments):
        code = main([*map(str, arguments)])
        out = capsys.readouterr()
        return code, out.out, out.err

    return call


def test_for_people(go):
    code, out, err = go("ours.wav", "other.mp3")
    assert (code, err) == (0, "")
    for text in ("WAV FLOAT, 44100 Hz, 2 channels, 0.500 s", "loop from sample 0 to 22049", "prompt: a ☃", "seed: 3"):
        assert text in out
    assert "120 BPM, 1 beats, 4/4, loop" in out and "dit.npz abababababab" in out and "-6.0 dBFS peak" in out
    assert "MP3 MPEG_LAYER_III" in out and "title: Song" in out


def test_as_json(go):
    _, out, _ = go("ours.wav", "ours.flac", "ours.json", "other.mp3", "--json")
    wav, flac, sidecar, mp3 = map(json.loads, out.splitlines())
    assert wav["record"] == flac["record"] == RECORD and sidecar["record"]["seed"] == 3
    assert (wav["encoding"], flac["encoding"], wav["samples"]) == ("FLOAT", "PCM_16", 22050)
    assert wav["tempo"]["bpm"] == 120 and wav["loops"] == [[0, 22049]]
    assert wav["lufs"] == pytest.approx(Sound(TONE, 44100).levels.lufs, abs=0.01)
    assert wav["peak_dbfs"] == pytest.approx(-6.02, abs=0.01) and "record" not in mp3


def test_digital_silence_is_valid_json(go):
    Path("silent.wav").write_bytes(riff.wav(np.zeros((1, 99), np.float32), 44100, 32))
    facts = json.loads(go("silent.wav", "--json")[1])
    assert facts["lufs"] is facts["peak_dbfs"] is None
    assert "-inf LUFS" in go("silent.wav")[1]


def test_what_is_no_sound_is_told_and_the_rest_goes_on(go):
    code, out, err = go("none.wav", "missing.flac", "ours.wav")
    assert code == 4 and out.startswith("ours.wav")
    assert "none.wav: cannot be read as audio" in err and "missing.flac: no such audio file" in err
    assert len(err.splitlines()) == 2


def test_a_picture(go):
    code, _, err = go("ours.wav", "--plot", "p.png")
    assert (code, err) == (0, "written: p.png\n") and Path("p.png").read_bytes()[:4] == b"\x89PNG"
    assert go("ours.wav", "--plot", "p.png")[0] == 2
    assert go("ours.wav", "ours.flac", "--plot", "q.png")[0] == 2
    assert go("ours.wav", "--plot", "p.jpg")[0] == 2


def test_a_picture_without_matplotlib(tmp_path):
    audio.write(tmp_path / "a.wav", TONE, 44100)
    code = "import sys; sys.modules['matplotlib'] = None; from stable_audio_mlx.cli.info import main; "
    command = [sys.executable, "-c", f"{code} sys.exit(main(['a.wav', '--plot', 'a.png']))"]
    environment = {"PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr == "error: a.png: drawing needs matplotlib; pip install matplotlib\n"


def test_the_envelope_holds_every_peak():
    sound = np.random.default_rng(0).standard_normal((2, 10_001)).astype(np.float32)
    times, low, high = envelope(sound, 1000, 300)
    assert len(times) == 300 and times[-1] < 10.001
    assert np.array_equal(low.min(axis=1), sound.min(axis=1)) and np.array_equal(high.max(axis=1), sound.max(axis=1))
