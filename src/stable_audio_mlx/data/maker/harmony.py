"""Keys, scales, chords and progressions of the data maker."""

from dataclasses import dataclass

import numpy as np

SHARPS = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
FLATS = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
QUALITIES = {
    "major": (0, 4, 7), "minor": (0, 3, 7), "major seventh": (0, 4, 7, 11), "minor seventh": (0, 3, 7, 10),
    "dominant seventh": (0, 4, 7, 10), "suspended": (0, 5, 7), "diminished": (0, 3, 6),
    "octave": (0, 12), "fifth": (0, 7, 12),
}  # fmt: skip
# Degrees of the scale, four bars.
PROGRESSIONS = {
    "major": ((0, 4, 5, 3), (0, 5, 3, 4), (0, 3, 4, 3), (5, 3, 0, 4), (1, 4, 0, 0), (0, 2, 3, 4)),
    "minor": ((0, 5, 2, 6), (0, 3, 4, 0), (0, 6, 5, 6), (0, 5, 3, 4), (0, 2, 6, 3)),
}


@dataclass(frozen=True)
class Key:
    """``root``: 0 is C; ``mode``: major or minor."""

    root: int
    mode: str

    def degree(self, step: int) -> int:
        """Semitones above the root of a degree of the scale, counted from 0, also beyond the octave."""
        octave, index = divmod(step, 7)
        return 12 * octave + SCALES[self.mode][index]

    def triad(self, step: int) -> tuple[int, ...]:
        """Semitones above the root of the chord on a degree."""
        return tuple(self.degree(step + third) for third in (0, 2, 4))


def draw_key(rng: np.random.Generator) -> Key:
    return Key(int(rng.integers(12)), ("major", "minor")[rng.integers(2)])


def near(pitch: int, centre: int) -> int:
    """The MIDI note of a pitch class that is nearest to ``centre``."""
    return centre + (pitch - centre + 6) % 12 - 6


def voicing(tones: tuple[int, ...], centre: int) -> list[int]:
    """MIDI notes of a chord, all near ``centre``, from low to high."""
    return sorted(near(tone, centre) for tone in tones)
