"""The pipeline on tiny models with random weights: lengths, seeds, batches, which calls it makes, what it refuses."""

import copy
import gc
import weakref

import mlx.core as mx
import numpy as np
import pytest

from stable_audio_mlx import GenerateOptions, StableAudioPipeline
from stable_audio_mlx.errors import AudioError, ConfigError, OptionError, SanityError
from stable_audio_mlx.models.dit import DiT
from stable_audio_mlx.sound import check_sound
from stable_audio_mlx.weights.parts import Parts

from . import checkpoints

SOUND = (np.random.default_rng(0).standard_normal((2, 300)).astype(np.float32) / 4, 32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return checkpoints.write(tmp_path_factory.mktemp("model"), checkpoints.diffusion())


@pytest.fixture
def pipe(folder):
    return StableAudioPipeline.from_pretrained(folder)


@pytest.fixture
def calls(monkeypatch):
    """(batch, frames) of every evaluation of the transformer."""
    seen, forward = [], DiT.__call__

    def counted(self, x, t, conditioning, mask=None):
        seen.append((x.shape[0], x.shape[1]))
        return forward(self, x, t, conditioning, mask)

    monkeypatch.setattr(DiT, "__call__", counted)
    return seen


def variant(tmp_path, change):
    config = copy.deepcopy(checkpoints.DIFFUSION)
    change(config)
    return StableAudioPipeline.from_pretrained(checkpoints.write(tmp_path, config))


def inpainting(config):
    config["model_type"] = "diffusion_cond_inpaint"
    diffusion = config["model"]["diffusion"]
    diffusion["input_concat_ids"] = ["inpaint_mask", "inpaint_masked_input"]
    diffusion["config"]["input_concat_dim"] = 5


def same(a, b, tolerance=1e-5):
    np.testing.assert_allclose(np.array(a), np.array(b), atol=tolerance)


def test_a_stage_is_freed_before_its_memory_is_given_back(folder, monkeypatch):
    """Nobody holds a part when it is released, for else MLX would keep its memory beside the next one's."""
    refs, held, get, release = {}, {}, Parts.get, Parts.release

    def noted(self, part, *args):
        found = get(self, part, *args)
        refs[part] = weakref.ref(found)
        return found

    def watched(self, *parts):
        release(self, *parts)
        held.update({part: refs[part]() is not None for part in parts if part in refs})

    monkeypatch.setattr(Parts, "get", noted)
    monkeypatch.setattr(Parts, "release", watched)
    gc.disable()
    try:
        for keep in (False, True):
            pipe = StableAudioPipeline.from_pretrained(folder, keep_models=keep)
            pipe.generate(prompt="a b", seconds=2, steps=1, init_audio=SOUND)
            assert held == dict.fromkeys(("conditioner", "autoencoder", "dit"), keep)
            held.clear()
    finally:
        gc.enable()


def test_the_whole_window_is_sampled_and_cut(pipe, calls):
    audio = pipe.generate(seconds=3, steps=2, cfg_scale=1.0, seed=1)
    assert audio.shape == (1, 2, 96) and audio.dtype == mx.float32
    assert calls == [(1, 32)] * 2
    latents = pipe.generate(seconds=3, steps=2, cfg_scale=1.0, seed=1, return_latents=True)
    assert latents.shape == (1, 4, 32)


def test_guidance_doubles_the_batch_of_one_call(pipe, calls):
    pipe.generate(steps=2, cfg_scale=3.0, batch_size=2, return_latents=True)
    assert calls == [(4, 32)] * 2
    calls.clear()
    pipe.generate(steps=4, cfg_scale=3.0, cfg_interval=(0.9, 1.0), return_latents=True)
    assert calls == [(2, 32)] * 2 + [(1, 32)] * 2  # t: 1, 0.98, 0.88, 0.5


def test_seeds(pipe):
    run = {"steps": 2, "return_latents": True}
    one, again, other = (pipe.generate(seed=s, **run) for s in (3, 3, 4))
    assert mx.array_equal(one, again) and not mx.array_equal(one, other)
    batch = pipe.generate(seed=3, batch_size=2, sampler="pingpong", **run)
    same(batch[1:], pipe.generate(seed=4, sampler="pingpong", **run))


def test_mlx_draws_nothing(folder):
    mx.random.seed(2**63 + 11)
    before = mx.random.state[0].tolist()
    pipe = StableAudioPipeline.from_pretrained(folder)
    for _ in range(2):
        pipe.generate(steps=1, sampler="pingpong")
    assert mx.random.state[0].tolist() == before


def test_seconds_of_a_batch(pipe):
    audio = pipe.generate(seconds=[2, 5], seed=[1, 2], steps=2)
    assert audio.shape == (2, 2, 160) and not audio[0, :, 64:].any().item()
    same(audio[:1, :, :64], pipe.generate(seconds=2, seed=1, steps=2))


def test_given_noise(pipe):
    rng = np.random.default_rng(5)
    noise, more = (rng.standard_normal((n, 1, 4, 32)).astype(np.float32) for n in (1, 2))
    run = {"steps": 3, "sampler": "pingpong", "return_latents": True}
    a = pipe.generate(noise=mx.array(noise[0]), step_noise=list(more), **run)
    assert mx.array_equal(a, pipe.generate(noise=noise[0], step_noise=[*more, more[0]], seed=9, **run))
    with pytest.raises(OptionError, match="step_noise: 1 arrays.*draws 2 times"):
        pipe.generate(step_noise=[more[0]], **run)
    with pytest.raises(OptionError, match=r"noise: shape \(1, 4, 31\).*\(1, 4, 32\)"):
        pipe.generate(noise=noise[0][..., 1:], **run)


def test_an_unknown_dtype_is_refused_at_once(folder):
    with pytest.raises(OptionError, match="'int8' is not one of auto, float32"):
        StableAudioPipeline.from_pretrained(folder, dtype="int8")


def test_events(pipe):
    events = list(
        pipe.steps(GenerateOptions("words", negative_prompt="others", seconds=2, steps=3, cfg_scale=1.0, seed=4))
    )
    assert [e.kind for e in events] == ["options", "note", "note", "text", "step", "step", "step", "decode", "result"]
    assert events[0].options.seed == [4] and events[0].options.sampler == "euler"
    assert "cfg scale 1" in events[1].message and "takes no text" in events[2].message
    assert [(e.step, e.total) for e in events[4:7]] == [(1, 3), (2, 3), (3, 3)]
    assert events[4].value.shape == (1, 32, 4)
    assert events[-1].value.shape == (1, 2, 64) and events[-1].peak_memory > 1e6
    assert set(events[-1].seconds) == {"text", "load transformer", "sampling", "load decoder", "decode"}


def test_callback_sees_every_event(pipe):
    seen = []
    pipe.generate(steps=2, seconds=2, callback=lambda event: seen.append(event.kind))
    assert seen == ["options", "text", "step", "step", "decode", "result"]


def test_parts_are_freed_after_their_phase_or_kept(folder, monkeypatch):
    loads = []
    for keep in (False, True):
        pipe = StableAudioPipeline.from_pretrained(folder, keep_models=keep)
        load = pipe._parts._source.load
        monkeypatch.setattr(
            pipe._parts._source, "load", lambda part, *a, _load=load: loads.append(part) or _load(part, *a)
        )
        for _ in range(2):
            for event in pipe.steps(GenerateOptions(steps=2, seconds=2, seed=1)):
                held = {key[0] for key in pipe._parts._loaded}
                if event.kind == "step" and not keep:
                    assert not held  # the transformer is the sampler's alone, which has taken it apart
                if event.kind == "result":
                    assert held == ({"dit", "autoencoder", "conditioner"} if keep else set())
        assert loads == ["conditioner", "dit", "autoencoder"] * (1 if keep else 2)
        loads.clear()


@pytest.mark.parametrize("keep", [False, True])
def test_a_run_that_was_broken_off_spoils_no_other(folder, keep):
    pipe = StableAudioPipeline.from_pretrained(folder, keep_models=keep)
    run = GenerateOptions(seconds=2, steps=3, cfg_scale=3.0, cfg_interval=(0.0, 0.9), seed=1, return_latents=True)
    *_, whole = pipe.steps(run)
    for event in pipe.steps(run):
        if event.kind == "step":
            break
    *_, again = pipe.steps(run)
    assert mx.array_equal(whole.value, again.value)


def test_variation_starts_from_the_sound(pipe):
    run = {"steps": 4, "cfg_scale": 1.0, "seed": 1, "return_latents": True}
    known = pipe.generate(init_audio=SOUND, init_noise_level=0.02, **run)
    far = pipe.generate(init_audio=SOUND, init_noise_level=0.9, **run)
    free = pipe.generate(**run)
    more = pipe.generate(init_audio=SOUND, init_noise_level=0.03, **run)
    assert mx.abs(known - more).max().item() < 0.2 * mx.abs(known - far).max().item()
    same(pipe.generate(init_audio=SOUND, init_noise_level=1.0, **run), free)


@pytest.mark.parametrize("change", [lambda config: None, inpainting], ids=["by replacement", "by input"])
def test_inpainting_keeps_the_sound_outside_the_ranges(tmp_path, change):
    pipe = variant(tmp_path, change)
    run = {"steps": 3, "seconds": 8, "inpaint": [(2, 3), (5, 6.5)], "inpaint_audio": SOUND}
    a, b = (np.array(pipe.generate(seed=s, **run))[0] for s in (1, 2))
    keep = np.r_[0:64, 96:160, 208:256]
    assert np.array_equal(a[:, keep], SOUND[0][:, keep]) and np.array_equal(b[:, keep], a[:, keep])
    for start, end in ((64, 96), (160, 208)):
        assert np.abs(a[:, start:end] - b[:, start:end]).max() > 1e-5


def test_an_inpainting_model_is_told_what_is_kept(tmp_path):
    pipe = variant(tmp_path, inpainting)
    run = {"steps": 2, "seed": 1, "return_latents": True}
    free = pipe.generate(**run)
    told = pipe.generate(inpaint=[(2, 6)], inpaint_audio=SOUND, **run)
    frames = slice(8, 24)
    assert mx.abs(free[..., frames] - told[..., frames]).max().item() > 1e-4


def test_unconditional_model(tmp_path, calls):
    network = {k: v for k, v in checkpoints.DIT.items() if "cond" not in k and k != "io_channels"}
    config = {
        **{k: checkpoints.DIFFUSION[k] for k in ("sample_size", "sample_rate", "audio_channels")},
        "model_type": "diffusion_uncond",
        "model": {
            "type": "dit",
            "config": {**network, "in_channels": 4},
            "pretransform": checkpoints.DIFFUSION["model"]["pretransform"],
        },
    }
    pipe = StableAudioPipeline.from_pretrained(checkpoints.write(tmp_path, config))
    assert pipe.generate(seconds=4, steps=3, seed=1).shape == (1, 2, 128)
    assert calls == [(1, 32)] * 3


@pytest.mark.parametrize("sampler", ["dpmpp-3m-sde", "dpm-adaptive", "v-ddim-cfgpp", "k-heun"])
def test_v_model(tmp_path, sampler):
    pipe = variant(tmp_path, lambda config: config["model"]["diffusion"].update(diffusion_objective="v"))
    latents = pipe.generate(steps=4, sampler=sampler, seed=1, cfg_scale=2.0, return_latents=True)
    assert mx.isfinite(latents).all().item()


@pytest.mark.parametrize("sampler", ["dpmpp-2m", "k-heun", "v-ddim"])
def test_noise_levels_of_a_v_model_are_embedded_once(tmp_path, calls, monkeypatch, sampler):
    seen, embed = [], DiT.embed
    monkeypatch.setattr(DiT, "embed", lambda self, *args: seen.append(1) or embed(self, *args))
    pipe = variant(tmp_path, lambda config: config["model"]["diffusion"].update(diffusion_objective="v"))
    pipe.generate(steps=4, sampler=sampler, cfg_scale=2.0, return_latents=True)
    assert len(calls) >= 4 and len(seen) == 1


def test_explicit_schedule(pipe, calls):
    run = {"cfg_scale": 1.0, "seed": 1, "return_latents": True}
    a = pipe.generate(sigmas=[1.0, 0.6, 0.0], **run)
    assert len(calls) == 2
    assert not mx.array_equal(a, pipe.generate(steps=2, **run))


def test_other_conditions_come_by_name(tmp_path):
    def bpm(config):
        config["model"]["conditioning"]["configs"].append({**checkpoints.NUMBER, "id": "bpm"})
        config["model"]["diffusion"]["cross_attention_cond_ids"].append("bpm")

    pipe = variant(tmp_path, bpm)
    run = {"steps": 2, "seed": 1, "return_latents": True}
    with pytest.raises(OptionError, match="'bpm'"):
        pipe.generate(**run)
    slow, fast = (pipe.generate(conditions={"bpm": n}, **run) for n in (10, 60))
    assert not mx.array_equal(slow, fast)


def test_doors_for_comparison(pipe):
    arrays = pipe.conditioning_arrays(["", ""], [3, 5])
    assert arrays["cross_cond"].shape == (2, 1, 32) and arrays["global_cond"].shape == (2, 32)
    v = pipe.transformer_output(mx.ones((2, 4, 32)), mx.array([0.3, 0.9]), arrays["cross_cond"], arrays["global_cond"])
    assert v.shape == (2, 4, 32) and mx.abs(v[0] - v[1]).max().item() > 1e-6


def test_what_is_refused(pipe, tmp_path):
    with pytest.raises(OptionError, match="limit is 8 seconds"):
        pipe.generate(seconds=8.5)
    with pytest.raises(OptionError, match="euler"):
        pipe.generate(sampler="nosuch")
    with pytest.raises(AudioError, match="init_audio: holds values that are not finite"):
        pipe.generate(init_audio=(np.full((2, 10), np.nan), 32))
    with pytest.raises(ConfigError, match="autoencoder"):
        StableAudioPipeline.from_pretrained(checkpoints.write(tmp_path, checkpoints.CODEC))


def test_weights_that_are_not_finite_do_not_make_a_file(tmp_path):
    config = checkpoints.diffusion()
    tensors = checkpoints.tensors(config)
    tensors["model.model.preprocess_conv.weight"][:] = np.nan
    pipe = StableAudioPipeline.from_pretrained(checkpoints.write(tmp_path, config, tensors))
    with pytest.raises(SanityError, match="not finite"):
        pipe.generate(steps=2)


def test_sanity_of_a_sound():
    tone = np.sin(np.arange(100.0))[None]
    check_sound(tone, 100)
    for wrong, what in ((tone[:, 1:], "99 samples"), (0 * tone, "silent"), (tone + np.nan, "not finite")):
        with pytest.raises(SanityError, match=what):
            check_sound(wrong, 100)
