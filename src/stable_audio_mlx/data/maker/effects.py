"""Place, room and finish of the data maker's sounds: stereo (2, L)."""

import numpy as np

from .signal import band, decay, edges, good_size, samples, times, wander


def pan(x: np.ndarray, place: float) -> np.ndarray:
    """x (L,) between left (-1) and right (1) at equal power -> (2, L)"""
    angle = (place + 1) * np.pi / 4
    return np.stack([np.cos(angle) * x, np.sin(angle) * x]) * np.sqrt(2)


def wide(x: np.ndarray, rng: np.random.Generator, seconds: float = 0.012) -> np.ndarray:
    """x (L,) spread over both sides by two short moving delays -> (2, L)"""
    n = len(x)
    at = np.arange(n, dtype=np.float64)
    sides = []
    for sign in (1, -1):
        late = samples(seconds) * (0.5 + 0.2 * sign * np.sin(2 * np.pi * 0.6 * times(n) + rng.uniform(0, 6)))
        place = np.maximum(at - late, 0)
        index = place.astype(np.int32)
        part = place - index
        sides.append(0.6 * x + 0.6 * (x[index] * (1 - part) + x[np.minimum(index + 1, n - 1)] * part))
    return np.stack(sides)


def reverb(x: np.ndarray, seconds: float, mix: float, rng: np.random.Generator) -> np.ndarray:
    """x (2, L) in a room: dying noise, other on the left than on the right, darker as it dies."""
    n, m = x.shape[1], samples(seconds)
    tail = band(rng.standard_normal((2, m)), 150, 5000, 1) * decay(m, seconds)
    tail += band(rng.standard_normal((2, m)), 150, 12000, 1) * decay(m, 0.3 * seconds) * 0.5
    tail *= np.minimum(1, times(m) / 0.008)
    tail /= np.sqrt((tail**2).sum(axis=1, keepdims=True))
    size = good_size(n + m)
    room = np.fft.irfft(np.fft.rfft(x, size) * np.fft.rfft(tail, size), size)[:, :n]
    return (1 - 0.5 * mix) * x + mix * room


def echo(x: np.ndarray, seconds: float, feedback: float, mix: float) -> np.ndarray:
    """x (2, L) with repeats that change sides."""
    out, n = x.copy(), x.shape[1]
    level, late, sides = mix, samples(seconds), x
    while level > 0.01 and late < n:
        sides = sides[::-1]
        out[:, late:] += level * sides[:, : n - late]
        level, late = level * feedback, late + samples(seconds)
    return out


def tremolo(x: np.ndarray, hz: float, depth: float) -> np.ndarray:
    """x (2, L) louder and softer ``hz`` times a second."""
    return x * (1 - depth * (0.5 + 0.5 * np.sin(2 * np.pi * hz * times(x.shape[1]))))


def tape(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """x (2, L) from a worn tape: dull, unsteady in pitch, with a little hiss."""
    n = x.shape[1]
    place = np.clip(np.arange(n) + 60 * wander(n, 1.2, rng) + 4 * wander(n, 9, rng), 0, n - 2)
    index = place.astype(np.int32)
    part = place - index
    worn = x[:, index] * (1 - part) + x[:, index + 1] * part
    return band(np.tanh(1.4 * worn) / 1.4, 80, 5500) + 0.002 * rng.standard_normal((2, n))


def finish(x: np.ndarray, peak_db: float, fall: float = 0.02) -> np.ndarray:
    """x (2, L) as it is written: no offset, no clicks at its ends, its peak at ``peak_db``, float32."""
    x = edges(band(x, 22, order=2), 0.001, fall)
    return (x * (10 ** (peak_db / 20) / (np.abs(x).max() + 1e-12))).astype(np.float32)


def length(x: np.ndarray, n: int) -> np.ndarray:
    """x (..., L) cut or filled up to n samples."""
    missing = n - x.shape[-1]
    return x[..., :n] if missing <= 0 else np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, missing)])
