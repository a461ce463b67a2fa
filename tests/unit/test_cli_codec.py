"""``encode``, ``decode`` and ``roundtrip`` as a user meets them: files, streams, exit codes."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stable_audio_mlx import AutoencoderModel, audio
from stable_audio_mlx.cli.main import main

from . import checkpoints

ROOT = Path(__file__).parents[2]
RATE = checkpoints.CODEC["sample_rate"]
RVQ = {"input_dim": 4, "n_codebooks": 3, "codebook_size": 16, "codebook_dim": 2}
SOUND = (np.random.default_rng(0).standard_normal((2, 900)) / 8).astype(np.float32)


def discrete() -> dict:
    """The tiny codec with codebooks."""
    config = copy.deepcopy(checkpoints.CODEC)
    config["model"]["bottleneck"] = {"type": "dac_rvq", "config": RVQ}
    config["model"]["encoder"]["config"]["latent_dim"] = 4
    return config


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A continuous codec, one with codebooks and its twin with other weights."""
    folder = tmp_path_factory.mktemp("models")
    checkpoints.write(folder / "vae", checkpoints.CODEC)
    for name, seed in (("rvq", 0), ("twin", 1)):
        checkpoints.write(folder / name, discrete(), checkpoints.tensors(discrete(), seed))
    return folder


