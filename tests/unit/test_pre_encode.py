"""``pre-encode`` as a user meets it: captions, latents and their metadata, going on, bad sounds, several processes."""

import copy
import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stable_audio_mlx import AutoencoderModel, audio
from stable_audio_mlx.cli.main import main
from stable_audio_mlx.data import folder
from stable_audio_mlx.errors import AudioError, OptionError

from . import checkpoints

ROOT = Path(__file__).parents[2]
RATE, RATIO = checkpoints.CODEC["sample_rate"], checkpoints.CODEC["model"]["downsampling_ratio"]
SIZE = 1200  # 150 latents
LENGTHS = {"a.wav": 900, "b.flac": 333, "deep/c.wav": 5200, "mono.wav": 400}


def noise(samples: int, channels: int = 2) -> np.ndarray:
    return (np.random.default_rng(samples).standard_normal((channels, samples)) / 8).astype(np.float32)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The tiny codec and its twin with other weights."""
    where = tmp_path_factory.mktemp("models")
    for name, seed in (("vae", 0), ("twin", 1)):
        checkpoints.write(where / name, checkpoints.CODEC, checkpoints.tensors(checkpoints.CODEC, seed))
    return where


@pytest.fixture(scope="module")
def model(models):
    return AutoencoderModel.from_pretrained(models / "vae")


@pytest.fixture
def go(models, tmp_path, monkeypatch, capsys):
    """Run pre-encode in a folder with ``data`` -> (exit code, stdout lines, stderr lines)."""
    monkeypatch.chdir(tmp_path)
    for name, samples in LENGTHS.items():
        audio.write(Path("data", name), noise(samples, 1 if name.startswith("mono") else 2), RATE)
        Path("data", name).with_suffix(".txt").write_text(f"the sound {name}\n")

    def call(*arguments, model="vae", output="out", data="data"):
        given = ["--data-dir", data] if data else []
        given += ["--model", str(models / model), "--output-path", output, "--sample-size", str(SIZE)]
        code = main(["pre-encode", *given, *map(str, arguments)])
        out = capsys.readouterr()
        return code, out.out.splitlines(), out.err.splitlines()

    return call


def stored(output: str = "out") -> dict[str, tuple[np.ndarray, dict]]:
    """Latents and metadata by the name of the sound."""
    found = {}
    for path in sorted(Path(output).glob("0*.json")):
        record = json.loads(path.read_text())
        found[record["relpath"]] = np.load(path.with_suffix(".npy")), record
    return found


def contents(output: str = "out") -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(output).iterdir()}


def test_latents_and_metadata(go, model):
    code, out, err = go()
    assert code == 0 and out == [f"out/00000000000{i}.npy" for i in range(4)]
    assert err == ["data/deep/c.wav: the last 1.0 s are left out (--sample-size)", "out: 4 encoded"]
    items = stored()
    assert list(items) == sorted(LENGTHS)
    for name, (z, record) in items.items():
        samples = min(LENGTHS[name], SIZE)
        sound, _ = audio.read(Path("data", name))
        expected = np.array(model.encode(sound[:, :SIZE]))[0]
        assert z.dtype == np.float32 and z.shape == (4, math.ceil(samples / RATIO))
        assert np.array_equal(z, expected)
        assert record["padding_mask"] == [1] * z.shape[1]
        assert record["prompt"] == f"the sound {name}" and record["path"] == f"data/{name}"
        assert record["seconds_start"] == 0 and record["seconds_total"] == math.ceil(LENGTHS[name] / RATE)
        assert record["timestamps"] == [0, SIZE / max(SIZE, LENGTHS[name])] and record["sample_rate"] == RATE
    silence = np.load("out/silence.npy")
    assert np.array_equal(silence, np.array(model.encode(np.zeros((2, SIZE)))))


def test_padding(go, model):
    assert go("--pad", "--batch-size", 3)[0] == 0
    for name, (z, record) in stored().items():
        samples = min(LENGTHS[name], SIZE)
        valid = math.ceil(samples / RATIO)
        assert z.shape == (4, SIZE // RATIO)
        assert record["padding_mask"] == [1] * valid + [0] * (SIZE // RATIO - valid)
        sound = audio.match_channels(audio.read(Path("data", name))[0], 2)
        expected = np.array(model.encode(audio.fit_length(sound, SIZE)))[0]
        np.testing.assert_allclose(z, expected, atol=1e-6)


def test_batches_change_nothing(go):
    for i in range(3):
        audio.write(f"data/same{i}.wav", noise(900) * (i + 1) / 4, RATE)
        Path(f"data/same{i}.txt").write_text("again")
    assert go()[0] == go("--batch-size", 2, output="batches")[0] == 0
    one, two = stored(), stored("batches")
    assert one.keys() == two.keys() and len(one) == 7
    for name in one:
        assert one[name][1] == two[name][1]
        np.testing.assert_allclose(one[name][0], two[name][0], atol=1e-6)


@pytest.mark.parametrize("size", [8 * 1200, 8 * 801 - 3, 8 * 256, 5])
def test_long_silence_is_that_of_the_encoder(go, model, size):
    assert go("--sample-size", size)[0] == 0
    whole = np.array(model.encode(np.zeros((2, size))))
    silence = np.load("out/silence.npy")
    assert silence.shape == whole.shape and (size == 5 or not np.allclose(whole[..., 0], whole[..., -1]))
    np.testing.assert_allclose(silence, whole, atol=1e-6)


def test_half(go, model):
    assert go("--model-half")[0] == 0
    z, _ = stored()["a.wav"]
    expected = np.array(model.encode(audio.read("data/a.wav")[0]))[0]
    assert z.dtype == np.load("out/silence.npy").dtype == np.float16
    assert 0 < np.abs(z - expected).max() < 0.01 * np.abs(expected).max()
    code, _, err = go()
    assert code == 2 and "choose another folder" in err[-1]


def test_full_scale_is_clipped_and_rates_are_converted(go, model):
    loud = 9 * noise(800)
    audio.write("data/a.wav", loud, RATE, overwrite=True)
    audio.write("data/b.flac", noise(4001), 2 * RATE, overwrite=True)
    assert go()[0] == 0
    items = stored()
    assert np.array_equal(items["a.wav"][0], np.array(model.encode(loud.clip(-1, 1)))[0])
    resampled = audio.resample(audio.read("data/b.flac")[0], 2 * RATE, RATE)
    assert np.array_equal(items["b.flac"][0], np.array(model.encode(resampled[:, :SIZE]))[0])
    assert items["b.flac"][1]["seconds_total"] == 1
    assert items["b.flac"][1]["timestamps"][1] == SIZE / 2001


def test_going_on(go):
    assert go()[0] == 0
    before = contents()
    times = {path: path.stat().st_mtime_ns for path in Path("out").iterdir()}
    code, out, err = go()
    assert (code, out, err) == (0, [], ["out: 0 encoded, 4 finished before"])
    assert times == {path: path.stat().st_mtime_ns for path in Path("out").iterdir()}

    Path("data/b.txt").write_text("other words")  # only its metadata are written again
    audio.write("data/a.wav", noise(100), RATE, overwrite=True)
    audio.write("data/a2.wav", noise(50), RATE)
    Path("data/a2.txt").write_text("new")
    Path("out/000000000003.npy").write_bytes(before["000000000003.npy"][:-9])  # damaged
    Path("data/deep/c.wav").unlink()
    code, out, err = go()
    assert (code, out) == (0, ["out/000000000000.npy", "out/000000000004.npy", "out/000000000003.npy"])
    assert err[0] == "out: 3 encoded, 1 finished before" and err[1].startswith("out: 1 more of sounds")
    items, after = stored(), contents()
    assert items["a.wav"][0].shape == (4, 13) and items["b.flac"][1]["prompt"] == "other words"
    for kept in ("000000000001.npy", "000000000002.npy", "000000000003.npy", "silence.npy"):
        assert after[kept] == before[kept]


def test_same_stems_and_hidden_files(go):
    shutil.copy("data/b.flac", "data/a.flac")
    for hidden in ("data/._a.wav", "data/.trash/a.wav"):
        Path(hidden).parent.mkdir(exist_ok=True)
        shutil.copy("data/a.wav", hidden)
    Path("data/deep/up").symlink_to(Path("data").resolve())
    assert go()[0] == 0
    items = stored()
    assert sorted(items) == sorted([*LENGTHS, "a.flac"])
    assert items["a.flac"][1]["prompt"] == items["a.wav"][1]["prompt"] == "the sound a.wav"
    assert items["a.flac"][0].shape != items["a.wav"][0].shape


@pytest.mark.skipif(sys.platform != "linux", reason="names there are text")
def test_names_that_are_no_text(go):
    name = os.fsdecode(b"caf\xe9.wav")
    shutil.copy("data/a.wav", f"data/{name}")
    Path("data", name).with_suffix(".txt").write_text("a café")
    assert go()[0] == 0 and stored()[name][1]["prompt"] == "a café"
    assert go()[2] == ["out: 0 encoded, 5 finished before"]


def test_latents_are_not_divided_by_the_scale_of_a_whole_model(go, tmp_path):
    config = copy.deepcopy(checkpoints.DIFFUSION)
    for scale in (1, 2):
        config["model"]["pretransform"]["scale"] = scale
        checkpoints.write(tmp_path / f"whole{scale}", config)
        assert go(model=tmp_path / f"whole{scale}", output=f"out{scale}")[0] == 0
    for name, (z, _) in stored("out1").items():
        np.testing.assert_allclose(stored("out2")[name][0], z, atol=1e-6)


def test_filelist(go):
    Path("data/filelist.txt").write_text("mono.wav\n\ndeep/c.wav\nmissing.wav\n")
    code, _, err = go()
    assert code == 4 and list(stored()) == ["mono.wav", "deep/c.wav"]
    assert "data/missing.wav: no caption" in err[0] or "no such audio file" in err[0]


def test_tags(go):
    Path("data/a.json").write_text(json.dumps({"Genre": ["Ambient", "Drone"], "BPM": 90, "seconds_total": 7}))
    Path("data/b.json").write_text(json.dumps({"prompt": "from the tags", "Genre": "Rock"}))
    for name in "ab":
        Path(f"data/{name}.txt").unlink()
    Path("data/mono.json").write_text(json.dumps({"prompt": "unused", "license": "CC0"}))
    assert go()[0] == 0
    records = {name: record for name, (_, record) in stored().items()}
    assert records["a.wav"]["prompt"] == "Genre: Ambient, Drone, BPM: 90, seconds_total: 7"
    assert records["a.wav"]["seconds_total"] == 1 and records["a.wav"]["BPM"] == 90
    assert records["b.flac"]["prompt"] == "from the tags"
    assert records["mono.wav"]["prompt"] == "the sound mono.wav" and records["mono.wav"]["license"] == "CC0"


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_manifests(go, kind):
    if kind == "jsonl":
        rows = [{"path": "deep/c.wav", "prompt": 'a "long"\u2028sound', "bpm": "90"}, {"path": "a.wav"}]
        text = "\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    else:
        text = '\ufeffpath,prompt,bpm\ndeep/c.wav,"a ""long""\u2028sound",90\na.wav,,\n'
    Path(f"data/list.{kind}").write_text(text, encoding="utf-8")
    code, out, _ = go("--manifest", f"data/list.{kind}", data=None)
    assert code == 0 and len(out) == 2
    items = stored()
    assert list(items) == ["deep/c.wav", "a.wav"]
    assert items["deep/c.wav"][1]["prompt"] == 'a "long"\u2028sound' and items["deep/c.wav"][1]["bpm"] == "90"
    assert items["a.wav"][1]["prompt"] == "the sound a.wav"
    shutil.move(f"data/list.{kind}", f"list.{kind}")
    assert go("--manifest", f"list.{kind}")[2] == ["out: 0 encoded, 2 finished before"]


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("m.jsonl", '{"path": "a.wav"}\n{"path": ', "line 2: not JSON"),
        ("m.jsonl", '["a.wav"]', "line 1: expected an object"),
        ("m.jsonl", '{"prompt": "x"}', 'line 1: no "path"'),
        ("m.jsonl", '{"path": "a.wav", "prompt": 3}', '"prompt" is no text'),
        ("m.jsonl", '{"path": "a.wav"}\n{"path": "./a.wav"}', "line 2: ./a.wav is named a second time"),
        ("m.jsonl", '{"path": "a.wav", "bpm": NaN}', "no finite number"),
        ("m.jsonl", '{"path": "a.wav", "bpm": 1e999}', "no finite number"),
        ("m.jsonl", "\n", "names no sounds"),
        ("m.csv", "file,prompt\na.wav,x\n", 'line 2: no "path"'),
        ("m.csv", "path,prompt\na.wav,warm, slow\n", "line 2: more cells"),
        ("m.csv", 'path,prompt\na.wav,"warm', "unexpected end of data"),
        ("m.txt", "a.wav", "unknown kind of manifest"),
    ],
)
def test_wrong_manifests_are_named(go, name, text, what):
    Path(name).write_text(text)
    code, out, err = go("--manifest", name)
    assert (code, out, len(err)) == (2, [], 1) and what in err[0] and name in err[0]
    assert not Path("out").exists()


def test_bad_sounds_are_listed_and_left_out(go):
    Path("data/broken.wav").write_text("no sound")
    Path("data/uncaptioned.wav").write_bytes(Path("data/a.wav").read_bytes())
    audio.write("data/silent.wav", 1e-4 * noise(99), RATE)
    Path("data/nan.wav").write_bytes(audio.wav_bytes(np.full((2, 99), np.nan, np.float32), RATE))
    for name in ("broken", "silent", "nan", "latin"):
        Path(f"data/{name}.txt").write_text("words")
    shutil.copy("data/a.wav", "data/latin.wav")
    Path("data/latin.txt").write_bytes(b"caf\xe9")
    for count in ("4 encoded", "0 encoded, 4 finished before"):
        code, _, err = go("--batch-size", 2)
        assert code == 4 and sorted(stored()) == sorted(LENGTHS)
        said = "\n".join(err)
        for what in (
            "broken.wav: cannot be read as audio",
            "data/uncaptioned.wav: no caption; write one to uncaptioned.txt",
            "silent.wav: is silent",
            "nan.wav: holds values that are not finite",
            "latin.txt: is not UTF-8",
            f"out: {count}, 5 left out",
            "error: 5 of 9 sounds left out",
        ):
            assert what in said, said
        assert "Traceback" not in said


def test_what_cannot_be_done(go, models):
    assert go()[0] == 0
    before = contents()
    for arguments, options, code, what in (
        (["--pad"], {}, 2, "out: holds latents of vae with pad False, not True; choose another folder"),
        (["--sample-size", "800"], {}, 2, "sample_size 1200, not 800"),
        ([], {"model": "twin"}, 2, "with fingerprint"),
        ([], {"model": "missing"}, 3, "missing"),
        ([], {"data": "nowhere"}, 2, "nowhere: no such folder"),
        ([], {"data": "models"}, 2, "models: no sounds in it"),
        ([], {"data": None}, 2, "--data-dir or --manifest is needed"),
        ([], {"output": "data"}, 2, "data: is the folder of the sounds"),
        ([], {"output": "foreign"}, 2, "foreign: holds other .npy files"),
        ([], {"output": "data/a.wav"}, 2, "data/a.wav: is no folder"),
        (["--batch-size", "0"], {}, 2, "batch_size: 0"),
        (["--manifest", "none.csv"], {}, 2, "none.csv: no such manifest"),
    ):
        Path("models").mkdir(exist_ok=True)
        Path("foreign").mkdir(exist_ok=True)
        np.save("foreign/0000000000.npy", noise(9))
        result = go(*arguments, **options)
        assert result[0] == code and result[1] == [] and what in result[2][0], result
        assert len(result[2]) <= 2
    assert contents() == before


def test_a_full_disk_is_noticed_before_the_work(go):
    code, out, err = go("--pad", "--sample-size", 10**15)
    assert (code, out) == (1, []) and "out: 11875000.0 GB are needed, the disk has " in err[-1]
    assert not Path("out").exists()


def test_same_weights_under_another_name_go_on(go, models):
    assert go()[0] == 0
    shutil.copytree(models / "vae", models / "copy", dirs_exist_ok=True)
    assert go(model="copy")[2] == ["out: 0 encoded, 4 finished before"]


def test_options_with_underscores(models, go, capsys):
    words = ["--data_dir", "data", "--output_path=out_put", "--sample_size", str(SIZE), "--batch_size", "2", "--pad"]
    assert main(["pre-encode", "--model", str(models / "vae"), *words]) == 0
    assert len(list(Path("out_put").glob("0*.npy"))) == 4


def command(models: Path, *arguments: str) -> list[str]:
    given = ["--model", str(models / "vae"), "--data-dir", "data", "--sample-size", str(SIZE)]
    return [sys.executable, "-m", "stable_audio_mlx", "pre-encode", *given, *arguments]


ENVIRONMENT = {"PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/bin:/bin", "OPENBLAS_NUM_THREADS": "1"}


@pytest.mark.parametrize(("blow", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_an_interrupted_run_is_taken_up(go, models, blow, code):
    for i in range(120):
        audio.write(f"data/more{i:03}.wav", noise(300 + i), RATE)
        Path(f"data/more{i:03}.txt").write_text(f"number {i}")
    words = command(models, "--output-path", "out")
    with subprocess.Popen(words, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        first = child.stdout.readline().strip()
        child.send_signal(blow)
        _, err = child.communicate(timeout=60)
    assert first == "out/000000000000.npy" and child.returncode == code and "Traceback" not in err
    kept = {name: data for name, data in contents().items() if not name.startswith(".")}
    assert 0 < len(stored()) < 124  # whatever has metadata has whole latents
    if blow == signal.SIGINT:
        assert err.splitlines()[-1] == "interrupted" and "the same command goes on from here" in err
        assert not list(Path("out").glob(".*"))
    assert go()[0] == 0 and go(output="whole")[0] == 0
    assert {name: data for name, data in contents().items() if name in kept} == kept
    assert {n: d for n, d in contents().items() if not n.startswith(".")} == contents("whole")


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def test_processes_share_the_sounds(go, models):
    hosts = Path("hosts.json")
    hosts.write_text(json.dumps([[f"127.0.0.1:{port}"] for port in free_ports(2)]))
    ring = {"MLX_HOSTFILE": str(hosts.resolve())}
    words = command(models, "--output-path", "out")
    children = [
        subprocess.Popen(
            words,
            env=os.environ | ENVIRONMENT | ring | {"MLX_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    results = [child.communicate(timeout=60) for child in children]
    assert [child.returncode for child in children] == [0, 0], results
    assert [out.split() for out, _ in results] == [
        ["out/000000000000.npy", "out/000000000002.npy"],
        ["out/000000000001.npy", "out/000000000003.npy"],
    ]
    assert go(output="alone")[0] == 0
    assert contents() == contents("alone")


def test_captions_for_python(tmp_path):
    audio.write(tmp_path / "x.wav", noise(9), RATE)
    (item,) = folder.find(tmp_path)
    with pytest.raises(AudioError, match="no caption"):
        folder.metadata(item)
    (tmp_path / "x.json").write_text('{"prompt": ["a"]}')
    with pytest.raises(AudioError, match="no text"):
        folder.metadata(item)
    with pytest.raises(OptionError, match="no such folder"):
        folder.find(tmp_path / "y")


def test_nothing_heavy_is_imported_before_the_arguments_are_parsed():
    code = "import sys; from stable_audio_mlx.cli.pre_encode import parser; parser(); "
    code += "print([m for m in ('mlx', 'numpy', 'soundfile', 'tqdm') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True)
    assert done.stdout == b"[]\n", done.stderr
