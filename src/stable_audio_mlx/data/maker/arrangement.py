"""Music of the data maker in sixteenth notes: beats, bass lines, arpeggios, chords, melodies, and all together."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from .drums import hit
from .effects import length, pan
from .harmony import PROGRESSIONS, Key, voicing
from .instruments import play
from .signal import RATE, samples


@dataclass(frozen=True)
class Style:
    """``parts``: drum -> a bar of sixteenths (o loud, x normal, - soft); ``swing``: how late every second one is."""

    parts: dict[str, str]
    slowest: int
    fastest: int
    swing: float = 0.0


STYLES = {
    "house": Style(
        {
            "kick": "o...o...o...o...",
            "clap": "....x.......x...",
            "closed hi-hat": "--x---x---x---x-",
            "open hi-hat": "..x...x...x...x.",
        },
        116,
        130,
    ),
    "techno": Style(
        {
            "kick": "o...o...o...o...",
            "closed hi-hat": "..x...x...x...x.",
            "rimshot": "...x.....x..x...",
            "ride cymbal": "x...x...x...x...",
        },
        125,
        145,
    ),
    "disco": Style(
        {
            "kick": "o...o...o...o...",
            "snare": "....x.......x...",
            "open hi-hat": "..x...x...x...x.",
            "closed hi-hat": "x-.-x-.-x-.-x-.-",
        },
        108,
        126,
    ),
    "rock": Style(
        {
            "kick": "o.......o.x.....",
            "snare": "....o.......o...",
            "closed hi-hat": "x.x.x.x.x.x.x.x.",
        },
        80,
        150,
    ),
    "hip hop": Style(
        {
            "kick": "o......x..x.....",
            "snare": "....o.......o...",
            "closed hi-hat": "x.x.x.x.x.x.x.x.",
        },
        78,
        102,
        0.2,
    ),
    "lo-fi": Style(
        {
            "kick": "o.....x...x.....",
            "snare": "....x.......x...",
            "closed hi-hat": "x.-.x.-.x.-.x.-.",
        },
        68,
        90,
        0.25,
    ),
    "trap": Style(
        {
            "808 kick": "o.....x...x.....",
            "clap": "........o.......",
            "closed hi-hat": "x.x.x.x.x.xxx.xx",
        },
        130,
        170,
    ),
    "drum and bass": Style(
        {
            "kick": "o.........o.....",
            "snare": "....o.......o...",
            "closed hi-hat": "x.x.x.x.x.x.x.x.",
            "ride cymbal": "x...x...x...x...",
        },
        165,
        180,
    ),
    "breakbeat": Style(
        {
            "kick": "o.o.......o..x..",
            "snare": "....o..-.-..o...",
            "closed hi-hat": "x.x.x.x.x.x.x.x.",
        },
        125,
        150,
    ),
    "reggaeton": Style(
        {
            "kick": "o...o...o...o...",
            "snare": "...x..x....x..x.",
            "shaker": "x-x-x-x-x-x-x-x-",
        },
        85,
        105,
    ),
    "funk": Style(
        {
            "kick": "o.x.......x..x..",
            "snare": "....o..-.-..o..-",
            "closed hi-hat": "xxxxxxxxxxxxxxxx",
        },
        92,
        118,
        0.1,
    ),
    "latin": Style(
        {
            "low conga": "..x...xx..x...xx",
            "bongo": "x..x..x...x.x...",
            "cowbell": "x...x...x...x...",
            "shaker": "x-x-x-x-x-x-x-x-",
        },
        95,
        125,
    ),
    "march": Style(
        {
            "kick": "o.......o.......",
            "snare": "x...x.xxx...xxxx",
        },
        96,
        124,
    ),
}
LEVELS = {"o": 1.0, "x": 0.75, "-": 0.35}
MIX = {
    "kick": 1.0,
    "808 kick": 1.0,
    "snare": 0.75,
    "clap": 0.65,
    "closed hi-hat": 0.3,
    "open hi-hat": 0.28,
    "ride cymbal": 0.2,
}
PLACES = {
    "closed hi-hat": 0.25,
    "open hi-hat": 0.3,
    "ride cymbal": -0.35,
    "shaker": -0.4,
    "cowbell": 0.3,
    "rimshot": -0.2,
}
ARPEGGIOS = {"up": (0, 1, 2, 3), "down": (3, 2, 1, 0), "up and down": (0, 1, 2, 3, 2, 1), "broken": (0, 2, 1, 3)}
BASS_LINES = ("o.x.o.x.o.x.o.x.", "o..x..o.o..x..o.", "o...o...o...o...", "o.....o.o...o.x.", "..o...o...o...o.")


@dataclass(frozen=True)
class Note:
    """``start`` and ``held`` in sixteenths, ``midi`` a note, ``level`` of 0 to 1."""

    start: float
    held: float
    midi: int
    level: float = 1.0


def sixteenth(bpm: float) -> float:
    """Seconds of a sixteenth note."""
    return 15.0 / bpm


def starts(bpm: float, seconds: float) -> int:
    """How many sixteenths begin within ``seconds``."""
    return int(np.ceil(seconds / sixteenth(bpm) - 1e-9))


def _place(out: np.ndarray, x: np.ndarray, at: float) -> None:
    """Add x (2, L) to out, ``at`` seconds from its start."""
    first = round(at * RATE)
    room = min(x.shape[-1], out.shape[-1] - first)
    if room > 0:
        out[..., first : first + room] += x[..., :room]


def beat(style: str, bpm: float, seconds: float, rng: np.random.Generator, fills: bool = True) -> np.ndarray:
    """A drum loop, (2, L): one kit, a bar again and again, small differences in loudness, sometimes a fill."""
    form, step = STYLES[style], sixteenth(bpm)
    out = np.zeros((2, samples(seconds)))
    fill = fills and rng.random() < 0.4
    for name, bar in form.parts.items():
        sides = pan(hit(name, rng), PLACES.get(name, 0.0)) * MIX.get(name, 0.4)
        for i in range(starts(bpm, seconds)):
            sign = bar[i % 16]
            if fill and name == "snare" and i % 64 >= 60:
                sign = "x"
            if sign in LEVELS:
                late = form.swing * step if i % 2 else 0.0
                _place(out, sides * LEVELS[sign] * rng.uniform(0.88, 1.0), i * step + late)
    return out


def perform(instrument: str, notes: Iterable[Note], bpm: float, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Notes on an instrument, (L,); equal notes are played once and used again."""
    step, out = sixteenth(bpm), np.zeros(samples(seconds))
    played: dict[tuple[int, float], np.ndarray] = {}
    for note in notes:
        key = (note.midi, note.held)
        if key not in played:
            played[key] = play(instrument, note.midi, note.held * step, rng)
        _place(out, played[key] * note.level, note.start * step)
    return out


