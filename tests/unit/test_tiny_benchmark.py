"""What ``benchmarks.tiny`` measures is right on sounds of which the answer is known."""

import numpy as np
import pytest

from benchmarks import tiny, tiny_classifier
from benchmarks.tiny_prompts import PROMPTS
from stable_audio_mlx.data import captions, synth, vocabulary
from stable_audio_mlx.data.synth import Sound

LENGTH = int(tiny.SECONDS * synth.SAMPLE_RATE)


def row(clip: np.ndarray, sound: Sound, monkeypatch) -> dict:
    """A measured row; only a few sounds are there to be mistaken for."""
    monkeypatch.setattr(tiny.evaluate.synth, "vocabulary", lambda: SOUNDS)
    return tiny.row("words", 0, sound, clip)


SOUNDS = (Sound("kick"), Sound("closed hat"), Sound("synth", "A", 4), Sound("beat", style="house", bpm=120))


def test_prompts_mean_sounds_of_the_vocabulary_in_words_of_their_own():
    rng = np.random.default_rng(0)
    trained = {captions.caption(sound, rng) for sound in synth.vocabulary() for _ in range(20)}
    for text, sound in PROMPTS:
        assert sound in synth.vocabulary() and vocabulary.tokens(text), text
        assert text not in trained
    assert {sound.kind for _, sound in PROMPTS} == set(synth.by_kind())


@pytest.mark.parametrize("sound", SOUNDS, ids=str)
def test_the_sounds_themselves_are_right_and_clean(sound, monkeypatch):
    found = row(synth.render(sound)[:LENGTH], sound, monkeypatch)
    assert found["kind_right"] == found["sound_right"] == 1
    assert not (found["silent"] or found["clipped"] or found["noisy"])
    assert found.get("pitch_cents", 0) < synth.TUNING and found.get("tempo_percent", 0) < 1


def test_faults_are_found(monkeypatch):
    kick = synth.render(SOUNDS[0])[:LENGTH]
    hiss = 0.02 * np.random.default_rng(0).standard_normal(kick.shape).astype(np.float32)
    assert row(kick + hiss, SOUNDS[0], monkeypatch)["noisy"]
    assert row(np.clip(3 * kick, -1, 1), SOUNDS[0], monkeypatch)["clipped"]
    assert row(1e-3 * kick, SOUNDS[0], monkeypatch)["silent"]
    assert row(synth.render(SOUNDS[1])[:LENGTH], SOUNDS[0], monkeypatch)["kind_right"] == 0


def test_order_compares_kinds():
    rows = [{"kind": kind, "centroid_hz": hz, "length_s": 1.0} for kind, hz in (("kick", 80), ("snare", 60))]
    assert tiny.order(rows) == {"right": 0, "of": 1, "wrong": ["kick < snare, centroid_hz"]}


def test_the_judge_tells_sounds_apart_that_it_has_not_heard():
    names = ("kick", "closed hat", "rain")
    judge = tiny_classifier.Classifier(list(tiny_classifier.dataset(5, 1, names)))
    assert judge.accuracy(list(tiny_classifier.dataset(3, 2, names))) == 1
    assert judge.predict(tiny_classifier.features(synth.render(Sound("rain", style="light")))) == "rain"
    assert {tiny_classifier.class_of(kind) for kind in synth.by_kind()} <= {*tiny_classifier.CLASSES, None}
