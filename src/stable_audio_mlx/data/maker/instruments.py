"""Pitched instruments of the data maker: plucked, struck, bowed, blown and synthesised notes.  Mono, peak near 1."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .signal import adsr, band, decay, mixed, moving_filter, oscillator, samples, series, sine, times, wander, white

Voice = Callable[[float, int, np.random.Generator], np.ndarray]


def strike(hz: float, n: int, levels: tuple[float, ...], dark: tuple[float, ...], bright: float, long: float):
    """A struck or plucked tone: the bright spectrum dies within ``bright`` seconds, the dark one within ``long``."""
    return oscillator(hz, n, levels) * decay(n, bright) + oscillator(hz, n, dark) * decay(n, long)


def guitar(hz: float, n: int, rng: np.random.Generator) -> np.ndarray:
    long = rng.uniform(1.8, 3.2) * (220 / hz) ** 0.4
    place = rng.uniform(0.12, 0.3)  # of the plectrum: harmonics with a node there are missing
    comb = tuple(round(abs(np.sin(np.pi * k * place)) * level, 4) for k, level in enumerate(series(hz, 0.9, 30), 1))
    x = strike(hz, n, comb, tuple(level * 0.8 for level in comb[:6]), 0.35 * long, long)
    return x + 0.05 * band(white(n, rng), 500, 4000) * decay(n, 0.03)


def harp(hz: float, n: int, rng: np.random.Generator) -> np.ndarray:
    long = rng.uniform(2.0, 3.5) * (260 / hz) ** 0.5
    return strike(hz, n, series(hz, 1.6, 16), series(hz, 2.4, 5), 0.2 * long, long)


def kalimba(hz: float, n: int, rng: np.random.Generator) -> np.ndarray:
    return sine(hz, n) * decay(n, rng.uniform(0.8, 1.5)) + 0.25 * sine(min(hz * 5.4, 18000), n) * decay(n, 0.08)


def piano(hz: float, n: int, rng: np.random.Generator) -> np.ndarray:
    long = rng.uniform(3.0, 5.0) * (260 / hz) ** 0.35
    detune = 1 + rng.uniform(0.0002, 0.0006)
    body = strike(hz, n, series(hz, 1.1, 24), series(hz, 1.9, 8), 0.18 * long, long)
    return (
        body
        + 0.5 * oscillator(hz * detune, n, series(hz, 1.9, 8), 0.3) * decay(n, long)
        + 0.04 * band(white(n, rng), 200, 2500) * decay(n, 0.04)
    )


def electric_piano(hz: float, n: int, rng: np.random.Generator) -> np.ndarray:
    """Frequency modulation by the same frequency and a tine fourteen times as high."""
    long = rng.uniform(2.0, 4.0)
    turn = 2 * np.pi * hz * times(n)
    body = np.sin(turn + rng.uniform(0.6, 1.4) * decay(n, 1.2) * np.sin(turn))
    tine = np.sin(turn + 0.8 * decay(n, 0.25) * np.sin(14 * turn)) if hz < 700 else 0
    return (body + 0.4 * tine) * decay(n, long)


def bell(hz: float, n: int, rng: np.random.Generator) -> np.ndarray:
    long, out = rng.uniform(2.5, 5.0), np.zeros(n)
    for i, ratio in enumerate((0.5, 1.0, 1.19, 1.5, 2.0, 2.74, 3.76, 5.33)):
        if ratio * hz < 17000:
            level = (0.3, 1.0, 0.45, 0.3, 0.6, 0.35, 0.2, 0.12)[i]
            out += level * sine(ratio * hz, n, rng.random()) * decay(n, long / (0.6 + 0.5 * ratio))
    return out


def marimba(hz: float, n: int, rng: np.random.Generator) -> np.ndarray:
    return sine(hz, n) * decay(n, rng.uniform(0.5, 0.9)) + 0.4 * sine(min(4 * hz, 18000), n) * decay(n, 0.12)


def _vibrato(hz: float, n: int, rng: np.random.Generator, depth: float) -> np.ndarray:
    """Hz of a note whose vibrato sets in after the attack.  depth: share of the pitch"""
    t = times(n)
    turn = np.sin(2 * np.pi * rng.uniform(4.5, 6.2) * t + rng.uniform(0, 6))
    return hz * (1 + depth * np.clip((t - 0.25) / 0.4, 0, 1) * turn)


def violin(hz: float, n: int, rng: np.random.Generator) -> np.ndarray:
    line = _vibrato(hz, n, rng, rng.uniform(0.003, 0.007))
    x = band(oscillator(line, n, series(hz, 1.0, 40)), 180, rng.uniform(3500, 6000))
    bow = 0.02 * band(white(n, rng), 1500, 7000)
    return (x + bow) * adsr(n, rng.uniform(0.06, 0.2), 1.0, 0.85, 0.15)


def strings(hz: float, n: int, rng: np.random.Generator) -> np.ndarray:
    """A section: four players who are not quite together."""
    parts = [
        oscillator(_vibrato(hz * (1 + d), n, rng, 0.003), n, series(hz, 1.0, 30), rng.random())
        for d in (-0.003, 0.0, 0.003)
    ]
    return band(mixed(parts), 120, rng.uniform(2500, 4500)) * adsr(n, rng.uniform(0.2, 0.5), 1.0, 0.9, 0.4)


def flute(hz: float, n: int, rng: np.random.Generator) -> np.ndarray:
    line = _vibrato(hz, n, rng, 0.004)
    breath = 0.1 * band(white(n, rng), hz * 0.8, hz * 3)
    return (oscillator(line, n, (1.0, 0.35, 0.12, 0.04)) + breath) * adsr(n, rng.uniform(0.05, 0.12), 0.5, 0.85, 0.1)


def brass(hz: float, n: int, rng: np.random.Generator) -> np.ndarray:
    """A sawtooth that opens as it gets louder."""
    loud = adsr(n, rng.uniform(0.04, 0.1), 0.4, 0.8, 0.1)
    full, soft = oscillator(hz, n, series(hz, 1.0, 30)), oscillator(hz, n, series(hz, 2.2, 8))
    return band(loud**2 * full + (1 - loud) * soft, 100, 5000) * loud


def clarinet(hz: float, n: int, rng: np.random.Generator) -> np.ndarray:
    x = oscillator(hz, n, series(hz, 1.2, 20, odd=True)) + 0.02 * band(white(n, rng), 800, 5000)
    return x * adsr(n, rng.uniform(0.03, 0.08), 0.5, 0.9, 0.08)


def organ(hz: float, n: int, rng: np.random.Generator) -> np.ndarray:
    levels = (1.0, rng.uniform(0.4, 1), rng.uniform(0.2, 0.7), rng.uniform(0.3, 0.8), 0, rng.uniform(0, 0.4), 0, 0.3)
    return oscillator(hz, n, tuple(round(float(v), 3) for v in levels)) * adsr(n, 0.02, 1.0, 1.0, 0.05)


def saw_lead(hz: float, n: int, rng: np.random.Generator) -> np.ndarray:
    levels, spread = series(hz, 1.0), rng.uniform(0.001, 0.005)
    x = oscillator(hz, n, levels) + oscillator(hz * (1 + spread), n, levels, 0.4)
    return x * adsr(n, 0.01, rng.uniform(0.3, 1.5), rng.uniform(0.6, 0.9), 0.08)


def square_lead(hz: float, n: int, rng: np.random.Generator) -> np.ndarray:
    return oscillator(hz, n, series(hz, 1.0, odd=True)) * adsr(n, 0.008, 0.5, rng.uniform(0.6, 0.9), 0.06)


def sine_synth(hz: float, n: int, rng: np.random.Generator) -> np.ndarray:
    return sine(hz, n) * adsr(n, 0.01, 1.0, 0.9, 0.08)


def pluck_synth(hz: float, n: int, rng: np.random.Generator) -> np.ndarray:
    """A sawtooth through a filter that closes quickly."""
    cutoff = hz * 1.5 + rng.uniform(3000, 9000) * decay(n, rng.uniform(0.3, 0.8))
    return moving_filter(oscillator(hz, n, series(hz, 1.0)), cutoff) * decay(n, rng.uniform(0.8, 1.6))


def pad(hz: float, n: int, rng: np.random.Generator) -> np.ndarray:
    """Detuned sawtooths behind a slow filter."""
    x = mixed(oscillator(hz * (1 + d), n, series(hz, 1.2, 24), rng.random()) for d in (-0.004, 0.0, 0.0045))
    x = moving_filter(x, rng.uniform(700, 1600) * (1.6 + 0.6 * wander(n, 0.3, rng)))
    return x * adsr(n, rng.uniform(0.4, 1.0), 1.0, 1.0, min(0.8, n / 44100 / 3))


def acid(hz: float, n: int, rng: np.random.Generator) -> np.ndarray:
    """A sawtooth bass with a squelch: a narrow band that falls over the harmonics."""
    x = oscillator(hz, n, series(hz, 1.0))
    centre = hz * 2 + rng.uniform(1200, 2500) * decay(n, rng.uniform(0.3, 0.7))
    return (moving_filter(x, centre) + 1.5 * moving_filter(x, centre, 0.7)) * adsr(n, 0.004, 0.6, 0.7, 0.03)


def bass_guitar(hz: float, n: int, rng: np.random.Generator) -> np.ndarray:
    return strike(hz, n, series(hz, 1.3, 14, top=3000), series(hz, 2.0, 5), 0.5, rng.uniform(1.8, 3.0)) * adsr(
        n, 0.004, 2, 0.9, 0.05
    )


def sub_bass(hz: float, n: int, rng: np.random.Generator) -> np.ndarray:
    return oscillator(hz, n, (1.0, 0.15, 0.05)) * adsr(n, 0.012, 1.5, 0.9, 0.06)


def reese(hz: float, n: int, rng: np.random.Generator) -> np.ndarray:
    """Two sawtooths that beat against each other."""
    levels = series(hz, 1.0, 40, top=4000)
    x = oscillator(hz * 0.994, n, levels) + oscillator(hz * 1.006, n, levels, 0.3)
    return band(x, 30, rng.uniform(500, 1200)) * adsr(n, 0.01, 1.0, 0.95, 0.06)


@dataclass(frozen=True)
class Instrument:
    """``low`` to ``high``: MIDI notes; ``sustained``: sounds as long as it is held."""

    voice: Voice
    low: int
    high: int
    family: str
    sustained: bool = False


INSTRUMENTS = {
    "guitar": Instrument(guitar, 45, 76, "plucked"),
    "harp": Instrument(harp, 48, 84, "plucked"),
    "kalimba": Instrument(kalimba, 60, 84, "plucked"),
    "synth pluck": Instrument(pluck_synth, 48, 84, "plucked"),
    "piano": Instrument(piano, 40, 84, "keys"),
    "electric piano": Instrument(electric_piano, 43, 79, "keys"),
    "organ": Instrument(organ, 43, 79, "keys", True),
    "bell": Instrument(bell, 60, 86, "struck"),
    "marimba": Instrument(marimba, 50, 84, "struck"),
    "violin": Instrument(violin, 56, 88, "bowed", True),
    "string section": Instrument(strings, 43, 79, "bowed", True),
    "flute": Instrument(flute, 62, 90, "blown", True),
    "clarinet": Instrument(clarinet, 52, 82, "blown", True),
    "brass": Instrument(brass, 45, 74, "blown", True),
    "saw lead": Instrument(saw_lead, 48, 84, "synth", True),
    "square lead": Instrument(square_lead, 48, 84, "synth", True),
    "sine synth": Instrument(sine_synth, 48, 88, "synth", True),
    "synth pad": Instrument(pad, 43, 74, "synth", True),
    "acid bass": Instrument(acid, 28, 48, "bass"),
    "bass guitar": Instrument(bass_guitar, 28, 50, "bass"),
    "sub bass": Instrument(sub_bass, 28, 45, "bass", True),
    "reese bass": Instrument(reese, 28, 48, "bass", True),
}
OF_FAMILY = {
    family: tuple(name for name, one in INSTRUMENTS.items() if one.family == family)
    for family in dict.fromkeys(one.family for one in INSTRUMENTS.values())
}
CHORDAL = tuple(
    name
    for name, one in INSTRUMENTS.items()
    if one.family != "bass" and name not in ("violin", "flute", "clarinet", "kalimba")
)


def hertz(midi: float) -> float:
    """Equal temperament, A4 = MIDI 69 = 440 Hz."""
    return 440.0 * 2.0 ** ((midi - 69) / 12)


def play(name: str, midi: int, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """One note, (L,), a fifth of a second longer than it is held where the instrument rings; loudness as it comes."""
    n = samples(max(seconds, 0.05))
    x = INSTRUMENTS[name].voice(hertz(midi), n, rng)
    rise, fall = min(64, n // 4), min(1500, n // 4)
    x[:rise] *= np.linspace(0, 1, rise)
    x[n - fall :] *= np.linspace(1, 0, fall)
    return x * (0.5 / (np.sqrt(np.mean(x[: samples(0.4)] ** 2)) * 2.2 + 1e-9))
