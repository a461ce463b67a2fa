"""The documents are part of the interface: their flags exist, their paths exist, their examples run."""

import glob
import itertools
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stable_audio_mlx import audio
from stable_audio_mlx.cli.main import main
from stable_audio_mlx.weights.convert import convert_folder

from .parity import case as cases
from .parity.project import write_checkpoint
from .unit import loras

ROOT = Path(__file__).parent.parent
SMALL = "stable-audio-3-small-music"
# Two threads on cores that others use wait for each other; whoever runs the tests knows (OPENBLAS_NUM_THREADS).
THREADS = {name: value for name, value in os.environ.items() if name.endswith("_NUM_THREADS")}
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HF_HUB_OFFLINE": "1", **THREADS}
DOCS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
COMMANDS = {  # how a document writes a command -> how the test asks it for help
    "generate.py": ["generate.py"],
    "convert.py": ["convert.py"],
    "stable-audio-mlx": ["-m", "stable_audio_mlx"],
    "benchmarks.run": ["-m", "benchmarks.run"],
    "benchmarks.make_checkpoint": ["-m", "benchmarks.make_checkpoint"],
}


def blocks(path: Path, language: str) -> list[str]:
    """Fenced code blocks of one language, line continuations joined."""
    found = re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.M | re.S)
    return [b.replace("\\\n", " ") for b in found]


def lines_with(command: str) -> list[tuple[str, str]]:
    """(document, line) for every shell line that calls ``command``."""
    return [
        (doc.name, line)
        for doc in DOCS
        for block in blocks(doc, "sh")
        for line in block.splitlines()
        if command in line and not line.startswith("#")
    ]


def run(arguments: list[str], **options) -> subprocess.CompletedProcess:
    env = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", **ENVIRONMENT}
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, **options
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_in_the_documents_exists(command):
    subcommands: dict[str, set[str]] = {}
    for _, line in lines_with(command):
        words = shlex.split(line.split(command, 1)[1].split("&&")[0], comments=True)
        sub = words[0] if command == "stable-audio-mlx" and words and not words[0].startswith("-") else ""
        subcommands.setdefault(sub, set()).update(w.split("=")[0] for w in words if re.match(r"--?[a-z]", w))
    for sub, flags in subcommands.items():
        text = run([*COMMANDS[command], *([sub] if sub else []), "--help"]).stdout
        known = set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", text))
        assert flags <= known, f"{command} {sub}: {sorted(flags - known)} in the documents, not in --help"


@pytest.mark.parametrize("doc", DOCS, ids=lambda p: p.name)
def test_every_file_named_in_the_documents_exists(doc):
    named = re.findall(r"`((?:src|tests|docs|benchmarks|model)/[\w./-]+|[\w-]+\.(?:py|md|txt|toml))`", doc.read_text())
    named += re.findall(r"\]\((?!https?:|#)([^)]+)\)", doc.read_text())
    roots = [
        ROOT,
        ROOT / "examples",
        ROOT / "src" / "stable_audio_mlx",
        doc.parent,
        *(ROOT / "src" / "stable_audio_mlx").glob("*/"),
    ]
    missing = [n for n in named if not any((r / n).exists() for r in roots)]
    assert not missing, f"{doc.name} names {missing}"


def test_first_command_of_the_readme_makes_a_sound(tmp_path):
    """The README's first fenced block, without its set-up part: the environment of this test stands in for it."""
    first = blocks(ROOT / "README.md", "sh")[0].strip()
    assert len(first.splitlines()) == 1
    words = shlex.split(first.split("&&")[-1])
    assert words[1] == "generate.py"
    result = run([*words[1:], "--output", str(tmp_path / "out.wav")])
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out.wav").stat().st_size > 44100
    assert result.stdout.strip() == str(tmp_path / "out.wav")


def test_second_command_of_the_readme_runs_the_tests():
    second = blocks(ROOT / "README.md", "sh")[1].strip()
    assert len(second.splitlines()) == 1 and second.endswith("-m pytest") and "requirements-dev.txt" in second


def with_python() -> list[Path]:
    return [doc for doc in DOCS if blocks(doc, "python")]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """A folder with sounds, and small models under the names of those that cannot be here."""
    folder, rng = tmp_path_factory.mktemp("workshop"), np.random.default_rng(0)
    for name in ("audio.wav", "other.flac", "song.flac", "concert.wav", "takes/1.wav", "takes/2.wav"):
        audio.write(folder / name, 0.1 * rng.standard_normal((2, 9000)), 44100)
    for name, golden in (("same-s", "same_small"), ("same-l", "same_large"), (SMALL, "clips_sa3_small")):
        source = write_checkpoint(cases.load(golden), folder / f"{name}-source")
        convert_folder(source, folder / "models" / name)
    for name, caption in (("clip1", "a pad"), ("clip2", "a drum")):
        audio.write(folder / f"my_data/{name}.wav", 0.1 * rng.standard_normal((2, 9000)), 44100)
        (folder / f"my_data/{name}.txt").write_text(caption)
    (folder / "my_data/captions.csv").write_text("path,prompt\nclip1.wav,another pad\n")
    for name in ("drums", "room"):
        loras.write(folder / f"{name}.safetensors", "dora-rows", config=cases.load("clips_sa3_small").config)
    return folder


@pytest.mark.parametrize("doc", with_python(), ids=lambda d: d.name)
def test_python_examples_run(doc, workshop):
    """The examples of one document, one after the other: later ones may use what earlier ones made."""
    result = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks(doc, "python"))],
        cwd=workshop,
        env={
            "PYTHONPATH": str(ROOT / "src"),
            **ENVIRONMENT,
            "STABLE_AUDIO_MLX_HOME": str(workshop / "models"),
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("doc", ["autoencoders.md", "editing.md", "files.md", "lora.md", "pre-encoding.md", "takes.md"])
def test_commands_run(doc, workshop, monkeypatch, capsys):
    monkeypatch.chdir(workshop)
    monkeypatch.setenv("STABLE_AUDIO_MLX_HOME", str(workshop / "models"))
    for kind in ("jsonl", "csv", "txt"):  # what the document shows of such a file is what its commands read
        for shown in blocks(ROOT / "docs" / doc, kind):
            (workshop / f"prompts.{kind}").write_text(shown)
    for block in blocks(ROOT / "docs" / doc, "sh"):
        for line in block.splitlines():
            if doc in ("editing.md", "files.md"):
                line = line.replace("python generate.py", "stable-audio-mlx generate --model tiny --steps 3")
            if line.startswith("stable-audio-mlx"):
                words = [sorted(glob.glob(word)) if "*" in word else [word] for word in shlex.split(line)[1:]]
                assert main([*itertools.chain(*words)]) == 0, f"{line}\n{capsys.readouterr().err}"


def test_the_readme_has_a_python_example():
    assert ROOT / "README.md" in with_python()
