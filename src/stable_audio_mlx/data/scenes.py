"""The embedded model's textures and effects: rain, wind, sweeps, sirens, bleeps and the like."""

import numpy as np

from .grid import FRAME, FRAMES, LENGTH, RATE, SAMPLE_RATE, attack, looped, noise, stereo, times


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


def _swell(period: int, shift: float = 0.0) -> np.ndarray:
    """A slow wave between 0 and 1 of so many frames."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(LENGTH) / FRAME / period + shift))


def wind(style: str) -> np.ndarray:
    """Low noise in slow gusts; strong wind also whistles."""
    low = looped(noise(150, 900), LENGTH, 6)
    gusts = stereo(0.35 + 0.65 * _swell(53, 0.3), 0.35 + 0.65 * _swell(53, 0.1))
    x = stereo(low, np.roll(low, 3 * FRAME)) * gusts
    if style == "light":
        return x
    whistle = looped(noise(900, 1500), LENGTH, 6)
    return x + stereo(whistle * _swell(37, 0.2), np.roll(whistle, 3 * FRAME) * _swell(37))


def waves(style: str) -> np.ndarray:
    """Surf: hiss that swells within a second and a half and runs out, every four seconds."""
    place = (np.arange(LENGTH) / FRAME) % 80
    level = np.where(place < 30, (place / 30) ** 2, np.exp(-(place - 30) / 14)) + 0.05
    hiss = looped(noise(1500, 9000), LENGTH, 12) + looped(noise(150, 900), LENGTH, 6)
    return stereo(hiss * level, np.roll(hiss, 6 * FRAME) * level)


def thunder(style: str) -> np.ndarray:
    """A crack and a rolling rumble."""
    t = times(LENGTH)
    low, crack = looped(noise(40, 200), LENGTH, 8), looped(noise(900, 4500), LENGTH, 4)
    rolls = np.exp(-1.3 * t) + 0.7 * np.exp(-(((t - 1.2) / 0.35) ** 2)) + 0.4 * np.exp(-(((t - 2.6) / 0.5) ** 2))
    return stereo(low * rolls * attack(LENGTH, 0.02) + 0.25 * crack * np.exp(-6 * t))


def impact(style: str) -> np.ndarray:
    """A deep boom with a tail."""
    t = times(LENGTH)
    phase = 2 * np.pi * np.cumsum(34 + 40 * np.exp(-t * 9)) / SAMPLE_RATE
    low = looped(noise(40, 200), LENGTH, 8)
    hit = np.zeros(LENGTH)
    hit[: 1 << 14] = 0.3 * noise(800, 9000)[: 1 << 14] * np.exp(-t[: 1 << 14] * 25)
    return stereo(np.tanh(1.5 * np.sin(phase) * np.exp(-1.2 * t)) + 0.25 * low * np.exp(-2 * t) + hit)


def static(style: str) -> np.ndarray:
    """White noise."""
    table = noise(30, 17000)
    return stereo(looped(table, LENGTH, 8), looped(table, LENGTH, 8, 4))


def siren(style: str) -> np.ndarray:
    """A tone that wails."""
    frames = {"slow": 20, "fast": 5}[style]
    t, period = times(LENGTH), frames * FRAME / SAMPLE_RATE
    centre = round(900 * period) / period  # whole waves in each turn, so that it repeats
    turn = 2 * np.pi * t / period
    phase = 2 * np.pi * centre * t + 350 * period * (1 - np.cos(turn))
    return stereo((np.sin(phase) + 0.3 * np.sin(2 * phase)) * attack(LENGTH, 0.01))


def bleep(style: str) -> np.ndarray:
    """One short tone, high or low."""
    t, hz = times(LENGTH), RATE * {"high": 80, "low": 30}[style]
    gate = np.clip((4 - np.arange(LENGTH) / FRAME) / 1, 0, 1)
    return stereo((np.sin(2 * np.pi * hz * t) + 0.3 * np.sin(4 * np.pi * hz * t)) * gate * attack(LENGTH, 0.005))


def beeping(style: str) -> np.ndarray:
    """An alarm clock: four beeps and a rest."""
    frame = np.arange(LENGTH) / FRAME
    on = (frame % 20 < 15) & (frame % 4 < 2)
    edge = np.minimum(1, np.minimum(frame % 4, 2 - frame % 4) * 10)
    t, hz = times(LENGTH), RATE * 100
    return stereo((np.sin(2 * np.pi * hz * t) + 0.3 * np.sin(4 * np.pi * hz * t)) * np.where(on, edge, 0))


def laser(style: str) -> np.ndarray:
    """A tone that falls from 4 kHz within a third of a second."""
    t = times(LENGTH)
    phase = 2 * np.pi * np.cumsum(180 + 3800 * np.exp(-t * 12)) / SAMPLE_RATE
    return stereo((np.sin(phase) + 0.3 * np.sin(2 * phase)) * np.exp(-6 * t) * attack(LENGTH, 0.002))


SCENES = {
    "sweep": (sweep, ("up", "down")),
    "rain": (rain, ("light", "heavy")),
    "siren": (siren, ("slow", "fast")),
    "wind": (wind, ("light", "heavy")),
    "waves": (waves, ("",)),
    "thunder": (thunder, ("",)),
    "impact": (impact, ("",)),
    "static": (static, ("",)),
    "bleep": (bleep, ("high", "low")),
    "beeping": (beeping, ("",)),
    "laser": (laser, ("",)),
}
assert FRAMES % 80 == 0  # waves and beeps come out whole
