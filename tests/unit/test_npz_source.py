"""The official optimised NPZ folder as a source: whole models, autoencoders alone, names, what is missing."""

import json
import math
import shutil

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from stable_audio_mlx import AutoencoderModel
from stable_audio_mlx.cli import convert as cli
from stable_audio_mlx.errors import WeightsError
from stable_audio_mlx.models.factory import create_model
from stable_audio_mlx.models.t5gemma import T5GemmaConfig, T5GemmaEncoder
from stable_audio_mlx.weights import hub, registry
from stable_audio_mlx.weights.convert import convert_folder
from stable_audio_mlx.weights.layout import published_tensors
from stable_audio_mlx.weights.published import VARIANTS, published_config
from stable_audio_mlx.weights.source import open_model, open_path
from stable_audio_mlx.weights.text import TextEncoder

from . import optimized, test_sentencepiece
from .checkpoints import save, tensors

SAME = {"channels": 4, "c_mults": [4], "strides": [4], "transformer_depths": [2], "dim_heads": 8, "latent_dim": 4,
        "variable_stride": True, "chunk_size": 8}  # fmt: skip
TEXT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8,
        "intermediate_size": 24, "vocab_size": 300, "rope_theta": 10000.0, "rms_norm_eps": 1e-6,
        "attn_logit_softcapping": 50.0, "query_pre_attn_scalar": 8, "pad_token_id": 0}  # fmt: skip


def tiny_config() -> dict:
    """A published config with small numbers in it."""
    config = published_config("stable-audio-3-small-music")
    model = config["model"]
    model["io_channels"] = model["diffusion"]["config"]["io_channels"] = 4
    model["conditioning"]["cond_dim"] = 16
    model["conditioning"]["configs"][0]["config"]["max_length"] = 8
    sizes = {"embed_dim": 64, "depth": 2, "num_heads": 1, "num_memory_tokens": 3, "local_add_cond_dim": 5}
    model["diffusion"]["config"].update(sizes, cond_token_dim=16, global_cond_dim=16)
    codec = model["pretransform"]["config"]
    codec["encoder"]["config"] = {**SAME, "in_channels": 8, "conv_mapping": False}
    codec["decoder"]["config"] = {**SAME, "out_channels": 8, "conv_mapping": True}
    codec["pretransform"]["config"]["patch_size"] = 4
    codec["bottleneck"]["config"]["dim"] = 4
    return config | {"model": {**model, "pretransform": {**model["pretransform"], "config": {
        **codec, "latent_dim": 4, "downsampling_ratio": 16}}}}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """The folder of tiny models, with a config beside them; and the checkpoint that it was made from."""
    config, place = tiny_config(), tmp_path / "optimized" / "MLX"
    arrays = tensors(config)
    arrays["pretransform.model.bottleneck.running_std"] = np.full(1, 0.5, np.float32)
    optimized.write_folder(place, arrays)
    network = T5GemmaEncoder(T5GemmaConfig(**TEXT))
    text = {f"model.encoder.{name}": np.array(value) for name, value in tree_flatten(network.parameters())}
    text["model.encoder.embed_tokens.weight"] = np.random.default_rng(0).standard_normal((300, 16)).astype(np.float32)
    tokenizer = test_sentencepiece.model(test_sentencepiece.BPE, 2)
    optimized.write_text(place, TEXT, text, tokenizer)
    (place / "model_config.json").write_text(json.dumps(config))
    full = tmp_path / "full"
    (full / "t5gemma-b-b-ul2").mkdir(parents=True)
    save(full / "model.safetensors", arrays)
    (full / "model_config.json").write_text(json.dumps(config))
    (full / "t5gemma-b-b-ul2" / "config.json").write_text(json.dumps({"model_type": "t5gemma", "encoder": TEXT}))
    (full / "t5gemma-b-b-ul2" / "tokenizer.model").write_bytes(tokenizer)
    save(full / "t5gemma-b-b-ul2" / "model.safetensors", text)
    return place


def loaded(source, part):
    return dict(tree_flatten(source.load(part, source.create()[part]).parameters()))


