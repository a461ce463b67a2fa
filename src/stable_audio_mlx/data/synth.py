"""Sounds made by code: what the embedded model learns from.

A sampled drum machine rather than a studio: every sound is a function of its name alone, and all of them sit on one
grid (``grid``).  Hits start at frame 0, steps of a beat last whole frames, notes are tuned so that they repeat within
a few frames, and noises are played from one fixed table.  So a small network can know them exactly instead of roughly.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from .beats import BEATS, beat
from .grid import (
    BEAT_FRAMES,
    CHORDS,
    FRAME,
    FRAMES,
    LENGTH,
    NATURALS,
    NOTES,
    RATE,
    SAMPLE_RATE,
    TUNING,
    frequency,
    stereo,
)
from .scenes import SCENES
from .voices import HITS, pad, tone

__all__ = ["BEAT_FRAMES", "CHORDS", "FRAME", "FRAMES", "LENGTH", "NATURALS", "NOTES", "RATE", "SAMPLE_RATE", "TUNING"]
__all__ += ["Sound", "by_kind", "draw", "frequency", "render", "vary", "vocabulary"]

INSTRUMENTS = ("synth", "pluck")
CHORD_ROOTS = ("C", "D", "E", "F", "G", "A")


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
    return (
        *(Sound(kind) for kind in HITS),
        *(Sound("bass", note, 2) for note in NATURALS),
        *(Sound(kind, note, octave) for kind in INSTRUMENTS for octave in (3, 4, 5) for note in NATURALS),
        *(Sound("pad", f"{root} {mode}") for root in CHORD_ROOTS for mode in CHORDS),
        *(Sound(kind, style=style) for kind, (_, styles) in SCENES.items() for style in styles),
        *(Sound("beat", style=style, bpm=bpm) for style in BEATS for bpm in BEAT_FRAMES),
    )


@cache
def render(sound: Sound) -> np.ndarray:
    """The whole clip, (LENGTH, 2) float32, read-only: it is kept for the next call.

    Its loudest sample has the level of its kind.
    """
    clip = _raw(sound)
    clip = (LEVELS.get(sound.kind, 0.6) * clip / np.abs(clip).max()).astype(np.float32)
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
    return pad(*sound.note.split())  # type: ignore[arg-type]


def vary(sound: Sound, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """The sound as one clip of the training data: (LENGTH, 2), louder or softer by up to 2 dB, ended at ``seconds``."""
    gate = np.clip((seconds * RATE - np.arange(LENGTH) / FRAME) / 2, 0, 1)  # the last two frames fade out
    return (render(sound) * (10 ** (rng.uniform(-2, 2) / 20) * gate[:, None])).astype(np.float32)


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
