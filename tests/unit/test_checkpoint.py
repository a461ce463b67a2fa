"""Checkpoints as people have them: wrapped, averaged, sharded, pickled, mixed, damaged."""

import json
import pickle
import sys
import types
import zipfile

import numpy as np
import pytest
from mlx.utils import tree_flatten

from stable_audio_mlx.errors import ConfigError, WeightsError
from stable_audio_mlx.weights.arrays import narrow_bfloat16
from stable_audio_mlx.weights.checkpoint import find_checkpoint, read_entries, summary, unwrap
from stable_audio_mlx.weights.source import open_path

from .checkpoints import CODEC, DIFFUSION, save, tensors, write


def parameters(path, part, **options):
    """Parameter name -> value of one part, as it is loaded from ``path``."""
    source = open_path(path, **options)
    module = source.load(part, source.create()[part])
    return {name: np.array(value) for name, value in tree_flatten(module.parameters())}


def assert_same(a, b, rtol=0.0):
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_allclose(a[key], b[key], rtol=rtol, atol=rtol, err_msg=key)


def test_averaged_weights_of_a_training_checkpoint_win(tmp_path):
    raw, averaged = tensors(DIFFUSION, 1), tensors(DIFFUSION, 2)
    wrapped = {f"diffusion.{k}": v for k, v in raw.items()}
    wrapped |= {f"diffusion_ema.ema_model.{k[6:]}": v for k, v in averaged.items() if k.startswith("model.model.")}
    wrapped |= {
        "diffusion_ema.step": np.zeros((1,), np.int64),
        "discriminator.layer.weight": np.ones((3, 3), np.float32),
    }
    wanted = raw | {k: v for k, v in averaged.items() if k.startswith("model.model.")}
    a, b = write(tmp_path / "wrapped", DIFFUSION, wrapped), write(tmp_path / "plain", DIFFUSION, wanted)
    for part in ("dit", "autoencoder", "conditioner"):
        assert_same(parameters(a, part), parameters(b, part))


def test_averaged_autoencoder(tmp_path):
    raw, averaged = tensors(CODEC, 1), tensors(CODEC, 2)
    wrapped = {f"autoencoder.{k}": v for k, v in raw.items()}
    wrapped |= {f"autoencoder_ema.ema_model.{k}": v for k, v in averaged.items()}
    wrapped |= {f"autoencoder_ema.online_model.{k}": v for k, v in raw.items()}
    a, b = write(tmp_path / "wrapped", CODEC, wrapped), write(tmp_path / "plain", CODEC, averaged)
    assert_same(parameters(a, "autoencoder"), parameters(b, "autoencoder"))


def test_autoencoder_out_of_a_whole_model(tmp_path):
    whole = tensors(DIFFUSION)
    alone = {k.removeprefix("pretransform.model."): v for k, v in whole.items() if k.startswith("pretransform.")}
    a, b = write(tmp_path / "whole", CODEC, whole), write(tmp_path / "alone", CODEC, alone)
    assert_same(parameters(a, "autoencoder"), parameters(b, "autoencoder"))


@pytest.mark.parametrize("spelling", ["parametrized", "fused"])
def test_spellings_of_weight_norm(tmp_path, spelling):
    arrays, other = tensors(CODEC), {}
    for key, value in arrays.items():
        if spelling == "parametrized":
            key = key.replace("weight_g", "parametrizations.weight.original0")
            other[key.replace("weight_v", "parametrizations.weight.original1")] = value
        elif key.endswith("weight_v"):
            norm = np.sqrt((value.astype(np.float64) ** 2).sum(axis=(1, 2), keepdims=True))
            other[key[:-2]] = (arrays[key[:-1] + "g"] * value / norm).astype(np.float32)
        elif not key.endswith("weight_g"):
            other[key] = value
    a, b = write(tmp_path / "a", CODEC, other), write(tmp_path / "b", CODEC, arrays)
    assert_same(parameters(a, "autoencoder"), parameters(b, "autoencoder"), rtol=1e-7)


