"""The embedded model's recipe: the start is a codec already, the export is a usable model."""

import mlx.core as mx
import numpy as np
import pytest

from stable_audio_mlx import StableAudioPipeline
from stable_audio_mlx.data import synth, vocabulary
from stable_audio_mlx.metrics import si_sdr
from stable_audio_mlx.models.autoencoder import Autoencoder
from stable_audio_mlx.models.factory import create_model
from stable_audio_mlx.models.t5 import T5Config, T5Encoder
from stable_audio_mlx.training import autoencoder as codec
from stable_audio_mlx.training import diffusion, evaluate, losses, tiny
from stable_audio_mlx.training.recipe import Schedule

SOUNDS = tuple(sounds[len(sounds) // 2] for sounds in synth.by_kind().values())  # one of every kind


def test_schedule_warms_up_and_falls():
    schedule = Schedule(100, 1.0, warmup=10, fall=0.4)
    rates = [schedule.rate(i) for i in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9:60] == [1.0] * 51
    assert rates[60:] == sorted(rates[60:], reverse=True) and rates[80] == pytest.approx(0.5) and rates[99] < 0.03


@pytest.fixture(scope="module")
def started():
    """The recipe's autoencoder before its first step, made for some of the sounds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synth, "vocabulary", lambda: SOUNDS)
        return tiny.first_autoencoder()


def test_training_begins_from_a_working_codec(started):
    for sound in SOUNDS[::6]:
        audio = mx.array(synth.render(sound))[None]
        made = started.decode(started.encode(audio))
        assert si_sdr(losses.rows(audio), losses.rows(made)).min().item() > 5, sound


def test_autoencoder_loss_falls_when_the_codec_is_right(started):
    audio, noise = codec.batch(3, 2, tiny.LATENTS)
    assert audio.shape == (2, codec.CROP * synth.FRAME, 2) and noise.shape == (2, codec.CROP, tiny.LATENTS)
    loss = codec.AutoencoderLoss()
    mx.random.seed(0)
    blank = Autoencoder.from_section(tiny.autoencoder_config(), "autoencoder")
    assert loss(started, audio, noise).item() < 0.5 * loss(blank, audio, noise).item()


def test_batches_depend_on_their_number_alone():
    one, again, other = codec.batch(7, 1, 4), codec.batch(7, 1, 4), codec.batch(8, 1, 4)
    assert mx.array_equal(one[0], again[0]) and mx.array_equal(one[1], again[1])
    assert not mx.array_equal(one[1], other[1])


@pytest.fixture(scope="module")
def untrained():
    mx.random.seed(0)
    built = create_model(tiny.model_config())
    text = T5Encoder(T5Config.from_hugging_face(tiny.text_config(), "text"))
    return diffusion.TextToLatent(built["dit"], built["conditioner"], text)


@pytest.fixture(scope="module")
def exported(untrained, started, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "tiny"
    tiny.export(folder, started, untrained, scale=0.9)
    return folder


def test_the_loss_of_the_true_answer_is_zero(untrained, monkeypatch):
    rng = np.random.default_rng(0)
    z, noise = (mx.array(rng.standard_normal((2, 4, 8)).astype(np.float32)) for _ in range(2))
    t = mx.array([0.0, 1.0])
    wanted = mx.stack([noise[0], -z[1]])  # v at t 0 and 1
    monkeypatch.setattr(untrained, "answer", lambda x, t, *conditions: wanted, raising=False)
    assert diffusion.denoising_loss(untrained, z, noise, t).item() < 1e-12
    monkeypatch.setattr(untrained, "answer", lambda x, t, *conditions: wanted + 1, raising=False)
    assert diffusion.denoising_loss(untrained, z, noise, t).item() > 0.3


def test_latents_of_a_part_are_those_of_the_faded_sound(started, monkeypatch):
    sound = synth.Sound("pad", "C major")
    monkeypatch.setattr(synth, "vocabulary", lambda: (sound,))
    latents = diffusion.Latents(started)
    level = np.interp(np.arange(synth.LENGTH) / synth.FRAME, np.arange(161), synth.fade(3.0, np.arange(161)))
    faded = (synth.render(sound) * level[:, None]).astype(np.float32)
    encoded = np.array(started.encode(mx.array(faded)[None]))[0]
    found = latents.clip(sound, 3.0, 40, 40) * latents.scale + latents.silence
    assert np.square(found - encoded[40:80]).mean() < 0.02 * np.square(encoded[40:80]).mean()
    monkeypatch.setattr(synth, "draw", lambda *_: sound)
    z, noise, t, first, ids, seconds, heard = latents.batch(0, 320, tiny.MAX_LENGTH, tiny.LONGEST)
    assert z.shape == noise.shape == (len(ids), 320 // len(ids), tiny.LATENTS) and len(ids) in (2, 8)
    assert all(
        mx.array_equal(a, b) for a, b in zip(latents.batch(0, 320, 24, 8), (z, noise, t, first, ids), strict=False)
    )


def test_crops_know_where_they_are(untrained):
    rng = np.random.default_rng(0)
    x = mx.array(rng.standard_normal((1, 20, tiny.LATENTS)).astype(np.float32))
    rest = (mx.array([[5, 1]]), mx.array([0.5]), mx.array([1.0]))
    at = [untrained.answer(x, mx.array([0.9]), mx.array([first]), *rest) for first in (0, 0, 30)]
    assert mx.array_equal(at[0], at[1]) and mx.abs(at[0] - at[2]).max().item() > 1e-3


def test_training_and_pipeline_condition_alike(untrained, exported):
    """The same caption, length, noise and time give the same answer in the training graph and through the API."""
    pipe = StableAudioPipeline.from_pretrained(exported)
    texts, seconds = ["kick drum", "a4 synth note, quux"], [4.0, 2.0]
    rng = np.random.default_rng(0)
    x = mx.array(rng.standard_normal((2, 80, tiny.LATENTS)).astype(np.float32))
    t = mx.array([0.9, 0.3])
    ids = np.zeros((2, tiny.MAX_LENGTH), np.int32)
    for row, text in zip(ids, texts, strict=True):
        tokens = [*vocabulary.token_ids(text), vocabulary.END]
        row[: len(tokens)] = tokens
    beginning = mx.zeros((2,), mx.int32)
    ours = untrained.answer(x, t, beginning, mx.array(ids), mx.array(seconds) / tiny.LONGEST, mx.ones((2,)))
    found = pipe.conditioning_arrays(texts, seconds)
    theirs = pipe.transformer_output(x.swapaxes(1, 2), t, found["cross_cond"], found["global_cond"]).swapaxes(1, 2)
    scale = mx.abs(ours).max().item()
    assert mx.abs(ours - theirs).max().item() < 0.02 * scale  # the file is float16


def test_the_export_is_a_model_like_any_other(exported):
    pipe = StableAudioPipeline.from_pretrained(exported)
    assert pipe.facts.preset.steps == tiny.SAMPLING["steps"]
    audio = pipe.generate("kick drum", seconds=1, seed=0, steps=2)
    assert audio.shape == (1, 2, synth.SAMPLE_RATE) and pipe.sample_rate == synth.SAMPLE_RATE


def test_measurements_are_right_on_the_sounds_themselves():
    table = evaluate.measure(lambda text, seed: synth.render(SOUNDS[seed - 100]), SOUNDS)
    for kind, row in table.items():
        assert row["kind"] == row["sound"] == 1 and row["si_sdr_db"] > 60, kind
        assert row.get("pitch_cents", 0) < synth.TUNING and row.get("tempo_percent", 0) < 1, kind