@pytest.fixture
def go(models, tmp_path, monkeypatch, capsys):
    """Run a command in a folder with ``in.wav`` -> (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    audio.write("in.wav", SOUND, RATE)

    def call(command, *arguments, model="vae"):
        code = main([command, *map(str, arguments), "--model", str(models / model)])
        out = capsys.readouterr()
        return code, out.out.strip(), out.err.strip()

    return call


def test_latents_go_to_a_file_and_back(go, models):
    assert go("encode", "in.wav", "-o", "z.npy") == (0, "z.npy", "")
    z = np.load("z.npy")
    model = AutoencoderModel.from_pretrained(models / "vae")
    assert z.dtype == np.float32 and np.array_equal(z, np.array(model.encode(SOUND))[0])
    assert go("decode", "z.npy", "-o", "out.wav") == (0, "out.wav", "")
    sound, rate = audio.read("out.wav")
    assert rate == RATE and np.array_equal(sound, np.array(model.decode(z))[0])


def test_any_sound_goes_in(go):
    audio.write("mono.flac", SOUND[:1, :500] / 4, 8000)
    audio.write("six.wav", np.concatenate([SOUND] * 3), RATE)
    code, out, err = go("encode", "mono.flac", "six.wav", "in.wav", "-o", "latents/")
    assert (code, out.splitlines()) == (0, ["latents/mono.npy", "latents/six.npy", "latents/in.npy"])
    assert err.splitlines() == [
        "mono.flac: resampled from 8000 to 4000 Hz",
        "six.wav: 6 channels, the model takes the first 2",
    ]
    assert np.load("latents/mono.npy").shape == (4, 32)
    assert np.array_equal(np.load("latents/six.npy"), np.load("latents/in.npy"))


def test_names_are_chosen_and_kept(go):
    assert [go("encode", "in.wav")[1] for _ in range(2)] == ["output/in.npy", "output/in-2.npy"]
    Path("sub").mkdir()
    audio.write("sub/in.wav", SOUND[:, :50], RATE)
    assert go("encode", "in.wav", "sub/in.wav", "-o", "z/")[1].splitlines() == ["z/in.npy", "z/in-2.npy"]
    code, out, err = go("encode", "in.wav", "-o", "output/in.npy")
    assert (code, out) == (2, "") and "exists already" in err
    assert go("encode", "in.wav", "-o", "output/in.npy", "--overwrite")[0] == 0
    assert go("encode", "in.wav", "-o", "z", "--overwrite")[1] == "z/in.npy"
    assert go("encode", "in.wav", "sub/in.wav", "-o", "z/", "--overwrite")[0] == 2
    assert go("encode", "in.wav", "sub/in.wav", "-o", "z.npy")[0] == 2


def test_chunks_are_those_of_the_api(go, models):
    assert go("encode", "in.wav", "-o", "z.npy", "--chunked", "--chunk-size", 24, "--overlap", 4)[0] == 0
    model = AutoencoderModel.from_pretrained(models / "vae")
    z = model.encode(SOUND, RATE, chunked=True, chunk_size=24, overlap=4)
    assert np.array_equal(np.load("z.npy"), np.array(z)[0])
    code, _, err = go("encode", "in.wav", "--overlap", 4)
    assert code == 2 and "--overlap needs --chunked" in err
    assert go("encode", "in.wav", "--chunked", "--chunk-size", 8, "--overlap", 8)[0] == 2


def test_codes_carry_the_model(go, models):
    assert go("encode", "in.wav", "-o", "a/", model="rvq") == (0, "a/in.npz", "")
    with np.load("a/in.npz", allow_pickle=False) as file:
        codes, name = file["codes"], str(file["model"])
    model = AutoencoderModel.from_pretrained(models / "rvq")
    assert name == "rvq" and codes.dtype == np.int32 and np.array_equal(codes, np.array(model.encode_codes(SOUND))[0])
    assert go("decode", "a/in.npz", "-o", "codes.wav", model="rvq")[0] == 0
    assert go("encode", "in.wav", "-o", "a/in.npy", model="rvq")[0] == 0
    assert go("decode", "a/in.npy", "-o", "latents.wav", model="rvq")[0] == 0
    np.testing.assert_allclose(audio.read("codes.wav")[0], audio.read("latents.wav")[0], atol=1e-5)


def test_codes_of_another_model_are_refused(go):
    go("encode", "in.wav", "-o", "z.npz", model="rvq")
    for model, what in (("twin", "made by rvq, so twin cannot decode"), ("vae", "made by rvq")):
        code, out, err = go("decode", "z.npz", model=model)
        assert (code, out) == (4, "") and "z.npz: codes" in err and what in err
        assert len(err.splitlines()) == 1
    code, _, err = go("encode", "in.wav", "-o", "y.npz")
    assert code == 2 and "no codebooks" in err and not Path("y.npz").exists()
    code, _, err = go("encode", "in.wav", "--chunked", model="rvq")
    assert code == 2 and "--chunked" in err


def test_the_fingerprint_survives_conversion(models, tmp_path):
    from stable_audio_mlx.weights.convert import convert_folder

    source = AutoencoderModel.from_pretrained(models / "rvq")
    for dtype in ("float32", "bfloat16"):
        convert_folder(models / "rvq", tmp_path / dtype, dtype)
        AutoencoderModel.from_pretrained(tmp_path / dtype).check_origin("rvq", source.fingerprint())


def test_roundtrip_measures(go, models):
    code, out, err = go("roundtrip", "in.wav", "-o", "out.wav")
    assert code == 0 and "SI-SDR" in out and "STFT distance" in out and err == "written: out.wav"
    code, out, _ = go("roundtrip", "in.wav", "--json")
    record = json.loads(out)
    model = AutoencoderModel.from_pretrained(models / "vae")
    result = np.array(model.decode(model.encode(SOUND)))[0, :, :900]
    assert np.array_equal(audio.read("out.wav")[0], result)
    from stable_audio_mlx.metrics import compare

    assert record == {"input": "in.wav", "model": "vae", **vars(compare(SOUND, result)), "path": None, "plot": None}


def test_roundtrip_draws(go):
    code, _, err = go("roundtrip", "in.wav", "--plot", "p.png")
    assert (code, err) == (0, "written: p.png") and Path("p.png").read_bytes().startswith(b"\x89PNG")
    assert go("roundtrip", "in.wav", "--plot", "p.png")[0] == 2
    assert go("roundtrip", "in.wav", "--plot", "p.jpeg")[0] == 2
    assert go("roundtrip", "in.wav", "in.wav", "--plot", "q.png")[0] == 2


def test_drawing_without_matplotlib(go, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, out, err = go("roundtrip", "in.wav", "--plot", "p.png")
    assert (code, out) == (2, "") and "pip install matplotlib" in err and len(err.splitlines()) == 1


def bad_sounds(folder: Path) -> dict[str, str]:
    """Files that are no sound -> what the message says."""
    wav = audio.wav_bytes
    (folder / "text.wav").write_text("this is no sound")
    (folder / "nothing.wav").touch()
    (folder / "no_frames.wav").write_bytes(wav(SOUND[:, :0], RATE))
    (folder / "twelve.wav").write_bytes(wav(np.zeros((12, 99), np.float32), RATE))
    (folder / "nan.wav").write_bytes(wav(np.full((2, 99), np.nan, np.float32), RATE))
    (folder / "folder.wav").mkdir()
    return {
        "text.wav": "cannot be read",
        "nothing.wav": "cannot be read",
        "no_frames.wav": "is empty",
        "twelve.wav": "12 channels, the most is 8",
        "nan.wav": "not finite",
        "folder.wav": "is a folder",
        "missing.wav": "no such audio file",
    }


def bad_latents(folder: Path) -> dict[str, str]:
    z = np.zeros((4, 8), np.float32)
    arrays = {
        "wide.npy": (np.zeros((5, 8), np.float32), "needed is (batch, 4, frames), not (1, 5, 8)"),
        "whole.npy": (z.astype(int), "int64"),
        "many.npy": (np.zeros((3, 4, 8), np.float32), "one clip"),
        "none.npy": (z[:, :0], "one clip"),
        "nan.npy": (z + np.nan, "not finite"),
        "pickled.npy": (np.array([{}], dtype=object), "pickled"),
        "imaginary.npy": (z + 0j, "complex"),
    }
    for name, (array, _) in arrays.items():
        np.save(folder / name, array)
    (folder / "cut.npy").write_bytes((folder / "wide.npy").read_bytes()[:-9])
    (folder / "text.npy").write_text("no array")
    np.savez(folder / "other.npz", z=z)
    np.savez(folder / "pickled.npz", codes=np.array([{}]), model="rvq", fingerprint=z)
    np.savez(folder / "floats.npz", codes=z, model="rvq", fingerprint=z)
    (folder / "cut.npz").write_bytes((folder / "floats.npz").read_bytes()[:-30])
    (folder / "folder.npy").mkdir()
    return {
        **{name: what for name, (_, what) in arrays.items()},
        "cut.npy": "damaged",
        "text.npy": "neither latents",
        "other.npz": "without codes, fingerprint, model",
        "pickled.npz": "pickled",
        "floats.npz": "whole numbers",
        "cut.npz": "damaged",
        "folder.npy": "is a folder",
        "missing.npy": "no such file",
    }


@pytest.mark.parametrize(
    ("command", "make"), [("encode", bad_sounds), ("roundtrip", bad_sounds), ("decode", bad_latents)]
)
def test_bad_input_is_one_line_and_code_4(go, tmp_path, command, make):
    for name, what in make(tmp_path).items():
        code, out, err = go(command, name)
        assert (code, out) == (4, ""), name
        assert len(err.splitlines()) == 1 and name in err and what in err, err
    assert not Path("output").exists() or not list(Path("output").iterdir())


def test_a_high_rate_is_resampled(go):
    audio.write("fast.wav", np.repeat(SOUND, 4, axis=1), 384_000)
    code, _, err = go("encode", "fast.wav", "-o", "z.npy")
    assert (code, err) == (0, "fast.wav: resampled from 384000 to 4000 Hz")
    assert np.load("z.npy").shape == (4, 5)


def test_a_model_without_an_autoencoder_or_weights(go, tmp_path):
    code, _, err = go("encode", "in.wav", model="missing")
    assert code == 3 and "missing" in err


def test_the_real_commands(go, models, tmp_path):
    def run(*arguments):
        command = [sys.executable, "-m", "stable_audio_mlx", *arguments, "--model", str(models / "rvq")]
        return subprocess.run(command, env={"PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True)

    encoded = run("encode", "in.wav", "--json")
    record = json.loads(encoded.stdout)
    assert (encoded.returncode, encoded.stderr) == (0, "") and record["shape"] == [3, 113]
    decoded = run("decode", record["path"], "-o", "back.flac")
    assert (decoded.returncode, decoded.stdout) == (0, "back.flac\n")
    missing = run("roundtrip", "missing.wav")
    assert (missing.returncode, missing.stdout, missing.stderr) == (
        4,
        "",
        "error: missing.wav: no such audio file\n",
    )


LIGHT = "import sys; from stable_audio_mlx.cli.{0} import parser; parser(); print([m for m in {1} if m in sys.modules])"


@pytest.mark.parametrize("command", ["encode", "decode", "roundtrip"])
def test_nothing_heavy_is_imported_before_the_arguments_are_parsed(command):
    code = LIGHT.format(command, ("mlx", "numpy", "soundfile", "tqdm", "matplotlib"))
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT / "src")}, capture_output=True)
    assert done.stdout == b"[]\n", done.stderr
