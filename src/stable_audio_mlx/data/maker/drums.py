"""Drums and percussion of the data maker: each is drawn anew, so that no two kits are alike.  Mono, peak near 1."""

from collections.abc import Callable

import numpy as np

from .signal import RATE, band, decay, edges, mixed, oscillator, samples, saturate, sine, times, white

Drum = Callable[[np.random.Generator], np.ndarray]


def _swept(n: int, hz: float, more: float, seconds: float) -> np.ndarray:
    """A sine that falls to ``hz`` from ``more`` times as high."""
    return sine(hz * (1 + (more - 1) * decay(n, seconds)), n, 0.0)


def kick(rng: np.random.Generator) -> np.ndarray:
    length = rng.uniform(0.25, 0.5)
    n = samples(length)
    body = _swept(n, rng.uniform(42, 62), rng.uniform(3, 6), rng.uniform(0.12, 0.3)) * decay(n, length)
    click = band(white(n, rng), 1500, 9000) * decay(n, 0.02) * rng.uniform(0.02, 0.15)
    return saturate(body + click, rng.uniform(1.0, 2.5))


def sub_kick(rng: np.random.Generator) -> np.ndarray:
    length = rng.uniform(1.0, 2.2)
    n = samples(length)
    body = _swept(n, rng.uniform(38, 56), rng.uniform(2.5, 4), 0.15) * decay(n, length)
    return saturate(body, rng.uniform(1.2, 3.0))


def snare(rng: np.random.Generator) -> np.ndarray:
    n, hz = samples(0.45), rng.uniform(165, 230)
    shell = (sine(hz, n) + 0.6 * sine(hz * rng.uniform(1.4, 1.8), n)) * decay(n, rng.uniform(0.12, 0.25))
    wires = band(white(n, rng), rng.uniform(700, 1800), rng.uniform(7000, 12000)) * decay(n, rng.uniform(0.18, 0.4))
    return saturate(0.55 * shell + 0.5 * wires, 1.3)


def _metal(n: int, rng: np.random.Generator, low: float, high: float = 16000) -> np.ndarray:
    """The dense hiss of a cymbal: square waves out of tune with each other, and noise."""
    ring = sum(
        oscillator(hz * rng.uniform(0.97, 1.03), n, (1, 0, 0.33, 0, 0.2), rng.random())
        for hz in (2100, 3170, 4730, 5390)
    )
    return band(0.25 * ring + 0.6 * white(n, rng), low, high, 3)


def closed_hat(rng: np.random.Generator) -> np.ndarray:
    n = samples(0.12)
    return _metal(n, rng, rng.uniform(5500, 8000)) * decay(n, rng.uniform(0.05, 0.1))


def open_hat(rng: np.random.Generator) -> np.ndarray:
    n = samples(0.9)
    return _metal(n, rng, rng.uniform(5000, 7500)) * decay(n, rng.uniform(0.5, 0.9))


def crash(rng: np.random.Generator) -> np.ndarray:
    n = samples(3.0)
    return _metal(n, rng, rng.uniform(2500, 4500)) * (0.6 * decay(n, rng.uniform(1.8, 3)) + 0.4 * decay(n, 0.3))


def ride(rng: np.random.Generator) -> np.ndarray:
    n = samples(1.8)
    ping = sum(sine(hz * rng.uniform(0.98, 1.02), n) for hz in (3010, 4270, 5150)) * decay(n, 0.5)
    return 0.35 * _metal(n, rng, 5500) * decay(n, 1.6) + 0.25 * ping


def clap(rng: np.random.Generator) -> np.ndarray:
    n = samples(0.35)
    t, x = times(n), np.zeros(n)
    last = rng.uniform(0.02, 0.034)
    for start in (*np.linspace(0, last, 3), last + 0.01):
        tail = 0.25 if start > last else 0.03
        x += np.where(t >= start, np.exp(-6.9 * np.maximum(t - start, 0) / tail), 0)
    return 0.7 * x * band(white(n, rng), rng.uniform(700, 1100), rng.uniform(3500, 6000))


