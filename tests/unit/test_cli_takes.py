"""Many sounds in one run of ``generate``: each as it would be alone, none lost, none written over."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stable_audio_mlx import audio
from stable_audio_mlx.cli.generate import main

from . import checkpoints, loras

ROOT = Path(__file__).parents[2]
TINY = ROOT / "model" / "tiny"
ENVIRONMENT = os.environ | {"OPENBLAS_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A model without text, 8 seconds at 32 Hz."""
    config = checkpoints.diffusion()
    return checkpoints.write(tmp_path_factory.mktemp("model"), config, checkpoints.tensors(config))


@pytest.fixture
def go(small, tmp_path, monkeypatch, capsys):
    """Run with a model in an empty folder -> (exit code, lines of stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments, model=small):
        code = main(["--model", str(model), "--steps", "2", *map(str, arguments)])
        out = capsys.readouterr()
        return code, out.out.splitlines(), out.err

    return call


def same(a: str, b: str) -> bool:
    return Path(a).read_bytes() == Path(b).read_bytes()


def test_several_seeds_and_prompts_are_each_as_they_would_be_alone(go):
    """The embedded model: words, LoRA-free, at batch size 1 to the bit."""
    code, out, _ = go("-p", "kick drum", "rain", "--seed", 3, 5, "-s", 0.5, "-o", "many/", model=TINY)
    assert code == 0 and out == [f"many/{name}.wav" for name in ("kick-drum-3", "kick-drum-5", "rain-3", "rain-5")]
    for path in out[1], out[2]:
        slug, seed = Path(path).stem.rsplit("-", 1)
        go("-p", slug.replace("-", " "), "--seed", seed, "-s", 0.5, "-o", "alone/", model=TINY)
        assert same(path, f"alone/{Path(path).name}")


def test_a_batch_starts_from_the_same_noise(go):
    """Sums are in another order in a batch; with other noise the sounds would have nothing in common."""
    _, out, _ = go("-p", "kick drum", "rain", "--seed", 3, 5, "-n", 3, "-s", 0.5, "-o", "batch/", model=TINY)
    assert [Path(p).name for p in out] == ["kick-drum-3.wav", "kick-drum-5.wav", "rain-3.wav", "rain-5.wav"]
    go("-p", "rain", "--seed", 3, "-s", 0.5, "-o", "alone/", model=TINY)
    batch, alone = audio.read(out[2])[0], audio.read("alone/rain-3.wav")[0]
    np.testing.assert_allclose(batch, alone, atol=1e-4 * np.abs(alone).max())


def test_variations_count_on_from_a_seed(go):
    assert go("-p", "x", "--seed", 7, "--variations", 3)[1] == [f"output/x-{seed}.wav" for seed in (7, 8, 9)]
    drawn = [int(Path(p).stem.split("-")[1]) for p in go("-p", "x", "--auto-seeds", 2)[1]]
    assert drawn[1] == drawn[0] + 1
    assert len({*go("-p", "x", "y", "--seed", -1, -1)[1]}) == 4


def test_a_prompt_file_with_options_of_its_own(go, tmp_path):
    """Every line has its own seconds, names, sounds to start from; what is wrong is told with the line's number."""
    (tmp_path / "lists").mkdir()
    audio.write(tmp_path / "lists/in.wav", 0.1 * np.random.default_rng(0).standard_normal((2, 300)), 32)
    (tmp_path / "lists/p.jsonl").write_text(
        '{"prompt": "a", "seed": [1, 2], "seconds": 2}\n'
        '{"prompt": "b", "secnds": 1}\n'
        '{"prompt": "c", "seconds": 99}\n'
        '{"prompt": "d", "init_audio": "in.wav", "init_noise_level": 0.5, "name": "var/{index}-{slug}.flac"}\n'
        '{"prompt": "e", "init_audio": "none.wav"}\n'
        '"f"\n'
    )
    code, out, err = go("--prompt-file", "lists/p.jsonl", "--seed", 9, "--seconds", 4)
    assert code == 2  # of the first failure
    assert out == ["output/a-1.wav", "output/a-2.wav", "output/var/4-d.flac", "output/f-9.wav"]
    assert [audio.probe(p)[0] for p in out] == [64, 64, 128, 128]
    assert "error: lists/p.jsonl:2: secnds: unknown option, did you mean 'seconds'?" in err
    assert "error: lists/p.jsonl:3: seconds: 99" in err
    assert "error: lists/p.jsonl:5: lists/none.wav: no such audio file" in err
    assert "4 of 7 sounds were made" in err and "Traceback" not in err


