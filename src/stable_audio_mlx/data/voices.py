"""The embedded model's single sounds: hits, notes and chords.  Each is a function of its name alone."""

import numpy as np

from .grid import CHORDS, LENGTH, RATE, SAMPLE_RATE, above, attack, frequency, looped, noise, stereo, times


def _kick(n: int) -> np.ndarray:
    t = times(n)
    phase = 2 * np.pi * np.cumsum(48 + 150 * np.exp(-t * 32)) / SAMPLE_RATE
    return np.tanh(1.5 * np.sin(phase) * np.exp(-t * 8))


def _sub_kick(n: int) -> np.ndarray:
    t = times(n)
    phase = 2 * np.pi * np.cumsum(50 + 90 * np.exp(-t * 40)) / SAMPLE_RATE
    return np.tanh(1.8 * np.sin(phase) * np.exp(-t * 2.2))


def _tom(n: int, hz: float) -> np.ndarray:
    t = times(n)
    phase = 2 * np.pi * np.cumsum(hz * (1 + 0.5 * np.exp(-t * 20))) / SAMPLE_RATE
    return np.sin(phase) * np.exp(-t * 6) * attack(n, 0.002)


def _snare(n: int) -> np.ndarray:
    t = times(n)
    x = np.zeros(n)
    m = min(n, 1 << 14)
    x[:m] = 0.25 * noise(800, 9000)[:m] * np.exp(-t[:m] * 18)
    return x + 0.5 * np.sin(2 * np.pi * 190 * t) * np.exp(-t * 22)


def _hat(n: int, decay: float) -> np.ndarray:
    x, m = np.zeros(n), min(n, 1 << 15)
    x[:m] = 0.3 * noise(6500, 14000)[:m] * np.exp(-times(m) * decay)
    return x


def _clap(n: int) -> np.ndarray:
    x, m = np.zeros(n), min(n, 1 << 14)
    t = times(m)
    for start, decay, level in ((0.0, 90, 1), (0.012, 90, 1), (0.024, 90, 1), (0.036, 20, 0.6)):
        x[:m] += np.where(t >= start, level * np.exp(-np.maximum(t - start, 0) * decay), 0)
    x[:m] *= 0.25 * noise(900, 4500)[:m]
    return x


def _crash(n: int) -> np.ndarray:
    t = times(n)
    return looped(noise(3500, 15000), n, 6) * (0.7 * np.exp(-1.6 * t) + 0.6 * np.exp(-12 * t))


def _cowbell(n: int) -> np.ndarray:
    t = times(n)
    tone = sum(
        np.sin(2 * np.pi * k * f * RATE * t) / k for f in (27, 40) for k in (1, 3, 5)
    )  # two square waves of 539 and 799 Hz
    return tone * (0.7 * np.exp(-40 * t) + 0.3 * np.exp(-7 * t))


def _rimshot(n: int) -> np.ndarray:
    t, x, m = times(n), np.zeros(n), min(n, 1 << 13)
    x[:m] = 0.3 * noise(1500, 9000)[:m] * np.exp(-t[:m] * 150)
    return x + (np.sin(2 * np.pi * 1657 * t) + 0.6 * np.sin(2 * np.pi * 499 * t)) * np.exp(-60 * t)


HITS = {
    "kick": _kick,
    "snare": _snare,
    "closed hat": lambda n: _hat(n, 50),
    "open hat": lambda n: _hat(n, 8),
    "clap": _clap,
    "sub kick": _sub_kick,
    "low tom": lambda n: _tom(n, 80),
    "high tom": lambda n: _tom(n, 170),
    "crash": _crash,
    "cowbell": _cowbell,
    "rimshot": _rimshot,
}


def _partials(f0: float, n: int, power: float, count: int, decay: float = 0.0, top: float = 6000.0) -> np.ndarray:
    """Harmonics k of amplitude k**-power below ``top`` Hz; ``decay`` lets the upper ones die first."""
    t, y = times(n), np.zeros(n)
    for k in range(1, count + 1):
        if k * f0 < top:
            y += k**-power * np.exp(-decay * k * t) * np.sin(2 * np.pi * k * f0 * t)
    return y


def _piano(f0: float, n: int) -> np.ndarray:
    """Few harmonics that die slowly, and a short bright hammer."""
    return _partials(f0, n, 1.9, 6, 0.25) * np.exp(-0.6 * times(n)) + 0.25 * _partials(f0, n, 0.6, 8) * np.exp(
        -18 * times(n)
    )


def tone(kind: str, note: str, octave: int, n: int = LENGTH) -> np.ndarray:
    """One note of an instrument, (n,), with its attack."""
    f0 = frequency(note, octave)
    if kind == "synth":
        return _partials(f0, n, 1.0, 16) * attack(n, 0.01)
    if kind == "pluck":
        return _partials(f0, n, 1.3, 12, 1.2) * np.exp(-times(n)) * attack(n, 0.003)
    if kind == "piano":
        return _piano(f0, n) * attack(n, 0.004)
    return _partials(f0, n, 0.9, 6, 0.5) * attack(n, 0.005)  # bass


def chord_notes(root: str, mode: str) -> list[tuple[str, int]]:
    """Notes and octaves of a close triad near middle C."""
    octave = 4 if root in ("C", "C#", "D", "D#", "E") else 3
    return [above(root, octave, step) for step in CHORDS[mode]]


def pad(root: str, mode: str, n: int = LENGTH) -> np.ndarray:
    """A soft chord whose notes are spread from left to right, (n, 2)."""
    left, right = np.zeros(n), np.zeros(n)
    for i, (note, octave) in enumerate(chord_notes(root, mode)):
        voice = _partials(frequency(note, octave), n, 1.8, 5)
        left, right = left + (1 - 0.3 * i) * voice, right + (0.4 + 0.3 * i) * voice
    return stereo(left, right) * attack(n, 0.4)[:, None]


def piano_chord(root: str, mode: str, n: int = LENGTH) -> np.ndarray:
    """A triad on the piano, (n, 2)."""
    return stereo(sum(tone("piano", note, octave, n) for note, octave in chord_notes(root, mode)))