def test_mixed_dtypes_are_widened_exactly(tmp_path):
    arrays, stored, exact = tensors(DIFFUSION), {}, {}
    for i, (key, value) in enumerate(arrays.items()):
        kind = i % 3
        stored[key] = value if kind == 0 else value.astype(np.float16) if kind == 1 else narrow_bfloat16(value)
        wide = stored[key].astype(np.uint32) << 16 if kind == 2 else None
        exact[key] = wide.view(np.float32) if kind == 2 else stored[key].astype(np.float32)
    a, b = write(tmp_path / "a", DIFFUSION, stored), write(tmp_path / "b", DIFFUSION, exact)
    for part in ("dit", "conditioner", "autoencoder"):
        assert_same(parameters(a, part), parameters(b, part))


def test_sharded(tmp_path):
    folder, arrays = write(tmp_path / "m", CODEC), tensors(CODEC)
    (folder / "model.safetensors").unlink()
    keys = list(arrays)
    shards = {"model-00001-of-00002.safetensors": keys[::2], "model-00002-of-00002.safetensors": keys[1::2]}
    for name, part in shards.items():
        save(folder / name, {k: arrays[k] for k in part})
    table = {k: name for name, part in shards.items() for k in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": table}))
    assert_same(parameters(folder, "autoencoder"), parameters(write(tmp_path / "b", CODEC), "autoencoder"))
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"part 'model-00002-of-00002.safetensors' is missing"):
        open_path(folder)
    table["x"] = "../../etc/passwd"
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": table}))
    with pytest.raises(WeightsError, match="missing beside it"):
        open_path(folder)


def test_every_key_that_does_not_fit_is_named(tmp_path):
    arrays = tensors(CODEC)
    del arrays["decoder.layers.0.bias"]
    arrays["encoder.layers.0.bias"] = np.zeros((5,), np.float32)
    arrays["encoder.layers.9.bias"] = np.zeros((5,), np.float32)
    arrays["encoder.nothing"] = np.zeros((0, 3), np.float32)  # empty tensors are tolerated
    source = open_path(write(tmp_path, CODEC, arrays))
    with pytest.raises(WeightsError) as caught:
        source.load("autoencoder", source.create().autoencoder)
    text = str(caught.value)
    assert "missing (1): decoder.layers.0.bias" in text
    assert "not in the model (1): encoder.layers.9.bias" in text
    assert "encoder.layers.0.bias is float32 (5,), expected (4,)" in text and "nothing" not in text


def test_keys_of_no_part_and_twice_the_same_tensor(tmp_path):
    with pytest.raises(WeightsError, match=r"no place for \(1\): somewhere.else"):
        open_path(write(tmp_path / "a", DIFFUSION, tensors(DIFFUSION) | {"somewhere.else": np.zeros(3, np.float32)}))
    arrays = tensors(CODEC)
    arrays["encoder.layers.0.weight"] = arrays["encoder.layers.0.weight_v"]
    source = open_path(write(tmp_path / "b", CODEC, arrays))
    with pytest.raises(WeightsError, match="same tensor"):
        source.load("autoencoder", source.create().autoencoder)


@pytest.mark.parametrize(("lost", "left"), ["gv", "vg"])
def test_half_a_weight_norm(tmp_path, lost, left):
    arrays = tensors(CODEC)
    del arrays[f"encoder.layers.0.weight_{lost}"]
    source = open_path(write(tmp_path, CODEC, arrays))
    with pytest.raises(WeightsError, match=f"encoder.layers.0.weight_{left} lacks the other half"):
        source.load("autoencoder", source.create().autoencoder)


