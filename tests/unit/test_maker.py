"""The data maker: its sounds are what their captions say, clean, and the same again from the same seed."""

import json

import numpy as np
import pytest

from stable_audio_mlx import audio
from stable_audio_mlx.cli.main import main
from stable_audio_mlx.data import folder
from stable_audio_mlx.data.maker import arrangement, captions, clips, drums, effects, instruments, signal, textures
from stable_audio_mlx.data.maker.dataset import Dataset, Settings
from stable_audio_mlx.data.maker.harmony import Key, voicing
from stable_audio_mlx.errors import OptionError

RATE = signal.RATE


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def centroid(x: np.ndarray) -> float:
    power = np.abs(np.fft.rfft(np.atleast_2d(x).mean(axis=0))) ** 2
    return float((np.fft.rfftfreq(x.shape[-1], 1 / RATE) * power).sum() / power.sum())


def pitch(x: np.ndarray) -> float:
    """Hz, by autocorrelation."""
    r = np.fft.irfft(np.abs(np.fft.rfft(x, 1 << 18)) ** 2)[:3000]
    peaks = [i for i in range(12, 2999) if r[i - 1] < r[i] >= r[i + 1] and r[i] > 0.85 * r[12:].max()]
    a, b, c = r[peaks[0] - 1 : peaks[0] + 2]
    return RATE / (peaks[0] + 0.5 * (a - c) / (a - 2 * b + c))


