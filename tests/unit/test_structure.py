"""What keeps every chip fast, checked on the CPU: the graphs hold no wasteful operation, and nothing is done twice.

No clock is read.  Operations are counted in the exported graph or by watching MLX's convolutions.
"""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from benchmarks import make_checkpoint
from stable_audio_mlx import StableAudioPipeline, cpu
from stable_audio_mlx.layers.attention import CrossAttention
from stable_audio_mlx.models.autoencoder import Autoencoder
from stable_audio_mlx.models.dit import DiT, DiTConfig
from stable_audio_mlx.models.oobleck import OobleckDecoder, OobleckDecoderConfig
from stable_audio_mlx.models.t5 import T5Encoder

from . import checkpoints

ROOT = Path(__file__).resolve().parents[2]
T5 = {**make_checkpoint.T5_BASE, "d_model": 768, "d_kv": 4, "d_ff": 16, "num_layers": 2, "num_heads": 2}
HEAVY = {
    "mlx", "numpy", "soundfile", "soxr", "tokenizers", "huggingface_hub", "tqdm", "scipy", "torch", "transformers",
}  # fmt: skip
# Primitives of one transformer block and of everything around the blocks, with MLX's own operations (Metal, CUDA).
BLOCK_BUDGET, STEP_BUDGET = 54, 36


@pytest.fixture(params=["plain", "cpu"])
def forms(request, monkeypatch):
    """MLX's own operations, as on Metal and CUDA, and the formulations for a Linux CPU."""
    if request.param == "cpu" and not cpu.on_linux_cpu():
        pytest.skip("only a Linux CPU has formulations of its own")
    monkeypatch.setenv("STABLE_AUDIO_MLX_FAST_CPU", "1" if request.param == "cpu" else "0")
    caches = (cpu.fast_forms,)
    for cached in caches:
        cached.cache_clear()
    yield request.param
    monkeypatch.undo()
    for cached in caches:
        cached.cache_clear()


@pytest.fixture
def convolutions(monkeypatch):
    """Every convolution that MLX is asked for: (function, keyword arguments)."""
    seen = []

    def watch(name):
        function = getattr(mx, name)

        def watched(*args, **kwargs):
            names = ("stride", "padding", "dilation", "input_dilation" if name == "conv_general" else "groups")
            seen.append((name, dict(zip(names, args[2:], strict=False)) | kwargs))
            return function(*args, **kwargs)

        monkeypatch.setattr(mx, name, watched)

    for name in ("conv1d", "conv_transpose1d", "conv_general", "conv2d", "conv_transpose2d"):
        watch(name)
    return seen


def plain(call: tuple[str, dict]) -> bool:
    """Neither transposed nor over an input with zeros between its samples."""
    name, options = call
    return "transpose" not in name and options.get("input_dilation", 1) in (1, [1], (1,))


def operations(tmp_path, *outputs) -> Counter:
    """How often each primitive stands in the graph of ``outputs``."""
    mx.eval(mx.random.state)  # else the graph begins with every random number since the process started
    mx.export_to_dot(str(tmp_path / "graph.dot"), *outputs)
    return Counter(re.findall(r'label ="(\w+)', (tmp_path / "graph.dot").read_text()))


def transformer(depth: int) -> tuple[DiT, mx.array, object]:
    """A transformer of stable-audio-open-small's kind, latents and conditions."""
    section = make_checkpoint.read_config("stable-audio-open-small")["model"]["diffusion"]["config"]
    section |= {"embed_dim": 128, "depth": depth, "num_heads": 1, "cond_token_dim": 16, "global_cond_dim": 16}
    dit = DiT(DiTConfig.from_section(section, "dit"))
    conditioning = dit.condition(cross=mx.zeros((1, 5, 16)), global_cond=mx.zeros((1, 16)))
    mx.eval(dit.parameters(), conditioning)
    return dit, mx.zeros((1, 8, 64)), conditioning


@pytest.mark.parametrize("strides", [(2, 4), (3, 5)])
def test_no_transposed_or_zero_stuffed_convolution_in_the_decoder(forms, convolutions, tmp_path, strides):
    decoder = OobleckDecoder(OobleckDecoderConfig(**{**checkpoints.OOBLECK, "latent_dim": 4, "strides": strides}))
    graph = operations(tmp_path, decoder(mx.zeros((1, 6, 4))))
    assert all(map(plain, convolutions))
    if forms == "cpu":
        assert not graph["Convolution"], "MLX's convolutions are slow there"
    else:
        assert 0 < graph["Convolution"] == len(convolutions)


def test_no_transposed_convolution_in_tiled_decoding(forms, convolutions):
    mx.eval(Autoencoder.from_section(checkpoints.AUTOENCODER, "model").decode_tiled(mx.zeros((1, 40, 4))))
    assert all(map(plain, convolutions))


def test_a_dilated_convolution_never_reaches_the_cpu_back_end(convolutions):
    if not cpu.fast_forms():
        pytest.skip("only on a Linux CPU")
    model = Autoencoder.from_section(checkpoints.AUTOENCODER, "model")
    mx.eval(model.decode(mx.zeros((1, 6, 4))), model.encode(mx.zeros((1, 48, 2))))
    assert all(call.get("dilation", 1) == 1 for _, call in convolutions)


