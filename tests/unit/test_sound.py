"""Sounds that know how they were made, and what is done to them after the model."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest

from stable_audio_mlx import FinishOptions, GenerateOptions, Sound, StableAudioPipeline, audio, finish
from stable_audio_mlx.audio import loudness
from stable_audio_mlx.errors import AudioError, OptionError, SanityError
from stable_audio_mlx.takes import Take

from . import checkpoints

RATE = 44100
TIME = np.arange(RATE) / RATE
TONE = (0.5 * np.sin(2 * np.pi * 440 * TIME)).astype(np.float32)
SOUND = Sound(np.stack([TONE, 0.4 * TONE]), RATE, {"prompt": "tone", "seed": 1})


def finished(sound=SOUND, **options) -> Sound:
    return finish(sound, FinishOptions(**options))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return checkpoints.write(tmp_path_factory.mktemp("model"), checkpoints.diffusion())


@pytest.fixture
def pipe(folder):
    return StableAudioPipeline.from_pretrained(folder)


def test_one_sound_per_clip_of_its_own_length_and_record(pipe):
    one, two = pipe.make("x", seconds=[2, 3], seed=[5, 9], steps=2, cfg_scale=3.0)
    assert (one.audio.shape, two.audio.shape, one.audio.dtype) == ((2, 64), (2, 96), np.float32)
    assert (one.record["seed"], one.record["seconds"], two.record["seed"], two.record["seconds"]) == (5, 2, 9, 3)
    assert (one.record["steps"], one.record["cfg_scale"], one.record["sampler"]) == (2, 3.0, "euler")
    assert json.loads(json.dumps(one.record)) == one.record
    (made,) = pipe.make("x", seconds=3, seed=9, steps=2, cfg_scale=3.0)
    np.testing.assert_allclose(made.audio, two.audio, atol=1e-5)
    assert {**made.record, "batch": 2} == two.record


def test_the_record_names_files_with_their_hashes(pipe, folder, tmp_path):
    audio.write(tmp_path / "in.wav", 0.1 * SOUND.audio[:, :300], 32)
    (made,) = pipe.make(steps=2, init_audio=audio.read(tmp_path / "in.wav"), init_noise_level=0.5)
    assert made.record["init_audio"] == {"path": str(tmp_path / "in.wav"), "sha256": of(tmp_path / "in.wav")}
    assert made.record["init_noise_level"] == 0.5
    assert made.record["model_files"] == {"model.safetensors": of(folder / "model.safetensors")}
    (made,) = pipe.make(steps=2, init_audio=(0.1 * SOUND.audio, 32), noise=np.ones((1, 4, 32), np.float32))
    assert set(made.record["init_audio"]) == {"sha256", "sample_rate"} and len(made.record["noise"]["sha256"]) == 64


def of(path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_only_results_become_sounds(pipe):
    *_, result = pipe.steps(GenerateOptions(steps=2, return_latents=True))
    with pytest.raises(OptionError, match="return_latents"):
        pipe.sounds(result)


def test_nothing_asked_changes_nothing():
    assert finished() is SOUND


def test_mono_is_the_mean():
    mono = finished(mono=True)
    np.testing.assert_allclose(mono.audio, 0.7 * TONE[None], atol=1e-7)
    assert mono.record["mono"] is True
    with pytest.raises(SanityError, match="cancel"):
        finish(Sound(np.stack([TONE, -TONE]), RATE), FinishOptions(mono=True))


def test_silence_is_trimmed_at_both_ends_only():
    silence = np.zeros((2, RATE // 2), np.float32)
    hiss = np.float32(1e-5)
    padded = Sound(np.concatenate([silence + hiss, SOUND.audio, silence, SOUND.audio, silence], axis=1), RATE)
    trimmed = finished(padded, trim_silence=True)
    assert trimmed.seconds == pytest.approx(2.5, abs=0.02)
    start, stop = trimmed.record["trimmed"]
    assert np.array_equal(trimmed.audio, padded.audio[:, round(start * RATE) : round(stop * RATE)])
    assert finished(SOUND, trim_silence=True).seconds == pytest.approx(1)


@pytest.mark.parametrize(("fade", "other"), [("fade_in", False), ("fade_out", True)])
def test_fades_are_as_long_as_asked(fade, other):
    flat = Sound(np.ones((2, RATE), np.float32), RATE)
    (left, _) = finished(flat, **{fade: 0.25}).audio
    left = left[::-1] if other else left
    count = RATE // 4
    assert left[0] == 0 and np.all(np.diff(left[:count]) >= 0) and np.all(left[count:] == 1) and left[count - 99] < 1
    assert left[count // 2] == pytest.approx(0.5, abs=1e-3)


def test_fades_never_exceed_the_clip():
    short = Sound(np.ones((1, 441), np.float32), RATE)
    faded = finished(short, fade_in=1.0, fade_out=5)
    assert faded.audio.shape == (1, 441) and faded.audio[0, 0] == faded.audio[0, -1] == 0 and faded.audio.max() > 0.1
    assert "longer than the sound" in faded.notes[0]


def test_peak_and_loudness():
    assert np.abs(finished(normalize="peak").audio).max() == pytest.approx(1, abs=1e-6)
    assert np.abs(finished(normalize="peak:-6").audio).max() == pytest.approx(loudness.from_db(-6), abs=1e-6)
    quiet = finished(normalize="lufs:-30")
    assert quiet.levels.lufs == pytest.approx(-30, abs=0.01) and not quiet.notes
    assert quiet.record["gain_db"] == pytest.approx(-30 - SOUND.levels.lufs, abs=0.01)
    np.testing.assert_allclose(quiet.audio, SOUND.audio * quiet.audio[0, 100] / SOUND.audio[0, 100], rtol=1e-5)


def test_a_loudness_beyond_full_scale_is_held_back_or_limited():
    noise = np.random.default_rng(0).standard_normal((2, 2 * RATE)).astype(np.float32)
    sound = Sound(0.02 * noise * np.exp(-(np.arange(2 * RATE) % (RATE // 2)) / 6000), RATE)  # hits on a snare
    held = finished(sound, normalize="lufs:-12")
    assert np.abs(held.audio).max() == pytest.approx(1) and -15 < held.levels.lufs < -13
    assert "instead of -12" in held.notes[0] and "limit" in held.notes[0]
    limited = finished(sound, normalize="lufs:-12", limit=-1.0)
    assert limited.levels.true_peak_dbtp <= -1 and limited.levels.lufs == pytest.approx(-12, abs=0.1)
    assert "limited by up to" in limited.notes[0]


def test_a_limited_loop_has_no_step_at_its_seam():
    tone = np.sin(2 * np.pi * 441 * TIME + 1)
    hit = 1 + 3 * np.exp(-(((TIME - 0.99) / 0.005) ** 2))  # just before the end
    loop = Sound(0.5 * tone * hit, RATE, {"loop": True})
    limited = finish(loop, FinishOptions(limit=-1.0))
    gain = limited.audio[0] / loop.audio[0]
    assert abs(loudness.to_db(gain[-1]) - loudness.to_db(gain[0])) < 0.05 and gain[0] < 0.9
    alone = finish(replace(loop, record={}), FinishOptions(limit=-1.0)).audio[0] / loop.audio[0]
    assert abs(loudness.to_db(alone[-1]) - loudness.to_db(alone[0])) > 3  # what it would be
    assert loudness.to_db(loudness.true_peak(np.tile(limited.audio, 2))) <= -1


def test_a_limited_file_keeps_the_ceiling(tmp_path):
    loud = finish(Sound(4 * SOUND.audio, RATE), FinishOptions(limit=-1.0))
    for depth in ("16", "24", "32f"):
        path = replace(loud, bit_depth=depth).save(tmp_path / f"{depth}.wav").path
        assert Sound(*audio.read(path)).levels.true_peak_dbtp <= -1


def test_what_is_no_sound_is_refused():
    for bad, what in (
        ([[0.0, np.nan]], "not finite"),
        (np.zeros((44100, 2)), "is it .samples, channels"),
        ([], "empty"),
    ):
        with pytest.raises(AudioError, match=what):
            Sound(bad, RATE)
    assert Sound([0.5, -0.5], RATE).audio.shape == (1, 2)


def test_silence_has_no_levels_in_json(tmp_path):
    Sound(np.zeros((1, 99)), RATE).save(tmp_path / "a.wav", metadata=True)
    facts = json.loads((tmp_path / "a.json").read_text(), parse_constant=pytest.fail)
    assert facts["lufs"] is facts["peak_dbfs"] is facts["true_peak_dbtp"] is None


def test_loops_are_not_cut():
    with pytest.raises(OptionError, match="break the loop"):
        finish(Sound(SOUND.audio, RATE, {"loop": True}), FinishOptions(fade_out=0.1))
    with pytest.raises(OptionError, match="break the loop"):
        Take(GenerateOptions(loop=True), FinishOptions(trim_silence=True))
    assert finish(Sound(SOUND.audio, RATE, {"loop": True}), FinishOptions(normalize="peak")).record["loop"]


def test_a_preview_is_what_a_step_expects(pipe):
    seen = []

    def look(event):
        if event.kind == "step":
            seen.append(pipe.preview(event, seconds=2)[0])
        else:
            with pytest.raises(OptionError, match="needs a step event"):
                pipe.preview(event)

    run = {"seconds": 3, "seed": 1, "steps": 4, "cfg_scale": 3.0}
    plain = [pipe.make(sampler=name, **run)[0].audio for name in ("euler", "pingpong")]
    for sampler, expected in zip(("euler", "pingpong"), plain, strict=True):
        seen.clear()
        (made,) = pipe.make(sampler=sampler, callback=look, **run)
        assert np.array_equal(made.audio, expected)  # looking changes nothing
        assert [s.audio.shape for s in seen] == [(2, 64)] * 4
        np.testing.assert_allclose(seen[-1].audio, made.audio[:, :64], atol=1e-5)
        assert not np.allclose(seen[0].audio, seen[-1].audio, atol=1e-6)


def test_a_sidecar_holds_the_record(tmp_path):
    finished(normalize="peak", bit_depth="24").save(tmp_path / "a.wav", metadata=True)
    record = json.loads((tmp_path / "a.json").read_text())
    assert (record["path"], record["prompt"], record["normalize"]) == ("a.wav", "tone", "peak")
    assert record["peak_dbfs"] == pytest.approx(0, abs=1e-5) and record["lufs"] < 0
    with pytest.raises(OptionError, match=r"a\.json: exists already"):
        SOUND.save(tmp_path / "a.flac", metadata=True)
    assert not (tmp_path / "a.flac").exists()


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"normalize": "rms"}, "normalize"),
        ({"normalize": "lufs"}, "such as lufs:-14"),
        ({"normalize": "peak:3"}, "normalize"),
        ({"normalize": "lufs:x"}, "normalize"),
        ({"limit": 3}, "limit"),
        ({"limit": float("nan")}, "limit"),
        ({"fade_in": -1}, "fade_in"),
        ({"bit_depth": "8"}, "16, 24, 32f"),
        ({"mono": 1}, "mono"),
    ],
)
def test_finish_options_are_checked(options, what):
    with pytest.raises(OptionError, match=what):
        FinishOptions(**options)
