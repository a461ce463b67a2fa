"""The embedded model's patterns in eighth notes: beats, bass lines, arpeggios, chord progressions."""

from functools import cache

import numpy as np

from .grid import CHORDS, EIGHTHS, FRAME, LENGTH, above, stereo
from .voices import HITS, chord_notes, pad, tone

TAIL = 16 * FRAME  # of a drum hit
# Hits of a bar, one character an eighth: x plays.
BEATS = {
    "house": {"kick": "x.x.x.x.", "clap": "..x...x.", "closed hat": ".x.x.x.x"},
    "rock": {"kick": "x...xx..", "snare": "..x...x.", "closed hat": "xxxxxxxx"},
    "disco": {"kick": "x.x.x.x.", "snare": "..x...x.", "closed hat": "x.x.x.x.", "open hat": ".x.x.x.x"},
    "hip hop": {"kick": "x..x.x..", "snare": "..x...x.", "closed hat": "x.x.x.x."},
    "drum and bass": {"kick": "x....x..", "snare": "..x...x.", "closed hat": "xxxxxxxx", "rimshot": ".......x"},
    "trap": {"sub kick": "x..x....", "clap": "....x...", "closed hat": "xxxxxxxx"},
    "latin": {"kick": "x...x...", "rimshot": "x..x..x.", "cowbell": "x.x.x.x."},
}
LEVELS = {"kick": 0.9, "sub kick": 0.9, "clap": 0.7, "snare": 0.7, "closed hat": 0.5, "rimshot": 0.4, "cowbell": 0.15}
LEVELS["open hat"] = 0.35
BASS_LINE = (0, 0, 12, 0, 7, 0, 12, 0)
ARPEGGIO = (0, 1, 2, 3, 2, 1)  # of the chord's notes and the root's octave
PROGRESSIONS = {
    "major": ((0, "major"), (7, "major"), (9, "minor"), (5, "major")),
    "minor": ((0, "minor"), (8, "major"), (3, "major"), (10, "major")),
}
CHORD_FRAMES = 40  # two seconds: four beats at 120


@cache
def _hit(name: str) -> np.ndarray:
    return HITS[name](TAIL)


@cache
def _note(kind: str, note: str, octave: int) -> np.ndarray:
    return tone(kind, note, octave, TAIL)


def beat(style: str, bpm: int) -> np.ndarray:
    """A drum pattern of one bar, again and again."""
    x = np.zeros(LENGTH + TAIL)
    for name, bar in BEATS[style].items():
        for i, at in enumerate(range(0, LENGTH, EIGHTHS[bpm] * FRAME)):
            if bar[i % 8] == "x":
                x[at : at + TAIL] += LEVELS[name] * _hit(name)
    return stereo(x[:LENGTH])


def line(kind: str, notes: list[tuple[str, int]], bpm: int) -> np.ndarray:
    """Eighth notes, each ended by the next one."""
    step, x = EIGHTHS[bpm] * FRAME, np.zeros(LENGTH)
    fade = np.minimum(1, np.arange(step, 0, -1) / (0.1 * step))
    for i, at in enumerate(range(0, LENGTH, step)):
        played = _note(kind, *notes[i % len(notes)])[:step] * fade
        x[at : at + step] = played[: LENGTH - at]
    return stereo(x)


def bass_line(note: str, bpm: int) -> np.ndarray:
    """Root, octave and fifth."""
    return line("bass", [above(note, 2, step) for step in BASS_LINE], bpm)


def arpeggio(root: str, mode: str, bpm: int) -> np.ndarray:
    """A chord's notes up and down on the plucked string."""
    first, octave = chord_notes(root, mode)[0]
    chord = [above(first, octave, step) for step in (*CHORDS[mode], 12)]
    return line("pluck", [chord[i] for i in ARPEGGIO], bpm)


def progression(root: str, mode: str) -> np.ndarray:
    """Four soft chords of two seconds each."""
    n = CHORD_FRAMES * FRAME
    fade = np.clip(np.arange(n, 0, -1) / (2 * FRAME), 0, 1)[:, None]
    chords = [(above(root, 3, step)[0], kind) for step, kind in PROGRESSIONS[mode]]
    return np.concatenate([pad(note, kind, n) * fade for note, kind in chords])[:LENGTH]
