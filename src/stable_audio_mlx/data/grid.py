"""The grid that the embedded model's sounds sit on: frames, tuned notes, tempi in parts of a frame, one noise table."""

from functools import cache

import numpy as np

SAMPLE_RATE = 44100
FRAME = 2208  # samples of one latent; 19.97 frames a second
FRAMES = 160  # of a whole clip: 8.01 s
LENGTH = FRAME * FRAMES
RATE = SAMPLE_RATE / FRAME

NOTES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
NATURALS = ("C", "D", "E", "F", "G", "A", "B")
CHORDS = {"major": (0, 4, 7), "minor": (0, 3, 7)}
TUNING = 18.0  # cents
EIGHTHS = {75: 8, 86: 7, 100: 6, 120: 5, 150: 4}  # beats a minute -> frames of an eighth note


def frequency(note: str, octave: int) -> float:
    """Hz of a note in equal temperament with A4 = 440, moved to the nearest pitch that repeats within few frames."""
    return tuned(440.0 * 2 ** ((NOTES.index(note) - 9) / 12 + octave - 4))


def tuned(exact: float) -> float:
    """The nearest pitch, within ``TUNING`` cents, that repeats after 1, 2, 4, 8 or 16 frames."""
    for frames in (1, 2, 4, 8, 16):
        near = round(exact * frames / RATE) * RATE / frames
        if abs(1200 * np.log2(near / exact)) < TUNING:
            return near
    return exact


def above(note: str, octave: int, semitones: int) -> tuple[str, int]:
    """The note so many semitones higher, and its octave."""
    octaves, index = divmod(NOTES.index(note) + semitones, 12)
    return NOTES[index], octave + octaves


def times(n: int) -> np.ndarray:
    """Seconds of n samples."""
    return np.arange(n) / SAMPLE_RATE


def stereo(left: np.ndarray, right: np.ndarray | None = None) -> np.ndarray:
    """(L,), (L,) -> (L, 2); the same on both sides without the second."""
    return np.stack([left, left if right is None else right], axis=1)


@cache
def noise(low: float, high: float, n: int = 1 << 16) -> np.ndarray:
    """The noise table, between two frequencies in Hz; every noise of the vocabulary is cut from it."""
    spectrum = np.fft.rfft(np.random.default_rng(20).standard_normal(n))
    f = np.maximum(np.fft.rfftfreq(n, 1 / SAMPLE_RATE), 1)
    x = np.fft.irfft(spectrum / np.sqrt((1 + (low / f) ** 8) * (1 + (f / high) ** 8)), n)
    return x / x.std()


def looped(table: np.ndarray, n: int, frames: int, shift: int = 0) -> np.ndarray:
    """The first ``frames`` of the table again and again, joined by crossfades of a quarter of a frame."""
    loop, fade = frames * FRAME, FRAME // 4
    ramp = np.sin(np.linspace(0, np.pi / 2, fade))
    x = table[:loop].copy()
    x[:fade] = x[:fade] * ramp + table[loop : loop + fade] * ramp[::-1]
    return np.roll(np.tile(x, -(-n // loop)), shift * FRAME)[:n]


def attack(n: int, seconds: float) -> np.ndarray:
    """A straight rise from 0 to 1."""
    return np.minimum(1, times(n) / seconds)
