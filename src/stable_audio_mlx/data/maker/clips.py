"""A clip of the data maker: what is drawn (``Facts``), the sound that comes of it, and its caption.

Clip ``index`` of ``seed`` depends on these two numbers and on the length alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from . import arrangement as music
from .captions import caption
from .drums import DRUMS, hit, roll
from .effects import echo, finish, length, pan, reverb, tape, tremolo, wide
from .harmony import FLATS, QUALITIES, SHARPS, Key, draw_key
from .instruments import CHORDAL, INSTRUMENTS, OF_FAMILY, hertz, play
from .signal import band, samples
from .textures import TEXTURES

ROOMS = {"dry": (0.0, 0.0), "room": (0.5, 0.2), "hall": (2.2, 0.35), "cathedral": (4.5, 0.5)}


@dataclass(frozen=True)
class Facts:
    """What is heard; empty where it does not apply.  ``tempo`` in beats a minute, ``hz`` of a single note."""

    kind: str
    name: str = ""  # drum, instrument, texture or style
    style: str = ""
    note: str = ""
    octave: int | None = None
    chord: str = ""
    key: str = ""
    tempo: float | None = None
    hz: float | None = None
    parts: tuple[str, ...] = ()
    room: str = "dry"
    place: str = ""
    filter: str = ""
    effect: str = ""
    seconds: float = 0.0

    def record(self) -> dict[str, Any]:
        """The facts that apply, for a manifest."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in vars(self).items() if v not in ("", None, ())}


@dataclass(frozen=True)
class Clip:
    """``audio``: (2, L) float32 at 44.1 kHz; ``caption``: what it is, in words."""

    audio: np.ndarray
    caption: str
    facts: Facts


def make_clip(seed: int, index: int, seconds: float, kinds: Mapping[str, float] | None = None) -> Clip:
    """Clip number ``index``; ``kinds``: how often each of ``KINDS`` is drawn, all by default."""
    rng = np.random.default_rng((seed, index))
    weights = kinds or {name: weight for name, (weight, _) in KINDS.items()}
    kind = str(rng.choice(list(weights), p=np.array(list(weights.values())) / sum(weights.values())))
    facts, sound = KINDS[kind][1](seconds, rng)
    facts, sound = _treat(replace(facts, seconds=seconds), length(sound, samples(seconds)), rng)
    return Clip(finish(sound, rng.uniform(-9.0, -1.0)), caption(facts, rng), facts)


def spelled(pitch: int, rng: np.random.Generator) -> str:
    """The name of a pitch class, with a sharp or a flat."""
    return (SHARPS, FLATS)[rng.integers(2)][pitch % 12]


def _treat(facts: Facts, x: np.ndarray, rng: np.random.Generator) -> tuple[Facts, np.ndarray]:
    """Filter, effect, room: each only sometimes, and told in the facts when it is."""
    tonal = facts.kind not in ("texture", "drum", "roll")
    if tonal and rng.random() < 0.12:
        name = ("muffled", "thin")[rng.integers(2)]
        facts = replace(facts, filter=name)
        x = band(x, high=900) if name == "muffled" else band(x, low=700)
    draw = rng.random()
    if tonal and draw < 0.1:
        late = 45 / facts.tempo if facts.tempo else rng.uniform(0.2, 0.4)
        facts, x = replace(facts, effect="echo"), echo(x, late, rng.uniform(0.3, 0.55), 0.5)
    elif facts.kind in ("note", "chord", "chords") and draw < 0.16:
        facts, x = replace(facts, effect="tremolo"), tremolo(x, rng.uniform(4, 8), 0.6)
    elif facts.kind in ("chords", "beat", "groove", "melody") and draw < 0.18:
        facts, x = replace(facts, effect="lo-fi"), tape(x, rng)
    room = rng.choice(list(ROOMS), p=(0.5, 0.25, 0.18, 0.07)) if facts.kind != "texture" else "dry"
    if room != "dry":
        facts = replace(facts, room=str(room))
        x = reverb(x, *ROOMS[facts.room], rng)
    return facts, x


