"""Fewer bits per weight: what is quantised, what comes back, what a GPU keeps packed, what it does to the velocity."""

import json

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from stable_audio_mlx import cpu
from stable_audio_mlx.cli import convert as cli
from stable_audio_mlx.errors import OptionError, WeightsError
from stable_audio_mlx.models.t5 import T5Encoder
from stable_audio_mlx.weights import measure, quantize
from stable_audio_mlx.weights.convert import convert_folder
from stable_audio_mlx.weights.safetensors import read_header
from stable_audio_mlx.weights.source import open_model, open_path
from stable_audio_mlx.weights.store import read_npz
from stable_audio_mlx.weights.text import TextEncoder
from stable_audio_mlx.weights.verify import verify_model

from .checkpoints import diffusion, save, tensors, write

# A block that is just wide enough to be quantised.
CONFIG = diffusion(embed_dim=512, num_heads=8, depth=1)
ATTENTION = ["cross_attn.to_kv", "cross_attn.to_out", "cross_attn.to_q", "self_attn.to_out", "self_attn.to_qkv"]
MATRICES = sorted([*ATTENTION, "ff.ff.layers.0.proj", "ff.ff.layers.2"])


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    arrays = {key: value * (0.4 if value.ndim > 1 else 1) for key, value in tensors(CONFIG).items()}
    return write(tmp_path_factory.mktemp("wide"), CONFIG, arrays)


@pytest.fixture(scope="module")
def converted(source, tmp_path_factory):
    """(bits, dtype) -> folder and manifest, made once."""
    made = {}

    def make(bits, dtype="float32"):
        if (bits, dtype) not in made:
            folder = tmp_path_factory.mktemp("out") / "m"
            made[bits, dtype] = folder, convert_folder(source, folder, dtype, quantize=bits)[0]
        return made[bits, dtype]

    return make


def flat(module):
    return dict(tree_flatten(module.parameters()))


@pytest.mark.parametrize(("bits", "dtype"), [(8, "float32"), (4, "float32"), (8, "bfloat16"), (4, "float16")])
def test_large_matrices_come_back_within_half_a_step(source, converted, bits, dtype):
    folder, manifest = converted(bits, dtype)
    entries, item = read_npz(folder / "dit.npz"), manifest["files"]["dit.npz"]
    packed = [key.removesuffix(".scales") for key in entries if key.endswith(".scales")]
    assert sorted(packed) == [f"block_0.{name}" for name in MATRICES] and item["quantized"] == len(packed)
    assert manifest["quantization"] == {"bits": bits, "group_size": 64, "mode": "affine"}
    model, exact = open_model(folder), open_path(source)
    ours, theirs = (flat(s.load("dit", s.create().dit)) for s in (model, exact))
    assert item["parameters"] == sum(value.size for value in theirs.values())
    for key, value in theirs.items():
        name = key.removesuffix(".weight")
        assert ours[key].dtype == mx.float32
        if name not in packed:
            assert mx.array_equal(ours[key], value.astype(getattr(mx, dtype)).astype(mx.float32))
            continue
        assert entries[key].dtype == "uint32" and entries[f"{name}.scales"].dtype == dtype
        groups = value.reshape(-1, 64)
        step = (groups.max(axis=1) - groups.min(axis=1)) / (2**bits - 1)
        error = mx.abs(ours[key].reshape(-1, 64) - groups).max(axis=1)
        # Affine steps are nudged so that zero is a value; 16-bit scales round on top.
        assert (error <= step * 1.1 + (0 if dtype == "float32" else 0.01) * mx.abs(groups).max(axis=1)).all()


def test_what_stays_as_it_is(converted):
    folder, manifest = converted(8, "float16")
    assert {e.dtype for e in read_npz(folder / "autoencoder.npz").values()} == {"float32"}
    assert manifest["files"]["conditioner.npz"]["dtype"] == "float32"
    dit = open_model(folder).create().dit
    names = quantize.quantizable(dit)
    assert not [n for n in names if "embed" in n or "norm" in n or "project" in n]
    assert len(names) == len(MATRICES)
    model = open_path(write(folder.parent / "narrow", diffusion()))
    assert quantize.quantizable(model.create().dit) == [], "nothing of it is 512 wide"


