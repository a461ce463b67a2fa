"""``train`` and ``train-lora`` as they are typed: killed and gone on with, from sounds to a LoRA that is heard."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stable_audio_mlx.cli.generate import main as generate
from stable_audio_mlx.cli.main import main
from stable_audio_mlx.lora.files import read_lora
from tests.unit import checkpoints
from tests.unit.test_diffusion_training import encoded

OF_THE_MACHINE = ("seconds_per_step", "memory_mb")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return checkpoints.write(tmp_path_factory.mktemp("model") / "small", checkpoints.STABLE_AUDIO_3)


@pytest.fixture(scope="module")
def latents(tmp_path_factory):
    return encoded(tmp_path_factory.mktemp("latents") / "l")


def lora(model, latents, output, *more):
    words = ["train-lora", "--model", model, "--encoded_dir", latents, "--output", output, "--rank", 2, "--steps", 40]
    words += ["--batch-size", 2, "--checkpoint-every", 8, "--log-every", 1, "--demo-every", 0]
    words += ["--include", "layers.0", *more]
    return [str(word) for word in words]


def started(arguments):
    env = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "stable_audio_mlx", *arguments]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def stopped(process, state, how, after):
    """Send a signal when the state has been written anew."""
    while process.poll() is None and not (state.exists() and state.stat().st_mtime_ns > after):
        time.sleep(0.005)
    process.send_signal(how)
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors


def rows(folder):
    with open(folder / "lora.csv", newline="") as file:
        return [{k: v for k, v in row.items() if k not in OF_THE_MACHINE} for row in csv.DictReader(file)]


def test_killed_and_interrupted_it_ends_as_if_it_had_not_been(model, latents, tmp_path, capsys):
    assert main(lora(model, latents, tmp_path / "whole", "--quiet")) == 0
    [whole] = capsys.readouterr().out.split()
    state, broken = tmp_path / "broken" / "lora.state.safetensors", lora(model, latents, tmp_path / "broken")
    code, _ = stopped(started(broken), state, signal.SIGKILL, 0)
    assert code == -signal.SIGKILL and state.exists() and not Path(whole.replace("whole", "broken")).exists()
    code, errors = stopped(started(broken), state, signal.SIGINT, state.stat().st_mtime_ns)
    assert code == 130 and "the same command goes on from here" in errors and "Traceback" not in errors
    assert main(broken) == 0
    captured = capsys.readouterr()
    assert "going on from step" in captured.err or "step 40/40" in captured.err
    made = Path(captured.out.strip())
    assert made.name == "lora-step=40-epoch=20.safetensors" == Path(whole).name
    assert made.read_bytes() == Path(whole).read_bytes()
    assert rows(tmp_path / "broken") == rows(tmp_path / "whole") and len(rows(tmp_path / "whole")) == 40
    assert not list(tmp_path.rglob("*.part*"))


def test_what_cannot_be_meant_is_one_line(model, latents, tmp_path, capsys):
    def failed(code, *arguments):
        assert main([str(a) for a in arguments]) == code
        captured = capsys.readouterr()
        assert not captured.out and len(captured.err.strip().splitlines()) <= 2
        return captured.err

    out = ("--output", tmp_path / "o")
    assert "which sounds?" in failed(2, "train", model, *out)
    assert "give it alone" in failed(2, "train", model, *out, "--encoded-dir", latents, "--data-dir", latents)
    assert "no sounds in it" in failed(2, "train", model, *out, "--data-dir", latents)
    assert "no layer is left" in failed(2, *lora(model, latents, tmp_path / "o", "--include", "nothing"))
    assert "rank 400 is more" in failed(
        2, *lora(model, latents, tmp_path / "o", "--rank", 400, "--adapter-type", "lora-xs")
    )
    assert "must be a name" in failed(2, *lora(model, latents, tmp_path / "o", "--name", "a/b"))
    wrong = tmp_path / "training.json"
    wrong.write_text(json.dumps({"training": {"learning_rat": 1e-4}}))
    assert "did you mean 'learning_rate'" in failed(
        3, "train", model, *out, "--encoded-dir", latents, "--training", wrong
    )
    assert main(lora(model, latents, tmp_path / "o", "--steps", 2, "--quiet")) == 0
    capsys.readouterr()
    assert "batch_size 2, not 4" in failed(2, *lora(model, latents, tmp_path / "o", "--steps", 3, "--batch-size", 4))
    with pytest.raises(SystemExit) as stop:
        main(["train", str(model), "--step", "3", "-o", "x"])
    assert stop.value.code == 2 and "did you mean --steps" in capsys.readouterr().err


def test_two_processes_equal_one_with_the_double_batch(model, tmp_path):
    """Each encodes its share of the sounds and computes its share of the batch."""
    launch = Path(sys.executable).with_name("mlx.launch")
    if not launch.exists():
        pytest.skip("mlx.launch is not installed beside Python")
    data = tmp_path / "data"
    data.mkdir()
    for i, seconds in enumerate((10, 14, 18)):
        t = np.arange(4000 * seconds) / 4000
        soundfile.write(data / f"{i}.wav", 0.5 * np.sin(2 * np.pi * (2 + i) * t), 4000)
        (data / f"{i}.txt").write_text("a wave")
    found = {}
    for count in (1, 2):
        out = tmp_path / str(count)
        words = ["train-lora", "-m", model, "--data-dir", data, "-o", out, "--steps", 6, "--batch-size", 2 // count]
        words += ["--rank", 2, "--lr", 1e-2, "--demo-every", 0, "--include", "layers.0", "--quiet", "--training", out]
        section = {"learning_rate": 1e-2, "use_ema": False}  # not the recipe: it couples noise and sounds of a process
        (tmp_path / f"{count}.json").write_text(json.dumps(section))
        words[-1] = tmp_path / f"{count}.json"
        command = [sys.executable, "-m", "stable_audio_mlx", *map(str, words)]
        command = [str(launch), "-n", "2", "--backend", "ring", *command] if count == 2 else command
        env = os.environ | {"PYTHONPATH": str(ROOT / "src")}
        done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=200)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == str(out / "lora-step=6-epoch=4.safetensors")
        found[count] = read_lora(done.stdout.strip())
        assert len(list((out / "latents").glob("*.npy"))) == 4  # three sounds and silence
    for name, layer in found[1].layers.items():
        for key, tensor in layer.tensors.items():
            other = np.array(found[2].layers[name].tensors[key], np.float32)
            np.testing.assert_allclose(np.array(tensor, np.float32), other, atol=2e-3, err_msg=f"{name} {key}")


def test_from_sounds_to_a_lora_that_is_heard(tmp_path, capsys):
    """On the embedded model: sounds are encoded once, the LoRA changes what is made, demos and curves are written."""
    data = tmp_path / "data"
    data.mkdir()
    t = np.arange(44100) / 44100
    for i, pitch in enumerate((300, 420)):
        soundfile.write(data / f"{i}.wav", 0.5 * np.exp(-3 * t) * np.sin(2 * np.pi * pitch * t), 44100)
        (data / f"{i}.txt").write_text("kick drum")
    (data / "broken.wav").write_bytes(b"RIFF")
    (data / "broken.txt").write_text("kick drum")
    tiny = ROOT / "model" / "tiny"
    words = f"train-lora -m {tiny} --data-dir {data} -o {tmp_path / 'out'} --steps 2 --batch-size 2 --lr 1e-2 --rank 2"
    words += " --demo-every 2 --include block_0 layers.0 --json --demo-prompt"
    assert main([*words.split(), "kick drum"]) == 0
    captured = capsys.readouterr()
    assert "broken.wav" in captured.err and "1 of 3 sounds are not trained on" in captured.err
    made = json.loads(captured.out)
    assert made["steps"] == 2
    names = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert {"lora.csv", "lora.png", "demos/demo-step=2-0.wav", "demos/demo-step=2.png", "latents/details.json"} <= names
    plain, changed = tmp_path / "plain.wav", tmp_path / "changed.wav"
    asked = ["--model", str(tiny), "-p", "kick drum", "--seconds", "1", "--seed", "3", "--steps", "2"]
    assert generate([*asked, "-o", str(plain)]) == 0
    assert generate([*asked, "-o", str(changed), "--lora", made["path"]]) == 0
    assert not np.allclose(soundfile.read(plain)[0], soundfile.read(changed)[0], atol=1e-3)
