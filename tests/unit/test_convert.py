"""convert.py's engine: all or nothing, twice is safe, every refusal says why; and verify, which looks back."""

import copy
import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from stable_audio_mlx.cli import convert as cli
from stable_audio_mlx.cli import main
from stable_audio_mlx.cli import verify as cli_verify
from stable_audio_mlx.errors import OptionError, WeightsError
from stable_audio_mlx.models.t5 import T5Encoder
from stable_audio_mlx.weights import folder
from stable_audio_mlx.weights.convert import convert_folder
from stable_audio_mlx.weights.safetensors import read_header
from stable_audio_mlx.weights.source import open_model
from stable_audio_mlx.weights.store import read_npz
from stable_audio_mlx.weights.text import TextEncoder
from stable_audio_mlx.weights.verify import verify_model

from .checkpoints import CODEC, DIFFUSION, save, tensors, write


@pytest.fixture
def source(tmp_path):
    return write(tmp_path / "source", DIFFUSION)


def left_over(folder):
    return sorted(f.name for f in folder.iterdir())


def test_the_converted_folder(source, tmp_path):
    out = tmp_path / "model" / "mine"
    manifest, fresh = convert_folder(source, out, name="mine")
    assert fresh and left_over(tmp_path / "model") == ["mine"]
    npz = ["autoencoder.npz", "conditioner.npz", "dit.npz"]
    assert left_over(out) == [*npz, "manifest.json", "model_config.json"]
    assert json.loads((out / "manifest.json").read_text()) == manifest
    assert (out / "model_config.json").read_bytes() == (source / "model_config.json").read_bytes()
    assert manifest["source"]["sha256"] == folder.sha256(source / "model.safetensors")
    for name in npz:
        entries, item = read_npz(out / name), manifest["files"][name]
        assert item["bytes"] == (out / name).stat().st_size and item["sha256"] == folder.sha256(out / name)
        assert item["tensors"] == len(entries) and item["parameters"] == sum(e.size for e in entries.values())
    v = tensors(DIFFUSION)["pretransform.model.decoder.layers.1.layers.1.weight_v"]
    fused = read_npz(out / "autoencoder.npz")["decoder.layers.1.layers.1.weight"]
    assert fused.shape == (v.shape[1], v.shape[2], v.shape[0])


def test_source_and_converted_load_equal(source, tmp_path):
    convert_folder(source, tmp_path / "out")
    for part in ("dit", "autoencoder", "conditioner"):
        a, b = (open_model(f) for f in (source, tmp_path / "out"))
        x, y = a.load(part, a.create()[part]).parameters(), b.load(part, b.create()[part]).parameters()
        flat = [dict(tree_flatten(p)) for p in (x, y)]
        assert flat[0].keys() == flat[1].keys()
        assert all(mx.array_equal(flat[0][k], flat[1][k]) for k in flat[0])


@pytest.mark.parametrize(("dtype", "bound"), [("float16", 5e-4), ("bfloat16", 4e-3)])
def test_stored_in_16_bits(source, tmp_path, dtype, bound):
    convert_folder(source, tmp_path / "a")
    convert_folder(source, tmp_path / "b", dtype)
    a, b = (read_npz(tmp_path / f / "dit.npz") for f in "ab")
    assert {e.dtype for e in b.values()} == {dtype}
    for key in a:
        wide = a[key].read()
        assert np.abs(wide - b[key].read()).max() <= bound * np.abs(wide).max()


def test_twice(source, tmp_path):
    out = tmp_path / "out"
    first, _ = convert_folder(source, out)
    stamp = (out / "dit.npz").stat().st_mtime_ns
    assert convert_folder(source, out) == (first, False)
    assert (out / "dit.npz").stat().st_mtime_ns == stamp
    with pytest.raises(OptionError, match="--overwrite"):
        convert_folder(source, out, "float16")
    manifest, fresh = convert_folder(source, out, "float16", overwrite=True)
    assert fresh and manifest["dtype"] == read_npz(out / "dit.npz")["project_in.weight"].dtype == "float16"
    (out / "dit.npz").write_bytes(b"damaged")
    with pytest.raises(OptionError, match="--overwrite"):
        convert_folder(source, out, "float16")
    assert left_over(tmp_path) == ["out", "source"]


