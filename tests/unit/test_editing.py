"""Edits of sounds, long sounds and loops: what is kept, where windows meet, exact lengths, what is refused."""

import copy
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from benchmarks.seams import elsewhere, jumps
from stable_audio_mlx import GenerateOptions, StableAudioPipeline
from stable_audio_mlx.completion import complete
from stable_audio_mlx.errors import OptionError
from stable_audio_mlx.models.dit import DiT
from stable_audio_mlx.models.t5 import T5Encoder
from stable_audio_mlx.presets import ModelFacts
from stable_audio_mlx.run import prepare

from . import checkpoints

TINY = Path(__file__).parents[2] / "model" / "tiny"
RATE = 32  # of the models with random weights: a latent frame is a quarter of a second
rng = np.random.default_rng(3)
SOUND = rng.standard_normal((2, 300)).astype(np.float32) / 4
LONG = rng.standard_normal((2, 2000)).astype(np.float32) / 4


@pytest.fixture(scope="module")
def tiny():
    return StableAudioPipeline.from_pretrained(TINY, keep_models=True)


@pytest.fixture(scope="module", params=["by replacement", "by input"])
def pipe(request, tmp_path_factory):
    """A window of 8 s that is always made whole, or one of up to 25 s that is told what is kept."""
    config = checkpoints.DIFFUSION if request.param == "by replacement" else checkpoints.STABLE_AUDIO_3
    folder = checkpoints.write(tmp_path_factory.mktemp("model"), copy.deepcopy(config))
    return StableAudioPipeline.from_pretrained(folder, keep_models=True)


def events(pipe, **options):
    return list(pipe.steps(GenerateOptions(**{"steps": 2, "seed": 1, **options})))


def made(pipe, **options) -> np.ndarray:
    return np.array(events(pipe, **options)[-1].value)


def notes(pipe, **options) -> list[str]:
    return [e.message for e in events(pipe, **options) if e.kind == "note"]


def own_jumps(sound: np.ndarray) -> np.ndarray:
    """What a sound jumps by itself at most, but at its beginning and end, and a tenth; 3 dB of level in any case."""
    return np.maximum(1.1 * elsewhere(sound[:, 2048:-11025], []).max(axis=0), (3, 0, 0))


# Long sounds


def test_more_than_a_window_is_made_by_windows(pipe):
    seen = events(pipe, seconds=70, long=True)
    audio, steps = seen[-1].value, [(e.step, e.total) for e in seen if e.kind == "step"]
    assert audio.shape == (1, 2, 70 * RATE) and mx.isfinite(audio).all()
    assert steps == [(i, len(steps)) for i in range(1, len(steps) + 1)] and len(steps) >= 8
    assert [e.kind for e in seen].count("decode") == 1
    again = made(pipe, seconds=70, long=True, seed=[1, 2])
    np.testing.assert_allclose(again[:1], audio, atol=1e-5, err_msg="a clip of a batch is what it is alone")
    assert not np.array_equal(again[1], again[0])


def test_the_first_window_of_a_long_sound_makes_no_ending_that_is_heard(pipe):
    """The frames that are used of a window are its own; every later one is told what stands there."""
    limit = pipe.facts.longest
    run = prepare(complete(GenerateOptions(seconds=3 * limit, long=True, seed=1), pipe.facts), pipe._model, pipe.facts)
    first, *later = run.passes
    assert first.behind < first.window.frames and first.first == 0
    assert all(p.first - p.window.start >= 5 for p in later) and run.passes[-1].behind == run.frames
    assert len({p.number for p in run.passes}) == len(run.passes), "no window has another's noise"


def test_without_leave_the_limit_is_told(pipe):
    with pytest.raises(OptionError, match="limit is .* seconds at once .*--long"):
        made(pipe, seconds=70)
    with pytest.raises(OptionError, match="one length for the whole batch"):
        made(pipe, seconds=[70, 60], long=True)
    for option in ({"return_latents": True}, {"noise": np.zeros((1, 4, 32), np.float32)}):
        with pytest.raises(OptionError, match="single window"):
            made(pipe, seconds=70, long=True, **option)


