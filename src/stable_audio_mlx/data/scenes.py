"""The embedded model's textures and effects: rain, sweeps, sirens."""

import numpy as np

from .grid import FRAME, LENGTH, SAMPLE_RATE, attack, looped, noise, stereo, times


def sweep(style: str) -> np.ndarray:
    """A band of noise, an octave wide, that moves by five octaves in three seconds."""
    frames, size = 60, 2 * FRAME
    table = np.tile(looped(noise(100, 16000), 3 * FRAME, 3), 22)
    x = np.zeros(LENGTH + size)
    window, f = np.hanning(size + 1)[:size], np.maximum(np.fft.rfftfreq(size, 1 / SAMPLE_RATE), 1)
    for i in range(frames):
        place = i / (frames - 1)
        centre = 300 * 2 ** (5 * (place if style == "up" else 1 - place))
        band = np.exp(-(np.log2(f / centre) ** 2) / 0.3) / np.sqrt(centre)
        here = slice(i * FRAME, i * FRAME + size)
        x[here] += window * np.fft.irfft(np.fft.rfft(table[here]) * band)
    return stereo(x[:LENGTH])


def rain(style: str) -> np.ndarray:
    """A loop of a second of hiss, other on the left than on the right; heavy rain is darker and has a rumble."""
    n, loop = LENGTH, 12
    hiss = noise(1500, 9000)
    left, right = looped(hiss, n, loop), looped(hiss, n, loop, loop // 2)
    if style == "light":
        return stereo(left, right)
    low = looped(noise(150, 900), n, 6)
    return stereo(left, right) + 1.5 * stereo(low, np.roll(low, 3 * FRAME))


def siren(style: str) -> np.ndarray:
    """A tone that wails."""
    frames = {"slow": 20, "fast": 5}[style]
    t, period = times(LENGTH), frames * FRAME / SAMPLE_RATE
    centre = round(900 * period) / period  # whole waves in each turn, so that it repeats
    turn = 2 * np.pi * t / period
    phase = 2 * np.pi * centre * t + 350 * period * (1 - np.cos(turn))
    return stereo((np.sin(phase) + 0.3 * np.sin(2 * phase)) * attack(LENGTH, 0.01))


SCENES = {
    "sweep": (sweep, ("up", "down")),
    "rain": (rain, ("light", "heavy")),
    "siren": (siren, ("slow", "fast")),
}
