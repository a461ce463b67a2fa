"""The commands of the documents about training, with a step or two instead of hundreds, on small models."""

import glob
import re
import shlex

import numpy as np
import pytest

from stable_audio_mlx import audio
from stable_audio_mlx.cli.main import main
from stable_audio_mlx.weights.convert import convert_folder

from .parity import case as cases
from .parity.project import write_checkpoint
from .test_docs import ROOT, blocks

STEPS = {"steps": "2", "batch-size": "2", "demo-every": "0", "accum-batches": "2"}


@pytest.fixture
def workshop(tmp_path, monkeypatch):
    """A folder with sounds, and small models under the names of those that cannot be here."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name in ("clip1", "clip2"):
        audio.write(tmp_path / f"my_data/{name}.wav", 0.1 * rng.standard_normal((2, 9000)), 44100)
        (tmp_path / f"my_data/{name}.txt").write_text("a warm pad")
    models = tmp_path / "models"
    for name, golden in (("stable-audio-3-small-music-base", "clips_sa3_small"), ("stable-audio-open-1.0", "clips_v")):
        source = write_checkpoint(cases.load(golden), tmp_path / f"{name}-source")
        convert_folder(source, models / name)
    (tmp_path / "my_model").mkdir()
    for path in ("model_config.json", "text_encoder", "tokenizer"):
        (tmp_path / "my_model" / path).symlink_to(tmp_path / "stable-audio-open-1.0-source" / path)
    monkeypatch.setenv("STABLE_AUDIO_MLX_HOME", str(models))
    return tmp_path


def commands(doc):
    for block in blocks(ROOT / "docs" / doc, "sh"):
        yield from (line for line in block.splitlines() if line.startswith("stable-audio-mlx"))


def short(line):
    """The words of a command with little to do; names of LoRAs have other steps in them then."""
    words = shlex.split(line)[1:]
    for option, value in STEPS.items():
        if words[0].startswith("train"):
            at = words.index(f"--{option}") if f"--{option}" in words else len(words)
            words[at : at + 2] = [f"--{option}", value]
    found = [sorted(glob.glob(re.sub(r"=\d+", "=*", word))) if "-step=" in word else [word] for word in words]
    return [word for names in found for word in names[-1:]]


def test_commands_of_the_training_page(workshop, capsys):
    for line in commands("training.md"):
        assert main(short(line)) == 0, f"{line}\n{capsys.readouterr().err}"
    assert (workshop / "my_run/mine/manifest.json").is_file() and (workshop / "new_run/model/manifest.json").is_file()


def test_commands_of_the_lora_tutorial(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    [make] = blocks(ROOT / "docs/lora-tutorial.md", "python")
    exec(compile(make, "lora-tutorial.md", "exec"), {})
    assert len(list((tmp_path / "glasses").glob("*.wav"))) == 20
    for line in commands("lora-tutorial.md"):
        words = short(line) + (["--steps", "2"] if " generate " in line else [])
        assert main(words) == 0, f"{line}\n{capsys.readouterr().err}"
    assert len(list(tmp_path.glob("with_lora/*.wav"))) == 4


def test_commands_of_the_page_of_autoencoders(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    [config] = blocks(ROOT / "docs" / "training-autoencoders.md", "json")
    (tmp_path / "model_config.json").write_text(config)
    for path in ("sounds/a.wav", "other-sounds/b.wav", "drums.wav"):
        audio.write(tmp_path / path, 0.1 * np.random.default_rng(0).standard_normal((2, 9000)), 44100)
    for line in commands("training-autoencoders.md"):
        assert main(short(line)) == 0, f"{line}\n{capsys.readouterr().err}"
    assert (tmp_path / "runs/codec/codec.csv").is_file() and (tmp_path / "runs/tuned/model/manifest.json").is_file()
    assert audio.read(tmp_path / "decoded.wav")[0].shape == (2, 4500)