def test_a_long_sound_is_varied_in_windows(pipe):
    run = {"init_audio": (LONG, RATE), "long": True}
    near, far = (made(pipe, strength=s, **run)[0] for s in (0.01, 0.99))
    assert near.shape == LONG.shape
    other = made(pipe, strength=0.01, seed=2, **run)[0]
    assert np.abs(near - other).mean() < 0.3 * np.abs(near - far).mean()


def test_memory_does_not_grow_with_the_length(tiny):
    peaks = []
    for seconds in (8, 8, 24):
        mx.reset_peak_memory()
        made(tiny, prompt="heavy rain", seconds=seconds, long=True)
        peaks.append(mx.get_peak_memory())
    sound = 4 * 2 * 44100 * (24 - 8)
    assert peaks[2] - peaks[1] < 6 * sound, "nothing but the sound itself is longer"


def test_a_model_that_knows_where_it_is_hears_where_each_window_is(tmp_path):
    """stable-audio-open-1.0 was trained on cuts of longer sounds: beginning and whole length in seconds."""
    config = copy.deepcopy(checkpoints.DIFFUSION)
    config["model"]["conditioning"]["configs"].insert(0, {**checkpoints.NUMBER, "id": "seconds_start"})
    diffusion = config["model"]["diffusion"]
    diffusion["cross_attention_cond_ids"].insert(0, "seconds_start")
    diffusion["diffusion_objective"] = "v"
    pipe = StableAudioPipeline.from_pretrained(checkpoints.write(tmp_path, config))
    run = prepare(complete(GenerateOptions(seconds=20.0, long=True, seed=1), pipe.facts), pipe._model, pipe.facts)
    assert [p.seconds for p in run.passes] == [[(p.window.start * 0.25, 20.0)] for p in run.passes]
    assert run.passes[1].window.start > 0
    out = made(pipe, seconds=20, long=True, steps=4)
    assert out.shape == (1, 2, 640) and np.isfinite(out).all()
    continued = made(pipe, inpaint_audio=(SOUND, RATE), continue_to=20.0, steps=4)[0]
    assert np.array_equal(continued[:, :300], SOUND)


# Edits


def test_a_sound_is_continued_and_kept(pipe):
    for options in ({"continue_to": 40.0}, {"extend_by": 40.0 - 300 / RATE}):
        out = made(pipe, inpaint_audio=(SOUND, RATE), **options)[0]
        assert out.shape == (2, 40 * RATE) and np.array_equal(out[:, :300], SOUND)
        assert np.abs(out[:, 300:]).min() > 0
    both = made(pipe, inpaint_audio=(SOUND, RATE), continue_to=40.0, inpaint=[(2, 3)])[0]
    assert np.array_equal(both[:, 96:300], SOUND[:, 96:]) and np.abs(both[:, 64:96] - SOUND[:, 64:96]).max() > 1e-3


