"""The benchmarks measure what they say: operation counts, checkpoints of true size, phases that add up."""

import json
import math
import re
import subprocess
import sys
import time
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from tokenizers import Tokenizer

from benchmarks import compare, floors, make_checkpoint, measure, official, run, serve, takes
from stable_audio_mlx.models.factory import create_model
from stable_audio_mlx.weights.layout import published_tensors
from stable_audio_mlx.weights.safetensors import read_header

from . import checkpoints

SMALL, FULL = "stable-audio-open-small", "stable-audio-open-1.0"
ROOT = Path(__file__).resolve().parents[2]


def test_operation_counts_of_the_published_models():
    """Against the formulas 2 n (18 d^2) + 4 d (n^2 + n s) per layer and 5.04 GFLOP per latent frame of the decoder."""
    config = make_checkpoint.read_config(SMALL)
    assert floors.latent_frames(config) == 256 and floors.context_tokens(config) == 65
    layers = 16 * (2 * 257 * 18 * 1024**2 + 4 * 1024 * (257**2 + 257 * 65))
    assert floors.step_operations(config, 256) == pytest.approx(layers, rel=1e-3)
    assert floors.step_operations(config, 256, batch=2) == 2 * floors.step_operations(config, 256)
    assert floors.decode_operations(config, 256) == pytest.approx(256 * 5.042e9, rel=1e-3)
    assert floors.context_tokens(make_checkpoint.read_config(FULL)) == 130
    assert floors.text_operations(make_checkpoint.T5_BASE, 16) == pytest.approx(2.727e9, rel=1e-3)


def test_a_measurement_that_cannot_be_made_is_told_in_words(capfd):
    with pytest.raises(SystemExit) as ended:
        run.main(["--model", "nowhere"])
    told = capfd.readouterr().err
    assert ended.value.code == 3 and told.startswith("error: nowhere") and "Traceback" not in told


def test_models_without_a_known_count_have_no_floor():
    config = make_checkpoint.read_config(SMALL)
    config["model"]["pretransform"]["config"]["decoder"]["type"] = "same"
    assert floors.decode_operations(config, 256) is None
    assert floors.text_operations({"model_type": "other"}, 16) is None