@pytest.fixture
def fast_calls(monkeypatch):
    """MLX's own operations, its fast kernels counted and each one primitive in the graph, as on a GPU."""
    monkeypatch.setenv("STABLE_AUDIO_MLX_FAST_CPU", "0")
    cpu.fast_forms.cache_clear()
    seen: Counter = Counter()

    def count(name):
        def one_primitive(x, *_, **__):
            seen[name] += 1
            return mx.abs(x)

        monkeypatch.setattr(mx.fast, name, one_primitive)

    for name in ("scaled_dot_product_attention", "layer_norm", "rms_norm", "rope"):
        count(name)
    yield seen
    monkeypatch.undo()
    cpu.fast_forms.cache_clear()


def test_operations_of_a_step_stay_within_the_budget(fast_calls, tmp_path):
    """On a GPU a small step is bound by the number of its operations."""
    counts = []
    for depth in (1, 2):
        dit, x, conditioning = transformer(depth)
        counts.append(operations(tmp_path, dit(x, 0.5, conditioning)).total())
    per_block = counts[1] - counts[0]
    assert per_block <= BLOCK_BUDGET
    assert counts[0] - per_block <= STEP_BUDGET


def test_fused_attention_and_norms_are_used_where_the_chip_has_them(fast_calls):
    """One kernel each for self and cross attention, norms and positions: otherwise many more passes over memory."""
    dit, x, conditioning = transformer(3)
    fast_calls.clear()
    dit(x, 0.5, conditioning)
    assert fast_calls == {"scaled_dot_product_attention": 6, "layer_norm": 3 * (3 + 3), "rope": 6}


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """A small model with a T5 encoder, and its folder."""
    folder, config = tmp_path_factory.mktemp("spoken"), checkpoints.diffusion(cond_token_dim=768, global_cond_dim=768)
    section = config["model"]["conditioning"]
    section["cond_dim"] = 768
    prompt = {"id": "prompt", "type": "t5", "config": {"t5_model_name": "t5-base", "max_length": 64}}
    section["configs"].insert(0, prompt)
    config["model"]["diffusion"]["cross_attention_cond_ids"].insert(0, "prompt")
    checkpoints.write(folder, config)
    make_checkpoint.write_t5(folder, T5)
    return folder


@pytest.fixture
def calls(monkeypatch):
    """How often the parts of a run are called, and the shapes that the text encoder and the transformer see."""
    seen: dict[str, list] = {}

    def watch(name, owner, method, note):
        function, seen[name] = getattr(owner, method), []

        def watched(self, *args, **kwargs):
            seen[name].append(note(*args, **kwargs))
            return function(self, *args, **kwargs)

        monkeypatch.setattr(owner, method, watched)

    watch("keys_values", CrossAttention, "keys_values", lambda context: context.shape)
    watch("condition", DiT, "condition", lambda **conditions: sorted(conditions))
    watch("step", DiT, "__call__", lambda x, *rest, **more: x.shape[0])
    watch("text", T5Encoder, "__call__", lambda x, *rest, **more: x.shape[:2])
    return seen


def test_what_steps_share_is_computed_once_and_text_at_its_true_length(spoken, calls):
    pipe = StableAudioPipeline.from_pretrained(str(spoken))
    pipe.generate("warm rain", steps=5, cfg_scale=1.0, seconds=2, seed=0)
    assert len(calls["condition"]) == 1
    assert len(calls["keys_values"]) == 2, "one for each block"
    assert calls["step"] == [1] * 5, "no unconditional branch at cfg 1"
    assert calls["text"] == [(1, 3)], "two words and the end mark, not 64 tokens"


def test_guidance_conditions_once_too(spoken, calls):
    pipe = StableAudioPipeline.from_pretrained(str(spoken))
    pipe.generate("warm rain", steps=3, cfg_scale=4.0, seconds=2, seed=0)
    assert calls["step"] == [2] * 3
    assert len(calls["keys_values"]) == 2


def test_one_evaluation_per_step(spoken, monkeypatch):
    """Nothing in the sampling loop waits for the device but the step itself."""
    pipe = StableAudioPipeline.from_pretrained(str(spoken))
    evaluations, item = [], mx.array.item
    evaluate = mx.eval
    options = {"steps": 6, "cfg_scale": 2.0, "seconds": 2, "seed": 0}
    counts = {}

    def watch(event):
        counts[event.kind, event.step] = len(evaluations)

    monkeypatch.setattr(mx, "eval", lambda *arrays: (evaluations.append("eval"), evaluate(*arrays))[1])
    monkeypatch.setattr(mx.array, "item", lambda array: (evaluations.append("item"), item(array))[1])
    pipe.generate("rain", callback=watch, **options)
    steps = [counts["step", step] for step in range(1, 7)]
    assert np.diff(steps).tolist() == [1] * 5


def test_reading_npz_lets_the_process_end(tmp_path):
    """MLX's own NPZ reader aborts at exit while lazily read arrays are alive (rc 134)."""
    np.savez(tmp_path / "part.npz", **{f"a{i}": np.ones((64, 64), np.float32) for i in range(8)})
    code = (
        "import sys; sys.path.insert(0, 'src'); from pathlib import Path; import mlx.core as mx\n"
        "from stable_audio_mlx.weights.store import read_npz\n"
        f"arrays = [e.load() for e in read_npz(Path({str(tmp_path / 'part.npz')!r})).values()]\n"
        "mx.eval(arrays); print(sum(a.sum().item() for a in arrays))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout.strip()) == (0, str(8 * 64.0 * 64)), result.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["--no-such-flag"]])
def test_help_and_usage_errors_import_nothing_heavy(arguments):
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "generate.py", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in result.stderr.splitlines() if "|" in line}
    assert "stable_audio_mlx" in imported
    assert not imported & HEAVY
