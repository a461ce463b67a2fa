"""Damaged and hostile files: always our error (or a true reading), never a traceback, a hang or a huge allocation."""

import io
import json
import pickle
import re
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stable_audio_mlx.errors import StableAudioError
from stable_audio_mlx.models.factory import create_model
from stable_audio_mlx.weights import pickles
from stable_audio_mlx.weights.checkpoint import read_json
from stable_audio_mlx.weights.safetensors import read_header
from stable_audio_mlx.weights.source import open_path
from stable_audio_mlx.weights.store import read_npz, write_npz

from . import checkpoints

if sys.platform == "linux":
    import resource

COMMON = settings(
    max_examples=120, deadline=2000, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
FEW = settings(COMMON, max_examples=40)
ROOM = 512 << 20  # bytes a reader may take on top of what the process has


@pytest.fixture(autouse=True)
def little_memory():
    """A huge allocation becomes a MemoryError, which no reader may let through."""
    if sys.platform != "linux":
        yield
        return
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def survives(read, path):
    """Whatever opens must also be readable to the last tensor."""
    try:
        for entry in read(path).values():
            assert entry.read().shape == entry.shape
    except StableAudioError as error:
        assert str(error).count("\n") <= 1 and str(path.name) in str(error)


def npz_bytes():
    file = io.BytesIO()
    write_npz(file, [(k, "float32", lambda n=n: np.full((n, 3), n, np.float32)) for k, n in (("a", 2), ("b.c", 7))])
    return file.getvalue()


def safetensors_bytes(tmp_path):
    return checkpoints.save(
        tmp_path / "x", {"a": np.ones((2, 3), np.float32), "b": np.ones(5, np.float16)}
    ).read_bytes()


NPZ = npz_bytes()


def damage(data, whole):
    """Flip, cut, insert or repeat bytes of a whole file."""
    raw = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(0, len(raw) - 1)))
        kind = data.draw(st.sampled_from(("flip", "cut", "insert", "zero", "huge")))
        if kind == "flip" and raw:
            raw[at] ^= data.draw(st.integers(1, 255))
        elif kind == "cut":
            del raw[at : at + data.draw(st.integers(1, 200))]
        elif kind == "insert":
            raw[at:at] = data.draw(st.binary(max_size=20))
        else:
            raw[at : at + 4] = (b"\0" if kind == "zero" else b"\xff") * 4
    return bytes(raw)


@COMMON
@given(st.binary(max_size=300))
def test_random_bytes(tmp_path, raw):
    path = tmp_path / "model.safetensors"
    path.write_bytes(raw)
    for read in (read_header, read_npz, pickles.read_pickle):
        survives(read, path)
    with pytest.raises(StableAudioError):
        read_npz(path)


@COMMON
@given(st.data())
def test_damaged_npz(tmp_path, data):
    path = tmp_path / "dit.npz"
    path.write_bytes(damage(data, NPZ))
    survives(read_npz, path)


@COMMON
@given(st.data())
def test_damaged_safetensors(tmp_path, data):
    path = tmp_path / "model.safetensors"
    path.write_bytes(damage(data, safetensors_bytes(tmp_path)))
    survives(read_header, path)


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=8), st.just("F32")
)
VALUES = st.recursive(
    SCALARS, lambda x: st.one_of(st.lists(x, max_size=4), st.dictionaries(st.text(max_size=6), x, max_size=3))
)
ITEMS = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.one_of(st.sampled_from(("F32", "F16", "BF16", "I64", "F8_E4M3", "BOOL")), SCALARS),
        "shape": st.one_of(st.lists(st.integers(-2, 2**62), max_size=9), st.just([0]), st.just([4]), SCALARS),
        "data_offsets": st.one_of(
            st.lists(st.integers(-1, 2**65), max_size=3), st.just([0, 16]), st.just([0, 0]), SCALARS
        ),
    },
)


@COMMON
@given(
    st.one_of(st.dictionaries(st.text(max_size=6), st.one_of(ITEMS, VALUES), max_size=4), VALUES), st.integers(0, 40)
)
def test_safetensors_headers_that_lie(tmp_path, header, extra):
    raw = json.dumps(header).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + bytes(extra))
    survives(read_header, path)


@pytest.mark.parametrize("length", [0, 1, 2**31, 2**63, 2**64 - 1])
def test_safetensors_with_an_absurd_header_length(tmp_path, length):
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", length) + b"{}")
    with pytest.raises(StableAudioError, match="header claims"):
        read_header(path)
    path.write_bytes(struct.pack("<Q", 2_000_000) + b"[" * 2_000_000)
    with pytest.raises(StableAudioError, match="not JSON"):
        read_header(path)


