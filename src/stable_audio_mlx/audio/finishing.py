"""What is done to a sound after the model: pure functions on NumPy arrays (channels, samples)."""

import numpy as np

from .limiter import limit
from .loudness import from_db, integrated, to_db

SILENCE = from_db(-60)  # below the peak
EDGE = 0.005  # seconds that trimming leaves on both sides of what is heard
PASSES = 6  # of loudness after limiting, which takes some of it
CLOSE = 0.02  # LU
LEAST = 0.2  # LU for each dB of gain; with less there is more to lose than to win


def heard(audio: np.ndarray, rate: int) -> tuple[int, int]:
    """(start, stop) in samples of what is not silence at the ends."""
    levels = np.abs(audio).max(axis=0)
    (loud,) = np.nonzero(levels > SILENCE * levels.max())
    if not len(loud):
        return 0, audio.shape[1]
    edge = round(EDGE * rate)
    return max(int(loud[0]) - edge, 0), min(int(loud[-1]) + 1 + edge, audio.shape[1])


def faded(audio: np.ndarray, rate: int, fade_in: float, fade_out: float) -> np.ndarray:
    """Squared-sine fades of so many seconds, from zero and to zero, none longer than the sound."""
    curve = np.ones(audio.shape[1])
    for seconds, end in ((fade_in, curve), (fade_out, curve[::-1])):
        count = min(round(seconds * rate), audio.shape[1])
        end[:count] *= np.sin(np.pi / 2 * np.arange(count) / max(count, 1)) ** 2
    return audio * curve.astype(np.float32)


def levelled(
    audio: np.ndarray, rate: int, target: tuple[str, float] | None, ceiling: float | None
) -> tuple[np.ndarray, float, float]:
    """``audio`` at the ``target`` level, limited to ``ceiling`` dBTP -> (audio, gain in dB, most limiting in dB).

    Without a ceiling, a loudness that would take peaks over full scale is not reached: they stay at full scale.
    """
    gain = 0.0 if target is None else gain_for(audio, rate, *target)
    peak = to_db(float(np.abs(audio).max()))
    if ceiling is None:
        gain = min(gain, -peak) if target and target[0] == "lufs" else gain
        return turned(audio, gain), gain, 0.0
    out, deepest = limit(turned(audio, gain), rate, ceiling)
    if target is None or target[0] != "lufs" or not deepest:
        return out, gain, deepest
    found, reached = (out, gain, deepest), integrated(out, rate)
    step = target[1] - reached
    for _ in range(PASSES):
        if abs(target[1] - reached) < CLOSE:
            break
        gain += step
        out, deepest = limit(turned(audio, gain), rate, ceiling)
        now = integrated(out, rate)
        gained = (abs(target[1] - reached) - abs(target[1] - now)) / abs(step)
        if gained < LEAST:  # what is all peaks only gets duller
            break
        step, reached = (target[1] - now) / min(gained, 1), now
        found = out, gain, deepest
    return found


def levelled_loop(
    audio: np.ndarray, rate: int, target: tuple[str, float] | None, ceiling: float | None
) -> tuple[np.ndarray, float, float]:
    """``levelled`` for a loop: a limiter that knows what sounds before its beginning and after its end.

    Without that, a gain that has not come back at the end would be a step at the seam.
    """
    length = audio.shape[1]
    out, gain, deepest = levelled(np.tile(audio, 3), rate, target, ceiling)
    return out[:, length : 2 * length], gain, deepest


def gain_for(audio: np.ndarray, rate: int, kind: str, level: float) -> float:
    """dB from the sound's own peak or loudness to ``level``; 0 for what has none."""
    own = to_db(float(np.abs(audio).max())) if kind == "peak" else integrated(audio, rate)
    return level - own if np.isfinite(own) else 0.0


def turned(audio: np.ndarray, gain: float) -> np.ndarray:
    """By so many dB."""
    return audio * np.float32(from_db(gain)) if gain else audio