def test_a_gpu_keeps_them_packed_and_gets_the_same_velocity(converted):
    """The packed layers run here, too; slowly, so that generation on a CPU does without them."""
    model = open_model(converted(8)[0])
    dense = model.load("dit", model.create().dit)
    packed = model.create().dit
    tensors_ = model.tensors("dit", packed)
    held = {n: t for n, t in tensors_.items() if isinstance(t, quantize.QuantizedTensor)}
    quantize.keep_packed(packed, held, mx.float32)
    packed.load_weights([(n, t.load(mx.float32)) for n, t in tensors_.items() if n not in held], strict=False)
    assert type(packed.block_0.self_attn.to_qkv) is nn.QuantizedLinear and type(packed.project_in) is nn.Linear
    assert packed.block_0.ff.ff.layers[2].weight.dtype == mx.uint32 and packed.dtype == mx.float32
    out = []
    for dit in (dense, packed):
        conditioning = dit.condition(cross=mx.ones((1, 2, 32)), global_cond=mx.ones((1, 32)))
        out.append(dit(mx.arange(20).reshape(1, 5, 4) / 20, 0.5, conditioning))
    assert mx.abs(out[0] - out[1]).max() <= 1e-5 * mx.abs(out[0]).max()


def test_elsewhere_than_on_a_cpu_types_stay_as_stored(converted, monkeypatch):
    monkeypatch.setattr(mx, "default_device", lambda: "a GPU")
    monkeypatch.setattr(cpu, "blas_threads", lambda: 1)
    model = open_model(converted(8, "float16")[0])
    built = model.create()
    dit, autoencoder = (model.load(part, built[part]) for part in ("dit", "autoencoder"))
    layer = dit.block_0.self_attn.to_qkv
    assert type(layer) is nn.QuantizedLinear and layer.scales.dtype == layer.biases.dtype == mx.float16
    assert dit.dtype == dit.block_0.pre_norm.weight.dtype == mx.float16
    assert {value.dtype for value in flat(autoencoder).values()} == {mx.float32}
    conditioning = dit.condition(cross=mx.ones((1, 2, 32)), global_cond=mx.ones((1, 32)))
    assert conditioning.keys_values[0][0].dtype == mx.float16
    assert mx.isfinite(dit(mx.ones((1, 3, 4)), 0.5, conditioning)).all()
    wide = model.load("dit", model.create().dit, dtype="float32")
    assert wide.dtype == wide.block_0.self_attn.to_qkv.scales.dtype == mx.float32


def test_the_velocity_s_error_is_measured_and_reported(source, converted, tmp_path, capsys):
    decibels = {
        (bits, dtype): converted(bits, dtype)[1]["files"]["dit.npz"]["velocity_snr_db"]
        for bits, dtype in ((None, "float16"), (None, "bfloat16"), (8, "float32"), (4, "float32"))
    }
    assert 60 < decibels[None, "float16"] < 90 and 40 < decibels[None, "bfloat16"] < 60
    assert 30 < decibels[8, "float32"] < 60 and 8 < decibels[4, "float32"] < 35
    assert decibels[8, "float32"] - decibels[4, "float32"] > 20
    assert "velocity_snr_db" not in converted(None)[1]["files"]["dit.npz"]
    arguments = [str(source), "-o", str(tmp_path / "m"), "--quantize", "8", "--dtype", "float16"]
    assert cli.main([*arguments, "--no-measure"]) == 0
    assert "velocity" not in capsys.readouterr().err
    assert cli.main([*arguments, "--overwrite"]) == 0
    err = capsys.readouterr().err
    assert "dit.npz: 7 matrices quantised" in err and " dB above its error against float32" in err
    assert cli.main([*arguments[:-3], "4"]) == 2, "another conversion is there"


def test_measured_as_if_the_whole_transformer_were_in_memory(source):
    """The step that reads its matrices one by one gives what a loaded transformer gives."""
    model = open_path(source)
    streamed = measure.velocity(model.create().dit, lambda dit: model.tensors("dit", dit), mx.float32)
    dit = model.load("dit", model.create().dit)
    rng = np.random.Generator(np.random.Philox(measure.SEED))
    x, cross, cond = (mx.array(rng.standard_normal(s, dtype=np.float32)) for s in ((2, 32, 4), (2, 16, 32), (2, 32)))
    whole = np.array(dit(x, mx.array(measure.LEVELS), dit.condition(cross=cross, global_cond=cond)))
    assert np.abs(streamed - whole).max() <= 1e-5 * np.abs(whole).max()
    assert measure.velocity_snr(lambda: model.create().dit, *[lambda dit: model.tensors("dit", dit)] * 2) == 200