def zipped(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, raw in members.items():
            archive.writestr(name, raw)
    return path


@COMMON
@given(st.one_of(st.binary(max_size=80), st.text(max_size=70).map(lambda t: t.encode("utf-8", "replace"))))
def test_zips_that_are_no_npz(tmp_path, raw):
    text = b"\x93NUMPY\x01\x00" + len(raw).to_bytes(2, "little") + raw
    for name in ("a.npy", "data.pkl", "m/data.pkl"):
        survives(read_npz, zipped(tmp_path / "x.npz", {name: text}))
        survives(pickles.read_pickle, zipped(tmp_path / "x.ckpt", {name: raw}))


# Every opcode with every argument shape that a pickle can have, and what a tensor's pickle is made of.
PIECES = st.one_of(
    st.sampled_from([bytes([code]) for code in range(256)]),
    st.sampled_from([op.code.encode("latin-1") for op in __import__("pickletools").opcodes]),
    st.sampled_from(
        [b"ctorch._utils\n_rebuild_tensor_v2\n", b"ccollections\nOrderedDict\n", b"cos\nsystem\n", b"(", b"t", b"R"]
    ),
    st.sampled_from(
        [b"X\x01\x00\x00\x00a", b"K\x05", b"J\xff\xff\xff\x7f", b"r\xff\xff\xff\xff", b"\x8e" + b"\xff" * 8]
    ),
    st.binary(max_size=6),
)


@COMMON
@given(st.lists(PIECES, max_size=25))
def test_pickles_of_anything(tmp_path, pieces):
    path = zipped(tmp_path / "x.ckpt", {"m/data.pkl": b"\x80\x02" + b"".join(pieces) + b"."})
    survives(pickles.read_pickle, path)


@FEW
@given(VALUES)
def test_pickles_without_tensors(tmp_path, tree):
    survives(pickles.read_pickle, zipped(tmp_path / "x.ckpt", {"m/data.pkl": pickle.dumps({"state_dict": tree}, 2)}))


@COMMON
@given(st.one_of(st.binary(max_size=60), VALUES.map(lambda v: json.dumps(v).encode())))
def test_config_files(tmp_path, raw):
    path = tmp_path / "model_config.json"
    path.write_bytes(raw)
    try:
        config = read_json(path)
    except StableAudioError as error:
        assert "model_config.json" in str(error)
        return
    with pytest.raises(StableAudioError):
        create_model(config)


def places(tree, path=()):
    """The path of every value in a JSON tree."""
    yield path
    if isinstance(tree, dict | list):
        for key in tree if isinstance(tree, dict) else range(len(tree)):
            yield from places(tree[key], (*path, key))


@settings(COMMON, max_examples=250)
@given(st.data())
def test_configs_with_one_value_changed(data):
    """A config that is nearly right builds or is refused with the place; nothing is allocated for absurd sizes."""
    config = checkpoints.diffusion()
    *path, key = data.draw(st.sampled_from([p for p in places(config) if p]))
    at = config
    for step in path:
        at = at[step]
    if isinstance(at, dict) and data.draw(st.booleans()):
        at[data.draw(st.text(max_size=5))] = at.pop(key)
    else:
        at[key] = data.draw(st.one_of(VALUES, st.integers(-3, 2**40), st.just(1e30)))
    try:
        create_model(config)
    except StableAudioError as error:
        assert str(error).count("\n") <= 1


@FEW
@given(st.data())
def test_checkpoints_with_one_tensor_changed(tmp_path, data):
    """Another shape, dtype or name, or none: the module is filled completely or the key is named."""
    arrays = checkpoints.tensors(checkpoints.CODEC)
    key = data.draw(st.sampled_from(sorted(arrays)))
    kind = data.draw(st.sampled_from(("shape", "dtype", "name", "gone")))
    value = arrays.pop(key)
    if kind == "shape":
        arrays[key] = np.zeros(data.draw(st.lists(st.integers(0, 9), max_size=4)), np.float32)
    elif kind == "dtype":
        arrays[key] = value.astype(data.draw(st.sampled_from((np.int64, np.float16, np.float64))))
    elif kind == "name":
        arrays[data.draw(st.text(max_size=12))] = value
    source = open_path(checkpoints.write(tmp_path / "m", checkpoints.CODEC, arrays))
    try:
        source.load("autoencoder", source.create().autoencoder)
    except StableAudioError as error:
        assert re.sub(r"\.\d+", ".*", key.rpartition(".")[0]) in re.sub(r"\.\d+", ".*", str(error))
    else:
        assert kind == "dtype" or (kind == "shape" and np.squeeze(arrays[key]).shape == np.squeeze(value).shape)
