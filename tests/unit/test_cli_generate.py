"""``generate.py`` as a user meets it: files, names, streams, exit codes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stable_audio_mlx import audio
from stable_audio_mlx.cli.common import run
from stable_audio_mlx.cli.generate import main
from stable_audio_mlx.takes.names import slug

from . import checkpoints

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    config = checkpoints.diffusion()
    tensors = checkpoints.tensors(config)
    return checkpoints.write(tmp_path_factory.mktemp("model"), config, tensors)


@pytest.fixture
def go(model, tmp_path, monkeypatch, capsys):
    """Run with this model in an empty folder -> (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments, model=model):
        code = main([*(() if model is None else ("--model", str(model))), "--steps", "2", *map(str, arguments)])
        out = capsys.readouterr()
        return code, out.out.strip(), out.err.strip()

    return call


def test_path_on_stdout_seed_on_stderr(go, tmp_path):
    code, out, err = go("-p", "Café / noise?", "--seed", 7, "--seconds", 4)
    assert code == 0 and out == "output/cafe-noise-7.wav"
    assert "seed 7" in err and "takes no text" in err and "step" not in err
    sound, rate = audio.read(tmp_path / out)
    assert rate == 32 and sound.shape == (2, 128)


def test_the_same_seed_gives_the_same_bytes(go, tmp_path):
    for name in ("a.wav", "b.wav"):
        assert go("-p", "x", "--seed", 7, "-o", name)[0] == 0
    assert go("-p", "x", "--seed", 8, "--out", "c.wav")[0] == 0
    a, b, c = ((tmp_path / f"{n}.wav").read_bytes() for n in "abc")
    assert a == b != c


def test_a_chosen_seed_is_shown_and_makes_the_sound_again(go, tmp_path):
    _, _, err = go("-p", "x", "-o", "a.wav")
    seed = next(line.split()[1] for line in err.splitlines() if line.startswith("seed"))
    go("-p", "x", "-o", "b.wav", "--seed", seed)
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


def test_default_names_never_collide_and_named_files_stay(go):
    assert [go("-p", "x", "--seed", 1)[1] for _ in range(2)] == ["output/x-1.wav", "output/x-1-2.wav"]
    assert go("-p", "x", "-o", "a.wav")[0] == 0
    code, out, err = go("-p", "x", "-o", "a.wav")
    assert (code, out) == (2, "") and "exists already" in err
    assert go("-p", "x", "-o", "a.wav", "--overwrite")[0] == 0


def test_a_batch_has_one_file_per_seed(go, tmp_path):
    code, out, _ = go("-p", "x", "-n", 2, "--seed", 5, "-o", "a.wav", "--json")
    records = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and [(r["path"], r["seed"]) for r in records] == [("a-5.wav", 5), ("a-6.wav", 6)]
    go("-p", "x", "--seed", 6, "-o", "alone.wav")
    np.testing.assert_allclose(audio.read("a-6.wav")[0], audio.read("alone.wav")[0], atol=1e-5)


def test_variation_and_inpainting(go, tmp_path):
    sound = np.random.default_rng(0).standard_normal((1, 300)).astype(np.float32) / 4
    audio.write("in.wav", sound, 32)
    assert go("-p", "x", "--init-audio", "in.wav", "--init-noise-level", 0.5, "-o", "v.wav")[0] == 0
    assert go("-p", "x", "--inpaint", 2, 4, "--inpaint-audio", "in.wav", "-o", "r.wav", "--seconds", 8)[0] == 0
    repaired, _ = audio.read("r.wav")
    assert np.array_equal(repaired[0, :64], sound[0, :64]) and np.array_equal(repaired[1, 128:], sound[0, 128:256])
    assert np.abs(repaired[0, 64:128] - sound[0, 64:128]).max() > 1e-3


def test_verbose_tells_times_and_memory(go):
    _, out, err = go("-p", "x", "-v", "-o", "a.wav")
    assert out == "a.wav"
    for word in ("text", "load transformer", "sampling", "decode", "peak memory", "euler, 2 steps"):
        assert word in err


@pytest.mark.parametrize(
    ("arguments", "code", "what"),
    [
        (("--seconds", "9"), 2, "limit is 8 seconds"),
        (("--seconds", "-1"), 2, "seconds"),
        (("--sampler", "dpmpp-3m-sde"), 2, "pingpong, euler"),
        (("--output", "a.xyz"), 2, ".wav"),
        (("--init-audio", "missing.wav"), 4, "no such audio file"),
        (("--inpaint", "1", "2"), 2, "inpaint"),
        (("--condition", "bpm"), 2, "NAME=VALUE"),
        (("--cfg-interval", "0.9", "0.1"), 2, "cfg_interval"),
        (("--seconds", "nan"), 2, "a number above 0"),
        (("--seed", str(2**70)), 2, "2**64 - 1"),
        (("--seed", "4", "4", "--output", "a.wav"), 2, "given twice"),
        (("--condition", "bpm=3"), 2, "reads no 'bpm', only seconds_total"),
    ],
)
def test_bad_input_is_one_line_and_an_exit_code(go, arguments, code, what):
    got, out, err = go("-p", "x", *arguments)
    assert (got, out) == (code, "") and what in err
    assert len(err.splitlines()) <= 2 and "Traceback" not in err