@pytest.mark.parametrize(("name", "tensors", "numbers"), [(SMALL, 750, 497_190_274), (FULL, 745, 4_853_792_840 // 4)])
def test_the_published_list_of_tensors(name, tensors, numbers):
    """Counts of the published files: parameters of small, bytes of 1.0 (its buffers are in the file)."""
    listed = published_tensors(create_model(make_checkpoint.read_config(name)))
    assert len(listed) == tensors
    assert sum(math.prod(shape) for shape, buffer in listed.values() if name == FULL or not buffer) == numbers


def test_small_is_written_with_its_autoencoder_in_half_precision():
    shapes = {"model.model.x.weight": (2, 2), "pretransform.model.decoder.layers.0.weight_v": (2, 2, 7)}
    assert [dtype for *_, dtype in make_checkpoint.checkpoint_tensors(shapes, half=True)] == ["float32", "float16"]
    assert make_checkpoint.read_config(SMALL)["model"]["pretransform"]["model_half"]


def test_a_checkpoint_with_random_weights_makes_sound(tmp_path):
    """Weights of one kind per key: the smallest of all models goes through every kind and neither explodes nor dies."""
    config = checkpoints.diffusion()
    shapes = {key: shape for key, (shape, _) in published_tensors(create_model(config)).items()}
    (tmp_path / "model_config.json").write_text(json.dumps(config))
    tensors = make_checkpoint.checkpoint_tensors(shapes, half=False)
    make_checkpoint.write_safetensors(tmp_path / "model.safetensors", tensors)
    found = read_header(tmp_path / "model.safetensors")
    assert {key: entry.shape for key, entry in found.items()} == shapes
    assert all(np.isfinite(entry.read()).all() for entry in found.values())
    again = make_checkpoint.random_tensor("x.weight", (3, 3), {}, 0)
    assert np.array_equal(again, make_checkpoint.random_tensor("x.weight", (3, 3), {}, 0))
    result = measure.measure(str(tmp_path), seconds=2, steps=3, cfg=1.0)
    assert set(result["phases"]) >= {"import", "load", "text", "conditioning", "step 1", "step 2", "step 3", "decode"}
    assert result["peak_memory"] > 0 and result["matmul_rate"] > 0


def test_tokenizer_and_text_encoder(tmp_path):
    make_checkpoint.write_t5(tmp_path, {**make_checkpoint.T5_BASE, "d_ff": 8, "num_layers": 1, "vocab_size": 32128})
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer" / "tokenizer.json"))
    assert tokenizer.get_vocab_size() == 32100
    ids = tokenizer.encode("warm rain, 120 BPM").ids
    assert ids[-1] == 1 and 2 not in ids and len(ids) < 14
    assert sum(map(math.prod, make_checkpoint.t5_shapes(make_checkpoint.T5_BASE).values())) == 109_628_544


def test_meter_counts_inner_phases_apart():
    meter = measure.Meter()

    class Part:
        def load(self):
            time.sleep(0.02)
            return "loaded"

    meter.wrap(Part, "load", "load")
    meter.enter("run")
    assert Part().load() == "loaded"
    meter.enter("end")
    assert meter.phases["load"].wall >= 0.02 > meter.phases["run"].wall


def test_table_of_a_run():
    phases = {"load": {"wall": 1.0, "cpu": 0.5}, "decode": {"wall": 3.0, "cpu": 2.0}}
    phases |= {f"step {i}": {"wall": float(i), "cpu": float(i)} for i in (1, 2, 3, 4)}
    result = {
        "model": "m", "device": "Device(cpu, 0)", "blas": "b", "seconds": 1.0, "steps": 4, "cfg": 1.0, "batch": 1,
        "phases": phases, "matmul_rate": 2e9, "matmul_rate_cpu": 1e9, "operations": {"step": 2e9, "decode": None},
        "to_first_step": 1.0, "to_sound": 14.0, "peak_memory": 1e9, "peak_memory_mlx": 1e9,
    }  # fmt: skip
    lines = {line[:14].strip(): line.split()[-4:] for line in run.table(result).splitlines() if line}
    assert lines["median step"] == ["3.000", "3.000", "2.000", "67%"]
    assert lines["total"][-2:] == ["14.000", "12.500"]


def test_comparison_takes_turns_and_reports_the_missing():
    turns = []
    row = compare.row(
        "x", lambda: turns.append("a"), lambda: (turns.append("b"), time.sleep(0.002)), time.perf_counter, 4
    )
    assert "".join(turns) == "abba" * 2
    assert row["ratio"] > 1 and row["quartiles"][0] <= row["ratio"] <= row["quartiles"][1]
    if compare.importlib.util.find_spec("torch") is None:
        assert "not installed" in compare.compare("tiny")["missing"]


def test_commands_explain_themselves():
    for module in ("run", "codec", "make_checkpoint"):
        command = [sys.executable, "-m", f"benchmarks.{module}", "--help"]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert result.returncode == 0 and "usage: python -m benchmarks" in result.stdout


def test_matmul_rate_is_plausible():
    wall, cpu = floors.matmul_rate(size=256, repeats=2)
    assert 1e8 < wall < 1e15 and 1e8 < cpu < 1e15


def test_names_of_the_official_runtime_are_those_of_the_checkpoint():
    """The runtime keeps the checkpoint's names but for norms and two sequences; its file says so."""
    config = make_checkpoint.read_config("stable-audio-3-small-music")
    model = create_model(config)
    prefix, constants = "model.model.", ("inv_freq", ".freqs")
    expected = {
        re.sub(r"\.to_local_embed\.", ".to_local_embed.seq.", key.removeprefix(prefix)).replace(".gamma", ".weight")
        for key, (_, buffer) in published_tensors(model).items()
        if key.startswith(prefix) and not buffer and not key.endswith(constants)
    }
    names = {official.renamed(key, official.STEP_KEYS) for key, _ in official.flat(model.dit)}
    assert expected <= names and all(name.startswith(("_", "timestep_features")) for name in names - expected)


def test_an_official_module_gets_every_weight_or_none():
    theirs, weight = nn.Linear(3, 2), mx.arange(6.0).reshape(2, 3)
    official.share(theirs, {"x.weight": weight, "x.bias": mx.ones(2)}, [(r"^x\.", "")])
    assert mx.array_equal(theirs.weight, weight) and mx.array_equal(theirs.bias, mx.ones(2))
    with pytest.raises(KeyError, match="bias"):
        official.share(theirs, {"weight": weight}, [])


def test_many_takes_are_measured_from_outside():
    """Of the real command: one memory and one time for each sound; what grows or slows down shows."""
    result = takes.measure("tiny", takes=13, steps=1)
    assert len(result["memory"]) == len(result["seconds"]) == 13 and min(result["memory"]) > 30e6
    assert -0.2 < result["growth"] < 0.05, result
    found = takes.verdict([100] * 10 + [100, 90, 107], [9.0] + [1.0] * 10 + [2.0] * 10)
    assert found == pytest.approx({"growth": 0.07, "slower": 2.0})
    assert "+7.0% at most" in takes.table(result | found)


def test_a_server_under_load_is_measured_from_outside():
    result = serve.measure("tiny", clients=4, seconds=2)
    assert result["jobs"] and result["health asked"] > 5 and result["exit code"] == 130
    assert result["lost jobs"] == result["wrong answers"] == result["tracebacks"] == 0, result