def test_a_folder_that_is_no_model_is_never_replaced(source, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("years of work")
    for place in (tmp_path / "home", source):
        with pytest.raises(OptionError, match="left alone"):
            convert_folder(source, place, overwrite=True)
    assert left_over(tmp_path / "home") == ["thesis.txt"]


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_interrupted_or_out_of_space(source, tmp_path, monkeypatch, failure):
    out = tmp_path / "out"
    convert_folder(source, out)
    before = (out / "manifest.json").read_bytes()

    def fail(*_):
        raise failure

    monkeypatch.setattr(folder, "finite", fail)
    expected = KeyboardInterrupt if isinstance(failure, KeyboardInterrupt) else WeightsError
    with pytest.raises(expected, match=None if expected is KeyboardInterrupt else "disk is full"):
        convert_folder(source, out, "float16", overwrite=True)
    with pytest.raises(expected):
        convert_folder(source, tmp_path / "new")
    assert left_over(tmp_path) == ["out", "source"] and (out / "manifest.json").read_bytes() == before


def test_a_disk_that_is_too_small(source, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(WeightsError, match=r"are needed, 0.0 GB are free"):
        convert_folder(source, tmp_path / "out")


def test_weights_that_are_not_finite(tmp_path):
    arrays = tensors(CODEC)
    arrays["decoder.layers.0.bias"][1] = np.nan
    with pytest.raises(WeightsError, match=r"autoencoder.decoder.layers.0.bias: holds values that are not finite"):
        convert_folder(write(tmp_path / "s", CODEC, arrays), tmp_path / "out")
    assert left_over(tmp_path) == ["s"]


def test_progress_reaches_the_end(source, tmp_path):
    seen = {}
    convert_folder(source, tmp_path / "out", progress=lambda part, done, total: seen.update({part: (done, total)}))
    assert seen.keys() == {"reading", "dit", "autoencoder", "conditioner"}
    assert all(done == total for done, total in seen.values())


def test_command_line(source, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main([str(source), "-o", str(out)]) == 0
    stdout, stderr = capsys.readouterr()
    assert stdout == f"{out}\n"
    words = [line.split()[0] for line in stderr.splitlines()]
    assert words == ["part", "autoencoder.npz", "conditioner.npz", "dit.npz", "model_config.json", "total"]
    assert cli.main([str(source), "-o", str(out)]) == 0
    assert "left as it is" in capsys.readouterr().err
    assert cli.main([str(source), "-o", str(source)]) == 2
    assert cli.main([str(tmp_path / "nowhere")]) == 3
    assert capsys.readouterr().err.count("\n") <= 4


def test_verify_finds_what_is_wrong(source, tmp_path, capsys):
    out = tmp_path / "out"
    convert_folder(source, out)
    assert cli_verify.main([str(out)]) == 0
    assert "ok" in capsys.readouterr().out
    data = bytearray((out / "dit.npz").read_bytes())
    entry = read_npz(out / "dit.npz")["project_in.weight"]
    data[entry.offset : entry.offset + entry.nbytes] = bytes(entry.nbytes)
    (out / "dit.npz").write_bytes(data)
    assert cli_verify.main([str(out)]) == 3
    stderr = capsys.readouterr().err
    assert "dit.npz: its SHA-256" in stderr and "is zero throughout" in stderr
    data[entry.offset : entry.offset + 4] = np.float32(np.inf).tobytes()
    (out / "dit.npz").write_bytes(data)
    assert any("not finite" in problem for problem in verify_model(out).problems)


def test_verify_holds_a_known_name_to_its_published_counts(source, tmp_path):
    convert_folder(source, tmp_path / "x", name="stable-audio-open-small")
    problems = "\n".join(verify_model(tmp_path / "x").problems)
    assert "tensors, the published stable-audio-open-small has 750" in problems
    assert "has 497,190,274" in problems and "SHA-256 differs" in problems
    with pytest.raises(WeightsError, match="not converted"):
        verify_model(source)


T5 = {"model_type": "t5", "d_model": 32, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2, "vocab_size": 9}


def add_text(folder, dtype):
    """A T5 of one layer with its decoder, tied embeddings under both names, and a tokenizer; returns its own share."""
    encoder = T5Encoder(T5Encoder.Config.from_hugging_face(T5, "t5"))
    rng = np.random.default_rng(0)
    own = {
        f"encoder.{name}": rng.standard_normal(value.shape).astype(dtype)
        for name, value in tree_flatten(encoder.parameters())
    }
    own["shared.weight"] = rng.standard_normal((9, 32)).astype(dtype)
    others = {"encoder.embed_tokens.weight": own["shared.weight"], "lm_head.weight": own["shared.weight"]}
    for name in ("text_encoder", "tokenizer"):
        (folder / name).mkdir()
    (folder / "text_encoder" / "config.json").write_text(json.dumps(T5))
    save(folder / "text_encoder" / "model.safetensors", own | others)
    words = {"type": "WordLevel", "vocab": {"<pad>": 0, "</s>": 1, "<unk>": 2, "drum": 3}, "unk_token": "<unk>"}
    (folder / "tokenizer" / "tokenizer.json").write_text(json.dumps({"version": "1.0", "model": words}))
    return own


@pytest.fixture
def with_text(tmp_path):
    config = copy.deepcopy(DIFFUSION)
    prompt = {"id": "prompt", "type": "t5", "config": {"max_length": 8, "t5_model_name": "nobody/nothing"}}
    config["model"]["conditioning"]["configs"].append(prompt)
    return write(tmp_path / "source", config, tensors(DIFFUSION))


@pytest.mark.parametrize(("stored", "asked"), [("float32", "float16"), ("float16", "float32"), ("float32", "float32")])
def test_a_text_encoder_keeps_its_own_share_and_is_never_widened(with_text, tmp_path, stored, asked):
    own = add_text(with_text, stored)
    out = tmp_path / "out"
    manifest, _ = convert_folder(with_text, out, asked)
    written = read_header(out / "text_encoder.safetensors")
    assert written.keys() == own.keys()
    for key, value in own.items():
        assert written[key].dtype == min(stored, asked)
        np.testing.assert_array_equal(written[key].read(), value.astype(min(stored, asked)))
    assert manifest["files"]["text_encoder.safetensors"]["tensors"] == len(own)
    for source in (open_model(out), open_model(with_text)):
        files = source.text_files()
        encoder = TextEncoder.from_files(files.config, files.weights, files.tokenizer)
        assert encoder.encode(["drum"], 8).tokens.ids[0].tolist() == [3, 0, 0, 0, 0, 0, 0, 0]


def test_a_text_encoder_that_is_nowhere(with_text, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(WeightsError, match=r"text encoder nobody/nothing is not on this computer"):
        convert_folder(with_text, tmp_path / "out", download=False)


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from stable_audio_mlx.cli import main, convert, verify; main.main(['--help']); convert.parser();"
        "verify.parser(); print(sorted({'mlx', 'numpy', 'tqdm', 'huggingface_hub', 'tokenizers'} & sys.modules.keys()))"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_dispatcher(capsys):
    assert main.main(["verfy"]) == 2 and "did you mean verify?" in capsys.readouterr().err
    assert main.main(["--version"]) == 0 and capsys.readouterr().out.startswith("stable-audio-mlx ")
    assert main.main(["verify", "no-such-model"]) == 3
