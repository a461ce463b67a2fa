"""LoRAs on a model: which weights they change and how, strengths, stacks, the pipeline, models with merged weights."""

import json

import mlx.core as mx
import numpy as np
import pytest

from stable_audio_mlx import StableAudioPipeline, audio, lora_effective_weights
from stable_audio_mlx.cli.main import main
from stable_audio_mlx.errors import OptionError, WeightsError
from stable_audio_mlx.lora.adapter import KINDS, singular_bases
from stable_audio_mlx.lora.files import read_lora
from stable_audio_mlx.lora.fuse import convert_lora, fuse_model
from stable_audio_mlx.lora.merge import merged_tensor
from stable_audio_mlx.weights.convert import convert_folder
from stable_audio_mlx.weights.quantize import quantized
from stable_audio_mlx.weights.store import read_npz, write_npz

from . import checkpoints, loras

CONFIG = checkpoints.diffusion()
KEYS = list(loras.weights(CONFIG))
CONV = "model.model.preprocess_conv.weight"
RUN = {"seconds": 2, "steps": 2, "seed": 1, "cfg_scale": 1.0}


@pytest.fixture(scope="module")
def base():
    return checkpoints.tensors(CONFIG)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, base):
    return checkpoints.write(tmp_path_factory.mktemp("model"), CONFIG, base)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A LoRA of every kind."""
    home = tmp_path_factory.mktemp("loras")
    return {kind: loras.write(home / f"{kind}.safetensors", kind, seed=i) for i, kind in enumerate(KINDS)}


@pytest.fixture
def pipe(folder):
    return StableAudioPipeline.from_pretrained(folder)


def bits(sound):
    return np.array(sound).tobytes()


# Weights


@pytest.mark.parametrize("kind", KINDS)
def test_every_layer_changes_and_strength_0_is_the_base(folder, base, files, kind):
    changed = lora_effective_weights(folder, [(files[kind], 1.0)], KEYS)
    off = lora_effective_weights(folder, [(files[kind], 0.0)], KEYS)
    for key in KEYS:
        assert changed[key].shape == base[key].shape
        assert np.abs(np.array(changed[key]) - base[key]).max() > 1e-3
        assert np.array(off[key]).tobytes() == base[key].tobytes()


def test_the_plain_formula_in_the_checkpoints_layout(folder, base, files):
    got = lora_effective_weights(folder, [(files["lora"], 0.8)], KEYS)
    tensors = loras.tensors("lora", seed=0)
    for key in KEYS:
        name = f"{loras.layer_name(key)}.parametrizations.weight.0."
        delta = tensors[name + "lora_B"].astype(np.float64) @ tensors[name + "lora_A"].astype(np.float64)
        wanted = base[key] + 0.8 * 3 / 2 * delta.reshape(base[key].shape)
        np.testing.assert_allclose(np.array(got[key]), wanted, atol=1e-6)


def test_converted_and_source_folders_give_the_same(tmp_path, folder, files):
    convert_folder(folder, tmp_path / "converted")
    stack = [(files["bora"], 0.5), (files["lora-xs"], 1.0)]
    a, b = (lora_effective_weights(place, stack, KEYS) for place in (folder, tmp_path / "converted"))
    assert all(bits(a[key]) == bits(b[key]) for key in KEYS)


def test_the_second_lora_changes_what_the_first_left(tmp_path, folder, files):
    rows, plain = (files["dora-rows"], 1.0), (files["lora"], 1.0)
    one, other = (lora_effective_weights(folder, order, [CONV])[CONV] for order in ([rows, plain], [plain, rows]))
    assert np.abs(np.array(one - other)).max() > 1e-2
    first = lora_effective_weights(folder, [rows], KEYS)
    stage = checkpoints.tensors(CONFIG) | {k: np.array(v) for k, v in first.items()}
    second = lora_effective_weights(checkpoints.write(tmp_path, CONFIG, stage), [plain], [CONV])[CONV]
    np.testing.assert_allclose(np.array(one), np.array(second), atol=1e-7)


def test_layers_that_only_the_second_file_has_are_changed_too(tmp_path, folder):
    conv = loras.write(tmp_path / "conv.safetensors", part="preprocess_conv")
    rest = loras.write(tmp_path / "rest.safetensors", part="to_qkv")
    key = next(k for k in KEYS if "to_qkv" in k)
    both = lora_effective_weights(folder, [(conv, 1.0), (rest, 1.0)], [key])[key]
    alone = lora_effective_weights(folder, [(rest, 1.0)], [key])[key]
    assert bits(both) == bits(alone)


@pytest.mark.parametrize("shape", [(9, 5), (5, 9), (6, 6)])
def test_singular_bases(shape):
    w = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    u, v = singular_bases(w, 3)
    full_u, s, full_v = np.linalg.svd(w.astype(np.float64), full_matrices=False)
    np.testing.assert_allclose(u.T @ w @ v, np.diag(s[:3]), atol=1e-5)
    np.testing.assert_allclose(np.abs(u), np.abs(full_u[:, :3]), atol=1e-6)
    assert (u[np.abs(u).argmax(0), range(3)] > 0).all()


@pytest.mark.parametrize("w", [np.zeros((4, 6)), np.outer(np.arange(1, 5), np.arange(1, 7))])
def test_singular_bases_of_deficient_matrices_are_orthonormal(w):
    for matrix in singular_bases(w.astype(np.float32), 3):
        np.testing.assert_allclose(matrix.T @ matrix, np.eye(3), atol=1e-5)


def test_a_quantised_matrix_is_made_plain_changed_and_packed_again(tmp_path):
    w = mx.array(np.random.default_rng(0).standard_normal((8, 64)).astype(np.float32))
    arrays = dict(zip(("x.weight", "x.scales", "x.biases"), mx.quantize(w, group_size=64, bits=8), strict=True))
    write_npz(
        tmp_path / "a.npz", [(k, str(v.dtype).rpartition(".")[2], lambda v=v: np.array(v)) for k, v in arrays.items()]
    )
    stored = quantized(read_npz(tmp_path / "a.npz"), "x.weight", (8, 64))
    merged = merged_tensor(stored, lambda x: 2 * x)
    np.testing.assert_allclose(merged.load(mx.float32), 2 * stored.load(mx.float32), atol=1e-6)
    back = mx.dequantize(*merged.packed(), group_size=64, bits=8)
    np.testing.assert_allclose(back, 2 * w, atol=0.1)


# Fitting


@pytest.mark.parametrize("start", ["model.", "", "model.model.", "base_model.model.model."])
def test_names_may_begin_in_several_ways(tmp_path, folder, start):
    leaf = "lora_A.weight", "lora_B.weight"
    shape = loras.weights(CONFIG)[CONV]
    tensors = loras.layer("lora", shape, np.random.default_rng(0))
    named = {f"{start}preprocess_conv.{new}": tensors[old] for new, old in zip(leaf, tensors, strict=True)}
    path = checkpoints.save(tmp_path / "a.safetensors", named)
    assert np.abs(np.array(lora_effective_weights(folder, [(path, 1)], [CONV])[CONV])).max() > 0.3


def test_what_does_not_fit_is_listed(tmp_path, folder, files):
    other = checkpoints.diffusion(depth=3)
    path = loras.write(tmp_path / "deep.safetensors", config=other)
    with pytest.raises(
        WeightsError, match=r"deep.safetensors does not fit .*: layers that the model does not have \(7\)"
    ):
        lora_effective_weights(folder, [(path, 1)], [CONV])
    path = loras.write(tmp_path / "wide.safetensors", config=checkpoints.diffusion(embed_dim=96, num_heads=3))
    with pytest.raises(WeightsError, match=r"of another size \(\d+\): .*lora_A \(2, 96\), wanted \(2, 64\)") as failed:
        lora_effective_weights(folder, [(path, 1)], [CONV])
    assert len(str(failed.value)) < 500
    path = loras.save(
        tmp_path / "x.safetensors",
        {f"a.parametrizations.weight.0.{n}": np.ones((2, 2), np.float32) for n in ("lora_A", "lora_B")},
    )
    with pytest.raises(WeightsError, match=r"x.safetensors is not for .*\(1\): a"):
        lora_effective_weights(folder, [(path, 1)], [CONV])
    with pytest.raises(WeightsError, match="no weights that a LoRA could change: model.model.nothing"):
        lora_effective_weights(folder, [(files["lora"], 1)], ["model.model.nothing"])


def test_an_xs_rank_above_the_matrix_is_refused(tmp_path, folder):
    tensors = {"model.preprocess_conv.parametrizations.weight.0.M_xs": np.ones((5, 5), np.float16)}
    with pytest.raises(WeightsError, match="rank 5 is more than 4"):
        lora_effective_weights(folder, [(loras.save(tmp_path / "a.safetensors", tensors), 1)], [CONV])


def test_merging_to_infinity_is_an_error(tmp_path, folder):
    tensors = loras.tensors(part="preprocess_conv")
    path = loras.save(tmp_path / "a.safetensors", {k: np.full(v.shape, 1e18, np.float32) for k, v in tensors.items()})
    with pytest.raises(WeightsError, match="becomes not finite; lower the strength"):
        lora_effective_weights(folder, [(path, 1000.0)], [CONV])


# The pipeline


@pytest.mark.parametrize("keep", [False, True])
def test_strength_changes_in_place_and_0_is_the_base_bit_for_bit(folder, files, keep):
    pipe = StableAudioPipeline.from_pretrained(folder, keep_models=keep)
    plain = pipe.generate(**RUN)
    fit = pipe.load_lora(files["dora-rows"], strength=0.7)
    assert (len(fit.keys), fit.total) == (len(KEYS), len(KEYS)) and "changes 25 of 25 layers" in str(fit)
    pipe.load_lora(files["lora"])
    both = pipe.generate(**RUN)
    pipe.set_lora_strength(0.0, index=0)
    one = pipe.generate(**RUN)
    assert len({bits(plain), bits(both), bits(one)}) == 3
    pipe.set_lora_strength(0.0)
    assert bits(pipe.generate(**RUN)) == bits(plain)
    pipe.set_lora_strength(1.0, index=-1)
    assert bits(pipe.generate(**RUN)) == bits(one)


def test_only_touched_layers_of_a_model_in_memory_are_read_again(tmp_path, folder, monkeypatch):
    from stable_audio_mlx.weights.source import ModelSource

    again, reload = [], ModelSource.reload
    monkeypatch.setattr(
        ModelSource, "reload", lambda self, p, m, n, d: again.append((p, sorted(n))) or reload(self, p, m, n, d)
    )
    pipe = StableAudioPipeline.from_pretrained(folder, keep_models=True)
    pipe.generate(**RUN)
    pipe.load_lora(loras.write(tmp_path / "a.safetensors", part="preprocess_conv"))
    pipe.set_lora_strength(1.0)
    pipe.set_lora_strength(0.5)
    assert again == [("dit", ["preprocess_conv.weight"])] * 2


@pytest.mark.parametrize("keep", [False, True])
def test_a_runs_own_loras_end_with_it(folder, files, keep):
    pipe = StableAudioPipeline.from_pretrained(folder, keep_models=keep)
    plain = bits(pipe.generate(**RUN))
    notes = []
    changed = pipe.generate(**RUN, lora=[(files["bora"], 0.5)], callback=lambda e: notes.append(e.message))
    assert bits(changed) != plain and any("bora.safetensors: changes 25 of 25 layers" in n for n in notes if n)
    x, t = mx.ones((1, 4, 8)), mx.array([0.5])
    fresh = StableAudioPipeline.from_pretrained(folder)
    assert bits(pipe.transformer_output(x, t)) == bits(fresh.transformer_output(x, t))
    assert bits(pipe.generate(**RUN)) == plain
    fresh.load_lora(files["bora"], 0.5)
    assert bits(fresh.generate(**RUN)) == bits(changed)


def test_conditioners_are_changed_too(tmp_path, pipe):
    before = pipe.conditioning_arrays(["x"], [2.0])["global_cond"]
    pipe.load_lora(loras.write(tmp_path / "a.safetensors", part="seconds_total"))
    assert np.abs(np.array(pipe.conditioning_arrays(["x"], [2.0])["global_cond"] - before)).max() > 0.1


def test_wrong_strengths_and_numbers(pipe, files):
    with pytest.raises(OptionError, match="there is no LoRA"):
        pipe.set_lora_strength(1.0)
    pipe.load_lora(files["lora"])
    with pytest.raises(OptionError, match="there is no LoRA 1"):
        pipe.set_lora_strength(1.0, index=1)
    for bad in (float("nan"), "1", None, True):
        with pytest.raises(OptionError, match="must be a number"):
            pipe.set_lora_strength(bad)
    for bad in ([files["lora"]], [("a", "b")], [("a", 1, 2)]):
        with pytest.raises(OptionError, match="lora: .* must be"):
            pipe.generate(**RUN, lora=bad)


def test_half_precision_is_cast_after_merging(folder, files):
    pipe = StableAudioPipeline.from_pretrained(folder, dtype="float16")
    pipe.load_lora(files["dora-rows"], 0.7)
    got = pipe._parts.get("dit").preprocess_conv.weight
    wanted = lora_effective_weights(folder, [(files["dora-rows"], 0.7)], [CONV])[CONV]
    assert got.dtype == mx.float16
    assert np.array_equal(np.array(got), np.array(wanted.swapaxes(1, 2).astype(mx.float16)))


# Fusing and converting


@pytest.mark.parametrize("converted", [False, True])
def test_a_fused_model_is_the_model_with_its_loras(tmp_path, folder, files, converted):
    model, stack = folder, [(files["dora-cols"], 0.5), (files["lora-xs"], 1.0)]
    if converted:
        convert_folder(folder, tmp_path / "converted")
        model = tmp_path / "converted"
    manifest, fits = fuse_model(model, stack, tmp_path / "fused")
    assert [len(f.keys) for f in fits] == [25, 25]
    assert [(i["path"], i["strength"]) for i in manifest["source"]["lora"]] == [
        ("dora-cols.safetensors", 0.5),
        ("lora-xs.safetensors", 1.0),
    ]
    pipe = StableAudioPipeline.from_pretrained(folder)
    fused = StableAudioPipeline.from_pretrained(tmp_path / "fused")
    assert bits(pipe.generate(**RUN, lora=stack)) == bits(fused.generate(**RUN))
    with pytest.raises(OptionError, match="--overwrite"):
        fuse_model(model, stack, tmp_path / "fused")


def test_fusing_hands_on_what_the_manifest_says(tmp_path, folder, files):
    convert_folder(folder, tmp_path / "a", "float16")
    path = tmp_path / "a" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"defaults": {"steps": 3}}))
    manifest, _ = fuse_model(tmp_path / "a", [(files["lora"], 1.0)], tmp_path / "b")
    assert manifest["defaults"] == {"steps": 3} and manifest["dtype"] == "float16" and manifest["name"] == "b"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"quantization": {"bits": 8}}))
    with pytest.raises(WeightsError, match="quantised already"):
        fuse_model(tmp_path / "a", [(files["lora"], 1.0)], tmp_path / "c")


def test_xs_bases_can_be_taken_along(tmp_path, folder, files):
    with_bases = convert_lora(files["dora-rows-xs"], tmp_path / "b.safetensors", "native", base=folder)
    a = lora_effective_weights(folder, [(files["dora-rows-xs"], 0.6)], KEYS)
    b = lora_effective_weights(folder, [(with_bases, 0.6)], KEYS)
    assert all(bits(a[key]) == bits(b[key]) for key in KEYS)
    convert_lora(with_bases, tmp_path / "p", "peft")
    c = lora_effective_weights(folder, [(tmp_path / "p", 0.6)], KEYS)
    assert all(np.abs(np.array(a[key] - c[key])).max() < 1e-6 for key in KEYS)
    other = checkpoints.write(tmp_path / "other", CONFIG, checkpoints.tensors(CONFIG, seed=9))
    own, taken = (lora_effective_weights(other, [(f, 1.0)], [CONV])[CONV] for f in (files["dora-rows-xs"], with_bases))
    assert np.abs(np.array(own - taken)).max() > 1e-2


# Commands


def test_info(capsys, folder, files):
    assert main(["lora", "info", str(files["lora-xs"]), "--model", str(folder), "--include", "layers[1-1]"]) == 0
    out, err = capsys.readouterr()
    assert "lora-xs" in out and "layers        7" in out and "of 25" in out and "convert --base" in err
    assert main(["lora", "info", str(files["bora"]), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["type"], record["rank"], record["alpha"], len(record["layers"])) == ("bora", 2, 3, 25)


def test_fuse_and_convert_from_the_command_line(capsys, tmp_path, folder, files):
    arguments = ["--lora", f"{files['lora']}:0.5", "--lora", str(files["bora"]), "-o", str(tmp_path / "fused")]
    assert main(["lora", "fuse", str(folder), *arguments]) == 0
    out, err = capsys.readouterr()
    assert out.strip() == str(tmp_path / "fused") and "at strength 0.5" in err and "bora.safetensors: changes 25" in err
    assert main(["lora", "fuse", str(folder), *arguments]) == 2
    convert = ["lora", "convert", str(files["lora"]), "--to", "native", "-o", f"{tmp_path}/"]
    assert main([*convert, "--exclude", "seconds_total"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "lora.safetensors")
    assert len(read_lora(tmp_path / "lora.safetensors").layers) == 24
    assert main(convert) == 2
    assert "exists already" in capsys.readouterr().err
    assert main([*convert, "--overwrite", "--include", "nothing"]) == 2


def test_generate_says_what_a_lora_touched(capsys, tmp_path, folder, files):
    def go(*more):
        arguments = ["generate", "--model", str(folder), "--seconds", "2", "--steps", "2", "--seed", "1", "-p", "x"]
        code = main([*arguments, "--overwrite", "-o", str(tmp_path / "a.wav"), *map(str, more)])
        return code, capsys.readouterr().err

    def heard():
        return audio.read(tmp_path / "a.wav")[0]

    assert go()[0] == 0
    plain = heard()
    code, err = go("--lora", f"{files['lora']}:0")
    assert code == 0 and "changes 25 of 25 layers (lora, rank 2) at strength 0" in err
    assert np.array_equal(heard(), plain)
    code, err = go("--lora", f"{files['lora']}:-0.5", "--lora", files["bora"])
    assert code == 0 and "at strength -0.5" in err and "bora" in err
    assert not np.array_equal(heard(), plain)
    assert go("--lora", "missing.safetensors")[0] == 3
    assert go("--lora", f"{files['lora']}:loud") == (2, go("--lora", f"{files['lora']}:loud")[1])
    deep = loras.write(tmp_path / "deep.safetensors", config=checkpoints.diffusion(depth=3))
    code, err = go("--lora", deep)
    assert code == 3 and "layers that the model does not have (7)" in err


def test_a_file_is_read_once_while_it_stays_the_same(tmp_path, pipe, monkeypatch):
    from stable_audio_mlx.lora import stack

    reads, read = [], stack.read_lora
    monkeypatch.setattr(stack, "read_lora", lambda path: reads.append(path) or read(path))
    path = loras.write(tmp_path / "a.safetensors")
    first = [bits(pipe.generate(**RUN, lora=[(path, 1.0)])) for _ in range(2)]
    loras.write(path, seed=5)
    assert len(reads) == 1 and first[0] == first[1] != bits(pipe.generate(**RUN, lora=[(path, 1.0)]))
    convert_lora(path, tmp_path / "p", "peft")
    pipe.load_lora(tmp_path / "p")
    pipe.load_lora(tmp_path / "p")
    assert len(reads) == 3
