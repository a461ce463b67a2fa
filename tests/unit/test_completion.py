"""Completion scripts, asked in the shells themselves; they know what the parsers know."""

import shutil
import subprocess

import pytest

from stable_audio_mlx.cli.completion import Value, commands
from stable_audio_mlx.cli.main import COMMANDS, main
from stable_audio_mlx.weights import registry

ASKED = {
    "ge": {"generate"},
    "generate --dt": {"--dtype"},
    "generate --dtype f": {"float32", "float16"},
    "generate --model tin": {"tiny"},
    "generate -m same-": {"same-s", "same-l"},
    "generate --sampler eu": {"euler"},
    "generate --seed ": set(),
    "generate --prompt-file prom": {"prompts.txt"},
    "lora ": {"info", "fuse", "convert"},
    "lora fuse --qu": {"--quantize"},
    "convert stable-audio-open-": {"stable-audio-open-small", "stable-audio-open-1.0"},
    "convert prom": set(),
    "decode prom": {"prompts.txt"},
    "completion z": {"zsh"},
}


@pytest.fixture
def script(tmp_path, capsys, monkeypatch):
    """The path of the script of a shell, in a folder with one file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts.txt").touch()

    def write(shell: str):
        assert main(["completion", shell]) == 0
        path = tmp_path / f"script.{shell}"
        path.write_text(capsys.readouterr().out)
        return path

    return write


def told(command: list[str], text: str) -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert not done.stderr, done.stderr
    return done.stdout


def test_commands_are_read_from_the_parsers():
    found = {one.path: one for one in commands()}
    assert {path[0] for path in found} == set(COMMANDS) and ("lora", "fuse") in found
    flags = {name: flag for flag in found["generate",].options for name in flag.names}
    assert flags["--dtype"].value == Value(("auto", "float32", "float16", "bfloat16"))
    assert flags["--json"].value is None and flags["--seed"].repeats and flags["--seed"].value == Value()
    assert flags["--output"].value.path == "file" and set(registry.KNOWN) < set(flags["--model"].value.words)
    assert found["decode",].argument.path == "file" and found["lora",].argument.words == ()


def test_bash(script):
    path = script("bash")
    asks = "\n".join(f"ask stable-audio-mlx {asked}" + "''" * asked.endswith(" ") for asked in ASKED)
    ask = 'ask() { COMP_WORDS=("$@"); COMP_CWORD=$(($#-1)); _stable_audio_mlx; echo ${COMPREPLY[*]}; }'
    lines = told(["bash", "--norc", "-u"], f"source {path}\n{ask}\n{asks}\n").splitlines()
    assert dict(zip(ASKED, map(set, map(str.split, lines)), strict=True)) == ASKED


@pytest.mark.skipif(shutil.which("fish") is None, reason="no fish here")
def test_fish(script):
    path = script("fish")
    asks = "\n".join(f"complete -C 'stable-audio-mlx {asked}' | string split -f 1 \\t; echo ---" for asked in ASKED)
    answers = told(["fish", "--no-config"], f"source {path}\n{asks}\n").split("---\n")
    assert dict(zip(ASKED, (set(a.split()) for a in answers[:-1]), strict=True)) == ASKED


@pytest.mark.skipif(shutil.which("zsh") is None, reason="no zsh here")
def test_zsh(script):
    """As zsh finds it: a file in a folder of $fpath, loaded at the first Tab; here in a terminal of zsh's own."""
    path = script("zsh")
    path.rename(path.with_name("_stable-audio-mlx"))
    asks = "\n".join(
        f"zpty -w -n z 'stable-audio-mlx {asked}'$'\\t'; wait_for 'stable-audio-mlx {whole} '; zpty -w -n z $'\\x15'"
        for asked, whole in {a: " ".join([*a.split()[:-1], *w]) for a, w in ASKED.items() if len(w) == 1}.items()
    )
    lines = told(
        ["zsh", "-f"],
        f"""
        zmodload zsh/zpty
        wait_for() {{
            local all= one
            repeat 100; do
                while zpty -r -t z one; do all+=$one; done
                [[ ${{all//$'\\e['[0-9]#[a-zA-Z]}} == *$1* ]] && echo found: $1 && return
                sleep 0.05
            done
            echo missing: $1 in ${{(V)all}}
        }}
        setopt extended_glob
        zpty z zsh -f -i
        zpty -w z 'PS1=; fpath=({path.parent} $fpath); autoload -U compinit; compinit -u -D; echo REA''DY'
        wait_for READY
        {asks}
        zpty -d z
        """,
    ).splitlines()
    assert len(lines) > 5 and [line for line in lines if not line.startswith("found")] == []


def test_an_unknown_shell_is_a_usage_error(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["completion", "csh"])
    assert stopped.value.code == 2 and "bash" in capsys.readouterr().err