def test_bad_options_are_found_before_the_model_is_looked_for(go):
    assert go("--seconds", "-1", model="/no/such/model")[0] == 2
    assert go("-p", "x", model="/no/such/model")[0] == 3


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("--sec", "3"), "unrecognized arguments: --sec 3; did you mean --seconds?"),
        (("--qqq",), "--help"),
        (("--steps", "x"), "invalid int value: 'x'"),
    ],
)
def test_usage_errors_are_one_line(go, capsys, arguments, what):
    with pytest.raises(SystemExit) as stopped:
        go("-p", "x", *arguments)
    told = capsys.readouterr().err
    assert stopped.value.code == 2 and what in told and len(told.splitlines()) == 1


def test_options_without_effect_are_told(go):
    _, _, err = go("-p", "x", "--cfg-scale", 1, "--cfg-rescale", 0.5, "--sigma-min", 0.1, "--headroom-seconds", 0)
    for name in ("cfg_rescale", "sigma_min", "headroom_seconds"):
        assert f"{name} has no effect" in err
    assert "no effect" not in go("-p", "x", "--cfg-scale", 3, "--cfg-rescale", 0.5)[2]


def shell(model, redirection: str, folder: Path, **environment: str) -> subprocess.CompletedProcess:
    """The command in a shell, four sounds with a name that is no ASCII."""
    command = f'"{sys.executable}" {ROOT}/generate.py -m {model} --steps 1 -p x --seed 1 2 -o ö.wav'
    environment = {**os.environ, **environment}
    return subprocess.run(
        ["bash", "-c", f"{command} {redirection}"], cwd=folder, capture_output=True, env=environment, check=False
    )


@pytest.mark.parametrize(
    ("redirection", "code", "told"),
    [
        ("2>&-", 0, b""),
        (">&-", 0, b"seed"),
        ("2>/dev/full", 0, b""),
        ("> >(true)", 0, b"seed"),
        (">/dev/full", 1, b"error: standard output: No space left on device"),
    ],
)
def test_sounds_are_written_whatever_becomes_of_the_streams(model, tmp_path, redirection, code, told):
    done = shell(model, redirection, tmp_path)
    assert done.returncode == code and told in done.stderr and b"Traceback" not in done.stderr
    assert b"seed" not in done.stdout
    names = sorted(f.name for f in tmp_path.iterdir())
    assert names == (["ö-1.wav", "ö-2.wav"] if code == 0 else ["ö-1.wav"])


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_a_disk_that_takes_no_more(model, tmp_path, name):
    command = f'ulimit -f 0; "{sys.executable}" {ROOT}/generate.py -m {model} --steps 1 -p x -o {name}'
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.endswith(f"error: {name}: File too large\n")
    assert not done.stdout and not list(tmp_path.iterdir())


def test_paths_leave_as_the_bytes_on_disk(model, tmp_path):
    done = shell(model, "", tmp_path, PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and done.stdout.split() == ["ö-1.wav".encode(), "ö-2.wav".encode()]


def test_an_interrupt_while_mlx_loads(capsys):
    def command():
        raise ImportError("while initializing the extension") from KeyboardInterrupt()

    assert run(command) == 130 and capsys.readouterr().err == "interrupted\n"


def test_slug():
    assert slug("A/B: ÄÖ\\..  ☃ 120 BPM") == "a-b-ao-120-bpm"
    assert slug("☃") == "sound" and len(slug("word " * 99)) <= 60


DOOR = """
import runpy, sys
sys.argv = ["generate.py", sys.argv[1]]
try:
    runpy.run_path("generate.py", run_name="__main__")
finally:
    print([m for m in ("mlx", "numpy", "tqdm", "huggingface_hub") if m in sys.modules], file=sys.stderr)
"""


@pytest.mark.parametrize(("flag", "code"), [("--help", 0), ("--version", 0), ("--steps=x", 2), ("--steps=0", 2)])
def test_answers_without_loading_anything_heavy(flag, code):
    done = subprocess.run([sys.executable, "-c", DOOR, flag], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == "[]", done.stderr
    assert done.returncode == code