def _placed(x: np.ndarray, rng: np.random.Generator) -> tuple[str, np.ndarray]:
    """x (L,) in the middle, far to one side, or wide -> (words for it, (2, L))"""
    draw = rng.random()
    if draw < 0.12:
        side = -1 if rng.random() < 0.5 else 1
        return ("left" if side < 0 else "right"), pan(x, 0.85 * side)
    if draw < 0.24:
        return "wide", wide(x, rng)
    return "", pan(x, rng.uniform(-0.2, 0.2))


def _drum(seconds: float, rng: np.random.Generator) -> tuple[Facts, np.ndarray]:
    name = list(DRUMS)[rng.integers(len(DRUMS))]
    place, x = _placed(length(hit(name, rng), samples(seconds)), rng)
    return Facts("drum", name, place=place), x


def _roll(seconds: float, rng: np.random.Generator) -> tuple[Facts, np.ndarray]:
    name = ("snare", "low tom", "closed hi-hat", "clap", "kick")[rng.integers(5)]
    return Facts("roll", name), pan(roll(name, min(seconds, rng.uniform(1, 3)), rng.uniform(9, 16), rng), 0.0)


def _note(seconds: float, rng: np.random.Generator) -> tuple[Facts, np.ndarray]:
    family = list(OF_FAMILY)[rng.integers(len(OF_FAMILY))]
    name = OF_FAMILY[family][rng.integers(len(OF_FAMILY[family]))]
    one = INSTRUMENTS[name]
    midi = int(rng.integers(one.low, one.high + 1))
    held = seconds * rng.uniform(0.5, 0.95) if one.sustained else seconds
    place, x = _placed(play(name, midi, held, rng), rng)
    return Facts("note", name, note=spelled(midi, rng), octave=midi // 12 - 1, hz=hertz(midi), place=place), x


def _chord(seconds: float, rng: np.random.Generator) -> tuple[Facts, np.ndarray]:
    name = CHORDAL[rng.integers(len(CHORDAL))]
    one, root = INSTRUMENTS[name], int(rng.integers(12))
    quality = str(rng.choice(list(QUALITIES), p=(0.3, 0.3, 0.08, 0.1, 0.07, 0.06, 0.04, 0.02, 0.03)))
    centre = int(np.clip(60, one.low + 7, one.high - 7))
    lowest = centre - 6 + (root - centre + 6) % 12
    tones = [lowest + step for step in QUALITIES[quality]]
    held, strum = seconds * (0.9 if one.sustained else 1.0), 0.03 * (name == "guitar" or rng.random() < 0.2)
    out = np.zeros(samples(seconds))
    for i, midi in enumerate(tones):
        voice = play(name, midi, max(held - i * strum, 0.1), rng)
        out[samples(i * strum) :][: len(voice)] += voice[: len(out) - samples(i * strum)]
    place, x = _placed(out, rng)
    return Facts("chord", name, chord=f"{spelled(root, rng)} {quality}", place=place), x


def _tempo(slowest: int, fastest: int, rng: np.random.Generator) -> float:
    """A tempo in whole beats a minute, round ones more often."""
    bpm = int(rng.integers(slowest, fastest + 1))
    return float(5 * round(bpm / 5) if rng.random() < 0.5 else bpm)


def _named(key: Key, rng: np.random.Generator) -> str:
    return f"{spelled(key.root, rng)} {key.mode}"


def _phrase(kind: str, names: tuple[str, ...]) -> Callable:
    """A maker of music for one instrument: bass line, arpeggio, chord progression or melody."""

    def maker(seconds: float, rng: np.random.Generator) -> tuple[Facts, np.ndarray]:
        name, key, bpm = names[rng.integers(len(names))], draw_key(rng), _tempo(70, 150, rng)
        chords, count, one = music.draw_chords(key, rng), music.starts(bpm, seconds), INSTRUMENTS[name]
        centre, style = int(np.clip(62, one.low + 6, one.high - 12)), ""
        if kind == "bass line":
            notes = music.bass_notes(key, chords, count, rng)
        elif kind == "arpeggio":
            style = list(music.ARPEGGIOS)[rng.integers(len(music.ARPEGGIOS))]
            notes = music.arpeggio_notes(key, chords, count, centre, style, int(rng.choice((1, 2, 2))))
        elif kind == "chords":
            style = "held" if one.sustained or rng.random() < 0.6 else "stabs"
            notes = music.chord_notes(key, chords, count, centre, style)
        else:
            notes = music.melody_notes(key, chords, count, int(np.clip(70, one.low + 6, one.high - 14)), rng)
        place, x = _placed(music.perform(name, notes, bpm, seconds, rng), rng)
        return Facts(kind, name, style=style, key=_named(key, rng), tempo=bpm, place=place), x

    return maker


def _beat(seconds: float, rng: np.random.Generator) -> tuple[Facts, np.ndarray]:
    style = list(music.STYLES)[rng.integers(len(music.STYLES))]
    form = music.STYLES[style]
    bpm = _tempo(form.slowest, form.fastest, rng) if rng.random() < 0.7 else _tempo(60, 180, rng)
    return Facts("beat", style, tempo=bpm, parts=tuple(form.parts)), music.beat(style, bpm, seconds, rng)


def _groove(seconds: float, rng: np.random.Generator) -> tuple[Facts, np.ndarray]:
    """Drums, bass and chords together."""
    style = list(music.STYLES)[rng.integers(len(music.STYLES))]
    form, key = music.STYLES[style], draw_key(rng)
    bpm, chords = _tempo(form.slowest, form.fastest, rng), music.draw_chords(key, rng)
    count = music.starts(bpm, seconds)
    bass = OF_FAMILY["bass"][rng.integers(len(OF_FAMILY["bass"]))]
    keys = ("synth pad", "piano", "electric piano", "organ", "string section", "guitar")[rng.integers(6)]
    rhythm = "held" if keys in ("synth pad", "string section") else ("held", "stabs")[rng.integers(2)]
    parts = {
        "drums": music.beat(style, bpm, seconds, rng),
        bass: pan(music.perform(bass, music.bass_notes(key, chords, count, rng), bpm, seconds, rng), 0.0),
        keys: wide(music.perform(keys, music.chord_notes(key, chords, count, 60, rhythm), bpm, seconds, rng), rng),
    }
    levels = {"drums": 1.0, bass: 0.8, keys: 0.45}
    if rng.random() < 0.35:
        lead = ("flute", "saw lead", "bell", "violin", "synth pluck")[rng.integers(5)]
        notes = music.melody_notes(key, chords, count, 74, rng)
        parts[lead] = pan(music.perform(lead, notes, bpm, seconds, rng), rng.uniform(-0.4, 0.4))
        levels[lead] = 0.45
    facts = Facts("groove", style, key=_named(key, rng), tempo=bpm, parts=tuple(parts))
    return facts, music.groove(parts, levels, seconds)


def _texture(seconds: float, rng: np.random.Generator) -> tuple[Facts, np.ndarray]:
    name = list(TEXTURES)[rng.integers(len(TEXTURES))]
    make, styles = TEXTURES[name]
    style = styles[rng.integers(len(styles))]
    return Facts("texture", name, style=style), make(style, samples(seconds), rng)


LEADS = (
    "piano",
    "electric piano",
    "flute",
    "violin",
    "clarinet",
    "brass",
    "saw lead",
    "square lead",
    "bell",
    "marimba",
)
PLUCKED = ("synth pluck", "guitar", "harp", "piano", "electric piano", "marimba", "saw lead", "square lead", "bell")
# How often each kind of clip is made, and by what.
KINDS: dict[str, tuple[float, Callable]] = {
    "drum": (2.0, _drum),
    "roll": (0.3, _roll),
    "note": (3.0, _note),
    "chord": (1.5, _chord),
    "chords": (1.0, _phrase("chords", CHORDAL)),
    "bass line": (1.0, _phrase("bass line", OF_FAMILY["bass"])),
    "arpeggio": (1.0, _phrase("arpeggio", PLUCKED)),
    "melody": (0.7, _phrase("melody", LEADS)),
    "beat": (2.0, _beat),
    "groove": (1.0, _groove),
    "texture": (2.5, _texture),
}
