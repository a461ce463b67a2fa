"""Files of latents and codes: they come back as they were, and damage is our error or a true reading."""

import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stable_audio_mlx import latents
from stable_audio_mlx.errors import AudioError, OptionError

Z = np.random.default_rng(0).standard_normal((4, 9)).astype(np.float32)
CODES = np.arange(12, dtype=np.int32).reshape(3, 4)


def test_latents_come_back(tmp_path):
    path = latents.write_latents(tmp_path / "z.npy", Z.astype(np.float64))
    assert np.load(path).dtype == np.float32 and np.array_equal(latents.read(path), Z)
    np.save(tmp_path / "half.npy", Z[None].astype(np.float16))
    half = latents.read(tmp_path / "half.npy")
    assert half.dtype == np.float32 and np.array_equal(half, Z.astype(np.float16))


def test_codes_come_back(tmp_path):
    path = latents.write_codes(tmp_path / "z.npz", CODES, "a model", Z[0])
    found = latents.read(path)
    assert np.array_equal(found.codes, CODES) and found.codes.dtype == np.int32
    assert found.model == "a model" and np.array_equal(found.fingerprint, Z[0])


def test_names_are_kept(tmp_path):
    latents.write_latents(tmp_path / "z.npy", Z)
    with pytest.raises(OptionError, match="exists already"):
        latents.write_latents(tmp_path / "z.npy", Z)
    latents.write_latents(tmp_path / "z.npy", 2 * Z, overwrite=True)
    assert np.array_equal(latents.read(tmp_path / "z.npy"), 2 * Z)
    with pytest.raises(OptionError, match=r"use \.npz"):
        latents.write_codes(tmp_path / "z.npy", CODES, "a", Z[0])
    assert [path.name for path in tmp_path.iterdir()] == ["z.npy"]


def written(folder, name):
    path = folder / name
    if not path.exists():
        if name.endswith(".npy"):
            latents.write_latents(path, Z)
        else:
            latents.write_codes(path, CODES, "a model", Z[0])
    return path


@settings(
    max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    name=st.sampled_from(["z.npy", "z.npz"]),
    changes=st.lists(st.tuples(st.integers(0, 250), st.sampled_from([0, 39, 40, 57, 255])), max_size=4),
    cut=st.none() | st.integers(0, 300),
)
def test_damage_is_our_error_or_a_true_reading(tmp_path, name, changes, cut):
    data = bytearray(written(tmp_path, name).read_bytes())
    for place, value in changes:
        data[place % len(data)] = value
    path = tmp_path / f"damaged{name[1:]}"
    path.write_bytes(data[:cut])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = latents.read(path)
        except AudioError as error:
            assert str(path) in str(error) and len(str(error).splitlines()) == 1
            return
    array = found.codes if isinstance(found, latents.Codes) else found
    assert array.ndim == 2 and array.size


@pytest.mark.parametrize("shape", ["(4999999999, 9)", "(4, 99999999999999999999)", "(-4, 9)", "(" * 9])
def test_a_header_that_promises_too_much(tmp_path, shape):
    data = written(tmp_path, "z.npy").read_bytes()
    (tmp_path / "huge.npy").write_bytes(data.replace(b"(4, 9), }" + b" " * 20, f"{shape}, }}".encode().ljust(29)))
    with pytest.raises(AudioError, match="damaged"):
        latents.read(tmp_path / "huge.npy")