@pytest.mark.parametrize("length", [297, 300, 303])
def test_the_frame_in_which_a_sound_ends_is_made_anew(pipe, length):
    """Its latents would say that silence follows."""
    options = complete(GenerateOptions(inpaint_audio=(SOUND[:, :length], RATE), continue_to=20.0, seed=1), pipe.facts)
    from stable_audio_mlx.run.known import frames_to_keep, given_sounds

    keep = frames_to_keep(options, given_sounds(options, pipe._model), pipe._model, 80)[0]
    assert keep.sum() == keep[: length // 8].sum() == length // 8


def test_a_part_of_a_long_sound_is_made_anew_in_a_window_around_it(pipe, monkeypatch):
    seen, forward = [], DiT.__call__
    monkeypatch.setattr(DiT, "__call__", lambda self, x, *a, **k: seen.append(x.shape[1]) or forward(self, x, *a, **k))
    out = made(pipe, inpaint_audio=(LONG, RATE), inpaint=[(30, 32), "50-51"], cfg_scale=1.0)[0]
    kept = np.ones(2000, bool)
    kept[30 * RATE : 32 * RATE] = kept[50 * RATE : 51 * RATE] = False
    assert out.shape == LONG.shape and np.array_equal(out[:, kept], LONG[:, kept])
    for seed_part in (slice(30 * RATE, 32 * RATE), slice(50 * RATE, 51 * RATE)):
        assert np.abs(out[:, seed_part] - LONG[:, seed_part]).max() > 1e-2
    assert len(seen) <= 4 and max(seen) <= 100, "two windows of two steps, none for the rest"


def test_a_long_part_of_a_long_sound(pipe):
    out = made(pipe, inpaint_audio=(LONG, RATE), inpaint=[(5, 55)])[0]
    assert np.array_equal(out[:, : 5 * RATE], LONG[:, : 5 * RATE])
    assert np.array_equal(out[:, 55 * RATE :], LONG[:, 55 * RATE :])


def test_edits_in_bars(pipe):
    run = {"inpaint_audio": (SOUND, RATE), "bpm": 120}
    in_bars, in_seconds = (made(pipe, inpaint=i, **run) for i in (["2:1-3:1"], [(2.0, 4.0)]))
    assert np.array_equal(in_bars, in_seconds)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"continue_to": 5.0, "inpaint_audio": (SOUND, RATE)}, "lasts 9.375 seconds already"),
        ({"continue_to": 20.0}, "continue_to needs inpaint_audio or init_audio"),
        ({"extend_by": -1, "inpaint_audio": (SOUND, RATE)}, "extend_by"),
        ({"extend_by": 1, "seconds": 3, "inpaint_audio": (SOUND, RATE)}, "seconds and extend_by"),
        ({"bars": 2}, "bars.*needs bpm"),
        ({"bars": 2, "bpm": 90, "seconds": 9}, "seconds and bars"),
        ({"bpm": -3}, "bpm"),
        ({"bpm": 3000}, "bpm"),
        ({"beats_per_bar": 0}, "beats_per_bar"),
        ({"key": "H"}, "key"),
        ({"loop": "forever"}, "loop"),
        ({"loop": True, "return_latents": True}, "loop"),
        ({"loop": "crossfade", "init_audio": (SOUND, RATE), "extend_by": 2}, "loop"),
        ({"long": "yes"}, "long"),
        ({"bars": [1, 2], "bpm": 90}, "bars"),
        ({"bpm": [90, 100]}, "bpm"),
        ({"negative_prompt": "(a:-1)"}, "negative weight"),
        ({"loop": "crossfade", "inpaint_audio": (SOUND, RATE)}, "loop"),
        ({"strength": 0, "init_audio": (SOUND, RATE)}, "strength"),
        ({"strength": 1.1, "init_audio": (SOUND, RATE)}, "strength"),
        ({"strength": 0.5}, "strength needs init_audio"),
        ({"strength": 0.5, "init_noise_level": 0.5, "init_audio": (SOUND, RATE)}, "strength and init_noise_level"),
        ({"inpaint": ["2:1-3:9"], "bpm": 90, "inpaint_audio": (SOUND, RATE)}, "beats from 1 to 4"),
        ({"inpaint": ["3"], "inpaint_audio": (SOUND, RATE)}, "no range"),
        ({"prompt": "(a:99)"}, "weight 99"),
        ({"negative_prompt": "a || b"}, "must be one prompt"),
        ({"prompt": "a || b"}, "takes no text, so there is nothing to mix"),
    ],
    ids=str,
)
def test_what_is_refused(pipe, options, what):
    with pytest.raises(OptionError, match=what):
        made(pipe, **options)


def test_strength_is_the_same_share_of_noise_in_every_family():
    sound = (SOUND, RATE)
    flow, v = ModelFacts("rf_denoiser", RATE, 256), ModelFacts("v", RATE, 256)
    for strength in (0.2, 0.5, 0.9):
        ratio = strength / (1 - strength)
        level = complete(GenerateOptions(init_audio=sound, strength=strength), flow).init_noise_level
        assert level / (1 - level) == pytest.approx(ratio)
        assert complete(GenerateOptions(init_audio=sound, strength=strength), v).init_noise_level == pytest.approx(
            ratio
        )
        t = complete(GenerateOptions(init_audio=sound, strength=strength, sampler="v-ddim"), v).init_noise_level
        assert np.tan(t * np.pi / 2) == pytest.approx(ratio)
    assert complete(GenerateOptions(init_audio=sound, strength=1), v).init_noise_level == 500
    assert complete(GenerateOptions(init_audio=sound, strength=1), flow).init_noise_level == 1