def test_every_tensor_arrives_where_the_checkpoint_has_it(folder, tmp_path):
    found, full = open_path(folder.parent), open_path(tmp_path / "full")
    assert found.name == "stable-audio-3-small-music" and found.repo == registry.OPTIMIZED_REPO
    assert found.parts == full.parts == ("dit", "autoencoder", "conditioner")
    for part in full.parts:
        ours, theirs = loaded(found, part), loaded(full, part)
        assert ours.keys() == theirs.keys()
        for key, value in theirs.items():
            expected = value.astype(mx.float16).astype(mx.float32) if part == "dit" else value
            assert mx.array_equal(ours[key], expected), key


def test_converted_with_its_text_encoder(folder, tmp_path):
    manifest, _ = convert_folder(folder.parent, tmp_path / "a")
    assert manifest["source"]["repo"] == registry.OPTIMIZED_REPO and "Gemma" in manifest["license"]
    assert [f["path"] for f in manifest["source"]["also"]] == ["same_s_encoder_f32.npz", "same_s_decoder_f32.npz"]
    convert_folder(tmp_path / "full", tmp_path / "b", "float16", measure=False)
    texts = []
    for model in (open_model(tmp_path / "a"), open_model(tmp_path / "b"), open_path(folder)):
        files = model.text_files()
        texts.append(TextEncoder.from_files(files.config, files.weights, files.tokenizer).encode(["ab b é", ""], 8))
    for text in texts:
        ids = text.tokens.ids
        assert ids.tolist() == texts[0].tokens.ids.tolist() and ids[0].sum() > 0 and ids[1].sum() == 0
        assert mx.allclose(text.embeddings, texts[0].embeddings, atol=1e-6) and text.embeddings[0].any()
    assert convert_folder(folder.parent, tmp_path / "a") == (manifest, False)


@pytest.mark.parametrize("file", ["same_s_decoder_f32.npz", "same_s_encoder_f32.npz"])
def test_an_autoencoder_alone(folder, tmp_path, file):
    whole = tiny_config()
    alone = {"model_type": "autoencoder", "sample_rate": 44100, "model": whole["model"]["pretransform"]["config"]}
    (folder / "model_config.json").write_text(json.dumps(alone))
    assert (
        loaded(open_path(folder / file), "autoencoder").keys()
        == loaded(open_path(tmp_path / "full"), "autoencoder").keys()
    )
    (folder / "dit_sm-music_f16.npz").unlink()
    assert open_path(folder).parts == ("autoencoder",)


def test_what_is_missing_or_ambiguous_is_named(folder):
    shutil.copy(folder / "dit_sm-music_f16.npz", folder / "dit_sm-sfx_f16.npz")
    with pytest.raises(WeightsError, match=r"several models; name the one to use: .*dit_sm-music_f16.npz, .*sfx"):
        open_path(folder)
    assert open_path(folder / "dit_sm-sfx_f16.npz").name == "stable-audio-3-small-sfx"
    (folder / "same_s_encoder_f32.npz").unlink()
    with pytest.raises(WeightsError, match="same_s_encoder_f32.npz of stable-audio-3-small-sfx is missing"):
        open_path(folder / "dit_sm-sfx_f16.npz")


def test_tensors_that_do_not_fit_are_named(folder):
    path = folder / "same_s_decoder_f32.npz"
    with np.load(path) as arrays:
        kept = {key: arrays[key] for key in arrays if key != "blocks.1.ff.glu_proj.bias"}
    np.savez(path, **kept)
    source = open_path(folder)
    with pytest.raises(WeightsError, match=r"missing \(1\): decoder.layers.3.*block_1.ff.ff.layers.0.proj.bias"):
        source.load("autoencoder", source.create().autoencoder)
    np.savez(path, **kept, other=np.zeros(2, np.float32))
    with pytest.raises(WeightsError, match="other"):
        open_path(folder).tensors("autoencoder", source.create().autoencoder)


def test_without_a_config_beside_them_the_published_one_counts(folder):
    (folder / "model_config.json").unlink()
    source = open_path(folder)
    assert source.config == published_config("stable-audio-3-small-music")
    with pytest.raises(WeightsError, match="does not fit"):
        source.load("dit", source.create().dit)


@pytest.mark.parametrize("damage", ["no META", "no JSON", "no tokenizer"])
def test_a_text_file_that_is_damaged(folder, damage):
    path = folder / "t5gemma_f16.npz"
    with np.load(path) as archive:
        arrays = dict(archive)
    if damage == "no JSON":
        arrays["META"] = np.frombuffer(b"{", np.uint8)
    else:
        del arrays["META" if damage == "no META" else "TOKENIZER_MODEL"]
    np.savez(path, **arrays)
    files = open_path(folder).text_files()
    with pytest.raises((WeightsError, ValueError), match="t5gemma_f16.npz"):
        TextEncoder.from_files(files.config, files.weights, files.tokenizer)