def test_files_of_a_folder(tmp_path):
    with pytest.raises(WeightsError, match=r"no model_config.json"):
        find_checkpoint(tmp_path)
    (tmp_path / "model_config.json").write_text("[1]")
    with pytest.raises(ConfigError, match="expected a JSON object"):
        find_checkpoint(tmp_path)
    (tmp_path / "model_config.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"no model.safetensors"):
        find_checkpoint(tmp_path)
    save(tmp_path / "step=10.safetensors", {})
    assert find_checkpoint(tmp_path).weights.name == "step=10.safetensors"
    save(tmp_path / "step=20.safetensors", {})
    with pytest.raises(WeightsError, match="several weight files"):
        find_checkpoint(tmp_path)
    (tmp_path / "base_model_config.json").write_text('{"a": 1}')
    save(tmp_path / "base_model.safetensors", {})
    assert find_checkpoint(tmp_path / "base_model.safetensors").config == {"a": 1}


def test_summary_names_every_key():
    keys = ["b", "layers.0.w", "layers.1.w", "a.3.c"]
    assert summary(keys) == "a.3.c, b, layers.*.w (2)"


# PyTorch's zip format, written without PyTorch.  Classes of these names in modules of these names are all it takes.


class FloatStorage:
    pass


def _rebuild_tensor_v2():
    pass


class Saved:
    def __init__(self, array, key, stride=None, size=None):
        self.array, self.key, self.stride, self.size = array, key, stride, size

    def __reduce__(self):
        count = self.array.size if self.size is None else self.size
        strides = self.stride or tuple(s // self.array.itemsize for s in self.array.strides)
        storage = Reference(("storage", FloatStorage, self.key, "cpu", count))
        return _rebuild_tensor_v2, (storage, 0, self.array.shape, strides, False, {})


class Reference:
    def __init__(self, value):
        self.value = value


class TorchPickler(pickle._Pickler):
    def persistent_id(self, obj):
        return obj.value if isinstance(obj, Reference) else None


def write_ckpt(path, tree, blobs, monkeypatch):
    for module, names in {"torch": [FloatStorage], "torch._utils": [_rebuild_tensor_v2], "posix": []}.items():
        home = types.ModuleType(module)
        for value in names:
            monkeypatch.setattr(value, "__module__", module)
            setattr(home, value.__name__, value)
        if names:
            monkeypatch.setitem(sys.modules, module, home)
    with zipfile.ZipFile(path, "w") as archive:
        with archive.open("m/data.pkl", "w") as file:
            TorchPickler(file, protocol=2).dump(tree)
        archive.writestr("m/byteorder", "little")
        for key, array in blobs.items():
            archive.writestr(f"m/data/{key}", np.ascontiguousarray(array).tobytes())
    return path


def test_a_ckpt_is_read_only_when_allowed_and_without_running_it(tmp_path, monkeypatch):
    arrays = tensors(CODEC)
    folder = write(tmp_path / "m", CODEC)
    (folder / "model.safetensors").unlink()
    tree = {"state_dict": {k: Saved(a, str(i)) for i, (k, a) in enumerate(arrays.items())}, "epoch": 3}
    write_ckpt(folder / "last.ckpt", tree, {str(i): a for i, a in enumerate(arrays.values())}, monkeypatch)
    with pytest.raises(WeightsError, match="--allow-pickle"):
        open_path(folder)
    expected = parameters(write(tmp_path / "b", CODEC, arrays), "autoencoder")
    assert_same(parameters(folder, "autoencoder", allow_pickle=True), expected)


def test_a_ckpt_with_views_and_shared_storage(tmp_path, monkeypatch):
    base = np.arange(12, dtype=np.float32).reshape(3, 4)
    tree = {"turned": Saved(base.T, "0"), "row": Saved(base[0], "0", size=12)}
    entries = read_entries(write_ckpt(tmp_path / "a.ckpt", tree, {"0": base}, monkeypatch), allow_pickle=True)
    np.testing.assert_array_equal(entries["turned"].read(), base.T)
    np.testing.assert_array_equal(entries["row"].read(), base[0])
    outside = {"x": Saved(np.zeros((4, 4), np.float32), "0", size=16)}
    with pytest.raises(WeightsError, match="outside its storage"):
        read_entries(write_ckpt(tmp_path / "b.ckpt", outside, {"0": base}, monkeypatch), allow_pickle=True)


def test_a_ckpt_that_calls_a_program_is_refused(tmp_path, monkeypatch):
    class Evil:
        def __reduce__(self):
            import os

            return os.system, (f"touch {tmp_path / 'ran'}",)

    path = write_ckpt(tmp_path / "evil.ckpt", {"state_dict": {}, "extra": Evil()}, {}, monkeypatch)
    with pytest.raises(WeightsError, match=r"wants to call (posix|nt)\.system"):
        read_entries(path, allow_pickle=True)
    assert not (tmp_path / "ran").exists()


def test_unwrap_leaves_a_plain_checkpoint_alone():
    entries = {"model.model.a": 1, "pretransform.model.b": 2}
    assert unwrap(entries, autoencoder=False) == entries
    assert unwrap(entries, autoencoder=True) == {"b": 2}
