"""NPZ files: what is written is read back exactly, by us, NumPy and MLX; what is damaged is named."""

import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from stable_audio_mlx.errors import WeightsError
from stable_audio_mlx.models.factory import create_model
from stable_audio_mlx.weights.arrays import narrow_bfloat16, widen_bfloat16
from stable_audio_mlx.weights.convert import write_model_folder
from stable_audio_mlx.weights.source import open_model
from stable_audio_mlx.weights.store import read_npz, write_npz

from .checkpoints import CODEC

SRC = Path(__file__).parents[2] / "src"
ARRAYS = {
    "a.weight": np.random.default_rng(0).standard_normal((3, 4, 5)).astype(np.float32),
    "scalar": np.array(2.5, np.float32),
    "empty": np.zeros((0, 3), np.float32),
    "ids": np.arange(5, dtype=np.int32),
    "mask": np.array([True, False]),
}


def save(path, arrays, dtype="float32"):
    write_npz(path, [(key, dtype, lambda value=value: value) for key, value in arrays.items()])
    return path


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_round_trip(tmp_path, dtype):
    path = save(tmp_path / "a.npz", ARRAYS, dtype)
    entries, theirs = read_npz(path), mx.load(io.BytesIO(path.read_bytes()), format="npz")
    plain = np.load(path, allow_pickle=False)
    assert entries.keys() == ARRAYS.keys() == theirs.keys() == set(plain.files)
    for key, value in ARRAYS.items():
        wanted = mx.array(value)
        wanted = wanted.astype(getattr(mx, dtype)) if value.dtype.kind == "f" else wanted
        loaded = entries[key].load()
        assert loaded.shape == value.shape
        assert mx.array_equal(loaded, wanted) and mx.array_equal(theirs[key], wanted)
        np.testing.assert_array_equal(entries[key].read().astype(np.float32), np.array(wanted.astype(mx.float32)))


def test_load_casts_floats_only(tmp_path):
    entries = read_npz(save(tmp_path / "a.npz", ARRAYS, "float16"))
    assert entries["a.weight"].load(mx.float32).dtype == mx.float32
    assert entries["ids"].load(mx.float32).dtype == mx.int32


def test_equal_input_gives_equal_bytes(tmp_path):
    assert save(tmp_path / "a.npz", ARRAYS).read_bytes() == save(tmp_path / "b.npz", ARRAYS).read_bytes()


def test_files_of_others_are_read(tmp_path):
    np.savez(tmp_path / "numpy.npz", **ARRAYS)
    mx.savez(str(tmp_path / "mlx.npz"), b=mx.ones((2, 3), mx.bfloat16), c=mx.ones((2,), mx.float16))
    for key, entry in read_npz(tmp_path / "numpy.npz").items():
        np.testing.assert_array_equal(entry.read(), ARRAYS[key])
    mine = read_npz(tmp_path / "mlx.npz")
    assert mine["b"].load().dtype == mx.bfloat16 and mine["b"].read().tolist() == [[1.0] * 3] * 2
    assert mine["c"].dtype == "float16"


def test_bfloat16_rounds_to_even_and_keeps_nan():
    values = np.array([1.0, 1.00390625, 1.01171875, -3.3e38, np.inf, np.nan, 0.0, -0.0, 1e-40], np.float32)
    mine, theirs = widen_bfloat16(narrow_bfloat16(values)), mx.array(values).astype(mx.bfloat16).astype(mx.float32)
    np.testing.assert_array_equal(mine, np.array(theirs))


def test_too_large_for_float16(tmp_path):
    with pytest.raises(WeightsError, match="does not fit in float16"):
        save(tmp_path / "a.npz", {"a": np.array([1e5], np.float32)}, "float16")


def npz_with(tmp_path, name, payload, **options):
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w", **options) as archive:
        archive.writestr(name, payload)
    return path


def npy(array):
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def header(text):
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (npy(np.array({"a": 1})), "pickled object"),
        (npy(np.zeros(3, "U4")), "unknown header or dtype"),
        (npy(np.zeros(3, [("a", "f4")])), "unknown header or dtype"),
        (npy(np.zeros(3, ">f4")), "unknown header or dtype"),
        (npy(np.asfortranarray(np.zeros((3, 4), "f4"))), "column order"),
        (npy(np.zeros(300, "f4"))[:-1], "does not fit"),
        (npy(np.zeros(300, "f4")) + b"0", "does not fit"),
        (header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999, 9999999), }"), "implausible shape"),
        (header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (10000000000,), }"), "does not fit"),
        (header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (__import__('os').abort(),), }"), "unknown header"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff", "too long"),
        (b"hello, I am no array", "does not start like"),
        (b"", "does not start like"),
    ],
)
def test_damaged_arrays(tmp_path, payload, message):
    with pytest.raises(WeightsError, match=message):
        read_npz(npz_with(tmp_path, "a.npy", payload))


