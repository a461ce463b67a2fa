"""Musical time and keys: bars, beats and tempo as seconds and samples, and how a prompt says them.

Only the standard library is imported here, as in ``options``.
"""

import math
import re
from dataclasses import dataclass

from .errors import OptionError

BEATS_PER_BAR = 4
NOTES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
FLATS = {"Db": "C#", "Eb": "D#", "Fb": "E", "Gb": "F#", "Ab": "G#", "Bb": "A#", "Cb": "B", "E#": "F", "B#": "C"}
KEY = re.compile(r"([a-g])\s?(#|♯|sharp|b|♭|flat)?\s*(m|min|minor|maj|major)?", re.I)
SAYS_TEMPO = re.compile(r"(\d+(?:\.\d+)?)\s*bpm\b", re.I)
RANGE = re.compile(r"\s*(?:\.\.|[-–,])\s*")
CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d+(?:\.\d*)?)")
POSITION = re.compile(r"(\d+):(\d+(?:\.\d*)?)")


@dataclass(frozen=True)
class Tempo:
    """Beats a minute and beats a bar; positions are written ``bar:beat`` and count from 1, as in sequencers."""

    bpm: float
    beats_per_bar: int = BEATS_PER_BAR

    @property
    def beat(self) -> float:
        """Seconds."""
        return 60 / self.bpm

    @property
    def bar(self) -> float:
        """Seconds."""
        return self.beats_per_bar * self.beat

    def position(self, bar: int, beat: float) -> float:
        """Seconds from the beginning to a beat of a bar, both counted from 1."""
        return ((bar - 1) * self.beats_per_bar + beat - 1) * self.beat

    def samples(self, bars: float, rate: int) -> int:
        """The length of so many bars to the nearest sample: bars * beats * 60 / bpm * rate."""
        return round(bars * self.beats_per_bar * 60 * rate / self.bpm)


def exact_seconds(samples: int, rate: int) -> float:
    """A time of which ``int(seconds * rate)`` is exactly ``samples``."""
    seconds = samples / rate
    while int(seconds * rate) < samples:
        seconds = math.nextafter(seconds, math.inf)
    return seconds


def seconds_at(text: str, tempo: Tempo | None = None) -> float:
    """A point in time: seconds, ``m:ss`` or ``h:mm:ss``; with a tempo a colon means ``bar:beat``.  Else OptionError."""
    text = text.strip()
    if re.fullmatch(r"\d+(?:\.\d*)?|\.\d+", text):
        return float(text)
    if tempo is not None:
        found = POSITION.fullmatch(text)
        if found is None:
            raise OptionError(f"{text!r} is no time: seconds, or bar:beat as in 5:1")
        bar, beat = int(found[1]), float(found[2])
        if bar < 1 or not 1 <= beat < tempo.beats_per_bar + 1:
            raise OptionError(f"{text!r}: bars count from 1, beats from 1 to {tempo.beats_per_bar}")
        return tempo.position(bar, beat)
    found = CLOCK.fullmatch(text)
    if found is None or float(found[3]) >= 60 or (found[1] and int(found[2]) >= 60):
        raise OptionError(f"{text!r} is no time: seconds, m:ss, or bar:beat where a tempo is given")
    return int(found[1] or 0) * 3600 + int(found[2]) * 60 + float(found[3])


def range_in_seconds(text: str, tempo: Tempo | None = None) -> tuple[float, float]:
    """``A-B`` (also ``A,B`` and ``A..B``) in seconds; see ``seconds_at``.  OptionError for anything else."""
    ends = RANGE.split(text.strip())
    if len(ends) != 2 or not all(ends):
        raise OptionError(f"{text!r} is no range: write A-B, as in 4.5-6 or 1:30-1:45, or 5:1-9:1 with a tempo")
    start, end = (seconds_at(part, tempo) for part in ends)
    return start, end


@dataclass(frozen=True)
class Key:
    """``note`` is spelled as it was given: C, F#, Bb."""

    note: str
    minor: bool

    @classmethod
    def parse(cls, text: str) -> "Key":
        """``A minor``, ``Am``, ``F# major``, ``Bb``; OptionError for what is no key."""
        found = KEY.fullmatch(text.strip())
        if found is None:
            raise OptionError(f"key: {text!r} is none; write A minor, F# major or Bb")
        mark, mode = (found[2] or "").lower(), found[3] or ""
        accidental = "#" if mark in ("#", "♯", "sharp") else "b" if mark else ""
        return cls(found[1].upper() + accidental, mode == "m" or mode.lower() in ("min", "minor"))

    @property
    def root(self) -> int:
        """Semitones above C, 0 to 11."""
        return NOTES.index(FLATS.get(self.note, self.note))

    def __str__(self) -> str:
        return f"{self.note} {'minor' if self.minor else 'major'}"

    def said_in(self, prompt: str) -> bool:
        """Whether a prompt names this key, by whatever name of its root."""
        names = [NOTES[self.root], *(name for name, note in FLATS.items() if note == NOTES[self.root])]
        note = "|".join(n.replace("#", "( ?sharp|#|♯)").replace("b", "( ?flat|b|♭)") for n in names)
        mode = "min(or)?" if self.minor else "maj(or)?"
        if re.search(rf"\b({note})\s*{mode}\b", prompt, re.I):
            return True
        return self.minor and re.search(rf"\b({note})m\b", prompt) is not None  # "am" alone is a verb


def spoken(prompt: str, bpm: float | None, key: str | None) -> str:
    """The prompt with key and tempo at its end, as model cards have them, unless it says them already."""
    words = [prompt] if prompt else []
    if key is not None and not Key.parse(key).said_in(prompt):
        words.append(str(Key.parse(key)))
    if bpm is not None and not SAYS_TEMPO.search(prompt):
        words.append(f"{bpm:g} BPM")
    return ", ".join(words)


def other_tempo(prompt: str, bpm: float | None) -> float | None:
    """The tempo that a prompt names, where it is not ``bpm``."""
    said = [float(n) for n in SAYS_TEMPO.findall(prompt)]
    return said[0] if bpm is not None and said and bpm not in said else None