def bass_notes(key: Key, chords: tuple[int, ...], count: int, rng: np.random.Generator) -> list[Note]:
    """A bass line of ``count`` sixteenths: mostly roots, some fifths and octaves."""
    rhythm, lowest, notes = BASS_LINES[rng.integers(len(BASS_LINES))], 28, []
    shape = rng.choice((0, 0, 0, 7, 12), 16)
    for i in range(count):
        if rhythm[i % 16] != ".":
            root = key.root + key.degree(chords[i // 16 % len(chords)])
            midi = lowest + (root - lowest) % 12 + int(shape[i % 16])
            notes.append(Note(i, 1.8, midi, 0.8 if rhythm[i % 16] == "x" else 1.0))
    return notes


def arpeggio_notes(key: Key, chords: tuple[int, ...], count: int, centre: int, way: str, every: int) -> list[Note]:
    """Chord tones one after the other, a note each ``every`` sixteenths."""
    order, notes = ARPEGGIOS[way], []
    for k, i in enumerate(range(0, count, every)):
        tones = voicing(tuple(key.root + tone for tone in key.triad(chords[i // 16 % len(chords)])), centre)
        tones.append(tones[0] + 12)
        notes.append(Note(i, every * 1.2, tones[order[k % len(order)]], 1.0 if k % len(order) == 0 else 0.8))
    return notes


def chord_notes(key: Key, chords: tuple[int, ...], count: int, centre: int, rhythm: str) -> list[Note]:
    """Chords: ``rhythm`` is "held" for a bar each, or "stabs" off the beat."""
    notes = []
    for i in range(0, count, 16):
        tones = voicing(tuple(key.root + tone for tone in key.triad(chords[i // 16 % len(chords)])), centre)
        hits = ((0, 16),) if rhythm == "held" else ((2, 2), (6, 2), (10, 2), (14, 2))
        notes += [Note(i + start, held, tone, 0.6) for start, held in hits for tone in tones if i + start < count]
    return notes


def melody_notes(key: Key, chords: tuple[int, ...], count: int, centre: int, rng: np.random.Generator) -> list[Note]:
    """A phrase that walks on the scale, on chord tones at the strong beats."""
    place, i, notes = 0, 0, []
    while i < count:
        held = int(rng.choice((2, 2, 4, 4, 6, 8)))
        if i % 8 == 0:
            place = chords[i // 16 % len(chords)] % 7 + int(rng.choice((0, 2, 4)))
        else:
            place = int(np.clip(place + rng.choice((-2, -1, -1, 1, 1, 2)), -3, 9))
        root = centre - (centre - key.root) % 12
        if rng.random() > 0.12:
            notes.append(Note(i, min(held, count - i) * 0.95, root + key.degree(place)))
        i += held
    return notes


def draw_chords(key: Key, rng: np.random.Generator) -> tuple[int, ...]:
    options = PROGRESSIONS[key.mode]
    return options[rng.integers(len(options))]


def groove(parts: dict[str, np.ndarray], levels: dict[str, float], seconds: float) -> np.ndarray:
    """Parts (2, L) together, each at its own loudness."""
    out = np.zeros((2, samples(seconds)))
    for name, part in parts.items():
        out += levels[name] * length(part, out.shape[1]) / (np.sqrt(np.mean(part**2)) + 1e-6)
    return out