def test_damaged_archives(tmp_path):
    path = save(tmp_path / "a.npz", ARRAYS)
    whole = path.read_bytes()
    for cut in (0, 1, 30, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(WeightsError, match="no complete zip"):
            read_npz(path)
    with pytest.raises(WeightsError, match="not an array"):
        read_npz(npz_with(tmp_path, "readme.txt", b"hi"))
    with pytest.raises(WeightsError, match="compressed"):
        read_npz(npz_with(tmp_path, "a.npy", npy(np.zeros(9)), compression=zipfile.ZIP_DEFLATED))


@pytest.fixture
def model(tmp_path):
    arrays = dict(tree_flatten(create_model(CODEC).autoencoder.parameters()))
    write_model_folder(tmp_path / "m", CODEC, {"autoencoder": arrays}, license="MIT")
    return tmp_path / "m", arrays


def test_a_written_model_loads_exactly(model):
    folder, arrays = model
    source = open_model(folder)
    loaded = dict(tree_flatten(source.load("autoencoder", source.create().autoencoder).parameters()))
    assert source.name == "m" and source.parts == ("autoencoder",) and source.manifest["license"] == "MIT"
    assert all(mx.array_equal(loaded[key], value) for key, value in arrays.items())


def test_only_reads_the_children_asked_for(model):
    folder, arrays = model
    source = open_model(folder)
    fresh = source.create().autoencoder
    fresh.encoder.layers[0].bias = mx.full((4,), 7.0)
    source.load("autoencoder", fresh, only=("decoder",))
    assert fresh.encoder.layers[0].bias.tolist() == [7.0] * 4
    assert mx.array_equal(fresh.decoder.layers[0].weight, arrays["decoder.layers.0.weight"])


def test_dtypes_of_a_loaded_model(model):
    source = open_model(model[0])
    half = source.load("autoencoder", source.create().autoencoder, dtype="float16")
    assert half.decoder.layers[0].weight.dtype == mx.float16
    with pytest.raises(ValueError, match="dtype 'f8'"):
        source.load("autoencoder", source.create().autoencoder, dtype="f8")


def test_the_manifest_is_checked_before_files_are_opened(model):
    folder, _ = model
    npz, manifest = folder / "autoencoder.npz", folder / "manifest.json"
    text, whole = manifest.read_text(), npz.read_bytes()
    npz.write_bytes(whole[:-1])
    with pytest.raises(WeightsError, match=f"{len(whole) - 1} bytes, the manifest says {len(whole)}"):
        open_model(folder)
    npz.unlink()
    with pytest.raises(WeightsError, match=r"autoencoder.npz is missing"):
        open_model(folder)
    manifest.write_text(json.dumps(json.loads(text) | {"format": 99}))
    with pytest.raises(WeightsError, match="format 99"):
        open_model(folder)
    manifest.write_text(json.dumps({"format": 1, "files": {"../x": {"bytes": 1}}}))
    with pytest.raises(WeightsError, match="lists no files"):
        open_model(folder)


def test_a_config_that_does_not_fit_the_weights(model):
    folder, _ = model
    config = json.loads((folder / "model_config.json").read_text())
    config["model"]["encoder"]["config"]["c_mults"] = [1, 3]
    (folder / "model_config.json").write_text(json.dumps(config))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["model_config.json"]["bytes"] = (folder / "model_config.json").stat().st_size
    (folder / "manifest.json").write_text(json.dumps(manifest))
    source = open_model(folder)
    with pytest.raises(WeightsError, match=r"encoder.layers.2.layers.4.bias is float32 \(8,\), expected \(12,\)"):
        source.load("autoencoder", source.create().autoencoder)


def test_reading_does_not_trip_mlx_at_exit(model):
    code = (
        "import sys; from stable_audio_mlx.weights.source import open_model; s = open_model(sys.argv[1]);"
        "m = s.load('autoencoder', s.create().autoencoder); print(m.decoder.layers[0].weight.sum().item())"
    )
    command = [sys.executable, "-c", code, str(model[0])]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(SRC)}, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout and not done.stderr
