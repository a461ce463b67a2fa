"""Diffusion and LoRA training: what a batch is, learning one by heart, what is written and read again."""

import json

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from stable_audio_mlx import StableAudioPipeline, lora_effective_weights
from stable_audio_mlx.data.latent_set import LatentSet
from stable_audio_mlx.errors import ConfigError, OptionError
from stable_audio_mlx.lora.adapter import KINDS
from stable_audio_mlx.lora.files import read_lora
from stable_audio_mlx.training.adapters import LoraSettings, choice
from stable_audio_mlx.training.coupling import coupled
from stable_audio_mlx.training.job import Job, Training
from stable_audio_mlx.training.masks import MaskSettings, extended, inpaint_mask
from stable_audio_mlx.training.sections import section_for
from stable_audio_mlx.training.timesteps import timestep_sampler

from . import checkpoints

RATIO, RATE, CHANNELS = 8, 32, 4


def encoded(folder, lengths=(20, 33, 60, 47), seed=0):
    """Latents as pre-encode writes them, of sounds of so many frames; the last two frames of the first are padding."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for i, length in enumerate(lengths):
        np.save(folder / f"{i:012d}.npy", rng.standard_normal((CHANNELS, length)).astype(np.float32))
        mask = [1] * (length - 2 * (i == 0)) + [0] * (2 * (i == 0))
        facts = {"prompt": f"sound {i}", "seconds_start": 0, "seconds_total": -(-length * RATIO // RATE)}
        (folder / f"{i:012d}.json").write_text(json.dumps({**facts, "padding_mask": mask}))
    np.save(folder / "silence.npy", np.full((1, CHANNELS, 7), 9, np.float32))
    return folder


@pytest.fixture(scope="module")
def latents(tmp_path_factory):
    return encoded(tmp_path_factory.mktemp("latents") / "l")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder of each kind: rectified flow, v, and Stable Audio 3's."""
    root = tmp_path_factory.mktemp("models")
    v = checkpoints.diffusion()
    v["model"]["diffusion"]["diffusion_objective"] = "v"
    network = {"in_channels": CHANNELS, "embed_dim": 64, "depth": 1, "num_heads": 2}
    model = {"type": "dit", "config": network, "pretransform": checkpoints.DIFFUSION["model"]["pretransform"]}
    alone = {**checkpoints.DIFFUSION, "model_type": "diffusion_uncond", "model": model}
    configs = {"flow": checkpoints.DIFFUSION, "v": v, "sa3": checkpoints.STABLE_AUDIO_3, "unconditional": alone}
    return {name: str(checkpoints.write(root / name, config)) for name, config in configs.items()}


def job(models, latents, output, kind="flow", **options):
    settings = {"steps": 4, "batch_size": 2, "demo_every": 0, "log_every": 1, "checkpoint_every": 100, **options}
    return Job(model=models[kind], output=output, latents=latents, **settings)


def loss_of(training, batch):
    return training.trainer.objective.loss(training.trainer.model, *batch)[0].item()


# What a batch is


def test_sounds_come_once_an_epoch_and_crops_are_in_them(latents):
    found = LatentSet(latents, CHANNELS, RATIO, RATE)
    assert [(i.frames, i.valid) for i in found.items] == [(20, 18), (33, 33), (60, 60), (47, 47)]
    clips = [clip for step in range(6) for clip in found.clips(step, 2, 30, seed=5)]
    epochs = [sorted(clip.item for clip in clips[i : i + 4]) for i in (0, 4, 8)]
    assert epochs == [[0, 1, 2, 3]] * 3 and len({tuple(c.item for c in clips[i : i + 4]) for i in (0, 4, 8)}) > 1
    for clip in clips:
        item = found.items[clip.item]
        assert clip.valid == min(item.valid, 30) and 0 <= clip.start <= max(0, item.valid - 30)
        assert clip.metadata["seconds_start"] == clip.start * RATIO // RATE
        assert clip.metadata["seconds_total"] == item.metadata["seconds_total"]
    assert len({clip.start for clip in clips if clip.item == 2}) > 1
    again = found.clips(3, 2, 30, seed=5)
    assert [c[:3] for c in again] == [c[:3] for c in clips[6:8]]
    z = found.read(again, 30)
    for row, clip in zip(z, again, strict=True):
        stored = np.load(found.items[clip.item].path).T[clip.start : clip.start + 30]
        np.testing.assert_array_equal(row[: len(stored)], stored)
        assert (row[len(stored) :] == 9).all()  # silence