def _tom(low: float, high: float) -> Drum:
    def tom(rng: np.random.Generator) -> np.ndarray:
        n = samples(0.6)
        skin = _swept(n, rng.uniform(low, high), 1.6, 0.2) * decay(n, rng.uniform(0.35, 0.6))
        return saturate(skin + 0.08 * band(white(n, rng), 400, 4000) * decay(n, 0.05), 1.2)

    return tom


def rimshot(rng: np.random.Generator) -> np.ndarray:
    n = samples(0.1)
    wood = sine(rng.uniform(1500, 1900), n) + 0.7 * sine(rng.uniform(420, 560), n)
    return 0.6 * wood * decay(n, 0.05) + 0.4 * band(white(n, rng), 1500, 8000) * decay(n, 0.02)


def cowbell(rng: np.random.Generator) -> np.ndarray:
    n, tune = samples(0.5), rng.uniform(0.92, 1.08)
    bell = mixed(oscillator(hz * tune, n, (1, 0, 0.33, 0, 0.2, 0, 0.14)) for hz in (540, 800))
    return 0.5 * band(bell, 400, 6000) * (0.7 * decay(n, 0.06) + 0.3 * decay(n, rng.uniform(0.3, 0.5)))


def shaker(rng: np.random.Generator) -> np.ndarray:
    n = samples(0.18)
    swing = np.sin(np.pi * np.clip(times(n) / rng.uniform(0.09, 0.15), 0, 1)) ** 2
    return 0.9 * band(white(n, rng), rng.uniform(4000, 6000), 14000) * swing


def tambourine(rng: np.random.Generator) -> np.ndarray:
    n = samples(0.4)
    return _metal(n, rng, 6500) * (0.6 * decay(n, 0.08) + 0.4 * decay(n, rng.uniform(0.25, 0.4)))


def _conga(low: float, high: float) -> Drum:
    def conga(rng: np.random.Generator) -> np.ndarray:
        n = samples(0.4)
        skin = _swept(n, rng.uniform(low, high), 1.15, 0.08) * decay(n, rng.uniform(0.2, 0.4))
        return 0.9 * skin + 0.2 * band(white(n, rng), 800, 5000) * decay(n, 0.03)

    return conga


def woodblock(rng: np.random.Generator) -> np.ndarray:
    n, hz = samples(0.12), rng.uniform(700, 1100)
    return (sine(hz, n) + 0.4 * sine(hz * 1.5, n)) * decay(n, rng.uniform(0.06, 0.1))


def click(rng: np.random.Generator) -> np.ndarray:
    n = samples(0.05)
    return sine(rng.uniform(1800, 2600), n) * decay(n, 0.03)


DRUMS: dict[str, Drum] = {
    "kick": kick,
    "808 kick": sub_kick,
    "snare": snare,
    "closed hi-hat": closed_hat,
    "open hi-hat": open_hat,
    "crash cymbal": crash,
    "ride cymbal": ride,
    "clap": clap,
    "low tom": _tom(75, 100),
    "high tom": _tom(140, 200),
    "rimshot": rimshot,
    "cowbell": cowbell,
    "shaker": shaker,
    "tambourine": tambourine,
    "low conga": _conga(170, 210),
    "bongo": _conga(320, 420),
    "woodblock": woodblock,
    "click": click,
}


def hit(name: str, rng: np.random.Generator) -> np.ndarray:
    """One drum, drawn anew: (L,) float64 with a peak of 1."""
    x = edges(band(DRUMS[name](rng), 25), 0.0003, 0.01)
    return x / np.abs(x).max()


def roll(name: str, seconds: float, rate: float, rng: np.random.Generator) -> np.ndarray:
    """The same drum ``rate`` times a second, swelling: (L,)."""
    one, out = hit(name, rng), np.zeros(samples(seconds) + samples(3.0))
    at = np.arange(0, seconds, 1 / rate)
    for i, start in enumerate(at):
        first = round(start * RATE)
        out[first : first + len(one)] += one * (0.3 + 0.7 * (i + 1) / len(at)) * rng.uniform(0.85, 1)
    return out[: samples(seconds)]
