"""Does the embedded model make what the words say?  Measured on prompts that it was not trained on.

    python -m benchmarks.tiny --seeds 3 --json tiny.json --gallery gallery

Nearest sound of the vocabulary, a classifier that learned from the data maker's clips alone, pitch, tempo, the order of
brightness and of length between kinds, what the autoencoder alone loses, silence, clipping, noise, and how much seeds
differ.
"""

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stable_audio_mlx import StableAudioPipeline
from stable_audio_mlx.codec import AutoencoderModel
from stable_audio_mlx.data import synth
from stable_audio_mlx.metrics import compare as distances
from stable_audio_mlx.training import evaluate

from . import tiny_classifier as classes
from .tiny_prompts import BRIGHTER, LONGER, PROMPTS

SECONDS = 4.0
QUIET, LOUD = 10 ** (-50 / 20), 0.999
HISS = -40.0  # dB: what may sound after a short hit, and between the harmonics of a note
GALLERY = (
    "Kick drum, 120 BPM",
    "my favourite snare!",
    "orchestral cymbals",
    "electric bass guitar playing a low E",
    "grand piano, B flat 3",
    "nylon guitar string, C4",
    "lush warm pad in A minor",
    "arpeggiated E minor on an acoustic guitar, 120",
    "a riser made of noise",
    "surf on a beach",
    "police sirens",
    "four-on-the-floor house groove, 120 bpm",
    "jungle break at 150 beats a minute",
    "phonk drums, 75 BPM",
)
FAULTS = ("silent", "clipped", "noisy")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tiny", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="model/tiny", help="name or folder (default: model/tiny)")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="sounds of each prompt (default: 3)")
    parser.add_argument("--examples", type=int, default=24, metavar="N", help="clips a class learns from (default: 24)")
    parser.add_argument("--only", metavar="WORD", help="only prompts of kinds with this word in their name")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything here")
    parser.add_argument("--gallery", type=Path, metavar="DIR", help="also write pictures and sounds of some prompts")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    pipe = StableAudioPipeline.from_pretrained(options.model, keep_models=True)

    def make(text: str, seed: int) -> np.ndarray:
        return np.array(pipe.generate(text, seconds=SECONDS, seed=seed))[0].T

    prompts = [(text, sound) for text, sound in PROMPTS if (options.only or "") in sound.kind]
    began = time.process_time()
    made = {(text, seed): make(text, seed) for text, _ in prompts for seed in range(options.seeds)}
    report: dict[str, Any] = {"sounds": len(made), "cpu_seconds_a_sound": (time.process_time() - began) / len(made)}
    rows = [row(text, seed, sound, made[text, seed]) for text, sound in prompts for seed in range(options.seeds)]
    report |= {"all": shares(rows), "by_kind": by_kind(rows)}
    report["order"] = order(rows)
    report["diversity"] = diversity(rows, made)
    if options.examples:
        report["classifier"] = classified(rows, made, options.examples)
    report["autoencoder"] = autoencoder(options.model, list(report["by_kind"]))
    print(table(report))
    if options.json:
        options.json.write_text(json.dumps({**report, "rows": rows}, indent=1, default=float) + "\n")
    if options.gallery:
        gallery({text: made[text, 0] for text in GALLERY if (text, 0) in made}, options.gallery)
    return 0


def row(text: str, seed: int, sound: synth.Sound, clip: np.ndarray) -> dict[str, Any]:
    """One sound, measured.  clip: (L, 2)"""
    guess = evaluate.nearest(clip)
    heard = " ".join(str(value) for value in vars(guess).values() if value)
    measured = evaluate.compare(sound, guess, clip)
    found = {"prompt": text, "seed": seed, "kind": sound.kind, "heard": heard}
    found |= {"kind_right": measured.pop("kind"), "sound_right": measured.pop("sound"), **measured}
    found |= {"centroid_hz": centroid(clip), "length_s": length(clip)}
    peak = float(np.abs(clip).max())
    found |= {"peak": peak, "silent": peak < QUIET, "clipped": int((np.abs(clip) >= LOUD).sum()) > 8}
    found["noisy"] = hiss(sound, clip) > HISS if guess.kind == sound.kind else False
    return found


