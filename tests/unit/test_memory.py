"""The memory budget: it changes sizes of pieces and never a number, ends where it should, and every flag sets it."""

import gc
import json
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from benchmarks import codec
from stable_audio_mlx import StableAudioPipeline, audio, cpu, memory, pipeline
from stable_audio_mlx.cli.main import main
from stable_audio_mlx.memory import LOW, NORMAL, budget, spending, within
from stable_audio_mlx.models.autoencoder import Autoencoder
from stable_audio_mlx.models.oobleck import OobleckDecoder, OobleckEncoder
from stable_audio_mlx.options import GenerateOptions

from ..parity import case as cases
from ..parity.project import write_checkpoint
from . import checkpoints, loras
from .test_oobleck import network
from .test_same import MODELS, autoencoder, error, noise, random_model

ROOT = Path(__file__).parents[2]
WIDE = autoencoder({"chunk_size": 128, "chunk_midpoint_shift": True, "channels": 64, "strides": [16], "dim_heads": 64})
WIDE["downsampling_ratio"] = 32
COMMANDS = {
    "generate": ["--steps", "1", "--seconds", "2", "--init-audio", "in.wav"],
    "encode": ["in.wav"],
    "decode": ["z.npy"],
    "roundtrip": ["in.wav"],
}


def kept() -> int:
    """Bytes of freed memory that MLX keeps at most."""
    limit = mx.set_cache_limit(0)
    mx.set_cache_limit(limit)
    return limit


def test_a_budget_ends_with_its_block():
    cpu.setup()
    before = kept()
    with pytest.raises(ZeroDivisionError), spending(LOW):
        assert budget() is LOW and kept() == LOW.kept < before
        with spending(NORMAL):
            assert budget() is NORMAL and kept() == LOW.kept
        assert budget() is LOW
        raise ZeroDivisionError
    assert budget() is NORMAL and kept() == before


def test_who_asks_for_items_keeps_his_own_budget():
    items = within(LOW, (budget() for _ in range(3)))
    for item in items:
        assert item is LOW and budget() is NORMAL


def test_two_pipelines_have_two_budgets(tmp_path, monkeypatch):
    folder = checkpoints.write(tmp_path / "model", checkpoints.diffusion())
    seen = watch(monkeypatch)
    runs = [
        StableAudioPipeline.from_pretrained(folder, low_memory=low).steps(GenerateOptions(seconds=2, steps=2, seed=0))
        for low in (True, False)
    ]
    for low, normal in zip(*runs, strict=True):
        assert low.kind == normal.kind and budget() is NORMAL
    assert seen == [("decode_tiled", LOW), ("decode_tiled", NORMAL)]
    assert mx.array_equal(low.value, normal.value)


