"""Noises, weather and effects of the data maker, stereo (2, L); each takes a word that says which of its kinds."""

from collections.abc import Callable

import numpy as np

from .effects import pan, wide
from .signal import (
    RATE,
    adsr,
    band,
    coloured,
    decay,
    mixed,
    moving_filter,
    oscillator,
    samples,
    saturate,
    series,
    sine,
    times,
    wander,
    white,
)

Texture = Callable[[str, int, np.random.Generator], np.ndarray]


def _two(n: int, rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((2, n), dtype=np.float32)


def _grains(n: int, rate: float, grain: Callable[[], np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """``rate`` short sounds a second at random moments and places."""
    out = np.zeros((2, n))
    bank = [grain() for _ in range(12)]
    for at in np.sort(rng.integers(0, n, rng.poisson(rate * n / RATE))):
        x = pan(bank[rng.integers(len(bank))] * rng.uniform(0.2, 1) ** 2, rng.uniform(-1, 1))
        room = min(x.shape[1], n - at)
        out[:, at : at + room] += x[:, :room]
    return out


def rain(style: str, n: int, rng: np.random.Generator) -> np.ndarray:
    heavy = style == "heavy"

    def drop() -> np.ndarray:
        m = samples(0.02)
        return band(white(m, rng), rng.uniform(1500, 4000), 12000) * decay(m, rng.uniform(0.006, 0.02))

    bed = band(_two(n, rng), 900 if heavy else 2500, 9000 if heavy else 11000, 1) * (0.5 if heavy else 0.12)
    low = band(_two(n, rng), 80, 500, 1) * (0.5 if heavy else 0.0)
    return bed + low + _grains(n, 120 if heavy else 40, drop, rng)


def wind(style: str, n: int, rng: np.random.Generator) -> np.ndarray:
    strong = style == "strong"
    gusts = 0.55 + 0.45 * wander(n, 0.7 if strong else 0.35, rng)
    centre = (350 if strong else 220) * 2 ** (1.2 * (gusts - 0.5))
    sides = np.stack([moving_filter(coloured(n, 3, rng), centre, order=2) for _ in range(2)]) * gusts
    if strong:
        howl = moving_filter(white(n, rng), 650 * 2 ** (0.7 * wander(n, 0.8, rng)), 0.25)
        sides = sides + pan(2.0 * howl * gusts**2, rng.uniform(-0.5, 0.5))
    return sides


def waves(style: str, n: int, rng: np.random.Generator) -> np.ndarray:
    period = rng.uniform(4, 7)
    place = (times(n) / period + rng.uniform(0, 0.3)) % 1
    level = np.where(place < 0.4, (place / 0.4) ** 2, np.exp(-(place - 0.4) * 4.5)) + 0.04
    sides = [moving_filter(coloured(n, 2, rng), 600 + 6000 * level) for _ in range(2)]
    return np.stack(sides) * level


def thunder(style: str, n: int, rng: np.random.Generator) -> np.ndarray:
    t = times(n)
    near = style == "close"
    rolls = sum(
        rng.uniform(0.4, 1) * np.exp(-(((t - at) / rng.uniform(0.2, 0.7)) ** 2))
        for at in np.sort(rng.uniform(0.3, 3, 5))
    )
    low = moving_filter(coloured(n, 6, rng), 90 + 500 * np.exp(-t * 1.2))
    crack = band(_two(n, rng), 300, 6000) * decay(n, 0.7) * (1.2 if near else 0.0)
    return wide(low * (rolls + np.exp(-1.2 * t)) * np.minimum(1, t / 0.01), rng) + crack


def fire(style: str, n: int, rng: np.random.Generator) -> np.ndarray:
    def crackle() -> np.ndarray:
        m = samples(0.015)
        return band(white(m, rng), 1200, 9000) * decay(m, rng.uniform(0.003, 0.015))

    roar = 0.12 * band(_two(n, rng), 60, 500, 1) * (0.7 + 0.3 * wander(n, 2, rng))
    return roar + 1.5 * _grains(n, 14, crackle, rng)


def stream(style: str, n: int, rng: np.random.Generator) -> np.ndarray:
    def bubble() -> np.ndarray:
        m = samples(rng.uniform(0.02, 0.06))
        return sine(rng.uniform(400, 1600) * (1 + 0.4 * times(m) * RATE / m), m) * decay(m, 0.05)

    return 0.1 * band(_two(n, rng), 700, 5000, 1) + 0.4 * _grains(n, 60, bubble, rng)


def crickets(style: str, n: int, rng: np.random.Generator) -> np.ndarray:
    out = 0.01 * band(_two(n, rng), 200, 4000, 1)
    t = times(n)
    for _ in range(3):
        pulse = np.clip(np.sin(2 * np.pi * rng.uniform(14, 22) * t), 0, 1)
        phrase = (np.sin(2 * np.pi * rng.uniform(0.8, 1.6) * t + rng.uniform(0, 6)) > 0).astype(float)
        out = out + pan(sine(rng.uniform(3800, 5200), n) * pulse * phrase * rng.uniform(0.3, 1), rng.uniform(-0.9, 0.9))
    return out


def noise(style: str, n: int, rng: np.random.Generator) -> np.ndarray:
    slope = {"white": 0.0, "pink": 3.0, "brown": 6.0}[style]
    return np.stack([coloured(n, slope, rng) for _ in range(2)])


def crackle(style: str, n: int, rng: np.random.Generator) -> np.ndarray:
    def click() -> np.ndarray:
        m = samples(0.004)
        return band(white(m, rng), 800, 9000) * decay(m, 0.003)

    return 0.02 * band(_two(n, rng), 200, 6000, 1) + _grains(n, 25, click, rng)


def sweep(style: str, n: int, rng: np.random.Generator) -> np.ndarray:
    place = np.linspace(0, 1, n) if style == "rising" else np.linspace(1, 0, n)
    centre = rng.uniform(200, 400) * 2 ** (rng.uniform(4.5, 5.5) * place)
    return np.stack([moving_filter(white(n, rng), centre, 1.2) for _ in range(2)]) * (0.3 + 0.7 * place)


def riser(style: str, n: int, rng: np.random.Generator) -> np.ndarray:
    """A synthesizer that climbs and opens."""
    place = np.linspace(0, 1, n)
    hz = rng.uniform(55, 110) * 2 ** (rng.uniform(2, 3) * place)
    tone = mixed(oscillator(hz * (1 + d), n, series(440, 1.0, 24), rng.random()) for d in (-0.006, 0.0, 0.007))
    tone = moving_filter(tone, 300 + 9000 * place**2)
    hiss = moving_filter(white(n, rng), 500 + 9000 * place, 1.0)
    return wide((tone + 0.8 * hiss) * (0.1 + 0.9 * place**1.5), rng)


def siren(style: str, n: int, rng: np.random.Generator) -> np.ndarray:
    t = times(n)
    if style == "two-tone":
        low = rng.uniform(400, 600)
        hz = np.where((t * rng.uniform(0.8, 1.2)) % 1 < 0.5, low, low * 4 / 3)
        hz = np.convolve(hz, np.ones(400) / 400, "same")
    else:
        rate = {"slow": rng.uniform(0.2, 0.4), "fast": rng.uniform(2.5, 5)}[style]
        hz = rng.uniform(650, 950) * 2 ** (0.55 * np.sin(2 * np.pi * rate * t - 1.5))
    return pan(oscillator(hz, n, (1.0, 0.4, 0.25, 0.1)), 0.0)


def bleep(style: str, n: int, rng: np.random.Generator) -> np.ndarray:
    hz = rng.uniform(1200, 2400) if style == "high" else rng.uniform(250, 600)
    m = min(n, samples(rng.uniform(0.08, 0.25)))
    one = oscillator(hz, m, (1.0, 0.2, 0.1)) * adsr(m, 0.004, 1, 1, 0.02)
    return pan(np.pad(one, (0, n - m)), rng.uniform(-0.3, 0.3))


def alarm(style: str, n: int, rng: np.random.Generator) -> np.ndarray:
    t, hz = times(n), rng.uniform(1500, 2800)
    on = ((t * 8) % 2 < 1) & (t % 1 < 0.75)
    gate = np.convolve(on.astype(float), np.ones(200) / 200, "same")
    return pan(oscillator(hz, n, (1.0, 0.0, 0.3)) * gate, 0.0)


def laser(style: str, n: int, rng: np.random.Generator) -> np.ndarray:
    m = min(n, samples(rng.uniform(0.3, 0.6)))
    hz = rng.uniform(120, 250) + rng.uniform(2500, 5000) * decay(m, rng.uniform(0.3, 0.6))
    one = oscillator(hz, m, (1.0, 0.4, 0.2)) * decay(m, 0.6)
    return pan(np.pad(one, (0, n - m)), rng.uniform(-0.4, 0.4))


def impact(style: str, n: int, rng: np.random.Generator) -> np.ndarray:
    boom = saturate(sine(rng.uniform(30, 42) * (1 + 1.5 * decay(n, 0.5)), n) * decay(n, rng.uniform(2, 3.5)), 1.8)
    debris = band(_two(n, rng), 60, 1500, 1) * decay(n, 1.6) * 0.4
    crack = band(_two(n, rng), 900, 9000) * decay(n, 0.15) * 0.5
    return boom + debris + crack


def engine(style: str, n: int, rng: np.random.Generator) -> np.ndarray:
    hz = (
        rng.uniform(28, 45)
        * (1 + 0.05 * wander(n, 1.5, rng))
        * (1 + (style == "revving") * np.clip(np.sin(2.2 * times(n)), 0, 1))
    )
    x = oscillator(hz, n, series(60, 0.8, 40)) * (0.8 + 0.2 * wander(n, 20, rng))
    return wide(saturate(band(x, 40, 1200) + 0.1 * coloured(n, 3, rng), 1.5), rng)


TEXTURES: dict[str, tuple[Texture, tuple[str, ...]]] = {
    "rain": (rain, ("light", "heavy")),
    "wind": (wind, ("light", "strong")),
    "ocean waves": (waves, ("",)),
    "thunder": (thunder, ("distant", "close")),
    "fire": (fire, ("",)),
    "stream": (stream, ("",)),
    "crickets": (crickets, ("",)),
    "noise": (noise, ("white", "pink", "brown")),
    "vinyl crackle": (crackle, ("",)),
    "noise sweep": (sweep, ("rising", "falling")),
    "synth riser": (riser, ("",)),
    "siren": (siren, ("slow", "fast", "two-tone")),
    "bleep": (bleep, ("high", "low")),
    "alarm clock": (alarm, ("",)),
    "laser": (laser, ("",)),
    "impact": (impact, ("",)),
    "engine": (engine, ("idling", "revving")),
}
