"""What a sound's file says about how it was made, and the sound made again from it, by the real command."""

import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stable_audio_mlx import FinishOptions, GenerateOptions, Sound, audio
from stable_audio_mlx.audio import riff
from stable_audio_mlx.audio.player import PlayError, play
from stable_audio_mlx.cli.common import note_level
from stable_audio_mlx.cli.generate import main
from stable_audio_mlx.errors import AudioError, OptionError
from stable_audio_mlx.sound import metadata
from stable_audio_mlx.sound.replay import Replay, read_replay

from . import checkpoints, loras

TONE = (0.5 * np.sin(np.arange(9000) / 10)).astype(np.float32)[None]
RECORD = {"prompt": "a ☃", "seed": 3, "steps": 2, "software": "stable-audio-mlx 0.1.0", "model": "m"}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "small"
    folder.mkdir()
    return checkpoints.write(folder, checkpoints.diffusion())


@pytest.fixture
def go(model, tmp_path, monkeypatch, capsys):
    """Run with this model in an empty folder -> (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments, model=model):
        code = main(["-m", str(model), *map(str, arguments)])
        out = capsys.readouterr()
        return code, out.out.strip(), out.err.strip()

    return call


def bytes_of(*names: str) -> list[bytes]:
    return [Path(name).read_bytes() for name in names]


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".aiff", ".ogg", ".opus", ".mp3"])
def test_every_format_holds_the_record(tmp_path, suffix):
    path = Sound(TONE, 44100, RECORD).save(tmp_path / f"a{suffix}").path
    assert metadata.read(path) == RECORD
    with soundfile.SoundFile(str(path)) as file:
        assert file.title == "a ☃" and json.loads(file.comment) == RECORD


def test_a_record_that_is_too_long_for_a_comment_has_a_chunk_of_its_own(tmp_path):
    long = {**RECORD, "prompt": "long ☃ " * 400}
    for suffix in (".wav", ".flac", ".mp3", ".aiff"):
        assert metadata.read(Sound(TONE, 44100, long).save(tmp_path / f"a{suffix}").path) == long
    with soundfile.SoundFile(str(tmp_path / "a.wav")) as file:
        assert len(file.comment.encode()) < 1900 and json.loads(file.comment)["seed"] == 3
    longer = {**RECORD, "prompt": "long ☃ " * 2000}
    with pytest.raises(OptionError, match="too long for the file"):
        metadata.read(Sound(TONE, 44100, longer).save(tmp_path / "b.aiff").path)
    assert metadata.read(Sound(TONE, 44100, longer).save(tmp_path / "c.aiff", metadata=True).path.with_suffix(".json"))


def test_tempo_and_loops_are_written_for_samplers(tmp_path):
    def chunks(**more):
        path = Sound(TONE, 4500, {**RECORD, **more}).save(tmp_path / "a.wav", overwrite=True).path
        return metadata.wave_chunks(path)

    looped = chunks(loop=True, bpm=120.0, bars=1)
    keyed = chunks(loop=True, bpm=120.0, key="A minor")
    assert riff.read_acid(keyed[b"acid"])["root"] == keyed[b"smpl"][12] == 69
    assert riff.read_smpl(looped[b"smpl"]) == [(0, 8999)]
    assert riff.read_acid(looped[b"acid"]) == {"bpm": 120, "beats": 4, "meter": [4, 4], "loop": True}
    assert riff.read_acid(chunks(bpm=120.0)[b"acid"])["loop"] is False
    assert not {b"smpl", b"acid"} & chunks().keys() and b"bext" in chunks()


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.json", "a.mp3"])
def test_the_same_bytes_again(go, name):
    sound = name if name != "a.json" else "a.wav"
    asked = ("-p", "x ☃", "--seed", 7, "--steps", 2, "--cfg-scale", 3, "--cfg-rescale", 0.5, "--sampler", "pingpong")
    finish = ("--fade-out", 0.5, "--normalize", "lufs:-20", "--limit", "-3", "--mono", "--trim-silence")
    assert go(*asked, *finish, "--seconds", 6, "-o", sound, "--metadata")[0] == 0
    code, _, err = go("-C", name, "-o", f"again{Path(sound).suffix}")
    assert code == 0 and "first sound" not in err
    first, again = bytes_of(sound, f"again{Path(sound).suffix}")
    assert first == again


def test_the_model_is_found_by_its_name(model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["-m", str(model), "--steps", "2", "--seed", "1", "-o", "a.wav", "--seconds", "2"]) == 0
    assert main(["-C", "a.wav", "-o", "b.wav"]) == 3
    assert "small: neither a folder nor a known model" in capsys.readouterr().err
    assert metadata.read("a.wav")["model"] == "small"


def test_explicit_flags_win(go):
    go("-p", "x", "--seed", 7, "--steps", 2, "--seconds", 3, "-o", "a.wav")
    for flags in (("--seed", 8), ("--seconds", 2), ("--mono",), ("-p", "y")):
        assert go("-C", "a.wav", "-o", "b.wav", "--overwrite", *flags)[0] == 0
        record = metadata.read("b.wav")
        name, *value = flags
        name = {"-p": "prompt"}.get(name, name[2:].replace("-", "_"))
        assert record[name] == (value[0] if value else True)
        assert {k: v for k, v in record.items() if k != name} == {
            k: v for k, v in metadata.read("a.wav").items() if k != name
        }
    _, out, _ = go("-C", "a.wav", "--variations", 3)
    assert out.splitlines() == [f"output/x-{seed}.wav" for seed in (7, 8, 9)]


def test_input_sounds_are_found_again_and_checked(go, tmp_path):
    os.mkdir("in")
    audio.write("in/voice.wav", TONE[:, :128] / 2, 32)
    go("--steps", 2, "--seed", 1, "--init-audio", "in/voice.wav", "--init-noise-level", 0.5, "-o", "a.wav")
    assert go("-C", "a.wav", "-o", "b.wav")[0] == 0
    first, again = bytes_of("a.wav", "b.wav")
    assert first == again
    os.rename("in/voice.wav", "voice.wav")  # beside the record
    _, _, err = go("-C", "a.wav", "-o", "c.wav")
    assert "no longer" not in err
    os.rename("voice.wav", "other.wav")
    code, _, err = go("-C", "a.wav", "-o", "d.wav")
    assert code == 4 and "in/voice.wav: a.wav was made from it, but it is gone; pass it with --init-audio FILE" in err
    assert go("-C", "a.wav", "-o", "d.wav", "--init-audio", "other.wav")[0] == 0
    audio.write("voice.wav", TONE[:, 5:128] / 2, 32)
    code, _, err = go("-C", "a.wav", "-o", "e.wav")
    assert code == 0 and "init_audio: the file is no longer the same" in err


def test_loras_are_found_again_and_checked(go):
    loras.write(Path("l.safetensors"), "lora", config=checkpoints.DIFFUSION)
    assert go("--steps", 2, "--seed", 1, "--seconds", 3, "--lora", "l.safetensors:0.5", "-o", "a.wav")[0] == 0
    (lora,) = metadata.read("a.wav")["lora"]
    assert (lora["path"], lora["strength"], len(lora["sha256"])) == ("l.safetensors", 0.5, 64)
    assert go("-C", "a.wav", "-o", "b.wav")[0] == 0
    first, again = bytes_of("a.wav", "b.wav")
    assert first == again
    os.remove("l.safetensors")
    code, _, err = go("-C", "a.wav", "-o", "c.wav")
    assert code == 3 and "l.safetensors: a.wav was made with this LoRA, but it is gone" in err


def test_another_model_of_the_same_name_is_told(go, tmp_path, capsys):
    go("--seed", 1, "--steps", 2, "--seconds", 2, "-o", "a.wav", "--metadata")
    other = tmp_path / "model" / "small"
    other.mkdir(parents=True)
    checkpoints.write(other, checkpoints.diffusion(), checkpoints.tensors(checkpoints.diffusion(), seed=9))
    record = json.loads(Path("a.json").read_text())
    Path("a.json").write_text(json.dumps({**record, "model": str(other), "mlx": "0.1"}))
    assert main(["-C", "a.json", "-o", "b.wav"]) == 0
    told = capsys.readouterr().err
    assert "is no longer the same (model.safetensors); this is another sound" in told
    assert "the first sound was made with MLX 0.1, this one with MLX" in told


def test_a_sound_of_a_batch_is_told_not_to_be_the_same_to_the_last_digit(go):
    go("-p", "x", "--seed", 1, 2, "-n", 2, "--steps", 2, "--seconds", 2, "-o", "a.wav")
    _, _, err = go("-C", "a-2.wav", "-o", "b.wav")
    assert "made in a batch of 2, this one in a batch of 1; their last digits can differ" in err
    np.testing.assert_allclose(audio.read("a-2.wav")[0], audio.read("b.wav")[0], atol=1e-5)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "no such file"),
        ("{}", "holds no record"),
        ("[1]", "holds no record"),
        ("not json", "holds no record"),
        ("[" * 100_000, "holds no record"),
    ],
)
def test_records_that_are_none(tmp_path, content, what):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises((OptionError, AudioError), match=what):
        read_replay(path)


ODD = (None, True, -1, 1e400, 3.5, "", "x", [], [1], ["a"], {}, {"path": 3}, {"path": "gone.wav"}, [{"path": "gone"}])


@pytest.mark.parametrize("name", [*GenerateOptions.__dataclass_fields__, *FinishOptions.__dataclass_fields__])
def test_records_that_were_edited_badly_are_one_line(go, name):
    """Whatever stands there: an error that says so, or a plan; never a traceback."""
    for value in ODD:
        Path("a.json").write_text(json.dumps({**RECORD, "seconds": 1, name: value}))
        code, out, err = go("-C", "a.json", "-o", "b.wav", "--overwrite", "--dry-run")
        assert code in (0, 2, 3, 4) and len(err.splitlines()) == (0 if code == 0 else 1), (name, value, err)


def test_differences_of_odd_records():
    made = {"model_files": {"a": "1"}, "init_audio": {"sha256": "2"}}
    for value in ODD:
        record = dict.fromkeys(("model_files", "lora", "init_audio", "mlx", "batch"), value)
        assert Replay(record, {}, ()).differences(made)


def test_sounds_of_others_and_of_arrays_cannot_be_made_again(tmp_path):
    audio.write(tmp_path / "other.wav", TONE, 44100)
    audio.write(tmp_path / "other.flac", TONE, 44100)
    for name in ("other.wav", "other.flac"):
        with pytest.raises(OptionError, match="holds no record"):
            read_replay(tmp_path / name)
    Sound(TONE, 44100, {**RECORD, "noise": {"sha256": "0"}}).save(tmp_path / "a.wav")
    with pytest.raises(OptionError, match="noise given as an array"):
        read_replay(tmp_path / "a.wav")
    Sound(TONE, 44100, {**RECORD, "init_audio": {"sha256": "0"}}).save(tmp_path / "b.wav")
    with pytest.raises(AudioError, match="given as an array; pass it with --init-audio"):
        read_replay(tmp_path / "b.wav")


@pytest.mark.parametrize(
    ("arguments", "code", "what"),
    [
        (("-C", "missing.wav"), 4, "missing.wav: no such audio file"),
        (("-o", "a.mp3", "--bit-depth", "16"), 2, "bit_depth: 16, but .mp3 has none"),
        (("--normalize", "loud"), 2, "normalize: 'loud' must be peak"),
        (("--limit", "3"), 2, "limit: 3.0 must be a ceiling"),
        (("--fade-in", "-1"), 2, "fade_in"),
        (("-o", "taken.wav", "--metadata"), 2, "taken.json: exists already"),
    ],
)
def test_what_cannot_be_is_told_before_the_model_is_read(go, arguments, code, what):
    Path("taken.json").write_text("mine")
    got, out, err = go("-p", "x", *arguments, model="/no/such/model")
    assert (got, out) == (code, "") and what in err and len(err.splitlines()) == 1
    assert Path("taken.json").read_text() == "mine"


@pytest.mark.parametrize(
    "asked",
    [
        {"bars": 1, "bpm": 48, "key": "A minor", "loop": True},
        {"bars": 1, "bpm": 48, "loop": "crossfade", "loop_seam": 0.5},
        {"init_audio": "in.wav", "strength": 0.4, "seconds": 3},
        {"init_audio": "in.wav", "inpaint": ["1-2", "3-3.5"]},
        {"inpaint_audio": "in.wav", "inpaint": [[1, 2]], "init_audio": "other.wav", "init_noise_level": 0.5},
        {"init_audio": "in.wav", "continue_to": 6},
        {"init_audio": "in.wav", "extend_by": 2.5},
        {"seconds": 12, "long": True},
        {"prompt": "(a:1.2) b", "negative_prompt": "c", "cfg_interval": [0.1, 0.9]},
        {"conditions": {"seconds_total": 5}},
        {"sigmas": [1.0, 0.5, 0.0], "sampler": "euler"},
    ],
    ids=lambda asked: "-".join(asked),
)
def test_every_option_comes_back(go, asked):
    for name in ("in.wav", "other.wav"):
        audio.write(name, TONE[:, :128] / (2 if name == "in.wav" else 3), 32)
    steps = {} if "sigmas" in asked else {"steps": 2}
    line = {"prompt": "x", "seed": 5, "cfg_scale": 3, **steps, **asked, "name": "first"}
    Path("p.jsonl").write_text(json.dumps(line))
    code, out, err = go("--prompt-file", "p.jsonl", "-o", "./")
    assert (code, out) == (0, "first.wav"), err
    code, _, err = go("-C", "first.wav", "-o", "again.wav")
    assert code == 0, err
    first, again = bytes_of("first.wav", "again.wav")
    assert first == again


def test_levels_are_told_and_in_json(go):
    _, out, err = go("-p", "x", "--seed", 1, "--steps", 2, "--seconds", 4, "-o", "a.wav", "--json")
    record = json.loads(out)
    assert f"a.wav: 4 s, {record['lufs']:.1f} LUFS, true peak {record['true_peak_dbtp']:.1f} dBTP" in err
    assert record["peak_dbfs"] <= record["true_peak_dbtp"]
    assert go("-p", "x", "--seed", 1, "--steps", 2, "-o", "b.wav", "--quiet")[2] == ""


def test_what_is_done_to_the_level_is_told(capsys, tmp_path):
    for depth, name, told in (
        (None, "a.wav", "a.wav: peaks 6.0 dB over full scale, which the float file keeps; turn it down to play it"),
        ("16", "b.wav", "b.wav: turned down by 6.0 dB, since this file cannot hold its peak"),
        (None, "c.mp3", "c.mp3: turned down by 6.0 dB, since this file cannot hold its peak"),
    ):
        note_level(Sound(4 * TONE, 44100, bit_depth=depth).save(tmp_path / name))
        assert capsys.readouterr().err.strip() == told
    for depth in (None, "16"):  # full scale is no news
        note_level(Sound(2 * TONE, 44100, bit_depth=depth).save(tmp_path / f"full{depth}.wav"))
    assert not capsys.readouterr().err


def test_levels_are_those_of_the_file(tmp_path, capsys):
    Sound(4 * TONE, 44100, RECORD).save(tmp_path / "a.flac", metadata=True)
    told = json.loads((tmp_path / "a.json").read_text())
    measured = Sound(*audio.read(tmp_path / "a.flac")).levels
    assert told["peak_dbfs"] == pytest.approx(0, abs=1e-3) and told["lufs"] == pytest.approx(measured.lufs, abs=0.01)


@pytest.fixture
def players(tmp_path, monkeypatch):
    """A folder that is all of PATH, and a way to put a program into it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def add(name: str, script: str):
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(stat.S_IRWXU)

    return add


def test_a_player_is_given_a_wav_file(players, tmp_path):
    players("paplay", "echo no server >&2; exit 1")
    players("aplay", f'[ "$1" = -q ] && /bin/cp "$2" {tmp_path}/heard.wav')
    Sound(3 * TONE, 44100).play()
    heard, rate = audio.read(tmp_path / "heard.wav")
    assert rate == 44100 and heard.shape == TONE.shape and 0.99 < np.abs(heard).max() <= 1


def test_where_nothing_plays_the_sound_is_made_all_the_same(players, go):
    with pytest.raises(PlayError, match="none of .* is installed"):
        play(b"")
    players("aplay", "echo no device >&2; exit 1")
    code, out, err = go("-p", "x", "--seed", 1, "--steps", 2, "-o", "a.wav", "--play")
    assert (code, out) == (0, "a.wav") and err.endswith("cannot play: aplay: no device")


def test_a_notebook_shows_a_player():
    page = Sound(TONE, 44100, {**RECORD, "prompt": "<b>&"})._repr_html_()
    assert "&lt;b&gt;&amp;, seed 3" in page and 'src="data:audio/wav;base64,UklGR' in page