@pytest.mark.parametrize("more", [{"local_add_cond_dim": 32}, {"patch_size": 2}])
def test_every_kind_of_condition_can_be_measured(tmp_path, more):
    config = diffusion(
        global_cond_type="adaLN", num_memory_tokens=2, norm_type="rms_norm", timestep_features_type="expo",
        prepend_cond_dim=32, input_concat_dim=32, attn_kwargs={"qk_norm": "rms", "differential": True}, **more
    )  # fmt: skip
    for key in (
        "prepend_cond_ids",
        "input_concat_ids",
        *(["local_add_cond_ids"] if "local_add_cond_dim" in more else []),
    ):
        config["model"]["diffusion"][key] = ["seconds_total"]
    manifest, _ = convert_folder(write(tmp_path / "s", config), tmp_path / "out", "float16")
    assert 40 < manifest["files"]["dit.npz"]["velocity_snr_db"] < 100


T5 = {"model_type": "t5", "d_model": 512, "d_kv": 64, "d_ff": 512, "num_layers": 1, "num_heads": 8, "vocab_size": 9}


def test_a_text_encoder(source, tmp_path):
    place = tmp_path / "source"
    config = json.loads((source / "model_config.json").read_text())
    settings = {"max_length": 8, "t5_model_name": "no/thing", "project_out": True}
    config["model"]["conditioning"]["configs"].append({"id": "prompt", "type": "t5", "config": settings})
    arrays = tensors(config)
    key = "conditioner.conditioners.prompt.proj_out.weight"
    arrays[key] = np.ones((32, 512), np.float32)
    write(place, config, arrays)
    network = T5Encoder(T5Encoder.Config.from_hugging_face(T5, "t5"))
    rng = np.random.default_rng(0)
    own = {f"encoder.{n}": rng.standard_normal(v.shape).astype(np.float32) / 20 for n, v in flat(network).items()}
    own["shared.weight"] = rng.standard_normal((9, 512)).astype(np.float32)
    for name in ("text_encoder", "tokenizer"):
        (place / name).mkdir()
    (place / "text_encoder" / "config.json").write_text(json.dumps(T5))
    save(place / "text_encoder" / "model.safetensors", own)
    words = {"type": "WordLevel", "vocab": {"<pad>": 0, "</s>": 1, "<unk>": 2, "drum": 3}, "unk_token": "<unk>"}
    (place / "tokenizer" / "tokenizer.json").write_text(json.dumps({"version": "1.0", "model": words}))
    manifest, _ = convert_folder(place, tmp_path / "out", quantize=8, measure=False)
    written = read_header(tmp_path / "out" / "text_encoder.safetensors")
    assert written["shared.weight"].dtype == "float32"
    assert manifest["files"]["text_encoder.safetensors"]["quantized"] == 6
    texts = []
    for model in (open_path(place), open_model(tmp_path / "out")):
        files = model.text_files()
        texts.append(
            TextEncoder.from_files(files.config, files.weights, files.tokenizer).encode(["drum"], 8).embeddings
        )
    error = mx.abs(texts[0] - texts[1]).max() / mx.abs(texts[0]).max()
    assert 1e-5 < error < 0.02
    report = verify_model(tmp_path / "out")
    row = next(r for r in report.rows if r.file == "text_encoder.safetensors")
    assert not report.problems and row.parameters == sum(v.size for v in own.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("block_0.self_attn.to_out.biases"), "to_out.weight lacks its scales or biases"),
        (lambda a: a.pop("block_0.self_attn.to_out.weight"), "missing .*block_0.self_attn.to_out.weight"),
        (
            lambda a: a.update({"block_0.self_attn.to_out.scales": np.zeros((512, 3), np.float32)}),
            "has scales of shape",
        ),
        (lambda a: a.update({"block_0.self_attn.to_out.weight": np.zeros((512, 5), np.uint32)}), "which does not fit"),
        (lambda a: a.update({"project_in.scales": np.zeros(3, np.float32)}), "lacks its scales or biases"),
        (lambda a: a.update({"block_0.pre_norm.scales": np.zeros(3, np.float32)}), "not in the model"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(converted, tmp_path, change, message):
    with np.load(converted(8)[0] / "dit.npz") as archive:
        arrays = dict(archive)
    change(arrays)
    np.savez(tmp_path / "dit.npz", **arrays)
    model = open_model(converted(8)[0])
    model.entries["dit"] = read_npz(tmp_path / "dit.npz")
    with pytest.raises(WeightsError, match=message):
        model.load("dit", model.create().dit)


def test_bits_that_nobody_has(source, tmp_path):
    with pytest.raises(OptionError, match="quantize 3 is not one of 8, 4"):
        convert_folder(source, tmp_path / "out", quantize=3)