def test_the_only_line_of_a_file_fails_with_its_number(go, tmp_path):
    (tmp_path / "p.jsonl").write_text('{"prompt": "a", "seconds": 99}\n')
    code, out, err = go("--prompt-file", "p.jsonl")
    assert (code, out) == (2, []) and "error: p.jsonl:1: seconds: 99" in err and "0 of 1 sounds were made" in err


def test_loras_act_on_their_own_line_alone(go, tmp_path):
    loras.write(tmp_path / "l.safetensors", "lora")
    line = '{"prompt": "a", "seed": 1, "name": "%s"%s}\n'
    with_lora = ', "lora": "l.safetensors:0.7"'
    (tmp_path / "p.jsonl").write_text(line % ("1", "") + line % ("2", with_lora) + line % ("3", ""))
    assert go("--prompt-file", "p.jsonl")[0] == 0
    go("-p", "a", "--seed", 1, "-o", "plain.wav")
    go("-p", "a", "--seed", 1, "--lora", "l.safetensors:0.7", "-o", "lora.wav")
    assert same("output/1.wav", "plain.wav") and same("output/3.wav", "plain.wav")
    assert same("output/2.wav", "lora.wav") and not same("output/2.wav", "plain.wav")


def test_csv_and_text(go, tmp_path):
    (tmp_path / "p.csv").write_text('prompt,seed,duration\n"rain, heavy",1,2\nsnare,2,3\n')
    (tmp_path / "p.txt").write_text("# a comment\nkick\n\nsnare\n")
    assert go("--prompt-file", "p.csv", "-o", "csv/")[:2] == (0, ["csv/rain-heavy-1.wav", "csv/snare-2.wav"])
    assert [audio.probe(f"csv/{n}.wav")[0] for n in ("rain-heavy-1", "snare-2")] == [64, 96]
    assert go("--prompt-file", "p.txt", "--seed", 1)[1] == ["output/kick-1.wav", "output/snare-1.wav"]


def test_names_never_collide(go, tmp_path):
    (tmp_path / "p.txt").write_text("kick\nKick\nkick!\n")
    names = ["kick-1.wav", "kick-1-2.wav", "kick-1-3.wav"]
    assert [Path(p).name for p in go("--prompt-file", "p.txt", "--seed", 1)[1]] == names
    assert [Path(p).name for p in go("-p", "kick", "--seed", 1)[1]] == ["kick-1-4.wav"]
    before = Path("output/kick-1.wav").read_bytes()
    assert go("-p", "kick", "--seed", 1, "-s", 1, "--overwrite")[1] == ["output/kick-1.wav"]
    assert Path("output/kick-1.wav").read_bytes() != before


def test_what_is_there_already_is_left_out(go, tmp_path):
    """A run that was interrupted goes on: by name, whatever the order, also where a name comes twice."""
    (tmp_path / "p.txt").write_text("kick\nsnare\nkick\n")
    assert len(go("--prompt-file", "p.txt", "--seed", 1)[1]) == 3
    for name in ("snare-1.wav", "kick-1-2.wav"):
        Path("output", name).unlink()
    before = Path("output/kick-1.wav").stat().st_mtime_ns
    code, out, err = go("--prompt-file", "p.txt", "--seed", 1, "--skip-existing")
    assert (code, out) == (0, ["output/snare-1.wav", "output/kick-1-2.wav"])
    assert "1 of 3 sounds are there already" in err and Path("output/kick-1.wav").stat().st_mtime_ns == before
    assert go("--prompt-file", "p.txt", "--seed", 1, "--skip-existing")[:2] == (0, [])
    assert go("-p", "x", "-o", "a.wav", "--skip-existing")[1] == ["a.wav"]
    assert go("-p", "x", "-o", "a.wav", "--skip-existing")[:2] == (0, [])


