"""Sounds and captions of the embedded model: what a name promises is in the samples, and in the words."""

import numpy as np
import pytest
from tokenizers import Tokenizer

from stable_audio_mlx.data import captions, synth, vocabulary
from stable_audio_mlx.data.synth import Sound

SILENT = 1e-4
# Every kind, and some of those with many sounds.
SOUNDS = [sound for sounds in synth.by_kind().values() for sound in sounds[:: max(1, len(sounds) // 2)]]


def spectrum(clip, start=0.1, seconds=1.0):
    """Magnitudes by Hz of the middle of a clip."""
    at = int(start * synth.SAMPLE_RATE)
    x = clip[at : at + int(seconds * synth.SAMPLE_RATE)].mean(axis=1)
    return np.fft.rfftfreq(len(x), 1 / synth.SAMPLE_RATE), np.abs(np.fft.rfft(x * np.hanning(len(x))))


def centroid(sound, **where):
    f, a = spectrum(synth.render(sound), **where)
    return (f * a).sum() / a.sum()


@pytest.mark.parametrize("sound", SOUNDS, ids=str)
def test_every_sound_is_whole_finite_and_heard(sound):
    clip = synth.render(sound)
    assert clip.shape == (synth.LENGTH, 2) and clip.dtype == np.float32
    assert np.isfinite(clip).all() and 0.3 < np.abs(clip).max() <= 0.8
    assert np.abs(clip[: 4 * synth.FRAME]).max() > 0.01  # it begins at the beginning


def test_no_two_sounds_are_the_same():
    assert len(set(synth.vocabulary())) == len(synth.vocabulary()) == 276
    assert len({synth.render(sound)[:: synth.FRAME // 50].tobytes() for sound in SOUNDS}) == len(SOUNDS)


@pytest.mark.parametrize("note", synth.NOTES[::2])
@pytest.mark.parametrize("kind", synth.INSTRUMENTS)
def test_notes_have_their_pitch(kind, note):
    f, a = spectrum(synth.render(Sound(kind, note, 4)))
    near = (f > 225) & (f < 530)
    exact = 440 * 2 ** ((synth.NOTES.index(note) - 9) / 12)
    assert abs(1200 * np.log2(f[near][a[near].argmax()] / exact)) < synth.TUNING + 5


def test_notes_repeat_within_sixteen_frames():
    for note in synth.NOTES:
        waves = synth.frequency(note, 3) * 16 / synth.RATE
        assert waves == pytest.approx(round(waves), abs=1e-9)


@pytest.mark.parametrize("bpm, frames", synth.EIGHTHS.items())
def test_beats_have_their_tempo(bpm, frames):
    assert 30 * synth.RATE / frames == pytest.approx(bpm, rel=0.006)
    clip = synth.render(Sound("beat", style="house", bpm=bpm))
    level = (clip[: 8 * frames * synth.FRAME] ** 2).reshape(8, frames, -1).sum(axis=-1)
    assert (level.argmax(axis=1) == 0).all()  # every eighth note begins with a hit


def test_a_tempo_means_the_nearest_one_that_there_is():
    assert [vocabulary.tempo_word(bpm) for bpm in (60, 82, 96, 118, 128, 174)] == [75, 86, 100, 120, 120, 150]


def test_kinds_differ_as_they_should():
    assert (
        centroid(Sound("kick"), start=0, seconds=0.2) < 300 < 5000 < centroid(Sound("closed hat"), start=0, seconds=0.2)
    )
    up, down = Sound("sweep", style="up"), Sound("sweep", style="down")
    assert centroid(up, start=0.2, seconds=0.5) < centroid(up, start=2.0, seconds=0.5)
    assert centroid(down, start=0.2, seconds=0.5) > centroid(down, start=2.0, seconds=0.5)
    rain = synth.render(Sound("rain", style="light"))
    assert abs(np.corrcoef(rain.T)[0, 1]) < 0.1  # as wide as rain


def test_a_minor_third_sets_minor_apart():
    major, minor = (spectrum(synth.render(Sound("pad", f"A {mode}")), 1.0) for mode in ("major", "minor"))
    third = 440 * 2 ** (-5 / 12)  # C#4 + an octave below the fifth: only the major chord has it
    here = np.abs(major[0] - synth.frequency("C#", 5)) < 4
    assert third < 440 and major[1][here].max() > 5 * minor[1][here].max()


def test_variations_end_when_they_should_and_have_their_level():
    sound = Sound("synth", "A", 4)
    clip = synth.vary(sound, 40, -2.0)
    end = 40 * synth.FRAME
    assert np.abs(clip[end:]).max() < SILENT < np.abs(clip[: end // 2]).max()
    assert np.abs(clip).max() / np.abs(synth.render(sound)).max() == pytest.approx(10 ** (-2 / 20))
    np.testing.assert_array_equal(synth.vary(sound, 40, -2.0, 10, 5), clip[10 * synth.FRAME : 15 * synth.FRAME])


def test_fades_end_before_the_seconds_do():
    level = synth.fade(2.0, np.arange(50))
    assert (level[:36] == 1).all() and (level[39:] == 0).all() and 39 < 2.0 * synth.RATE < 40


def test_every_kind_is_drawn():
    rng = np.random.default_rng(0)
    kinds = [synth.draw(rng).kind for _ in range(3000)]
    assert min(kinds.count(kind) for kind in synth.by_kind()) > 10


def test_captions_name_what_is_heard():
    rng = np.random.default_rng(0)
    for _ in range(20):
        beat = captions.caption(Sound("beat", style="rock", bpm=75), rng)
        assert "75" in beat and "rock" in vocabulary.tokens(beat) or "beat" in vocabulary.tokens(beat)
        note = captions.caption(Sound("synth", "G", 5), rng)
        assert "g" in vocabulary.tokens(note)
        assert "minor" in captions.caption(Sound("pad", "D minor"), rng)


def test_captions_are_not_shared_between_sounds():
    rng, owner = np.random.default_rng(0), {}
    for sound in synth.vocabulary():
        for _ in range(12):
            text = " ".join(vocabulary.tokens(captions.caption(sound, rng)))
            assert owner.setdefault(text, sound) == sound, text


@pytest.mark.parametrize(
    "one, other",
    [
        ("crisp closed hi-hats", "tight hat"),
        ("An A minor chord, please", "chord in Am"),
        ("House beats at 118 BPM", "house, 120bpm drum loop"),
        ("Hammered kicks", "bass drum"),
        ("a synth, key of a", "synth in A"),
        ("drum'n'bass, 172 beats per minute", "drum and bass 150"),
        ("playing Eb5 on a rhodes", "piano d#5"),
        ("B flat minor pad", "pad, A# minor"),
        ("F♯ bass", "bass in Gb"),
    ],
)
def test_wordings_that_mean_the_same_are_the_same(one, other):
    found = [list(dict.fromkeys(vocabulary.tokens(text))) for text in (one, other)]
    assert sorted(found[0]) == sorted(found[1]) and found[0]


def test_an_article_is_no_note():
    assert "a" not in vocabulary.tokens("a kick and a low synth") and "a" in vocabulary.tokens("a4 synth")


def test_the_tokenizer_is_the_one_that_is_written():
    tokenizer = Tokenizer.from_str(vocabulary.tokenizer_json())
    rng = np.random.default_rng(1)
    for text in [*(captions.caption(synth.draw(rng), rng) for _ in range(50)), "", "A4 Synth, at 120BPM!"]:
        assert tokenizer.encode(text).ids == [*vocabulary.token_ids(text), vocabulary.END]
    assert vocabulary.tokens("gibberish kick") == ["kick"]  # what is not known changes nothing
    assert vocabulary.token_ids("glass quux\nof 3") == [vocabulary.UNKNOWN] and vocabulary.token_ids("") == []
