"""Files as other programs read them: libsndfile, the standard library, and the bytes themselves."""

import io
import struct
import time
import wave

import numpy as np
import pytest
import soundfile

from stable_audio_mlx import audio
from stable_audio_mlx.audio import riff, tags
from stable_audio_mlx.audio.encoding import quantized
from stable_audio_mlx.errors import OptionError
from stable_audio_mlx.formats import FORMATS, gain_for

RATE = 44100
TONE = (0.5 * np.sin(2 * np.pi * 440 * np.arange(4411) / RATE)).astype(np.float32)
STEREO = np.stack([TONE, -0.5 * TONE])
TEXTS = {"title": "Böse ☃", "software": "someone 1", "copyright": "MIT", "comment": '{"é":"☃"}' * 50}


@pytest.mark.parametrize(
    ("name", "depth", "subtype", "step"),
    [
        ("a.wav", None, "FLOAT", 0),
        ("a.wav", "32f", "FLOAT", 0),
        ("a.wav", "24", "PCM_24", 2**-24),
        ("a.wav", "16", "PCM_16", 1.5 * 2**-15),
        ("a.flac", None, "PCM_24", 2**-24),
        ("a.flac", "16", "PCM_16", 1.5 * 2**-15),
        ("a.aiff", None, "PCM_24", 2**-24),
        ("a.aif", "16", "PCM_16", 1.5 * 2**-15),
    ],
)
def test_bit_depths(tmp_path, name, depth, subtype, step):
    audio.write(tmp_path / name, STEREO, RATE, bit_depth=depth)
    info = soundfile.info(str(tmp_path / name))
    assert (info.subtype, info.frames, info.channels, info.samplerate) == (subtype, 4411, 2, RATE)
    error = np.abs(audio.read(tmp_path / name)[0] - STEREO).max()
    assert error <= step + 1e-9 and (step == 0 or error > 0.1 * step)


