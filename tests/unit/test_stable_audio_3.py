"""Stable Audio 3's way through the pipeline, on a tiny model: lengths, masks, batches, conditions, joins."""

import copy

import mlx.core as mx
import numpy as np
import pytest

from stable_audio_mlx import FinishOptions, GenerateOptions, StableAudioPipeline, finish
from stable_audio_mlx.errors import OptionError
from stable_audio_mlx.models.autoencoder import Autoencoder
from stable_audio_mlx.models.dit import DiT
from stable_audio_mlx.pipeline import DECODER

from . import checkpoints

RATE, RATIO, HEADROOM = 32, 8, 24  # 6 s are 24 latent frames
rng = np.random.default_rng(1)
SOUND = (rng.standard_normal((2, 300)).astype(np.float32) / 4, RATE)
OTHER = (rng.standard_normal((2, 300)).astype(np.float32) / 4, RATE)
CLIPS = {"seconds": [3.0, 5.3], "seed": [7, 9]}
# Each sampling option that looks at more than one frame at a time.
RUNS = {
    "pingpong": {"sampler": "pingpong"},
    "guided": {"cfg_scale": 3.0, "cfg_norm_threshold": 2.0, "apg_scale": 0.7, "cfg_rescale": 0.3},
    "solver": {"sampler": "dpmpp", "cfg_scale": 2.0},
    "varied": {"init_audio": SOUND, "init_noise_level": 0.6},
    "inpainted": {"inpaint": [(0.4, 1.2), (2.1, 3.5)], "inpaint_audio": SOUND, "cfg_scale": 2.0},
    "both": {"inpaint": [(0.4, 2.0)], "inpaint_audio": SOUND, "init_audio": OTHER},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return checkpoints.write(tmp_path_factory.mktemp("model"), checkpoints.STABLE_AUDIO_3)


@pytest.fixture
def pipe(folder):
    return StableAudioPipeline.from_pretrained(folder, keep_models=True)


@pytest.fixture
def watch(monkeypatch):
    """``watch(cls, name)``: the arguments of every call of a method."""

    def start(cls, name):
        seen, method = [], getattr(cls, name)

        def watched(self, *args, **kwargs):
            seen.append((*args, *kwargs.values()))
            return method(self, *args, **kwargs)

        monkeypatch.setattr(cls, name, watched)
        return seen

    return start


def close(a, b, tolerance=2e-5):
    a, b = np.array(a), np.array(b)
    assert a.shape == b.shape
    assert np.abs(a - b).max() <= tolerance * np.abs(b).max()


def test_a_clip_is_as_long_as_its_seconds_and_headroom(pipe):
    run = {"steps": 2, "seed": 1, "return_latents": True}
    assert pipe.generate(seconds=3, **run).shape == (1, 4, 12 + HEADROOM)
    assert pipe.generate(seconds=3.1, **run).shape == (1, 4, 13 + HEADROOM)
    assert pipe.generate(seconds=3, headroom_seconds=0, **run).shape == (1, 4, 12)
    assert pipe.generate(seconds=25, **run).shape == (1, 4, 100), "no more than the training window"
    assert pipe.generate(seconds=3.1, steps=2, seed=1).shape == (1, 2, 99)


@pytest.mark.parametrize("name", RUNS)
def test_a_clip_of_a_ragged_batch_is_what_it_is_alone(pipe, name):
    run = {"steps": 3, **RUNS[name]}
    batch = pipe.generate(**CLIPS, **run)
    assert batch.shape == (2, 2, 169) and not batch[0, :, 96:].any().item()
    latents = pipe.generate(**CLIPS, **run, return_latents=True)
    for i, frames in enumerate((12 + HEADROOM, 22 + HEADROOM)):
        own = {key: value[i] for key, value in CLIPS.items()}
        alone = pipe.generate(**own, **run)
        close(batch[i : i + 1, :, : alone.shape[2]], alone)
        close(latents[i : i + 1, :, :frames], pipe.generate(**own, **run, return_latents=True))


def test_the_mask_matters(pipe, watch):
    calls = watch(DiT, "__call__")
    pipe.generate(**CLIPS, steps=1, cfg_scale=2.0, return_latents=True)
    mask = np.array(calls[0][3])
    assert mask.sum(axis=1).tolist() == [12 + HEADROOM, 22 + HEADROOM] * 2
    calls.clear()
    pipe.generate(seconds=5, batch_size=2, steps=1, return_latents=True)
    assert calls[0][3] is None, "clips of one length are cropped, not masked"


@pytest.mark.parametrize("sampler", ["pingpong", "euler", "dpmpp"])
@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_what_does_not_change_between_steps_is_computed_once(pipe, watch, sampler, scale):
    steps, embeds, locals_ = watch(DiT, "__call__"), watch(DiT, "embed"), watch(DiT, "local_embeds")
    tokens = watch(DiT, "keys_values")
    pipe.generate(seconds=3, steps=5, sampler=sampler, cfg_scale=scale, return_latents=True)
    assert [call[0].shape[0] for call in steps] == [1 if scale == 1 else 2] * 5
    assert [call[0].shape[0] for call in embeds] == [5], "all noise levels in one product"
    assert [call[0].shape for call in locals_] == [(1, 1, 5)], "without inpainting one frame stands for all"
    assert len(tokens) == 1


def test_conditions_that_both_halves_of_guidance_share_are_not_doubled(pipe, watch):
    seen = watch(DiT, "local_embeds")
    run = {"inpaint": [(1, 2)], "inpaint_audio": SOUND, "steps": 1, "cfg_scale": 2.0, "return_latents": True}
    pipe.generate(seconds=3, **run)
    pipe.generate(seconds=3, batch_size=2, **run)
    assert [call[0].shape for call in seen] == [(1, 36, 5), (4, 36, 5)]


def test_the_transformer_reads_what_is_kept(pipe, watch):
    seen = watch(DiT, "local_embeds")
    # Frames begin at 0, 8, 16 ...: the ranges' samples 13 to 38 and 67 to 83 hold the frames 2 to 4, and 9 and 10.
    run = {"inpaint": [(0.43, 1.2), (2.1, 2.6)], "inpaint_audio": SOUND, "steps": 1, "seconds": 3.1}
    pipe.generate(**run, return_latents=True)
    local = np.array(seen[0][0])[0]
    made = {2, 3, 4, 9, 10, *range(13, 13 + HEADROOM)}
    assert {int(i) for i in np.flatnonzero(local[:, 0] == 0)} == made
    assert not local[sorted(made), 1:].any() and local[0, 1:].all()


def test_variation_has_a_monotone_schedule_that_starts_at_its_level(pipe, watch):
    calls = watch(DiT, "__call__")
    for level in (0.4, 0.9):
        pipe.generate(seconds=3, steps=6, init_audio=SOUND, init_noise_level=level, return_latents=True)
        times = [call[1] for call in calls]
        assert times[0] == level and times == sorted(times, reverse=True) and len(set(times)) == 6
        calls.clear()


@pytest.mark.parametrize("ranges", [[(0.5, 1.0), (2, 2.75)], [(0, 1)], [(1.5, 3)], [(0.5, 1), (1, 2)]])
def test_the_given_sound_is_kept_bit_for_bit(pipe, ranges):
    made = np.array(pipe.generate(seconds=3, steps=2, seed=1, inpaint=ranges, inpaint_audio=SOUND))[0]
    again = np.array(pipe.generate(seconds=3, steps=2, seed=2, inpaint=ranges, inpaint_audio=SOUND))[0]
    kept = np.ones(96, bool)
    for start, end in ranges:
        kept[int(start * RATE) : int(end * RATE)] = False
    assert np.array_equal(made[:, kept], SOUND[0][:, :96][:, kept])
    assert (made != again).any(axis=0).tolist() == (~kept).tolist()


def test_a_sound_is_continued_to_the_end_of_the_range(pipe):
    short = (SOUND[0][:, :64], RATE)
    run = {"steps": 2, "seed": 1, "inpaint": [(2, 4.5)], "inpaint_audio": short}
    made = np.array(pipe.generate(**run))
    assert made.shape == (1, 2, 144), "without seconds as long as the range"
    assert np.array_equal(made[0, :, :64], short[0]) and np.abs(made[0, :, 64:]).min() > 0


def test_a_given_sound_says_how_long_the_clip_is(pipe):
    run = {"steps": 1, "seed": 1}
    assert pipe.generate(init_audio=SOUND, **run).shape[2] == 300
    assert pipe.generate(inpaint=[(1, 2)], inpaint_audio=(SOUND[0][:, :70], RATE), **run).shape[2] == 70
    assert pipe.generate(init_audio=SOUND, seconds=2, **run).shape[2] == 64


def notes(pipe, **options):
    """But for those about the level, which is random as the weights are."""
    told = [e.message for e in pipe.steps(GenerateOptions(steps=1, seed=1, **options)) if e.kind == "note"]
    return [message for message in told if "quieter" not in message]


def test_lengths_that_surprise_are_told(pipe):
    sound = {"inpaint_audio": (SOUND[0][:, :64], RATE)}
    assert "ends at 2.00 s" in notes(pipe, seconds=4, inpaint=[(1, 1.5)], **sound)[0]
    assert not notes(pipe, seconds=4, inpaint=[(1, 1.5), (2, 4)], **sound)
    assert not notes(pipe, seconds=4, inpaint=[(1.9, 3), (3, 4)], **sound)
    assert "ends at 2.00 s" in notes(pipe, inpaint=[(3, 4)], **sound)[0]
    long = (np.tile(SOUND[0], 3), RATE)
    assert "lasts 28.1 s; the model can take 25.0 s" in notes(pipe, init_audio=long)[0]
    assert not notes(pipe, init_audio=SOUND)


def test_ranges_that_hold_nothing_are_refused(pipe):
    run = {"steps": 1, "seconds": 3, "inpaint_audio": SOUND}
    with pytest.raises(OptionError, match="behind the end of the clip, 3 s"):
        pipe.generate(inpaint=[(1, 2), (3, 4)], **run)
    with pytest.raises(OptionError, match="too short; latent frames begin every 0.25 s"):
        pipe.generate(inpaint=[(1.05, 1.2)], **run)
    assert pipe.generate(inpaint=[(2, 99)], **run).shape[2] == 96, "a range ends with the clip"
    with pytest.raises(OptionError, match="limit is 25 seconds"):
        pipe.generate(seconds=25.5)
    with pytest.raises(OptionError, match="less than one sample"):
        pipe.generate(seconds=0.01)


def test_an_init_sound_beside_a_kept_one_is_used(pipe):
    run = {"steps": 2, "seconds": 3, "seed": 1, "inpaint": [(1, 2)], "inpaint_audio": SOUND, "return_latents": True}
    plain, varied = pipe.generate(**run), pipe.generate(init_audio=OTHER, **run)
    assert mx.abs(plain - varied).max().item() > 1e-3
    close(varied, pipe.generate(init_audio=OTHER, init_noise_level=0.7, **run), 0)
    same_sound = pipe.generate(**{**run, "inpaint_audio": None}, init_audio=SOUND)
    close(same_sound, plain, 0)


def test_the_array_is_clipped_as_the_reference_does_and_a_sound_is_not(folder, tmp_path):
    config = copy.deepcopy(checkpoints.STABLE_AUDIO_3)
    tensors = checkpoints.tensors(config)
    last = max(k for k in tensors if k.endswith(".weight_g") and "decoder" in k)
    tensors[last] = np.full_like(tensors[last], 40.0)
    loud = StableAudioPipeline.from_pretrained(checkpoints.write(tmp_path, config, tensors))
    run = {"seconds": 3, "steps": 1, "seed": 1}
    assert mx.abs(loud.generate(**run)).max().item() == 1.0
    (sound,) = loud.make(**run)
    assert np.abs(sound.audio).max() > 1.5  # turned down or limited as a whole later, never clipped
    np.testing.assert_array_equal(np.clip(sound.audio, -1, 1), np.array(loud.generate(**run)[0]))
    limited = finish(sound, FinishOptions(limit=-1.0))
    assert limited.levels.true_peak_dbtp <= -1


def test_only_what_is_heard_is_decoded(pipe, watch):
    decoded = watch(Autoencoder, "decode_tiled")
    run = {"seconds": 3, "headroom_seconds": 17, "steps": 1, "seed": 1}
    heard, latents = pipe.generate(**run), pipe.generate(return_latents=True, **run)
    assert decoded[0][0].shape[1] < 40 < latents.shape[2] == 80
    codec = pipe._parts.get("autoencoder", DECODER)
    close(heard, codec.decode(latents.swapaxes(1, 2))[:, :96].swapaxes(1, 2), 1e-6)