def test_completed_options_make_the_same_again(pipe):
    for options in (
        {"inpaint_audio": (SOUND[:, :299], RATE), "extend_by": 3.0},
        {"bars": 2, "bpm": 97.3},
        {"init_audio": (SOUND, RATE), "strength": 0.6},
    ):
        done = events(pipe, **options)[-1]
        names = set(GenerateOptions.__dataclass_fields__) - {"batch_size"}
        again = {name: getattr(done.options, name) for name in names}
        assert np.array_equal(made(pipe, **{**again, "steps": 2}), done.value)


# Bars and loops


def test_a_length_in_bars_is_exact(tiny, pipe):
    assert made(tiny, prompt="house beat", bars=1, bpm=97.3).shape[2] == round(4 * 60 / 97.3 * 44100)
    for bpm in (113.7, 240, 77):
        assert made(pipe, bars=1.5, bpm=bpm).shape[2] == round(6 * 60 / bpm * RATE)


def test_tempo_and_key_are_heard_by_the_model(tiny):
    run = {"prompt": "house beat", "seconds": 4}
    assert np.array_equal(made(tiny, bpm=120, **run), made(tiny, **{**run, "prompt": "house beat, 120 BPM"}))
    told = notes(tiny, bpm=75, **run)
    assert "the model reads: house beat, 75 BPM" in told
    assert any("says 100 BPM" in n for n in notes(tiny, bpm=75, prompt="beat at 100 bpm", seconds=1))
    key = notes(tiny, key="Am", prompt="warm pad", seconds=1)
    assert key == ["the model reads: warm pad, A minor"]


def test_a_model_with_a_condition_for_tempo_is_told(tmp_path):
    config = copy.deepcopy(checkpoints.DIFFUSION)
    config["model"]["conditioning"]["configs"].append({**checkpoints.NUMBER, "id": "bpm"})
    config["model"]["diffusion"]["cross_attention_cond_ids"].append("bpm")
    pipe = StableAudioPipeline.from_pretrained(checkpoints.write(tmp_path, config))
    by_bpm, by_hand = made(pipe, seconds=3, bpm=60), made(pipe, seconds=3, conditions={"bpm": 60})
    assert np.array_equal(by_bpm, by_hand) and not np.array_equal(by_bpm, made(pipe, seconds=3, bpm=30))


@pytest.mark.parametrize("loop", [True, "regenerate", "crossfade"])
def test_a_loop_has_its_exact_length_and_another_seam(pipe, loop):
    plain, looped = (made(pipe, seconds=6, batch_size=2, loop=value) for value in (False, loop))
    assert looped.shape == plain.shape == (2, 2, 6 * RATE)
    seen = events(pipe, seconds=6, loop=loop)
    steps = [(e.step, e.total) for e in seen if e.kind == "step"]
    assert steps[-1] == (len(steps), len(steps)) and len(steps) == (2 if loop == "crossfade" else 4)


def test_a_given_sound_becomes_a_loop_and_is_kept_but_for_its_ends(pipe):
    out = made(pipe, inpaint_audio=(SOUND[:, :256], RATE), loop=True, loop_seam=2.0)[0]
    assert np.array_equal(out[:, RATE:-RATE], SOUND[:, RATE : 256 - RATE])
    assert np.abs(out[:, :RATE] - SOUND[:, :RATE]).max() > 1e-3


@pytest.mark.parametrize(
    "options",
    [
        {"prompt": "heavy rain", "seconds": 3, "loop": "crossfade"},
        {"prompt": "a minor chord", "seconds": 3, "loop": True},
        {"prompt": "slow siren", "seconds": 3, "loop": True},
        {"prompt": "house beat at 120 bpm", "bars": 2, "bpm": 120, "loop": True},
    ],
    ids=lambda o: o["prompt"],
)
def test_a_loop_played_twice_has_no_seam(tiny, options):
    """At the seam and at the edges of what was made anew it jumps no more than the sound itself does."""
    clip = made(tiny, **options)[0]
    twice = np.concatenate([clip, clip], axis=1)
    end, half = clip.shape[1], 22050
    plain = made(tiny, prompt=options["prompt"])[0]
    assert (jumps(twice, [end - half, end, end + half]) <= own_jumps(plain)).all()


def test_a_seam_that_does_not_fit_is_not_taken(tiny):
    """The embedded model knows one rain, from its beginning on: in the middle of a turned one it makes near silence."""
    told = notes(tiny, prompt="heavy rain", seconds=3, loop=True)
    assert "does not fit the sound; it is crossfaded instead" in told[0]


