"""What the embedded model can do, measured: ``python -m stable_audio_mlx.training.evaluate``.

Every sound of the vocabulary is asked for in words drawn anew, made by the pipeline with its defaults and compared
with the sounds that the words could have meant.
"""

import argparse
import json
import logging
import textwrap
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from ..data import captions, synth
from ..metrics import Spectrogram, decibels, si_sdr
from ..pipeline import StableAudioPipeline

BANDS = 48  # of the fingerprints: mel-like
HOP = synth.FRAME // 4  # samples; hits fall on multiples of it
FRAME_PART = synth.FRAME // 8
log = logging.getLogger(__name__)


def powers(clip: np.ndarray, size: int, hop: int = HOP) -> np.ndarray:
    """Power spectra (F, size / 2 + 1) of the mean of both channels, a window every ``hop``.  clip: (L, 2)"""
    mono = mx.array(clip.mean(axis=1, dtype=np.float32)[None])
    return np.array(Spectrogram(size, hop)(mono))[0]


def fingerprint(clip: np.ndarray) -> np.ndarray:
    """What a clip (L, 2) sounds like: levels of bands over time, (F, BANDS)."""
    return fingerprint_bands(powers(clip, synth.FRAME))


def fingerprint_bands(power: np.ndarray) -> np.ndarray:
    """Levels (F, BANDS) of power spectra (F, bins)."""
    edges = np.geomspace(2, power.shape[1], BANDS + 1).astype(int)
    return np.stack([power[:, a : max(b, a + 1)].sum(axis=1) for a, b in zip(edges, edges[1:], strict=False)], 1) ** 0.5


@cache
def reference(sound: synth.Sound) -> np.ndarray:
    """Fingerprint of a sound of the vocabulary, of length 1."""
    found = fingerprint(synth.render(sound))
    return found / (np.linalg.norm(found) + 1e-9)


def nearest(clip: np.ndarray, among: Sequence[synth.Sound] | None = None) -> synth.Sound:
    """The sound (of the vocabulary) that a clip (L, 2) is most like: the smallest angle between fingerprints."""
    found = fingerprint(clip)

    def likeness(sound: synth.Sound) -> float:
        part = reference(sound)[: len(found)]
        return float((found[: len(part)] * part).sum() / (np.linalg.norm(part) + 1e-9))

    return max(among or synth.vocabulary(), key=likeness)


