"""Sound in and out of files, and every way a sound can be unusable."""

import numpy as np
import pytest
import soundfile

from stable_audio_mlx import audio
from stable_audio_mlx.errors import AudioError, OptionError

RATE = 44100
TONE = (0.5 * np.sin(2 * np.pi * 440 * np.arange(4410) / RATE)).astype(np.float32)
STEREO = np.stack([TONE, -0.5 * TONE])


def test_wav_is_float_exact_and_the_same_bytes_every_time(tmp_path):
    loud = 3 * STEREO
    written = [audio.write(tmp_path / f"{name}.wav", loud, RATE) for name in "ab"]
    assert written[0].peak == pytest.approx(1.5, rel=1e-3) and written[0].gain == 1
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.wav", "b.wav"]
    info = soundfile.info(str(tmp_path / "a.wav"))
    assert (info.subtype, info.frames, info.channels, info.samplerate) == ("FLOAT", 4410, 2, RATE)
    back, rate = audio.read(tmp_path / "a.wav")
    assert rate == RATE and np.array_equal(back, loud)


@pytest.mark.parametrize("name", ["a.flac", "a.ogg", "a.mp3"])
def test_other_formats_are_turned_down_as_a_whole_never_clipped(tmp_path, name):
    written = audio.write(tmp_path / name, 4 * STEREO, RATE)
    assert written.gain == pytest.approx(0.5, rel=1e-3)
    back, _ = audio.read(tmp_path / name)
    if name == "a.flac":
        np.testing.assert_allclose(back, 2 * STEREO, atol=1e-3)
    assert np.abs(back).max() < 1.1
    assert audio.write(tmp_path / f"quiet-{name}", STEREO, RATE).gain == 1


def test_existing_files_stay(tmp_path):
    path = audio.write(tmp_path / "a.wav", STEREO, RATE).path
    before = path.read_bytes()
    with pytest.raises(OptionError, match="exists already"):
        audio.write(path, 0.1 * STEREO, RATE)
    assert path.read_bytes() == before
    audio.write(path, 0.1 * STEREO, RATE, overwrite=True)
    assert path.read_bytes() != before


def test_what_is_not_finite_is_not_written(tmp_path):
    with pytest.raises(AudioError, match="not finite"):
        audio.write(tmp_path / "a.wav", np.array([[0.0, np.nan]]), RATE)
    assert not list(tmp_path.iterdir())


def test_a_format_that_cannot_hold_the_sound_leaves_nothing_behind(tmp_path):
    with pytest.raises(OptionError, match="3 channels, but .mp3 can have 2"):
        audio.write(tmp_path / "a.mp3", np.zeros((3, 9)), RATE)
    with pytest.raises(OptionError, match="bit_depth: 32f, but .flac can have 24 or 16"):
        audio.write(tmp_path / "a.flac", STEREO, RATE, bit_depth="32f")
    assert not list(tmp_path.iterdir())


def test_unreadable_files(tmp_path):
    (tmp_path / "text.wav").write_text("not a sound")
    (tmp_path / "empty.wav").touch()
    (tmp_path / "no_samples.wav").write_bytes(audio.wav_bytes(np.zeros((1, 0), np.float32), RATE))
    for name, what in (("text.wav", "cannot be read"), ("empty.wav", "cannot be read"), ("no_samples.wav", "empty")):
        with pytest.raises(AudioError, match=f"{name}: .*{what}"):
            audio.read(tmp_path / name)
    (tmp_path / "memo.m4a").write_bytes(b"\0\0\0\x1cftypM4A " * 9)
    with pytest.raises(AudioError, match="make it a WAV file first: ffmpeg -i .*memo.m4a memo.wav"):
        audio.read(tmp_path / "memo.m4a")
    with pytest.raises(AudioError, match="no such audio file"):
        audio.read(tmp_path / "missing.wav")
    with pytest.raises(AudioError, match="is a folder"):
        audio.read(tmp_path)
    (tmp_path / "many.wav").write_bytes(audio.wav_bytes(np.zeros((12, 9), np.float32), RATE))
    with pytest.raises(AudioError, match="12 channels, the most is 8"):
        audio.read(tmp_path / "many.wav")


def test_a_truncated_wav_is_read_as_far_as_it_goes(tmp_path):
    (tmp_path / "cut.wav").write_bytes(audio.wav_bytes(STEREO, RATE)[:9000])
    back, _ = audio.read(tmp_path / "cut.wav")
    assert 0 < back.shape[1] < 4410 and np.array_equal(back, STEREO[:, : back.shape[1]])


@pytest.mark.parametrize(
    ("array", "rate", "what"),
    [
        (np.zeros((2, 0)), RATE, "empty"),
        (np.zeros((1, 2, 3)), RATE, "shape"),
        (np.zeros((44100, 2)), RATE, "samples, channels"),
        (np.array([np.inf]), RATE, "finite"),
        (np.zeros((2, 10)), 0, "sample rate"),
        (np.zeros((2, 10)), "44100", "sample rate"),
        ([["a"]], RATE, "not an array of numbers"),
    ],
)
def test_unusable_arrays(array, rate, what):
    with pytest.raises(AudioError, match=what):
        audio.check(array, rate)


def test_channels():
    assert np.array_equal(audio.match_channels(STEREO, 1)[0], STEREO.mean(0))
    assert np.array_equal(audio.match_channels(TONE[None], 2), [TONE, TONE])
    six = np.arange(12.0).reshape(6, 2)
    assert np.array_equal(audio.match_channels(six, 2), six[:2])
    with pytest.raises(AudioError, match="2 channels"):
        audio.match_channels(STEREO, 4)


def test_resampling_keeps_a_tone():
    out = audio.resample(STEREO, RATE, 22050)
    wanted = 0.5 * np.sin(2 * np.pi * 440 * np.arange(2205) / 22050)
    assert out.shape == (2, 2205) and out.dtype == np.float32
    np.testing.assert_allclose(out[0, 200:-200], wanted[200:-200], atol=1e-3)
    assert audio.resample(STEREO, RATE, RATE) is STEREO


def test_prepare_and_fit_length():
    out = audio.prepare(TONE.tolist(), RATE, 22050, 2)
    assert out.shape == (2, 2205)
    assert audio.fit_length(out, 3000).shape == (2, 3000) and not audio.fit_length(out, 3000)[:, 2205:].any()
    assert np.array_equal(audio.fit_length(out, 100), out[:, :100])