@pytest.mark.parametrize("name", ["chunks", "band", "uneven_band"])
def test_same_has_its_numbers_in_either_budget(name):
    """Small enough to be quick, with the proportions of the two budgets."""
    model = random_model(MODELS[name])
    z, sound = noise(1, 45, 3), noise(1, 45 * 8, 2)
    decoded, encoded, pieces = [], [], []
    for spent in (NORMAL, LOW):
        with spending(replace(spent, window=spent.window // 16, piece=spent.piece // 8)):
            pieces.append(len(list(model.decoder.tiled(model.bottleneck.decode(z)))))
            decoded.append(model.decode_tiled(z))
            encoded.append(model.encode_tiled(sound))
    assert pieces[1] > pieces[0] > 1
    assert error(*decoded) < 1e-6 and error(*encoded) < 1e-6


@pytest.mark.parametrize(("cls", "shape"), [(OobleckDecoder, (1, 2500, 3)), (OobleckEncoder, (1, 20000, 2))])
def test_oobleck_has_its_numbers_in_either_budget(cls, shape):
    model, x = network(cls, channels=64, c_mults=[1, 1], strides=[2, 4], use_snake=True), noise(*shape)
    results, pieces = [], []
    for spent in (NORMAL, LOW):
        with spending(spent):
            parts = list(model.tiled(x))
        pieces.append(len(parts))
        results.append(mx.concatenate(parts, axis=1))
    assert error(*results) < 1e-6
    assert cls is OobleckEncoder or pieces[1] > pieces[0]  # an encoder's tiles are joined before they come out


def watch(monkeypatch) -> list[tuple]:
    """(method, budget) of every call of the codecs' methods."""
    seen = []

    def watched(name, method):
        def call(self, *args):
            seen.append((name, budget()))
            return method(self, *args)

        return call

    for name in ("encode_tiled", "decode_tiled"):
        monkeypatch.setattr(Autoencoder, name, watched(name, getattr(Autoencoder, name)))
    return seen


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_the_flag(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = checkpoints.diffusion() if command == "generate" else checkpoints.CODEC
    checkpoints.write(tmp_path / "model", config)
    audio.write("in.wav", np.array(noise(2, 400)) / 8, config["sample_rate"])
    np.save("z.npy", np.array(noise(4, 50)))
    seen = watch(monkeypatch)
    assert main([command, *COMMANDS[command], "--model", "model"]) == 0
    assert seen and {spent for _, spent in seen} == {NORMAL}
    seen.clear()
    assert main([command, *COMMANDS[command], "--model", "model", "--low-memory"]) == 0
    wanted = {"generate": 2, "roundtrip": 2}.get(command, 1)
    assert len({name for name, _ in seen}) == wanted and {spent for _, spent in seen} == {LOW}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no measure of a process's memory here")
def test_low_memory_takes_less_memory(tmp_path, monkeypatch, capsys):
    config = {"model_type": "autoencoder", "sample_rate": 3200, "audio_channels": 2, "model": WIDE}
    request = ["--model", str(checkpoints.write(tmp_path / "wide", config)), "--only", "decode", "--seconds", "6"]
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    taken = []
    for flag in ([], ["--low-memory"]):
        assert codec.main([*request, *flag, "--json"]) == 0
        (row,) = json.loads(capsys.readouterr().out)
        assert row["seconds"] == 6 and row["cpu"] > 0
        taken.append(row["memory"] - row["memory_before"])
    assert 0 < taken[1] < 0.6 * taken[0]
    lines = [*codec.header(row), codec.line(row)]
    assert len(lines) == 3 and lines[2].split()[:2] == ["decode", "6.0"]


def test_available_memory_is_the_kernels_estimate_within_a_containers_limit(tmp_path, monkeypatch):
    assert 0 < memory.available() <= memory.total()
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    assert memory.available() == memory.total() * 3 // 4
    (tmp_path / "meminfo").write_text("MemTotal:  900 kB\nMemAvailable:   500 kB\n")
    assert memory.available() == 500 * 1024
    for limit, expected in (("max", 500 * 1024), ("100000", 90000), ("900000000", 500 * 1024)):
        (tmp_path / "memory.max").write_text(f"{limit}\n")
        (tmp_path / "memory.current").write_text("10000\n")
        assert memory.available() == expected


@pytest.mark.parametrize(("free", "kept"), [(1 << 40, True), (1 << 20, False)])
def test_models_are_kept_for_the_next_take_where_memory_allows(monkeypatch, free, kept):
    monkeypatch.setattr(pipeline, "available", lambda: free)
    tiny = ROOT / "model" / "tiny"
    pipe = StableAudioPipeline.from_pretrained(tiny, keep_models=None)
    assert 4 * 9_000_000 < pipe._source.weight_bytes < 4 * 9_200_000
    pipe.generate("kick drum", seconds=0.2, steps=1, seed=0)
    assert bool(pipe._parts._loaded) is kept
    low = StableAudioPipeline.from_pretrained(tiny, keep_models=None, low_memory=True)
    low.generate("kick drum", seconds=0.2, steps=1, seed=0)
    assert not low._parts._loaded


@pytest.mark.parametrize("golden", ["clips_v", "clips_sa3_small", "clips_sa3_medium"])
def test_a_run_leaves_nothing_in_memory(tmp_path, golden):
    """What a run used is free when it ends, not when Python's collector comes by: weights in a cycle would pile up."""
    case = cases.load(golden)
    pipe = StableAudioPipeline.from_pretrained(write_checkpoint(case, tmp_path / golden))
    sound = (0.1 * np.random.default_rng(0).standard_normal((2, 20000)).astype(np.float32), pipe.sample_rate)
    seconds = min(20000 / pipe.sample_rate, pipe.facts.longest)
    options = {"seconds": seconds, "steps": 2, "seed": 1, "cfg_scale": 2.0, "negative_prompt": "noise"}
    options |= {"init_audio": sound, "inpaint": [(seconds / 4, seconds / 2)]}
    if "sa3" in golden:
        loras.write(tmp_path / "l.safetensors", "lora", config=case.config)
        options["lora"] = [(tmp_path / "l.safetensors", 0.5)]
    pipe.make("a", **options)
    gc.collect()
    gc.disable()
    try:
        before = mx.get_active_memory()
        for _ in range(2):
            pipe.make("a", **options)
        assert mx.get_active_memory() - before < 20_000
    finally:
        gc.enable()


def test_memory_freed_by_sounds_of_another_length_is_given_back():
    pipe = StableAudioPipeline.from_pretrained(ROOT / "model" / "tiny", keep_models=True)
    kept = []
    for seconds in (3.9, 3.9, 0.5):
        pipe.generate("kick drum", seconds=seconds, steps=1, seed=0)
        kept.append(mx.get_cache_memory())
    assert kept[2] < 0.6 * kept[1] and abs(kept[1] - kept[0]) < 0.1 * kept[0]  # of the same length it is used again