def centroid(clip: np.ndarray) -> float:
    """Centre of the power spectrum of the first half second in Hz.  clip: (L, 2)"""
    power = np.abs(np.fft.rfft(clip[: synth.SAMPLE_RATE // 2].mean(axis=1))) ** 2
    return float((np.fft.rfftfreq(synth.SAMPLE_RATE // 2, 1 / synth.SAMPLE_RATE) * power).sum() / power.sum())


def length(clip: np.ndarray) -> float:
    """Seconds until 95 per cent of the energy have sounded.  clip: (L, 2)"""
    energy = np.cumsum((clip**2).sum(axis=1))
    return float(np.searchsorted(energy, 0.95 * energy[-1]) / synth.SAMPLE_RATE)


def hiss(sound: synth.Sound, clip: np.ndarray) -> float:
    """dB of what should not be there: after a short hit, or away from a note's harmonics; -inf where it is unknown."""
    true = synth.render(sound)[: len(clip)]
    if sound.kind in synth.HITS:
        level = np.abs(true).max(axis=1)
        silent = level[::-1].cumsum()[::-1] < 1e-3 * level.sum()
        if silent.sum() > synth.SAMPLE_RATE // 4:
            return float(20 * np.log10(np.sqrt((clip[silent] ** 2).mean()) / np.abs(clip).max() + 1e-9))
    if sound.octave:
        power = np.abs(np.fft.rfft(clip[: 2 * synth.SAMPLE_RATE].mean(axis=1) * np.hanning(2 * synth.SAMPLE_RATE))) ** 2
        f = np.fft.rfftfreq(2 * synth.SAMPLE_RATE, 1 / synth.SAMPLE_RATE)
        multiple = f / synth.frequency(sound.note, sound.octave)
        away = (np.abs(multiple - multiple.round()) > 0.1) | (multiple < 0.5)
        return float(10 * np.log10(power[away].sum() / power.sum() + 1e-12)) - 20.0  # a fifth of the amplitude is rough
    return -np.inf


def shares(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Of sounds that are right, silent and so on; the median errors of pitch and tempo, and how many are small."""
    out = {key: float(np.mean([r[key] for r in rows])) for key in ("kind_right", "sound_right", *FAULTS)}
    for key, limit in (("pitch_cents", 50), ("tempo_percent", 2)):
        values = np.array([r[key] for r in rows if key in r])
        if len(values):
            values[~np.isfinite(values)] = np.inf
            out |= {f"median_{key}": float(np.median(values)), f"{key}_within_{limit}": float((values < limit).mean())}
    return out


def by_kind(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for r in rows:
        groups[r["kind"]].append(r)
    keys = ("kind_right", "sound_right", "si_sdr_db", "pitch_cents", "tempo_percent")
    return {
        kind: {key: evaluate.summary(key, [r[key] for r in group]) for key in keys if key in group[0]}
        for kind, group in groups.items()
    }


def order(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Whether medians of kinds stand in the order that their names promise."""

    def median(kind: str, key: str) -> float:
        return float(np.median([r[key] for r in rows if r["kind"] == kind] or [np.nan]))

    found = {
        f"{a} < {b}, {key}": median(a, key) < median(b, key)
        for key, pairs in (("centroid_hz", BRIGHTER), ("length_s", LONGER))
        for a, b in pairs
        if np.isfinite(median(a, key)) and np.isfinite(median(b, key))
    }
    return {"right": sum(found.values()), "of": len(found), "wrong": [name for name, good in found.items() if not good]}


def diversity(rows: list[dict[str, Any]], made: dict[tuple[str, int], np.ndarray]) -> dict[str, float]:
    """How seeds of one prompt differ: level in dB, and SI-SDR of each against seed 0."""
    levels, likeness = [], []
    for text in dict.fromkeys(r["prompt"] for r in rows):
        clips = [clip for (name, _), clip in made.items() if name == text]
        loud = [20 * np.log10(np.sqrt((clip**2).mean()) + 1e-9) for clip in clips]
        levels.append(max(loud) - min(loud))
        likeness += [distances(clips[0].T, clip.T).si_sdr_db or 0.0 for clip in clips[1:]]
    return {"level_spread_db": float(np.median(levels)), "si_sdr_between_db": float(np.median(likeness or [np.nan]))}


def classified(rows: list[dict[str, Any]], made: dict[tuple[str, int], np.ndarray], count: int) -> dict[str, Any]:
    """Accuracy on the data maker's held-out clips, on the sounds that the model learned from, and on its own."""
    known = [r for r in rows if classes.class_of(r["kind"])]
    wanted = list(dict.fromkeys(str(classes.class_of(r["kind"])) for r in known))
    judge = classes.Classifier(list(classes.dataset(count, seed=1, classes=wanted)))
    held_out = judge.accuracy(list(classes.dataset(max(4, count // 3), seed=2, classes=wanted)))
    sounds = dict(PROMPTS)
    taught = [(classes.features(synth.render(sounds[r["prompt"]])), str(classes.class_of(r["kind"]))) for r in known]
    guesses = [(r, judge.predict(classes.features(made[r["prompt"], r["seed"]]))) for r in known]
    agree = [guess == judge.predict(values) for (_, guess), (values, _) in zip(guesses, taught, strict=True)]
    return {
        "classes": len(wanted),
        "held_out_of_the_maker": held_out,
        "training_sounds": judge.accuracy(taught),
        "generated": float(np.mean([guess == classes.class_of(r["kind"]) for r, guess in guesses])),
        "generated_as_training_sounds": float(np.mean(agree)),
    }


def autoencoder(model: str, kinds: Sequence[str]) -> dict[str, dict[str, float]]:
    """What the codec alone loses, by kind: SI-SDR in dB and the multi-resolution STFT distance."""
    codec = AutoencoderModel.from_pretrained(model)
    out = {}
    for kind in kinds:
        sounds, values = synth.by_kind()[kind], []
        for sound in sounds[:: max(1, len(sounds) // 3)][:3]:
            audio = synth.render(sound)[: 3 * synth.SAMPLE_RATE].T
            back = np.array(codec.decode(codec.encode(audio, synth.SAMPLE_RATE)))[0][:, : audio.shape[1]]
            found = distances(audio, back)
            values.append((found.si_sdr_db or 0.0, found.stft))
        out[kind] = dict(zip(("si_sdr_db", "stft"), np.median(values, axis=0).round(2).tolist(), strict=True))
    return out


def table(report: dict[str, Any]) -> str:
    """Everything for people."""
    lines = [f"{report['sounds']} sounds, {report['cpu_seconds_a_sound']:.2f} CPU s each"]
    for name in ("all", "classifier"):
        found = [f"{key} {value:.3g}" for key, value in report.get(name, {}).items()]
        lines += [f"{name:<13}" + "  ".join(found)] if found else []
    lines.append(f"order        {report['order']['right']} of {report['order']['of']} {report['order']['wrong'] or ''}")
    lines.append("diversity    " + "  ".join(f"{key} {value:.1f}" for key, value in report["diversity"].items()))
    heads = ("kind_right", "sound_right", "si_sdr_db", "pitch_cents", "tempo_percent")
    lines.append(f"{'':<13}" + "".join(f"{head:>15}" for head in heads) + f"{'codec SI-SDR':>15}{'codec STFT':>12}")
    for kind, found in report["by_kind"].items():
        codec = report["autoencoder"][kind]
        cells = "".join(f"{found[head]:15g}" if head in found else " " * 15 for head in heads)
        lines.append(f"{kind:<13}{cells}{codec['si_sdr_db']:15g}{codec['stft']:12g}")
    return "\n".join(lines)


def gallery(clips: dict[str, np.ndarray], folder: Path) -> None:
    """A picture of spectrograms, and a sound file for each prompt."""
    from stable_audio_mlx import audio

    folder.mkdir(parents=True, exist_ok=True)
    evaluate.picture(clips, folder / "tiny.png")
    for text, clip in clips.items():
        name = "-".join("".join(c if c.isalnum() else " " for c in text.lower()).split())[:40]
        audio.write(folder / f"{name}.ogg", clip.T, synth.SAMPLE_RATE, overwrite=True)


if __name__ == "__main__":
    raise SystemExit(main())
