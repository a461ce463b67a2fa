"""LoRA files: the native layout and what old files leave out, PEFT folders, both ways; files that are broken."""

import json
import struct

import numpy as np
import pytest

from stable_audio_mlx.errors import OptionError, WeightsError
from stable_audio_mlx.lora import patterns
from stable_audio_mlx.lora.adapter import KINDS
from stable_audio_mlx.lora.files import read_lora, write_lora

from . import checkpoints, loras

NAME = "model.transformer.layers.0.self_attn.to_out"
NATIVE = f"{NAME}.parametrizations.weight.0."
PEFT = f"base_model.model.{NAME}."


def one(kind="lora", shape=(6, 4), **change):
    """The tensors of one layer, by native key; a change replaces a tensor or (None) leaves it out."""
    found = loras.layer(kind, shape, np.random.default_rng(0)) | change
    return {NATIVE + name: value for name, value in found.items() if value is not None}


def zeros(*shape, dtype=np.float16):
    return np.zeros(shape, dtype)


def peft(folder, arrays, **config):
    folder.mkdir(exist_ok=True)
    checkpoints.save(folder / "adapter_model.safetensors", {PEFT + k: v for k, v in arrays.items()})
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 4} | config))
    return folder


# Native


@pytest.mark.parametrize("kind", KINDS)
def test_native_round_trip(tmp_path, kind):
    settings = {
        "rank": 2,
        "alpha": 5,
        "adapter_type": kind,
        "dropout": 0.1,
        "include": ["layers[0-3]"],
        "exclude": None,
    }
    path = loras.save(tmp_path / "a.safetensors", one(kind), settings)
    adapter = read_lora(path)
    assert (adapter.type, adapter.rank, adapter.alpha, adapter.layers[NAME].scale) == (kind, 2, 5, 2.5)
    write_lora(adapter, tmp_path / "b.safetensors", "native")
    again = read_lora(tmp_path / "b.safetensors")
    assert again.extra == adapter.extra and again.extra["include"] == ["layers[0-3]"]
    for key, value in adapter.layers[NAME].tensors.items():
        assert (
            np.array_equal(value, again.layers[NAME].tensors[key])
            and value.dtype == again.layers[NAME].tensors[key].dtype
        )


@pytest.mark.parametrize(
    ("kind", "settings", "wanted"),
    [
        ("lora", None, ("lora", 2, 2)),
        ("lora", {}, ("lora", 2, 2)),
        ("lora", {"alpha": 8}, ("lora", 2, 8)),
        ("dora-rows", {"adapter_type": "dora"}, ("dora-rows", 2, 2)),
        ("dora-cols", {"adapter_type": "dora"}, ("dora-cols", 2, 2)),
        ("dora-cols", None, ("dora-cols", 2, 2)),
        ("bora", None, ("bora", 2, 2)),
        ("lora-xs", None, ("lora-xs", 2, 2)),
        ("bora-xs", None, ("bora-xs", 2, 2)),
    ],
)
def test_what_the_header_lacks_is_found_in_the_tensors(tmp_path, kind, settings, wanted):
    adapter = read_lora(loras.save(tmp_path / "a.safetensors", one(kind), settings))
    assert (adapter.type, adapter.rank, adapter.alpha) == wanted


@pytest.mark.parametrize(("shape", "wanted"), [((1, 5), "dora-cols"), ((5, 1), "dora-rows")])
def test_old_magnitudes_say_their_axis(tmp_path, shape, wanted):
    tensors = one("dora-rows", (5, 5), magnitude=np.ones(shape, np.float16))
    adapter = read_lora(loras.save(tmp_path / "a.safetensors", tensors, {"adapter_type": "dora"}))
    assert adapter.type == wanted and adapter.layers[NAME].tensors["magnitude"].shape == (5,)