def test_records_beside_the_sounds_never_collide(go, tmp_path):
    (tmp_path / "p.jsonl").write_text('{"prompt": "a", "name": "x.wav"}\n{"prompt": "b", "name": "x.flac"}\n')
    for expected in (["x.wav", "x-2.flac"], ["x-3.wav", "x-4.flac"]):
        code, out, _ = go("--prompt-file", "p.jsonl", "--seed", 1, "--metadata", "-o", "m/")
        assert code == 0 and [Path(p).name for p in out] == expected
    assert [json.loads(Path(f"m/{n}.json").read_text())["prompt"] for n in ("x", "x-2", "x-3", "x-4")] == [*"abab"]


def test_templates(go):
    code, out, _ = go("-p", "a", "b", "--seed", 1, "--name", "{index:02}-{slug}-{steps}.flac", "-o", "x/")
    assert code == 0 and out == ["x/01-a-2.flac", "x/02-b-2.flac"]
    assert go("-p", "a", "--seed", 1, "--name", "{model}")[1][0].startswith("output/model")
    assert go("-p", "a", "b", "--seed", 1, "-o", "y.flac")[1] == ["y-a-1.flac", "y-b-1.flac"]


def test_dry_run_shows_and_makes_nothing(go, tmp_path):
    code, out, err = go("-p", "a", "b", "--seed", 1, "--seconds", 2, "--dry-run", "--json", model="/no/such")
    assert (code, err, list(tmp_path.iterdir())) == (0, "", [])
    assert [json.loads(line) for line in out] == [
        {"path": f"output/{p}-1.wav", "model": "/no/such", "prompt": p, "seconds": 2.0, "steps": 2, "seed": 1}
        for p in "ab"
    ]
    (tmp_path / "p.jsonl").write_text(
        '{"prompt": "a", "cfg": -1}\n{"prompt": "b", "seed": 3, "lora": "l.safetensors:2"}\n'
    )
    (tmp_path / "p.jsonl").open("a").write(
        '{"prompt": "c", "init_audio": "no.wav"}\n{"prompt": "d", "name": "{slug:03d}"}\n'
        '{"prompt": "e", "bit_depth": "32f", "name": "{slug}.flac"}\n'
    )
    code, out, err = go("--prompt-file", "p.jsonl", "--dry-run", model="m")
    assert "p.jsonl:3: no.wav: no such audio file" in err and "p.jsonl:4: name: {slug:03d} does not fit" in err
    assert "p.jsonl:5: " in err and len(err.splitlines()) == 4
    assert code == 2 and "p.jsonl:1: cfg_scale" in err
    assert out == ['output/b-3.wav  model="m" prompt="b" steps=2 seed=3 lora=[["l.safetensors", 2.0]]']


def test_standard_input(go):
    command = [sys.executable, str(ROOT / "generate.py"), "--dry-run", "--seed", "1"]
    for flags, given, path in (
        (["-p", "-"], "rain\n on a roof\n", "rain-on-a-roof-1"),
        (["--prompt-file", "-"], "x\n", "x-1"),
    ):
        done = subprocess.run([*command, *flags], input=given, capture_output=True, text=True, check=False)
        assert done.returncode == 0 and done.stdout.split()[0] == f"output/{path}.wav", done.stderr
    done = subprocess.run([*command, "-p", "-"], input=" ", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "error: --prompt -: standard input is empty\n")


def test_quiet_tells_errors_only(go):
    code, out, err = go("-p", "x", "--seed", 1, 2, "--quiet", "--cfg-rescale", 0.5)
    assert (code, len(out), err) == (0, 2, "")
    assert go("-p", "x", "--seconds", 99, "-q")[2].startswith("error: seconds: 99")
    assert "seed 1" in go("-p", "x", "--seed", 1)[2]