def test_latents_that_do_not_fit_are_refused(latents, tmp_path):
    with pytest.raises(OptionError, match="no latents in it"):
        LatentSet(tmp_path, CHANNELS, RATIO, RATE)
    with pytest.raises(OptionError, match="no such folder"):
        LatentSet(tmp_path / "x", CHANNELS, RATIO, RATE)
    with pytest.raises(OptionError, match=r"needs \(6, frames\)"):
        LatentSet(latents, 6, RATIO, RATE)
    other = encoded(tmp_path / "other", (5,))
    (other / "details.json").write_text(json.dumps({"model": "same-s", "downsampling_ratio": 4096}))
    with pytest.raises(OptionError, match="made by same-s with downsampling_ratio 4096"):
        LatentSet(other, CHANNELS, RATIO, RATE)
    (other / "details.json").unlink()
    (other / "000000000000.json").unlink()
    with pytest.raises(OptionError, match="no metadata"):
        LatentSet(other, CHANNELS, RATIO, RATE)


@pytest.mark.parametrize("kind", ["flow", "v", "sa3"])
def test_a_batch_depends_on_seed_and_step_alone(models, latents, tmp_path, kind):
    first, again = (Training(job(models, latents, tmp_path / "a", kind)) for _ in range(2))
    one, same, next_one = (
        first.trainer.objective.batch(7),
        again.trainer.objective.batch(7),
        first.trainer.objective.batch(8),
    )
    assert all(mx.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not mx.array_equal(one[1], next_one[1])
    other = Training(job(models, latents, tmp_path / "a", kind, seed=1)).trainer.objective.batch(7)
    assert not mx.array_equal(one[1], other[1])


@pytest.mark.parametrize("kind", ["v", "sa3"])
def test_shares_of_processes_make_up_the_batch(models, latents, tmp_path, kind):
    section = {"learning_rate": 1e-3, "mask_padding": True, "mask_loss_weight": 1.0, "cfg_dropout_prob": 0.5}
    training = Training(job(models, latents, tmp_path / "a", kind, batch_size=4, training=section))
    objective = training.trainer.objective
    whole, value = objective.batch(3), None
    value = loss_of(training, whole)
    parts = []
    for rank in range(2):
        objective.plan = type(objective.plan)(4, objective.plan.length, 42, rank, 2)
        parts.append(objective.batch(3))
    for a, b, c in zip(whole, *parts, strict=True):
        assert mx.array_equal(a, mx.concatenate([b, c]))
    assert np.mean([loss_of(training, part) for part in parts]) == pytest.approx(value, rel=1e-5)


def test_models_that_mask_padding_compute_only_what_counts(models, tmp_path):
    """What is cut off behind the longest clip changes neither the loss nor what is learned."""
    folder = encoded(tmp_path / "short", (20, 30))
    training = Training(job(models, folder, tmp_path / "a", "sa3", training={"learning_rate": 1e-3}))
    objective = training.trainer.objective
    batch = objective.batch(0)
    assert batch[0].shape[1] == 64 < objective.plan.length
    padded = [
        mx.pad(a, [(0, 0), (0, 9), (0, 0)][: a.ndim], constant_values=0) if a.ndim > 1 and a.shape[1] == 64 else a
        for a in batch
    ]
    assert loss_of(training, padded) == pytest.approx(loss_of(training, batch), rel=1e-5)


def test_inpaint_masks():
    rng = np.random.default_rng(0)
    kinds = {0: (1.0, 0.0, 0.0), 1: (0.0, 1.0, 0.0), 2: (0.0, 0.0, 1.0), 3: (0.0, 0.0, 0.0, 1.0)}
    for kind, odds in kinds.items():
        for _ in range(50):
            settings = MaskSettings(mask_type_probabilities=odds)
            keep = inpaint_mask(rng, 40, 30, settings, keep_padding=False)
            assert not keep[30:].any() and (kind == 2 or not keep[:30].all())
            if kind == 1:
                assert not keep.any()
            if kind == 2:
                assert keep.tolist() == sorted(keep.tolist(), reverse=True)
            if kind == 3:
                made = 30 - keep[:30].sum()
                assert 6 <= made <= 30
                edges = np.flatnonzero(np.diff(np.r_[1, keep[:30], 1]) < 0)
                assert 1 <= len(edges) <= 4
    assert inpaint_mask(rng, 40, 30, MaskSettings(mask_type_probabilities=(0, 0, 1)), keep_padding=True)[30:].all()
    lengths = [extended(rng, 10, 1000, 20.0) for _ in range(2000)]
    assert min(lengths) == 10 and np.mean(lengths) == pytest.approx(29.5, abs=2) and extended(rng, 10, 12, 1e6) == 12


def test_timesteps_are_spread_as_documented():
    rng = np.random.default_rng(0)
    drawn = {name: timestep_sampler(name, {})(rng, 4000) for name in ("uniform", "logit_normal", "log_snr")}
    assert np.histogram(drawn["uniform"], 10, (0, 1))[0].tolist() == [400] * 10
    logit = np.log(drawn["logit_normal"] / (1 - drawn["logit_normal"]))
    assert (logit.mean(), logit.std()) == pytest.approx((0, 1), abs=0.05)
    snr = np.log((1 - drawn["log_snr"]) / drawn["log_snr"])
    assert (snr.mean(), snr.std()) == pytest.approx((-1.2, 2.0), abs=0.1)
    t = 1 - timestep_sampler("trunc_logit_normal", {})(rng, 4000)  # the logit-normal above 0.075, stretched
    inner = np.log((t * 0.925 + 0.075) / (1 - t * 0.925 - 0.075))
    assert t.min() >= 0 and np.median(inner) == pytest.approx(0.0075, abs=0.06)
    t = timestep_sampler("log_snr_uniform", {"min_logsnr": 0, "max_logsnr": 1})(rng, 100)
    assert 1 / (1 + np.e) <= t.min() and t.max() <= 0.5


def test_coupling_makes_paths_shorter():
    rng = np.random.default_rng(0)
    z, noise = (rng.standard_normal((6, 3, 2)).astype(np.float32) for _ in range(2))
    noise = z[::-1] + 0.1 * noise
    np.testing.assert_array_equal(coupled(noise, z), noise[::-1])


def test_sections_of_models_and_recipes():
    config = checkpoints.STABLE_AUDIO_3
    section = section_for(config, True, None, 3e-4)
    assert section.timestep_sampler == "trunc_logit_normal" and section.inpainting is not None and not section.use_ema
    assert section.optimizer_configs["diffusion"]["optimizer"]["config"]["lr"] == 3e-4
    own = {**checkpoints.DIFFUSION, "training": {"learning_rate": 5e-5, "cfg_dropout_prob": 0.2}}
    assert section_for(own, False, None, None).cfg_dropout_prob == 0.2
    assert section_for(own, False, None, 1e-3).learning_rate == 1e-3
    of_one_step = {**config, "training": {"learning_rate": 1e-3, "p_one_shot": 0.85}}
    assert section.p_one_shot == 0 and section_for(of_one_step, True, None, None).p_one_shot == 0.85
    with pytest.raises(ConfigError, match="reads no inpaint_mask"):
        given = {"learning_rate": 1, "inpainting": {}}
        from stable_audio_mlx.models.factory import create_model
        from stable_audio_mlx.training.objective import Denoiser, DiffusionObjective

        built = create_model(checkpoints.DIFFUSION)
        DiffusionObjective(Denoiser(built.dit, None), built, section_for(own, False, given, None), None, None)


# What is learned and written


@pytest.mark.parametrize("kind", ["flow", "v", "sa3", "unconditional"])
def test_one_batch_can_be_learned_by_heart(models, latents, tmp_path, kind):
    section = {"learning_rate": 4e-3, "cfg_dropout_prob": 0, "mask_loss_weight": 1.0}
    training = Training(job(models, latents, tmp_path, kind, steps=60, training=section, duration=4))
    objective = training.trainer.objective
    batch = objective.batch(0)
    objective.batch = lambda step: batch
    before = loss_of(training, batch)
    training.trainer.run()
    assert loss_of(training, batch) < 0.5 * before


@pytest.mark.parametrize("kind", KINDS)
def test_a_lora_learns_and_its_file_is_what_was_learned(models, latents, tmp_path, kind):
    settings = LoraSettings(rank=4, adapter_type=kind, exclude=("preprocess_conv", "postprocess_conv"))
    model = "sa3" if kind == "dora-rows" else "flow"
    training = Training(job(models, latents, tmp_path, model, lora=settings, steps=15, lr=2e-2, duration=4))
    objective = training.trainer.objective
    batch = objective.batch(0)
    objective.batch = lambda step: batch
    frozen = {k: np.array(v) for k, v in tree_flatten(training.built.dit.parameters()) if ".base." in k}
    before = loss_of(training, batch)
    path = training.run()
    assert loss_of(training, batch) < before
    assert path.name == "train-step=15-epoch=7.safetensors" and read_lora(path).type == kind
    for key, value in tree_flatten(training.built.dit.parameters()):
        assert key not in frozen or np.array_equal(np.array(value), frozen[key])
    key = "model.model.transformer.layers.1.self_attn.to_qkv.weight"
    found = np.array(lora_effective_weights(models[model], [(path, 1.0)], [key])[key])
    learned = np.array(training._weights("dit")["block_1.self_attn.to_qkv.weight"])
    np.testing.assert_allclose(found, learned, atol=2e-3 * np.abs(learned).max())
    facts = read_lora(path).extra
    assert facts["base_model"] == model and facts["exclude"] == ["preprocess_conv", "postprocess_conv"]


def test_the_header_names_layers_where_the_reference_reads_patterns_differently():
    layers = ["model.transformer.layers.1.ff.ff.2"]
    plain = choice(layers, LoraSettings(include=("transformer.layers",), exclude=("seconds_total",)))
    assert plain == {"include": ["transformer.layers"], "exclude": ["seconds_total"]}
    assert choice(layers, LoraSettings(include=("layers[1-3]",))) == {"include": layers, "exclude": None}
    assert choice(layers, LoraSettings()) == {"include": None, "exclude": None}


def test_a_base_of_half_precision_under_a_lora(models, latents, tmp_path):
    settings = LoraSettings(rank=2, dropout=0.3)
    training = Training(job(models, latents, tmp_path, "sa3", lora=settings, base_precision="bf16", lr=1e-2))
    layer = training.layers["model.transformer.layers.0.self_attn.to_qkv"]
    assert (layer.weight.dtype, layer.effective().dtype, layer.lora_A.dtype) == (mx.bfloat16, mx.bfloat16, mx.float32)
    before = np.array(layer.lora_B)
    training.run()
    assert np.isfinite(np.array(layer.lora_B)).all() and not np.array_equal(np.array(layer.lora_B), before)


def test_training_goes_on_from_a_lora(models, latents, tmp_path):
    settings = LoraSettings(rank=2)
    path = Training(job(models, latents, tmp_path / "a", lora=settings, lr=1e-2)).run()
    more = Training(job(models, latents, tmp_path / "b", lora=settings, lora_checkpoint=str(path)))
    stored = read_lora(path).layers
    for name, layer in more.layers.items():
        for key, value in layer.learned.items():
            assert mx.array_equal(value, stored[name].tensors[key].astype(mx.float32))
    with pytest.raises(OptionError, match="dora-rows of rank 2"):
        Training(job(models, latents, tmp_path / "c", lora=LoraSettings(rank=3), lora_checkpoint=str(path)))


def test_a_trained_model_is_a_model_like_any_other(models, latents, tmp_path):
    training = Training(job(models, latents, tmp_path, "sa3", lr=1e-2, name="mine"))
    folder = training.run()
    pipe = StableAudioPipeline.from_pretrained(folder)
    audio = pipe.generate(seconds=3, seed=1, steps=2)
    assert audio.shape == (1, 2, 96)
    base = StableAudioPipeline.from_pretrained(models["sa3"]).generate(seconds=3, seed=1, steps=2)
    assert not np.allclose(np.array(audio), np.array(base))
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["source"]["trained_from"] == "sa3" and manifest["source"]["steps"] == 4


def test_a_config_alone_begins_with_random_weights(models, latents, tmp_path):
    folder = tmp_path / "fresh"
    folder.mkdir()
    config = {**checkpoints.DIFFUSION, "training": {"learning_rate": 1e-3}}
    (folder / "model_config.json").write_text(json.dumps(config))
    with pytest.raises(OptionError, match="give --pretransform"):
        Training(job({"flow": str(folder / "model_config.json")}, latents, tmp_path / "o"))
    training = Training(
        job({"flow": str(folder / "model_config.json")}, latents, tmp_path / "o", pretransform=models["flow"])
    )
    x = mx.random.normal((1, 32, 4))
    dit = training.built.dit
    assert not mx.abs(dit.block_0.self_attn.to_out.weight).max().item()
    assert mx.array_equal(x, x + dit.preprocess_conv(x))
    StableAudioPipeline.from_pretrained(training.run()).generate(seconds=2, seed=0, steps=1)


def test_dropout_is_the_same_where_a_block_is_computed_twice(models, latents, tmp_path):
    runs = []
    for recompute in (False, True):
        settings = LoraSettings(rank=2, dropout=0.5)
        options = {"lora": settings, "lr": 1e-2, "recompute": recompute}
        training = Training(job(models, latents, tmp_path / str(recompute), **options))
        training.trainer.run()
        runs.append(np.concatenate([np.array(v).ravel() for n in training.layers.values() for v in n.learned.values()]))
    np.testing.assert_allclose(*runs, atol=1e-5)


def test_parts_and_recomputation_change_nothing(models, latents, tmp_path):
    runs = {}
    for name, options in {"plain": {}, "parts": {"accumulate": 2}, "recompute": {"recompute": True}}.items():
        section = {"learning_rate": 1e-3, "use_ema": False, "mask_padding": True}
        training = Training(job(models, latents, tmp_path / name, "v", batch_size=4, training=section, **options))
        training.trainer.run()
        runs[name] = np.concatenate([np.array(v).ravel() for _, v in tree_flatten(training.trainer.model.parameters())])
    for name in ("parts", "recompute"):
        np.testing.assert_allclose(runs[name], runs["plain"], atol=1e-4)  # Adam divides by next to nothing