def test_square_dora_is_by_rows(tmp_path):
    tensors = one("dora-rows", (5, 5))
    assert read_lora(loras.save(tmp_path / "a.safetensors", tensors, {"adapter_type": "dora"})).type == "dora-rows"


def test_other_facts_of_the_header_are_kept(tmp_path):
    path = loras.save(
        tmp_path / "run-step=5-epoch=1.safetensors", one(), {"rank": 2}, step="5", base_model="medium-base"
    )
    assert read_lora(path).extra == {"step": "5", "base_model": "medium-base"}


def test_a_trainers_state_is_left_out(tmp_path):
    tensors = one() | {NATIVE + "lora_dropout_mask": np.ones((1, 4), np.float32)}
    assert read_lora(loras.save(tmp_path / "a.safetensors", tensors)).layers[NAME].tensors.keys() == {
        "lora_A",
        "lora_B",
    }


BROKEN = {
    "no tensor": ({}, None, "no tensor"),
    "strange": (one() | {"model.norm.gamma": zeros(3)}, None, r"1 tensors are no LoRA's: model.norm.gamma"),
    "rank 0": (one(lora_A=zeros(0, 4), lora_B=zeros(6, 0)), None, r"no LoRA's.*lora_A float16 \(0, 4\)"),
    "whole numbers": (one(lora_A=zeros(2, 4, dtype=np.int64)), None, "lora_A int64"),
    "nan": (one(lora_B=np.full((6, 2), np.nan, np.float16)), None, "lora_B has values that are not finite"),
    "infinite": (one(lora_B=np.full((6, 2), np.inf, np.float32)), None, "not finite"),
    "unknown type": (one(), {"adapter_type": "lokr"}, "unknown adapter type 'lokr'.*bora"),
    "no magnitude": (one(), {"adapter_type": "dora-rows"}, "lacks magnitude"),
    "one half": (one(lora_B=None), None, "lacks lora_B"),
    "both magnitudes": (one("bora"), {"adapter_type": "dora-cols"}, "lacks magnitude and has magnitude_c, magnitude_r"),
    "magnitude of lora": (one("dora-rows"), {"adapter_type": "lora"}, "has magnitude"),
    "two ranks": (one(lora_B=zeros(6, 3)), None, "do not have one rank"),
    "other rank": (one(), {"rank": 3}, "rank 2, its lora_config says 3"),
    "no rank": (one(), {"rank": 0}, "rank '0'"),
    "rank of text": (one(), {"rank": "2"}, "rank '2'"),
    "alpha of text": (one(), {"alpha": "much"}, "alpha 'much' must be a number"),
    "alpha of 400 digits": (one(), f'{{"alpha": 1{"0" * 400}}}', "alpha '1000.*must be a number"),
    "rank of 400 digits": (one(), f'{{"rank": 1{"0" * 400}}}', "rank 2, its lora_config says 1000"),
    "alpha nan": (one(), '{"alpha": NaN}', "alpha 'nan' must be a number"),
    "core not square": (one("lora-xs", M_xs=zeros(2, 3)), None, r"M_xs has the shape \(2, 3\)"),
    "magnitude a matrix": (one("dora-rows", magnitude=zeros(6, 4)), None, r"magnitude has the shape \(6, 4\)"),
    "vector": (one(lora_A=zeros(8)), None, r"lora_A has the shape \(8,\)"),
    "scalar": (one("dora-rows", magnitude=zeros()), None, r"magnitude has the shape \(\)"),
    "config a list": (one(), "[1]", "not a JSON object"),
    "config no JSON": (one(), "{", "not a JSON object"),
    "config nested": (one(), "[" * 100_000, "not a JSON object"),
    "stacked": (one() | {k.replace(".0.lora", ".1.lora"): v for k, v in one().items()}, None, "twice"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_named_errors(tmp_path, name):
    tensors, settings, message = BROKEN[name]
    with pytest.raises(WeightsError, match=message):
        read_lora(loras.save(tmp_path / "a.safetensors", tensors, settings))


@pytest.mark.parametrize("raw", [b"", b"abc", struct.pack("<Q", 1 << 62) + b"{}", struct.pack("<Q", 2) + b"[]"])
def test_damaged_containers(tmp_path, raw):
    (tmp_path / "a.safetensors").write_bytes(raw)
    with pytest.raises(WeightsError, match="not a usable .safetensors"):
        read_lora(tmp_path / "a.safetensors")


@pytest.mark.parametrize("name", ["a.ckpt", "a.pt", "adapter_model.bin"])
def test_pickles_are_never_read(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x80\x02")
    with pytest.raises(WeightsError, match="pickle"):
        read_lora(tmp_path / name)


def test_missing_files_say_what_a_lora_is(tmp_path):
    for path in (tmp_path / "a.safetensors", tmp_path):
        with pytest.raises(WeightsError, match="no such file; a LoRA is"):
            read_lora(path)


# PEFT

AB = {"lora_A.weight": zeros(2, 4) + 1, "lora_B.weight": zeros(6, 2) + 1}
MAGNITUDE = {"lora_magnitude_vector": np.ones(6, np.float32)}


@pytest.mark.parametrize(
    ("arrays", "config", "kind", "scale"),
    [
        (AB, {}, "lora", 2),
        (AB, {"use_rslora": True}, "lora", 4 / 2**0.5),
        (AB | MAGNITUDE, {"use_dora": True}, "dora-rows", 2),
        ({"lora_A.default.weight": AB["lora_A.weight"], "lora_B.weight": AB["lora_B.weight"]}, {}, "lora", 2),
        (AB, {"alpha_pattern": {"self_attn.to_out": 6, "to_q": 9}}, "lora", 3),
        (AB, {"r": 8, "rank_pattern": {"to_out": 2}}, "lora", 2),
    ],
)
def test_peft_folders(tmp_path, arrays, config, kind, scale):
    adapter = read_lora(peft(tmp_path / "p", arrays, **config))
    assert (adapter.format, adapter.type, adapter.layers[NAME].scale) == ("peft", kind, pytest.approx(scale))
    assert adapter.name == "p"


def test_peft_without_its_config_has_alpha_of_the_rank(tmp_path):
    path = checkpoints.save(tmp_path / "a.safetensors", {PEFT + k: v for k, v in AB.items()})
    assert read_lora(path).layers[NAME].scale == 1


@pytest.mark.parametrize(
    ("arrays", "config", "message"),
    [
        (AB, {"peft_type": "LOHA"}, "peft_type 'LOHA' is not supported"),
        (AB, {"init_lora_weights": "pissa_niter_4"}, "init_lora_weights"),
        (AB, {"fan_in_fan_out": True}, "fan_in_fan_out"),
        (AB, {"r": 3}, "rank 2, adapter_config.json says 3"),
        (AB, {"lora_alpha": None}, "lora_alpha 'None' must be a number"),
        (AB, {"use_dora": True}, "lacks magnitude"),
        (AB | MAGNITUDE, {"use_dora": False}, "has magnitude"),
        (AB | {"lora_B.bias": zeros(6)}, {}, "lora_B.bias"),
    ],
)
def test_peft_that_needs_another_formula_is_refused(tmp_path, arrays, config, message):
    with pytest.raises(WeightsError, match=message):
        read_lora(peft(tmp_path / "p", arrays, **config))


@pytest.mark.parametrize("kind", ["lora", "dora-rows"])
def test_native_to_peft_and_back_is_the_same_file(tmp_path, kind):
    first = loras.write(tmp_path / "a.safetensors", kind)
    write_lora(read_lora(first), tmp_path / "p", "peft")
    config = json.loads((tmp_path / "p" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["use_dora"]) == (2, 3, kind == "dora-rows")
    write_lora(read_lora(tmp_path / "p"), tmp_path / "b.safetensors", "native")
    a, b = read_lora(first), read_lora(tmp_path / "b.safetensors")
    assert a.layers.keys() == b.layers.keys() and (a.type, a.rank, a.alpha) == (b.type, b.rank, b.alpha)
    for name in a.layers:
        assert all(np.array_equal(v, b.layers[name].tensors[k]) for k, v in a.layers[name].tensors.items())


def test_peft_convolutions_keep_their_axis(tmp_path):
    path = write_lora(
        read_lora(loras.write(tmp_path / "a.safetensors", part="preprocess_conv")), tmp_path / "p", "peft"
    )
    header = path.read_bytes()
    shapes = {
        k: v["shape"] for k, v in json.loads(header[8 : 8 + struct.unpack("<Q", header[:8])[0]]).items() if "lora" in k
    }
    assert sorted(map(tuple, shapes.values())) == [(2, 4, 1), (4, 2, 1)]


@pytest.mark.parametrize("kind", ["dora-cols", "bora", "lora-xs"])
def test_peft_has_not_every_kind(tmp_path, kind):
    with pytest.raises(OptionError, match=f"PEFT has no {kind}"):
        write_lora(read_lora(loras.write(tmp_path / "a.safetensors", kind)), tmp_path / "p", "peft")


def test_native_has_one_rank_and_alpha(tmp_path):
    adapter = read_lora(peft(tmp_path / "p", AB, alpha_pattern={"to_out": 6}))
    assert write_lora(adapter, tmp_path / "one.safetensors", "native").exists()
    two = AB | {k.replace("lora", "x.lora"): v for k, v in AB.items()}
    with pytest.raises(OptionError, match="differ in rank or alpha"):
        write_lora(
            read_lora(peft(tmp_path / "p", two, alpha_pattern={"to_out": 6})), tmp_path / "b.safetensors", "native"
        )


def test_nothing_is_overwritten_unasked(tmp_path):
    path = loras.write(tmp_path / "a.safetensors")
    with pytest.raises(OptionError, match="exists already"):
        write_lora(read_lora(path), path, "native")
    assert write_lora(read_lora(path), path, "native", include=["layers.0"], overwrite=True) == path
    assert all("layers.0" in name for name in read_lora(path).layers)


# Patterns


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("transformer.layers", ["model.transformer.layers.3.ff"], ["model.to_cond_embed.0"]),
        ("layers[0-11]", ["m.layers.0.ff", "m.layers.11.ff"], ["m.layers.12.ff", "m.layers.110.ff", "m.to_layers"]),
        ("layers.[0-1]", ["m.layers.1.ff"], ["m.layers.10.ff", "m.layers.2.ff"]),
        ("layers.[1-0].", ["m.layers.0.ff"], ["m.layers.10.ff"]),
        (
            ".transformer.layers[0-5]",
            ["model.transformer.layers.5.x", "transformer.layers.0.x"],
            ["transformer.layers.6.x"],
        ),
        (".to_global_embed", ["model.to_global_embed.0", "to_global_embed.0"], ["model.xto_global_embed.0"]),
        ("layers[0-3].ff.ff[0-0]", ["m.layers.2.ff.ff.0.proj"], ["m.layers.2.ff.ff.2", "m.layers.4.ff.ff.0.proj"]),
        ("[2-2].ff.ff.[0-2]", ["m.layers.2.ff.ff.0"], ["m.layers.3.ff.ff.0"]),
        ("seconds_total", ["conditioners.seconds_total.embedder.embedding.1"], ["model.transformer.layers.0.ff"]),
        ("a+b", ["a+b"], ["aab"]),
    ],
)
def test_patterns_mean_what_is_promised(pattern, matching, others):
    assert patterns.chosen(matching + others, include=[pattern]) == matching
    assert patterns.chosen(matching + others, exclude=[pattern]) == others


def test_empty_patterns_are_refused():
    with pytest.raises(OptionError, match="empty"):
        patterns.matches("a", " ")