def test_json_has_everything_that_made_the_sound(go):
    _, out, _ = go("-p", "x", "--seed", 1, 2, "--json", "--seconds", 2)
    first, second = map(json.loads, out)
    assert (first["seed"], second["seed"]) == (1, 2)
    for key, value in {"path": "output/x-1.wav", "prompt": "x", "steps": 2, "seconds": 2, "sampler": "euler"}.items():
        assert first[key] == value
    assert {"model", "model_files", "sample_rate", "cfg_scale"} <= first.keys()


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("--prompt-file", "no.txt"), "no.txt: cannot be read"),
        (("-p", "x", "--variations", "0"), "from 1 to 100000"),
        (("-p", "x", "--variations", "2", "--seed", "1", "2"), "but 2 seeds are given"),
        (("-p", "x", "-n", "0"), "batch_size"),
        (("-p", "x", "--name", "{slugg}"), "did you mean {slug}?"),
        (("-p", "x", "--name", "../{slug}"), "out of the output folder"),
        (("-p", "x", "--name", "{slug}", "-o", "a.wav"), "give a folder"),
        (("-p", "x", "--name", "{slug:03d}"), "does not fit"),
        (("-p", "x", "--output", "a.xyz", "--dry-run"), "unknown format '.xyz'"),
    ],
)
def test_bad_input_is_one_line(go, arguments, what):
    code, out, err = go(*arguments)
    assert (code, out) == (2, []) and what in err and len(err.splitlines()) == 1


def test_a_prompt_file_without_prompts(go, tmp_path):
    (tmp_path / "p.txt").write_text("# nothing\n")
    assert go("--prompt-file", "p.txt")[2] == "error: p.txt: has no prompts\n"
    (tmp_path / "p.jsonl").write_text('{"seed": 1}\n')
    code, _, err = go("--prompt-file", "p.jsonl")
    assert code == 2 and err.startswith('error: p.jsonl:1: prompt is missing; "" stands for none\n')


def test_an_interrupt_keeps_what_is_finished(small, tmp_path):
    command = [sys.executable, str(ROOT / "generate.py"), "-m", str(small), "-p", "x", "--variations", "900"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    assert process.stdout
    paths = [process.stdout.readline().strip() for _ in range(2)]
    process.send_signal(signal.SIGINT)
    rest, told = process.communicate(timeout=60)
    paths += rest.split()
    assert process.returncode == 130 and told.endswith(f"{len(paths)} of 900 sounds are finished\ninterrupted\n")
    assert {f"output/{f.name}" for f in (tmp_path / "output").iterdir()} - {*paths} <= set()
    assert all(audio.probe(tmp_path / path)[1] == 32 for path in paths)


def free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        return one.getsockname()[1], two.getsockname()[1]


def test_two_processes_share_the_list(small, tmp_path):
    """The ring backend as mlx.launch starts it: one variable for the rank, one for the list of hosts."""
    hosts = [[f"127.0.0.1:{port}"] for port in free_ports()]
    (tmp_path / "hosts.json").write_text(json.dumps(hosts))
    (tmp_path / "p.jsonl").write_text('"a"\n"a"\n{"prompt": "b", "seconds": 99}\n"a"\n"c"\n')
    command = [sys.executable, str(ROOT / "generate.py"), "-m", str(small), "--prompt-file", "p.jsonl", "--steps", "1"]
    processes = [
        subprocess.Popen(
            command,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT | {"MLX_HOSTFILE": str(tmp_path / "hosts.json"), "MLX_RANK": str(rank)},
        )
        for rank in range(2)
    ]
    done = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [2, 0], done  # the third line is the first one's
    paths = [out.split() for out, _ in done]
    assert [len(p) for p in paths] == [2, 2] and len({*paths[0], *paths[1]}) == 4
    assert sorted(f"output/{f.name}" for f in (tmp_path / "output").iterdir()) == sorted(paths[0] + paths[1])
    assert len({(tmp_path / path).read_bytes() for path in paths[0] + paths[1]}) == 4  # drawn seeds differ
    assert "p.jsonl:3: seconds: 99" in done[0][1]


def test_keep_models_and_low_memory_change_nothing_that_is_heard(go):
    for flag in ("--keep-models", "--low-memory"):
        go("-p", "x", "--seed", 1, 2, flag, "-o", f"{flag[2:]}/")
    go("-p", "x", "--seed", 1, 2, "-o", "plain/")
    for name in ("x-1.wav", "x-2.wav"):
        assert same(f"keep-models/{name}", f"plain/{name}") and same(f"low-memory/{name}", f"plain/{name}")