COUNTS = {
    "small": (685, 567_573_553),
    "medium": (997, 2_305_495_393),
    "same-s": (244, 108_244_529),
    "same-l": (472, 852_127_073),
}


@pytest.mark.parametrize("name", [*(f"stable-audio-3-{v}" for v in VARIANTS), "same-s", "same-l"])
def test_published_configs_have_the_published_counts(name):
    listed = published_tensors(create_model(published_config(name)))
    numbers = sum(math.prod(shape) for shape, buffer in listed.values() if not buffer)
    size = next(size for size in COUNTS if size in name)
    assert (len(listed), numbers) == COUNTS[size] == (registry.KNOWN[name].tensors, registry.KNOWN[name].parameters)


def test_names_of_the_folder_s_models(tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "model_homes", lambda: [tmp_path])
    for name in (
        "stable-audio-3-optimized/small-music",
        "stabilityai/stable-audio-3-optimized/stable-audio-3-small-music",
    ):
        known = registry.find(name)
        assert known.name == "stable-audio-3-small-music" and known.repo == registry.OPTIMIZED_REPO and not known.gated
        assert known.files[0] == "MLX/dit_sm-music_f16.npz" and "MLX/t5gemma_f16.npz" in known.files
    assert registry.find("stable-audio-3-optimized/same-l").files == (
        "MLX/same_l_encoder_f32.npz",
        "MLX/same_l_decoder_f32.npz",
    )
    assert registry.find("stable-audio-3-optimized/large") is None
    assert "stable-audio-3-optimized/medium" in hub.how_to_get("x", registry.find("medium"))


def cached(home, known, files: dict) -> None:
    """A repository as the Hugging Face cache keeps it."""
    place = home / f"models--{known.repo.replace('/', '--')}"
    commit = known.revision or "0" * 40
    (place / "refs").mkdir(parents=True, exist_ok=True)
    (place / "refs" / "main").write_text(commit)
    for name, path in files.items():
        target = place / "snapshots" / commit / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)


@pytest.fixture
def offline(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hub, "model_homes", lambda: [tmp_path / "model"])
    return tmp_path / "cache"


def test_cached_files_of_the_folder_are_found_by_name(folder, offline, tmp_path):
    known = registry.find("stable-audio-3-optimized/small-music")
    files = {f"MLX/{f.name}": f for f in folder.iterdir()}
    cached(offline, known, {name: f for name, f in files.items() if "encoder" not in name})
    with pytest.raises(WeightsError, match=r"python convert.py stable-audio-3-optimized/small-music downloads"):
        hub.find_source(f"{registry.OPTIMIZED_NAME}/small-music", download=False)
    cached(offline, known, files)
    assert cli.main(["stable-audio-3-optimized/small-music", "--offline", "-o", str(tmp_path / "out")]) == 0
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["name"] == "stable-audio-3-small-music"


def test_same_s_comes_out_of_a_cached_whole_model(folder, offline, tmp_path, monkeypatch):
    full = {f.name: f for f in (tmp_path / "full").iterdir() if f.is_file()}
    cached(offline, registry.find("small-sfx"), full)
    source = open_model("same-s", download=False)
    assert source.parts == ("autoencoder",) and source.config["model_type"] == "autoencoder"
    assert cli.main(["same-s", "--offline", "-o", str(tmp_path / "model" / "same-s")]) == 0
    written = json.loads((tmp_path / "model" / "same-s" / "manifest.json").read_text())
    assert written["name"] == "same-s" and set(written["files"]) == {"autoencoder.npz", "model_config.json"}
    assert (
        loaded(open_model("same-s"), "autoencoder").keys() == loaded(open_path(tmp_path / "full"), "autoencoder").keys()
    )
    with pytest.raises(WeightsError, match="same-l is not on this computer"):
        open_model("same-l", download=False)


def test_same_s_is_found_inside_a_converted_model(folder, offline, tmp_path):
    convert_folder(folder, tmp_path / "model" / "stable-audio-3-small-music")
    model = AutoencoderModel.from_pretrained("same-s")
    assert model.latent_dim == 4 and model.decode(mx.zeros((1, 4, 4))).shape == (1, 2, 64)
