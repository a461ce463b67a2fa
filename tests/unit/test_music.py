"""Musical time: exact lengths, positions, ranges, keys and how a prompt says them."""

import pytest

from stable_audio_mlx.errors import OptionError
from stable_audio_mlx.music import Key, Tempo, exact_seconds, other_tempo, range_in_seconds, seconds_at, spoken


@pytest.mark.parametrize("bpm", [60, 97.3, 120, 174, 128.5])
@pytest.mark.parametrize("rate", [44100, 48000, 32])
def test_a_length_in_bars_is_exact_to_the_sample(bpm, rate):
    for bars in range(1, 40):
        samples = Tempo(bpm).samples(bars, rate)
        assert abs(samples - bars * 4 * 60 / bpm * rate) <= 0.5
        assert int(exact_seconds(samples, rate) * rate) == samples


def test_seconds_that_a_float_would_cut_short():
    assert int(180810 / 44100 * 44100) == 180809, "why exact_seconds is there"
    assert int(exact_seconds(180810, 44100) * 44100) == 180810


@pytest.mark.parametrize(
    ("text", "tempo", "seconds"),
    [
        ("4.5", None, 4.5),
        (".5", Tempo(120), 0.5),
        ("1:30", None, 90.0),
        ("1:02:03.5", None, 3723.5),
        ("1:1", Tempo(120), 0.0),
        ("5:1", Tempo(120), 8.0),
        ("2:3.5", Tempo(60), 6.5),
        ("2:1", Tempo(120, 3), 1.5),
    ],
)
def test_points_in_time(text, tempo, seconds):
    assert seconds_at(text, tempo) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "tempo"), [("x", None), ("1:60", None), ("-1", None), ("0:1", Tempo(99)), ("1:5", Tempo(99)), ("", None)]
)
def test_what_is_no_time(text, tempo):
    with pytest.raises(OptionError, match="no time|count from 1"):
        seconds_at(text, tempo)


def test_ranges():
    assert range_in_seconds("4.5-6") == range_in_seconds(" 4.5 , 6 ") == range_in_seconds("4.5..6") == (4.5, 6.0)
    assert range_in_seconds("1:30-1:45") == (90.0, 105.0)
    assert range_in_seconds("5:1-9:1", Tempo(120)) == (8.0, 16.0)
    for text in ("4", "4-", "-4", "1-2-3"):
        with pytest.raises(OptionError, match="no range"):
            range_in_seconds(text)


def test_keys():
    for text in ("A minor", "Am", "a min", "AMINOR"):
        assert str(Key.parse(text)) == "A minor" and Key.parse(text).root == 9
    assert str(Key.parse("Bb")) == "Bb major" and Key.parse("Bb").root == Key.parse("A# major").root == 10
    assert str(Key.parse("f sharp minor")) == "F# minor" and Key.parse("c♭").root == 11
    for text in ("H", "A dorian", "", "Amx"):
        with pytest.raises(OptionError, match="key"):
            Key.parse(text)


@pytest.mark.parametrize(
    ("prompt", "bpm", "key", "said"),
    [
        ("drum loop", 120, None, "drum loop, 120 BPM"),
        ("a drum loop", 97.5, "Am", "a drum loop, A minor, 97.5 BPM"),
        ("", 120, None, "120 BPM"),
        ("techno at 120bpm in a minor", 120, "Am", "techno at 120bpm in a minor"),
        ("techno, 140 BPM", 120, None, "techno, 140 BPM"),
        ("pad in Bb minor", None, "A#m", "pad in Bb minor"),
        ("I am here", None, "Am", "I am here, A minor"),
        ("pad in Am", None, "A minor", "pad in Am"),
    ],
)
def test_tempo_and_key_are_said_once(prompt, bpm, key, said):
    assert spoken(prompt, bpm, key) == said
    assert spoken(said, bpm, key) == said


def test_another_tempo_in_the_prompt():
    assert other_tempo("techno, 140 BPM", 120) == 140
    assert other_tempo("techno, 120 BPM", 120) is None and other_tempo("techno", 120) is None
