"""Sounds made by code: what the embedded model learns from.

A sampled drum machine rather than a studio: every sound is a function of its name alone, and all of them sit on one
grid (``grid``).  Hits start at frame 0, steps of a beat last whole quarters of a frame, notes are tuned so that they
repeat within a few frames, and noises are played from one fixed table.  So a small network can know them exactly
instead of roughly.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from .grid import CHORDS, EIGHTHS, FRAME, FRAMES, LENGTH, NATURALS, NOTES, RATE, SAMPLE_RATE, TUNING, frequency, stereo
from .patterns import BEATS, arpeggio, bass_line, beat, progression
from .scenes import SCENES
from .voices import HITS, pad, piano_chord, tone

__all__ = ["CHORDS", "EIGHTHS", "FRAME", "FRAMES", "LENGTH", "NATURALS", "NOTES", "RATE", "SAMPLE_RATE", "TUNING"]
__all__ += ["Sound", "draw", "frequency", "render", "vary", "vocabulary"]

INSTRUMENTS = ("synth", "pluck", "piano")
LINE_TEMPI = (100, 120)  # of bass lines and arpeggios


@dataclass(frozen=True)
class Sound:
    """A sound of the vocabulary; the fields that its kind has no use for are empty."""

    kind: str
    note: str = ""  # "A", or "A minor" for a chord
    octave: int = 0
    style: str = ""  # up / down, light / heavy, slow / fast, high / low, house / rock ...
    bpm: int = 0


@cache
def vocabulary() -> tuple[Sound, ...]:
    """Every sound there is."""
    chords = [f"{root} {mode}" for root in NOTES for mode in CHORDS]
    naturals = [f"{root} {mode}" for root in NATURALS for mode in CHORDS]
    return (
        *(Sound(kind) for kind in HITS),
        *(Sound("bass", note, 2) for note in NOTES),
        *(Sound(kind, note, octave) for kind in INSTRUMENTS for octave in (3, 4, 5) for note in NOTES),
        *(Sound("pad", chord) for chord in chords),
        *(Sound("piano chord", chord) for chord in naturals),
        *(Sound(kind, style=style) for kind, (_, styles) in SCENES.items() for style in styles),
        *(Sound("beat", style=style, bpm=bpm) for style in BEATS for bpm in EIGHTHS),
        *(Sound("bass line", note, bpm=bpm) for note in NATURALS for bpm in LINE_TEMPI),
        *(Sound("arpeggio", chord, bpm=bpm) for chord in naturals for bpm in LINE_TEMPI),
        *(Sound("progression", chord) for chord in naturals),
    )


@cache
def render(sound: Sound) -> np.ndarray:
    """The whole clip, (LENGTH, 2) float32, read-only: it is kept for the next call.

    Its first four seconds have the level of its kind at their loudest.
    """
    clip = _raw(sound)
    peak = np.abs(clip[: LENGTH // 2]).max()
    clip = np.clip(LEVELS.get(sound.kind, 0.6) * clip / peak, -0.98, 0.98).astype(np.float32)
    clip.flags.writeable = False
    return clip


def _raw(sound: Sound) -> np.ndarray:
    """(LENGTH, 2) at any level."""
    if sound.kind in HITS:
        return stereo(HITS[sound.kind](LENGTH))
    if sound.kind in SCENES:
        return SCENES[sound.kind][0](sound.style)
    if sound.octave:
        return stereo(tone(sound.kind, sound.note, sound.octave))
    if sound.kind == "beat":
        return beat(sound.style, sound.bpm)
    if sound.kind == "bass line":
        return bass_line(sound.note, sound.bpm)
    root, mode = sound.note.split()
    if sound.kind == "arpeggio":
        return arpeggio(root, mode, sound.bpm)
    return {"pad": pad, "piano chord": piano_chord, "progression": progression}[sound.kind](root, mode)


def fade(seconds: float, frames: np.ndarray) -> np.ndarray:
    """Level at the beginning of frames of a clip that ends at ``seconds``: the last three fall to nothing."""
    return np.clip((seconds * RATE - 1 - frames) / 2, 0, 1)


def vary(sound: Sound, end: int, gain: float = 0.0, first: int = 0, count: int = FRAMES) -> np.ndarray:
    """``count`` frames from ``first`` on of the sound at a gain in dB, faded out before frame ``end``: (L, 2)."""
    part = render(sound)[first * FRAME : (first + count) * FRAME]
    gate = np.clip((end - first - np.arange(len(part)) / FRAME) / 2, 0, 1)  # the last two frames fade out
    return (part * (10 ** (gain / 20) * gate[:, None])).astype(np.float32)


def draw(rng: np.random.Generator, favour: Mapping[str, float] = {}) -> Sound:
    """A sound of a kind drawn first, so that kinds of one sound are heard too; kinds of many sounds count more.

    ``favour``: how many times more often than that some kinds are drawn.
    """
    kinds = by_kind()
    weights = np.array([len(sounds) ** 0.5 * favour.get(kind, 1.0) for kind, sounds in kinds.items()])
    chosen = kinds[rng.choice(list(kinds), p=weights / weights.sum())]
    return chosen[rng.integers(len(chosen))]


@cache
def by_kind() -> dict[str, list[Sound]]:
    """The vocabulary by kind."""
    kinds: dict[str, list[Sound]] = {}
    for sound in vocabulary():
        kinds.setdefault(sound.kind, []).append(sound)
    return kinds


LEVELS = {"kick": 0.75, "beat": 0.75, "closed hat": 0.5, "open hat": 0.5, "synth": 0.5, "siren": 0.5, "pad": 0.5}
LEVELS |= {"sub kick": 0.75, "crash": 0.5, "bleep": 0.5, "beeping": 0.4, "impact": 0.75, "static": 0.5}