# Seams


@pytest.mark.parametrize("prompt", ["heavy rain", "a minor chord"])
def test_no_seam_can_be_heard(tiny, prompt):
    """Where a given sound ends and where windows meet, level, spectrum and slope jump no more than the sound itself."""
    source = made(tiny, prompt=prompt)[0][:, :130_800]  # cut off while it sounds, early in a latent frame
    options = {"prompt": prompt, "inpaint_audio": (source, 44100), "extend_by": 3.0}
    out = made(tiny, **options)[0]
    assert np.array_equal(out[:, : source.shape[1]], source)
    run = prepare(complete(GenerateOptions(seed=1, **options), tiny.facts), tiny._model, tiny.facts)
    places = [source.shape[1], *(p.first * 2208 for p in run.passes[1:])]
    most = own_jumps(source)
    assert (jumps(out, places) <= most).all(), f"{jumps(out, places)}, in the sound itself at most {most}"


# Prompts


def test_weights_change_the_sound_step_by_step(tiny):
    run = {"steps": 4, "seconds": 1}
    plain = made(tiny, prompt="heavy rain", **run)
    assert np.array_equal(made(tiny, prompt="(heavy:1) rain", **run), plain), "weight 1 is the prompt itself"
    distance = [np.abs(made(tiny, prompt=f"(heavy:{w}) rain", **run) - plain).mean() for w in (1.05, 1.5, 0)]
    assert 0 < distance[0] < distance[1] and distance[2] > distance[0]


def test_negative_weights_are_a_negative_prompt(tiny):
    run = {"steps": 2, "seconds": 1, "cfg_scale": 3.0}
    by_weight = made(tiny, prompt="rain (siren:-1)", **run)
    assert np.array_equal(by_weight, made(tiny, prompt="rain", negative_prompt="siren", **run))
    assert "no effect at cfg scale 1" in notes(tiny, prompt="rain (siren:-1)", steps=1, seconds=1)[0]


def test_prompts_are_mixed_in_their_shares(tiny):
    run = {"steps": 2, "seconds": 2, "cfg_scale": 3.0, "seed": [1, 2]}
    rain, siren = (made(tiny, prompt=p, **run) for p in ("rain", "siren"))
    np.testing.assert_allclose(made(tiny, prompt="rain || rain:3", **run), rain, atol=1e-5)
    mixed = made(tiny, prompt="rain || siren", **run)
    assert min(np.abs(mixed - a).max() for a in (rain, siren)) > 1e-3
    mostly = made(tiny, prompt="rain:9 || siren:0.001", **run)
    assert np.abs(mostly - rain).mean() < 0.1 * np.abs(mixed - rain).mean()


def test_prompts_follow_each_other(tiny):
    turn = made(tiny, prompt="kick drum || siren @2")[0]
    siren, kick = (made(tiny, prompt=p)[0] for p in ("siren", "kick drum"))
    level = [float(np.sqrt(np.mean(turn[:, int(a * 44100) : int(b * 44100)] ** 2))) for a, b in ((1, 1.8), (2.5, 3.5))]
    assert level[1] > 3 * level[0], "the kick has died away, the siren sounds"
    assert np.abs(turn[:, :22050] - kick[:, :22050]).mean() < np.abs(turn[:, :22050] - siren[:, :22050]).mean()


def test_one_evaluation_of_all_prompts_a_step_and_text_encoded_once(tiny, monkeypatch):
    batches, texts, forward, encode = [], [], DiT.__call__, T5Encoder.__call__
    monkeypatch.setattr(DiT, "__call__", lambda s, x, *a, **k: batches.append(x.shape[0]) or forward(s, x, *a, **k))
    monkeypatch.setattr(T5Encoder, "__call__", lambda s, x, *a, **k: texts.append(x.shape[0]) or encode(s, x, *a, **k))
    made(tiny, prompt="rain || siren @3", seconds=9, long=True, steps=2)
    assert set(batches) == {2} and texts == [2], "every window hears the same words"


def test_what_was_not_read_is_said(tiny):
    (told,) = notes(tiny, prompt="rain siren " * 15 + "kick", steps=1, seconds=1)
    assert "longer than 24 tokens" in told and told.endswith("kick'")