def onsets(x: np.ndarray) -> np.ndarray:
    """Seconds at which a sound (2, L) sets in, by the rise of its level in windows of 5 ms."""
    hop = RATE // 200
    level = np.sqrt((x.mean(axis=0)[: x.shape[1] // hop * hop].reshape(-1, hop) ** 2).mean(axis=1))
    rise = np.diff(level, prepend=0)
    return np.flatnonzero((rise > 0.3 * rise.max()) & (rise >= np.roll(rise, 1)) & (rise > np.roll(rise, -1))) / 200


def test_an_oscillator_is_in_tune_and_as_loud_as_its_levels():
    x = signal.oscillator(441.0, RATE, (1.0, 0.5))
    spectrum = np.abs(np.fft.rfft(x)) * 2 / RATE
    assert spectrum[441] == pytest.approx(1, abs=1e-3) and spectrum[882] == pytest.approx(0.5, abs=1e-3)
    spectrum[[441, 882]] = 0
    assert spectrum.max() < 1e-3


def test_filters_keep_what_they_should(rng):
    x = signal.white(1 << 15, rng)
    assert centroid(signal.band(x, high=500)) < 600 < 8000 < centroid(signal.band(x, low=8000))
    flat = signal.moving_filter(np.ones(20000), np.full(20000, 20000.0))
    np.testing.assert_allclose(flat[2048:-2048], 1, atol=1e-6)  # the windows add up


@pytest.mark.parametrize("name", drums.DRUMS)
def test_drums_are_clean(name, rng):
    x = drums.hit(name, rng)
    assert np.abs(x).max() == pytest.approx(1) and abs(x.mean()) < 0.01
    assert abs(x[0]) < 0.01 and abs(x[-1]) < 1e-3  # no click at either end


def test_drums_differ_as_they_should(rng):
    heights = {name: centroid(drums.hit(name, rng)) for name in drums.DRUMS}
    assert heights["kick"] < heights["low tom"] < heights["high tom"] < heights["snare"] < heights["closed hi-hat"]
    assert (
        len(drums.hit("closed hi-hat", rng)) < len(drums.hit("open hi-hat", rng)) < len(drums.hit("crash cymbal", rng))
    )


@pytest.mark.parametrize("name", [name for name in instruments.INSTRUMENTS if name != "bell"])
def test_instruments_are_in_tune(name, rng):
    one = instruments.INSTRUMENTS[name]
    midi = (one.low + one.high) // 2
    x = instruments.play(name, midi, 0.8, rng)[4000:30000]
    assert abs(1200 * np.log2(pitch(x) / instruments.hertz(midi))) < 30


def test_instruments_stay_within_the_spectrum(rng):
    for name in ("saw lead", "piano", "bell"):
        x = instruments.play(name, instruments.INSTRUMENTS[name].high, 0.5, rng)
        power = np.abs(np.fft.rfft(x)) ** 2
        assert power[-len(power) // 10 :].sum() < 1e-3 * power.sum(), name  # nothing folds back from above


@pytest.mark.parametrize("style", ["house", "techno", "march"])
def test_beats_keep_their_tempo(style, rng):
    bpm, seconds = 123.0, 4.0
    found = onsets(signal.band(arrangement.beat(style, bpm, seconds, rng, fills=False), high=120))
    steps = found / (15 / bpm)
    kicks = [i for i in range(int(seconds * bpm / 15)) if arrangement.STYLES[style].parts["kick"][i % 16] != "."]
    for kick in kicks:
        assert np.abs(steps - kick).min() < 0.12, kick


def test_textures_differ_as_they_should(rng):
    def made(name, style=""):
        return textures.TEXTURES[name][0](style, RATE, rng)

    for name, (_, styles) in textures.TEXTURES.items():
        x = effects.finish(made(name, styles[0]), -3.0)
        assert x.shape == (2, RATE) and np.isfinite(x).all() and x.std() > 0.005, name
    assert centroid(made("noise", "brown")) < centroid(made("noise", "pink")) < centroid(made("noise", "white"))
    up, down = made("noise sweep", "rising"), made("noise sweep", "falling")
    half = RATE // 2
    assert centroid(up[:, :half]) < centroid(up[:, half:]) and centroid(down[:, :half]) > centroid(down[:, half:])


def test_place_and_room(rng):
    x = instruments.play("piano", 60, 1.0, rng)
    left = effects.pan(x, -0.85)
    assert np.abs(left[0]).max() > 4 * np.abs(left[1]).max()
    dry = effects.pan(np.pad(drums.hit("rimshot", rng), (0, RATE)), 0.0)
    wet = effects.reverb(dry, 2.2, 0.35, rng)
    late = slice(RATE // 2, RATE)
    assert np.abs(dry[:, late]).max() < 1e-6 < 1e-3 < wet[:, late].std()
    assert abs(np.corrcoef(wet[:, late])[0, 1]) < 0.3  # a room sounds different from both sides


def test_chords_belong_to_their_key():
    assert [Key(9, "minor").triad(step) for step in (0, 5)] == [(0, 3, 7), (8, 12, 15)]
    assert voicing((0, 4, 7), 60) == [55, 60, 64]


@pytest.fixture(scope="module")
def made():
    return [clips.make_clip(3, i, 1.0) for i in range(40)]


def test_clips_are_clean(made):
    for clip in made:
        assert clip.audio.shape == (2, RATE) and clip.audio.dtype == np.float32
        assert 0.3 < np.abs(clip.audio).max() < 0.9 and np.abs(clip.audio.mean(axis=1)).max() < 2e-3
        assert np.abs(clip.audio[:, [0, -1]]).max() < 1e-3


def test_captions_say_what_is_heard(made):
    rng = np.random.default_rng(0)
    for clip in made:
        facts = clip.facts
        if facts.kind == "chord":
            assert facts.chord.lower() in clip.caption.lower()
        if facts.kind == "note":
            assert facts.note.lower() in clip.caption.lower()
        if facts.tempo:
            said = [f"{facts.tempo:.0f}" in captions.caption(facts, rng) for _ in range(20)]
            assert sum(said) > 10
    kinds = {clip.facts.kind for clip in made}
    assert len({clip.caption for clip in made}) > 35 and len(kinds) >= 8


def test_every_kind_can_be_made_alone():
    for kind in clips.KINDS:
        clip = clips.make_clip(1, 0, 0.5, {kind: 1.0})
        assert clip.facts.kind == kind and clip.caption and json.dumps(clip.facts.record())


def test_the_same_seed_gives_the_same_clip_and_another_one_another():
    one, again, other = clips.make_clip(5, 2, 0.5), clips.make_clip(5, 2, 0.5), clips.make_clip(6, 2, 0.5)
    assert one.caption == again.caption and np.array_equal(one.audio, again.audio)
    assert not np.array_equal(one.audio, other.audio)


def test_a_folder_can_be_read_by_pre_encode_and_goes_on(tmp_path, capsys):
    out = tmp_path / "data"
    command = ["make-data", str(out), "--seconds", "0.3-0.6", "--kinds", "drum,note", "--count"]
    assert main([*command, "2"]) == 0
    before = (out / "000001.flac").read_bytes()
    (out / "000000.flac").unlink()
    assert main([*command, "3"]) == 0
    assert capsys.readouterr().out.count(".flac") == 4
    items = folder.find(out)
    assert [item.name for item in items] == [f"00000{i}.flac" for i in range(3)]
    rows = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    for item, row in zip(items, rows, strict=True):
        assert folder.metadata(item)["prompt"] == row["prompt"]
        sound, rate = audio.read(item.path)
        assert rate == RATE and sound.shape == (2, round(row["seconds"] * RATE))
    assert (out / "000001.flac").read_bytes() == before
    assert [item.name for item in folder.read_manifest(out / "manifest.jsonl")] == [row["path"] for row in rows]


def test_other_settings_need_another_folder(tmp_path, capsys):
    list(Dataset(tmp_path / "a", 1, Settings(shortest=0.2, longest=0.2)).run())
    with pytest.raises(OptionError, match="seed 0, not 1"):
        Dataset(tmp_path / "a", 1, Settings(seed=1, shortest=0.2, longest=0.2))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "mine.txt").write_text("mine")
    with pytest.raises(OptionError, match="not empty"):
        Dataset(tmp_path / "b", 1, Settings())


@pytest.mark.parametrize(
    "words, said",
    [
        (["--seconds", "x"], "2-8"),
        (["--seconds", "8-2"], "seconds"),
        (["--kinds", "drums"], "unknown kind 'drums'"),
        (["--format", "mp3"], "flac, wav"),
        (["--count", "0"], "count"),
        (["--seed", "-1"], "seed"),
    ],
)
def test_bad_settings_get_one_line(tmp_path, words, said, capsys):
    assert main(["make-data", str(tmp_path / "out"), *words]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and not (tmp_path / "out").exists()