@pytest.mark.parametrize(("bits", "channels"), [(16, 1), (16, 2), (24, 1), (24, 2)])
def test_the_standard_library_reads_pcm(tmp_path, bits, channels):
    """An odd number of bytes for 24 bits, mono: the chunk is padded, its size is not."""
    audio.write(tmp_path / "a.wav", STEREO[:channels], RATE, bit_depth=str(bits), tags=TEXTS)
    data = (tmp_path / "a.wav").read_bytes()
    assert len(data) % 2 == 0 and struct.unpack("<I", data[4:8])[0] == len(data) - 8
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (channels, bits // 8, RATE)
        assert file.getnframes() == 4411
        frames = np.frombuffer(file.readframes(4411), np.uint8).reshape(-1, bits // 8)
    padded = np.concatenate([np.zeros((len(frames), 4 - bits // 8), np.uint8), frames], axis=1)
    values = padded.view("<i4").reshape(-1, channels).T / 2.0**31
    np.testing.assert_allclose(values, STEREO[:channels], atol=2 * 2.0 ** (1 - bits))


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.aiff", "a.ogg", "a.opus", "a.mp3"])
def test_texts_and_equal_bytes(tmp_path, name, monkeypatch):
    first = audio.write(tmp_path / name, STEREO, RATE, tags=TEXTS).path.read_bytes()
    later = time.time() + 3600
    monkeypatch.setattr(time, "time", lambda: later)
    assert audio.write(tmp_path / name, STEREO, RATE, overwrite=True, tags=TEXTS).path.read_bytes() == first
    with soundfile.SoundFile(str(tmp_path / name)) as file:
        assert (file.title, file.comment) == (TEXTS["title"], TEXTS["comment"])
        if name not in ("a.opus",):
            assert file.copyright == "MIT"
        assert "someone 1" in file.software + file.copy_metadata().get("software", "") or name in ("a.ogg", "a.opus")


def test_ogg_streams_differ_only_in_their_serial_number(tmp_path):
    """libsndfile draws it by the second; with all pages renumbered their checksums must be right again."""
    made = []
    for _ in range(2):
        buffer = io.BytesIO()
        soundfile.write(buffer, STEREO.T, RATE, format="OGG", subtype="VORBIS")
        made.append(buffer.getvalue())
    page = bytearray(made[0][: 27 + made[0][26] + sum(made[0][27 : 27 + made[0][26]])])
    own = struct.unpack("<I", page[22:26])[0]
    page[22:26] = bytes(4)
    assert tags.checksum(bytes(page)) == own
    assert tags.same_serial(made[0]) == tags.same_serial(made[1])
    back, _ = soundfile.read(io.BytesIO(tags.same_serial(made[0])))
    assert np.array_equal(back, soundfile.read(io.BytesIO(made[0]))[0])


@pytest.mark.parametrize(
    ("name", "rate", "expected"),
    [
        ("a.opus", 44100, 48000),
        ("a.opus", 16000, 16000),
        ("a.mp3", 44100, 44100),
        ("a.mp3", 96000, 48000),
        ("a.mp3", 30000, 32000),
        ("a.mp3", 32, 8000),
        ("a.ogg", 250_000, 192_000),
        ("a.flac", 96000, 96000),
    ],
)
def test_rates_that_a_format_does_not_know_are_resampled(tmp_path, name, rate, expected):
    assert FORMATS[name[1:]].rate_for(rate) == expected
    seconds = 0.5
    tone = 0.5 * np.sin(2 * np.pi * 0.02 * np.arange(int(rate * seconds)))[None]
    written = audio.write(tmp_path / name, tone, rate)
    info = soundfile.info(str(tmp_path / name))
    assert written.rate == info.samplerate == expected
    assert info.duration == pytest.approx(int(rate * seconds) / rate, abs=0.07)


@pytest.mark.parametrize("depth", ["16", "24", None])
def test_what_is_too_loud_is_turned_down_and_not_clipped(tmp_path, depth):
    name = "a.flac" if depth else "a.ogg"
    written = audio.write(tmp_path / name, 3 * STEREO, RATE, bit_depth=depth)
    assert written.peak == pytest.approx(1.5, rel=1e-3) and written.gain == pytest.approx(2 / 3, rel=1e-3)
    if depth:
        back, _ = audio.read(tmp_path / name)
        np.testing.assert_allclose(back, 3 * STEREO * written.gain, atol=1e-4)
        assert back.max() < 1 and np.abs(back).max() > 0.9999


def test_full_scale_fits_with_its_dither():
    edge = np.array([[1.0, -1.0] * 5000])
    for bits in (16, 24):
        made = quantized(edge * gain_for(1.0, str(bits)), bits)
        assert made.max() <= 2 ** (bits - 1) - 1 and made.min() >= -(2 ** (bits - 1))


def test_dither_has_no_mean_and_the_power_of_a_triangle():
    made = quantized(np.full((1, 200_000), 100.3 / 32768), 16) - 100.3
    assert abs(made.mean()) < 0.01
    assert made.var() == pytest.approx(1 / 4, rel=0.02)  # 1/6 of two uniform noises + 1/12 of rounding
    uneven = quantized(np.full((1, 200_000), 100.5 / 32768), 16) - 100.5
    assert uneven.var() == pytest.approx(made.var(), rel=0.02)  # the noise does not depend on the sound


def test_what_came_from_16_bits_goes_back_unchanged():
    steps = np.random.default_rng(0).integers(-32768, 32768, (2, 999))
    assert np.array_equal(quantized((steps / 32768).astype(np.float32), 16), steps)


@pytest.mark.parametrize(
    ("name", "depth", "what"),
    [
        ("a.flac", "32f", "bit_depth: 32f, but .flac can have 24 or 16"),
        ("a.mp3", "16", "bit_depth: 16, but .mp3 has none"),
        ("a.aiff", "32f", "24 or 16"),
    ],
)
def test_depths_that_a_format_has_not(tmp_path, name, depth, what):
    with pytest.raises(OptionError, match=what):
        audio.write(tmp_path / name, STEREO, RATE, bit_depth=depth)
    assert not list(tmp_path.iterdir())


def test_a_sound_that_is_too_long_for_wav_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(riff, "MOST", 20_000)
    with pytest.raises(OptionError, match="4411 samples in 2 channels: too long for a WAV file; write .flac"):
        audio.write(tmp_path / "a.wav", STEREO, RATE)
    assert not list(tmp_path.iterdir()) and audio.write(tmp_path / "a.flac", STEREO, RATE)


def test_a_wav_file_has_a_largest_size():
    long = np.broadcast_to(np.zeros((1, 1), np.float32), (1, 2**30))
    with pytest.raises(ValueError, match="too long for a WAV"):
        riff.wav(long, RATE, 32)


def chunks_of(*items: riff.Chunk) -> dict[bytes, bytes]:
    return dict(riff.read_chunks(io.BytesIO(riff.wav(TONE[None], RATE, 32, items))))


def test_loop_and_tempo_are_read_by_libsndfile(tmp_path):
    data = riff.wav(TONE[None], RATE, 32, [riff.smpl(RATE, 4411, 57), riff.acid(16, 140.0, 57, meter=(3, 4))])
    (tmp_path / "a.wav").write_bytes(data)
    log = soundfile.info(str(tmp_path / "a.wav")).extra_info
    for line in ("Loop Count   : 1", "End :  4410", "Midi Note    : 57", "Tempo     : 140", "Beats     : 16"):
        assert line in log, log
    assert "Meter     : 3/4" in log


def test_loop_and_tempo_come_back():
    found = chunks_of(riff.smpl(RATE, 4411), riff.acid(8, 120.5, 62), riff.bext("x" * 300, "me", -14.23, -0.5))
    assert riff.read_smpl(found[b"smpl"]) == [(0, 4410)]
    assert riff.read_acid(found[b"acid"]) == {"bpm": 120.5, "beats": 8, "meter": [4, 4], "loop": True, "root": 62}
    assert len(found[b"bext"]) == 602 and found[b"bext"][:256] == b"x" * 256
    assert struct.unpack("<5h", found[b"bext"][412:422]) == (-1423, 0x7FFF, -50, 0x7FFF, 0x7FFF)
    assert struct.unpack("<H", found[b"bext"][346:348]) == (2,)


def test_damaged_chunks_are_left_alone():
    data = riff.wav(TONE[None], RATE, 16, [riff.info({"INAM": "odd"}), riff.smpl(RATE, 9)])
    for length in range(0, 200):
        list(riff.read_chunks(io.BytesIO(data[:length])))
    assert riff.read_info(b"INFOINAM\xff\xff\xff\x7fabc") == {"INAM": "abc"}
    assert riff.read_smpl(b"x") == riff.read_smpl(b"\xff" * 40) == [] and riff.read_acid(b"") == {}
