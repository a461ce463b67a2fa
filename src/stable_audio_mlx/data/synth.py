"""Sounds made by code: what the embedded model learns from.

A sampled drum machine rather than a studio: every sound is a function of its name alone, and all of them sit on one
grid of frames.  Hits start at frame 0, steps of a beat last whole frames, notes are tuned (to within ``TUNING`` cents)
so that they repeat within a few frames, and noises are played from one fixed table.  So a small network can know
them exactly instead of roughly.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

SAMPLE_RATE = 44100
FRAME = 2208  # samples of one latent; 19.97 frames a second
FRAMES = 80  # of a whole clip: 4.005 s
LENGTH = FRAME * FRAMES
RATE = SAMPLE_RATE / FRAME

NOTES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
NATURALS = ("C", "D", "E", "F", "G", "A", "B")
CHORDS = {"major": (0, 4, 7), "minor": (0, 3, 7)}
CHORD_ROOTS = ("C", "D", "E", "F", "G", "A")
BEAT_FRAMES = {75: 8, 100: 6, 120: 5, 150: 4}  # beats a minute -> frames of an eighth note
TUNING = 18.0  # cents


@dataclass(frozen=True)
class Sound:
    """A sound of the vocabulary; the fields that its kind has no use for are empty."""

    kind: str
    note: str = ""  # "A", or "A minor" for a chord
    octave: int = 0
    style: str = ""  # up / down, light / heavy, slow / fast, house / rock
    bpm: int = 0


@cache
def vocabulary() -> tuple[Sound, ...]:
    """Every sound there is."""
    return (
        *(Sound(kind) for kind in HITS),
        *(Sound("bass", note, 2) for note in NATURALS),
        *(Sound(kind, note, octave) for kind in ("synth", "pluck") for octave in (3, 4, 5) for note in NATURALS),
        *(Sound("pad", f"{root} {mode}") for root in CHORD_ROOTS for mode in CHORDS),
        *(Sound("sweep", style=style) for style in ("up", "down")),
        *(Sound("rain", style=style) for style in ("light", "heavy")),
        *(Sound("siren", style=style) for style in ("slow", "fast")),
        *(Sound("beat", style=style, bpm=bpm) for style in ("house", "rock") for bpm in BEAT_FRAMES),
    )


def frequency(note: str, octave: int) -> float:
    """Hz of a note in equal temperament with A4 = 440, moved to the nearest pitch that repeats within few frames."""
    exact = 440.0 * 2 ** ((NOTES.index(note) - 9) / 12 + octave - 4)
    for frames in (1, 2, 4, 8, 16):
        near = round(exact * frames / RATE) * RATE / frames
        if abs(1200 * np.log2(near / exact)) < TUNING:
            return near
    return exact


@cache
def render(sound: Sound) -> np.ndarray:
    """The whole clip, (LENGTH, 2) float32, read-only: it is kept for the next call."""
    clip = _stereo(HITS[sound.kind](LENGTH)) if sound.kind in HITS else MAKERS[sound.kind](sound)
    clip = (LEVELS.get(sound.kind, 0.6) * clip / np.abs(clip).max()).astype(np.float32)
    clip.flags.writeable = False
    return clip


def vary(sound: Sound, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """The sound as one clip of the training data: (LENGTH, 2), louder or softer by up to 2 dB, ended at ``seconds``."""
    gate = np.clip((seconds * RATE - np.arange(LENGTH) / FRAME) / 2, 0, 1)  # the last two frames fade out
    return (render(sound) * (10 ** (rng.uniform(-2, 2) / 20) * gate[:, None])).astype(np.float32)


def draw(rng: np.random.Generator, favour: Mapping[str, float] = {}) -> Sound:
    """A sound of a kind drawn first, so that kinds of one sound are heard too; kinds of many sounds count more.

    ``favour``: how many times more often than that some kinds are drawn.
    """
    kinds = _by_kind()
    weights = np.array([len(sounds) ** 0.5 * favour.get(kind, 1.0) for kind, sounds in kinds.items()])
    chosen = kinds[rng.choice(list(kinds), p=weights / weights.sum())]
    return chosen[rng.integers(len(chosen))]


@cache
def _by_kind() -> dict[str, list[Sound]]:
    kinds: dict[str, list[Sound]] = {}
    for sound in vocabulary():
        kinds.setdefault(sound.kind, []).append(sound)
    return kinds


def _times(n: int) -> np.ndarray:
    return np.arange(n) / SAMPLE_RATE


def _stereo(left: np.ndarray, right: np.ndarray | None = None) -> np.ndarray:
    return np.stack([left, left if right is None else right], axis=1)


@cache
def _noise(low: float, high: float, n: int = 1 << 16) -> np.ndarray:
    """The noise table, between two frequencies in Hz; every noise of the vocabulary is cut from it."""
    spectrum = np.fft.rfft(np.random.default_rng(20).standard_normal(n))
    f = np.maximum(np.fft.rfftfreq(n, 1 / SAMPLE_RATE), 1)
    x = np.fft.irfft(spectrum / np.sqrt((1 + (low / f) ** 8) * (1 + (f / high) ** 8)), n)
    return x / x.std()


def _looped(table: np.ndarray, n: int, frames: int, shift: int = 0) -> np.ndarray:
    """The first ``frames`` of the table again and again, joined by crossfades of a quarter of a frame."""
    loop, fade = frames * FRAME, FRAME // 4
    ramp = np.sin(np.linspace(0, np.pi / 2, fade))
    x = table[:loop].copy()
    x[:fade] = x[:fade] * ramp + table[loop : loop + fade] * ramp[::-1]
    return np.roll(np.tile(x, -(-n // loop)), shift * FRAME)[:n]


def _kick(n: int) -> np.ndarray:
    t = _times(n)
    phase = 2 * np.pi * np.cumsum(48 + 150 * np.exp(-t * 32)) / SAMPLE_RATE
    return np.tanh(1.5 * np.sin(phase) * np.exp(-t * 8))


def _snare(n: int) -> np.ndarray:
    t = _times(n)
    x = np.zeros(n)
    m = min(n, 1 << 14)
    x[:m] = 0.25 * _noise(800, 9000)[:m] * np.exp(-t[:m] * 18)
    return x + 0.5 * np.sin(2 * np.pi * 190 * t) * np.exp(-t * 22)


def _hat(n: int, decay: float) -> np.ndarray:
    x, m = np.zeros(n), min(n, 1 << 15)
    x[:m] = 0.3 * _noise(6500, 14000)[:m] * np.exp(-_times(m) * decay)
    return x


def _clap(n: int) -> np.ndarray:
    x, m = np.zeros(n), min(n, 1 << 14)
    t = _times(m)
    for start, decay, level in ((0.0, 90, 1), (0.012, 90, 1), (0.024, 90, 1), (0.036, 20, 0.6)):
        x[:m] += np.where(t >= start, level * np.exp(-np.maximum(t - start, 0) * decay), 0)
    x[:m] *= 0.25 * _noise(900, 4500)[:m]
    return x


HITS = {
    "kick": _kick,
    "snare": _snare,
    "closed hat": lambda n: _hat(n, 50),
    "open hat": lambda n: _hat(n, 8),
    "clap": _clap,
}


def _partials(f0: float, n: int, power: float, count: int, decay: float = 0.0, top: float = 6000.0) -> np.ndarray:
    """Harmonics k of amplitude k**-power below ``top`` Hz; ``decay`` lets the upper ones die first."""
    t, y = _times(n), np.zeros(n)
    for k in range(1, count + 1):
        if k * f0 < top:
            y += k**-power * np.exp(-decay * k * t) * np.sin(2 * np.pi * k * f0 * t)
    return y


def _attack(n: int, seconds: float) -> np.ndarray:
    return np.minimum(1, _times(n) / seconds)


def _note(sound: Sound) -> np.ndarray:
    f0, t = frequency(sound.note, sound.octave), _times(LENGTH)
    if sound.kind == "synth":
        return _stereo(_partials(f0, LENGTH, 1.0, 16) * _attack(LENGTH, 0.01))
    if sound.kind == "pluck":
        return _stereo(_partials(f0, LENGTH, 1.3, 12, 1.2) * np.exp(-t) * _attack(LENGTH, 0.003))
    return _stereo(_partials(f0, LENGTH, 0.9, 6, 0.5) * _attack(LENGTH, 0.005))


def _pad(sound: Sound) -> np.ndarray:
    root, mode = sound.note.split()
    at = NOTES.index(root)
    left, right = np.zeros(LENGTH), np.zeros(LENGTH)
    for i, step in enumerate(CHORDS[mode]):
        octave, note = divmod(at + step, 12)
        tone = _partials(frequency(NOTES[note], 3 + octave + (at < 5)), LENGTH, 1.8, 5)
        left, right = left + (1 - 0.3 * i) * tone, right + (0.4 + 0.3 * i) * tone
    return _stereo(left, right) * _attack(LENGTH, 0.4)[:, None]


def _sweep(sound: Sound) -> np.ndarray:
    """A band of noise, an octave wide, that moves by five octaves in three seconds."""
    frames, size = 60, 2 * FRAME
    table = np.tile(_looped(_noise(100, 16000), 3 * FRAME, 3), 22)
    x = np.zeros(LENGTH + size)
    window, f = np.hanning(size + 1)[:size], np.maximum(np.fft.rfftfreq(size, 1 / SAMPLE_RATE), 1)
    for i in range(frames):
        place = i / (frames - 1)
        centre = 300 * 2 ** (5 * (place if sound.style == "up" else 1 - place))
        band = np.exp(-(np.log2(f / centre) ** 2) / 0.3) / np.sqrt(centre)
        here = slice(i * FRAME, i * FRAME + size)
        x[here] += window * np.fft.irfft(np.fft.rfft(table[here]) * band)
    return _stereo(x[:LENGTH])


def _rain(sound: Sound) -> np.ndarray:
    """A loop of a second of hiss, other on the left than on the right; heavy rain is darker and has a rumble."""
    n, loop = LENGTH, 12
    hiss = _noise(1500, 9000)
    left, right = _looped(hiss, n, loop), _looped(hiss, n, loop, loop // 2)
    if sound.style == "light":
        return _stereo(left, right)
    low = _looped(_noise(150, 900), n, 6)
    return _stereo(left, right) + 1.5 * _stereo(low, np.roll(low, 3 * FRAME))


def _siren(sound: Sound) -> np.ndarray:
    frames = {"slow": 20, "fast": 5}[sound.style]
    t, period = _times(LENGTH), frames * FRAME / SAMPLE_RATE
    centre = round(900 * period) / period  # whole waves in each turn, so that it repeats
    turn = 2 * np.pi * t / period
    phase = 2 * np.pi * centre * t + 350 * period * (1 - np.cos(turn))
    return _stereo((np.sin(phase) + 0.3 * np.sin(2 * phase)) * _attack(LENGTH, 0.01))


def _beat(sound: Sound) -> np.ndarray:
    step = BEAT_FRAMES[sound.bpm] * FRAME
    hits = {name: make(16 * FRAME) for name, make in HITS.items()}
    x = np.zeros(LENGTH + 16 * FRAME)
    for i, at in enumerate(range(0, LENGTH, step)):
        kick = i % 2 == 0 if sound.style == "house" else i % 8 in (0, 4, 5)
        clap = "clap" if sound.style == "house" else "snare"
        hat = i % 2 == 1 if sound.style == "house" else True
        for name, on, level in (("kick", kick, 0.9), (clap, i % 4 == 2, 0.7), ("closed hat", hat, 0.5)):
            if on:
                x[at : at + 16 * FRAME] += level * hits[name]
    return _stereo(x[:LENGTH])


MAKERS = {
    "bass": _note,
    "synth": _note,
    "pluck": _note,
    "pad": _pad,
    "sweep": _sweep,
    "rain": _rain,
    "siren": _siren,
    "beat": _beat,
}
LEVELS = {"kick": 0.75, "beat": 0.75, "closed hat": 0.5, "open hat": 0.5, "synth": 0.5, "siren": 0.5, "pad": 0.5}