def pitch(clip: np.ndarray, low: float = 55.0, high: float = 1100.0) -> float:
    """Fundamental in Hz of a steady note, by autocorrelation of 0.1 s to 1.1 s.  clip: (L, 2)"""
    x = clip[synth.SAMPLE_RATE // 10 :][: synth.SAMPLE_RATE].mean(axis=1)
    size = 1 << (2 * len(x) - 1).bit_length()
    r = np.fft.irfft(np.abs(np.fft.rfft(x, size)) ** 2, size)[: len(x)]
    r /= np.arange(len(x), 0, -1)  # each lag has fewer products than the one before
    first, last = int(synth.SAMPLE_RATE / high), int(synth.SAMPLE_RATE / low)
    peaks = [i for i in range(first, last) if r[i - 1] < r[i] >= r[i + 1] and r[i] > 0.9 * r[first:last].max()]
    if not peaks:
        return float("nan")
    i = peaks[0]
    a, b, c = r[i - 1 : i + 2]
    return synth.SAMPLE_RATE / (i + 0.5 * (a - c) / (a - 2 * b + c))


def tempo(clip: np.ndarray, near: float) -> float:
    """Beats a minute of a pattern that nearly repeats after four eighth notes, at most a sixth off ``near``.

    The autocorrelation of how the bands rise has its peak where the pattern meets itself.  clip: (L, 2)
    """
    hop = FRAME_PART
    level = np.log(1e-4 + fingerprint_bands(powers(clip, 4 * hop, hop)))
    rise = np.maximum(0, np.diff(level, axis=0)).sum(axis=1)
    rise -= rise.mean()
    bar = 120 / near * synth.SAMPLE_RATE / hop
    lags = range(int(0.82 * bar), min(int(1.2 * bar) + 1, len(rise) - 8))
    found = {lag: float((rise[lag:] * rise[:-lag]).sum() / (len(rise) - lag)) for lag in lags}
    if len(found) < 3:
        return float("nan")
    lag = max(list(found)[1:-1], key=found.__getitem__)
    a, b, c = (found[lag + i] for i in (-1, 0, 1))
    return near * bar / (lag + 0.5 * (a - c) / (a - 2 * b + c))


def measure(
    make: Callable[[str, int], np.ndarray],
    sounds: Sequence[synth.Sound] = synth.vocabulary(),
    seed: int = 100,
    among: Sequence[synth.Sound] | None = None,
) -> dict[str, dict[str, float]]:
    """Results by kind.  ``make(caption, seed)`` -> clip (L, 2); captions are drawn with ``seed``."""
    rng = np.random.default_rng(seed)
    rows: dict[str, list[dict[str, float]]] = {}
    for i, sound in enumerate(sounds):
        text = captions.caption(sound, rng)
        clip = make(text, seed + i)
        guess = nearest(clip, among)
        if guess != sound:
            log.info("%r: wanted %s, sounds like %s", text, sound, guess)
        rows.setdefault(sound.kind, []).append(compare(sound, guess, clip))
    return {kind: {key: summary(key, [r[key] for r in found]) for key in found[0]} for kind, found in rows.items()}


def compare(sound: synth.Sound, guess: synth.Sound, clip: np.ndarray) -> dict[str, float]:
    """One row: kind and sound right (0 or 1), SI-SDR in dB, and the error of pitch (cents) or tempo (per cent)."""
    true = synth.render(sound)[: len(clip)]
    row = {
        "kind": float(guess.kind == sound.kind),
        "sound": float(guess == sound),
        "si_sdr_db": float(np.median(np.array(si_sdr(mx.array(true.T), mx.array(clip.T))))),
    }
    if sound.octave:
        exact = 440 * 2 ** ((synth.NOTES.index(sound.note) - 9) / 12 + sound.octave - 4)
        row["pitch_cents"] = abs(1200 * np.log2(pitch(clip) / exact))
    if sound.bpm:
        found = tempo(clip, sound.bpm)
        row["tempo_percent"] = abs(100 * (found / sound.bpm - 1))
    return row


def summary(key: str, values: list[float]) -> float:
    """Shares are averaged; of everything else the median is taken, so that one miss does not hide the rest."""
    return round(float(np.mean(values) if key in ("kind", "sound") else np.nanmedian(values)), 2)


PICTURED = (
    "kick drum",
    "snare drum",
    "open hi-hat",
    "bass note in e",
    "a4 synth",
    "c5 plucked string",
    "warm pad, a minor",
    "rising noise sweep",
    "heavy rain",
    "fast siren",
    "rock beat at 120 bpm",
)


def picture(clips: dict[str, np.ndarray], path: Path) -> None:
    """Spectrograms of clips (L, 2), seven in a row, 60 Hz to 16 kHz; needs matplotlib."""
    from matplotlib.figure import Figure

    rows, across = -(-len(clips) // 7), min(len(clips), 7)
    figure = Figure(figsize=(1.8 * across, 2.6 * rows), layout="constrained")
    places = figure.subplots(rows, across, sharey=True, squeeze=False).ravel()
    for axes in places[len(clips) :]:
        axes.set_visible(False)
    for axes, (text, clip) in zip(places, clips.items(), strict=False):
        level = decibels(clip.T)
        frequency = np.linspace(0, synth.SAMPLE_RATE / 2, level.shape[0])
        time = np.linspace(0, len(clip) / synth.SAMPLE_RATE, level.shape[1])
        axes.pcolormesh(time, frequency, level, vmin=-70, vmax=10, cmap="magma", rasterized=True)
        axes.set(title=textwrap.fill(text, 22), yscale="log", ylim=(60, 16000))
        axes.title.set_fontsize(8)
        axes.tick_params(labelsize=7)
    figure.savefig(path, dpi=80)


def main() -> None:
    """Measure a model and log one line a kind; the whole table as JSON where ``--json`` says."""
    parser = argparse.ArgumentParser(description="Measure the embedded model on captions that it was not trained on.")
    parser.add_argument("--model", default="model/tiny")
    parser.add_argument("--json", type=Path, help="also write the whole table here")
    parser.add_argument("--picture", type=Path, help="only draw spectrograms of some prompts, into this PNG")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    pipe = StableAudioPipeline.from_pretrained(arguments.model, keep_models=True)

    def make(text: str, seed: int) -> np.ndarray:
        return np.array(pipe.generate(text, seed=seed))[0].T

    if arguments.picture:
        return picture({text: make(text, 0) for text in PICTURED}, arguments.picture)
    table: dict[str, Any] = measure(make)
    for kind, row in table.items():
        log.info("%-11s %s", kind, "  ".join(f"{key} {value:g}" for key, value in row.items()))
    if arguments.json:
        arguments.json.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
