"""The embedded model's single sounds: hits, notes and chords.  Each is a function of its name alone."""

import numpy as np

from .grid import CHORDS, FRAME, LENGTH, NOTES, SAMPLE_RATE, attack, frequency, noise, stereo, times


def _kick(n: int) -> np.ndarray:
    t = times(n)
    phase = 2 * np.pi * np.cumsum(48 + 150 * np.exp(-t * 32)) / SAMPLE_RATE
    return np.tanh(1.5 * np.sin(phase) * np.exp(-t * 8))


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


HITS = {
    "kick": _kick,
    "snare": _snare,
    "closed hat": lambda n: _hat(n, 50),
    "open hat": lambda n: _hat(n, 8),
    "clap": _clap,
}


def _partials(f0: float, n: int, power: float, count: int, decay: float = 0.0, top: float = 6000.0) -> np.ndarray:
    """Harmonics k of amplitude k**-power below ``top`` Hz; ``decay`` lets the upper ones die first."""
    return _harmonics(f0, n, {k: k**-power for k in range(1, count + 1)}, decay, top)


def _harmonics(f0: float, n: int, levels: dict[int, float], decay: float = 0.0, top: float = 6000.0) -> np.ndarray:
    """The sum of sines at multiples k of a tuned pitch, each with its level, dying k times as fast as the first."""
    turn, first, y = 2 * np.pi * f0 * times(min(n, 16 * FRAME)), np.exp(-decay * times(n)), np.zeros(n)
    fall, last = np.ones(n), 0
    for k, level in levels.items():
        if k * f0 < top:
            wave = level * np.sin(k * turn)  # repeats within 16 frames
            wave = np.tile(wave, -(-n // len(wave)))[:n]
            fall, last = (fall * first ** (k - last), k) if decay else (fall, k)
            y += wave * fall if decay else wave
    return y


def tone(kind: str, note: str, octave: int, n: int = LENGTH) -> np.ndarray:
    """One note of an instrument, (n,), with its attack."""
    f0 = frequency(note, octave)
    if kind == "synth":
        return _partials(f0, n, 1.0, 16) * attack(n, 0.01)
    if kind == "pluck":
        return _partials(f0, n, 1.3, 12, 1.2) * np.exp(-times(n)) * attack(n, 0.003)
    return _partials(f0, n, 0.9, 6, 0.5) * attack(n, 0.005)  # bass


def pad(root: str, mode: str, n: int = LENGTH) -> np.ndarray:
    """A soft chord whose notes are spread from left to right, (n, 2)."""
    at, left, right = NOTES.index(root), np.zeros(n), np.zeros(n)
    for i, step in enumerate(CHORDS[mode]):
        octave, note = divmod(at + step, 12)
        voice = _partials(frequency(NOTES[note], 3 + octave + (at < 5)), n, 1.8, 5)
        left, right = left + (1 - 0.3 * i) * voice, right + (0.4 + 0.3 * i) * voice
    return stereo(left, right) * attack(n, 0.4)[:, None]
