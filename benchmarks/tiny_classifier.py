"""A small classifier of sounds, for ``benchmarks.tiny``: it learns from the data maker's clips, never from the model.

Levels of bands over time, standardised, and ridge regression to one output a class.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from stable_audio_mlx.data.maker import clips, drums, effects, instruments, textures
from stable_audio_mlx.data.maker.signal import RATE, samples
from stable_audio_mlx.training.evaluate import powers

SECONDS = 3.0
BANDS = 36
EDGES = (0, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0, 1.4, 1.8, 2.2, 2.6, 3.0)  # seconds
RIDGE = 30.0
# Class -> the data maker's names for it.
DRUMS = {
    "kick": ("kick",),
    "snare": ("snare",),
    "closed hat": ("closed hi-hat",),
    "open hat": ("open hi-hat",),
    "clap": ("clap",),
    "808": ("808 kick",),
    "tom": ("low tom", "high tom"),
    "crash": ("crash cymbal",),
    "cowbell": ("cowbell",),
    "rimshot": ("rimshot",),
}
NOTES = {
    "bass": ("bass guitar", "sub bass"),
    "plucked": ("guitar", "harp"),
    "synth": ("saw lead",),
    "piano": ("piano",),
}
TEXTURES = {name: name for name in ("rain", "siren", "wind", "thunder", "impact", "bleep", "laser")}
TEXTURES |= {"sweep": "noise sweep", "waves": "ocean waves", "beeping": "alarm clock"}
PHRASES = {"beat": "beat", "pad chord": "chord"}
CLASSES = (*DRUMS, *NOTES, *TEXTURES, *PHRASES)
# Kinds of the embedded model -> class, where their names differ.
CLASS_OF = {"pluck": "plucked", "pad": "pad chord", "sub kick": "808", "low tom": "tom", "high tom": "tom"}


def class_of(kind: str) -> str | None:
    """The class that a kind of the embedded model belongs to; None where there is none."""
    name = CLASS_OF.get(kind, kind)
    return name if name in CLASSES else None


def example(name: str, rng: np.random.Generator) -> np.ndarray:
    """One clip of a class by the data maker, (L, 2)."""
    n = samples(SECONDS)
    if name in PHRASES:
        return _phrase(name, rng)
    if name in DRUMS:
        choices = DRUMS[name]
        x = effects.pan(effects.length(drums.hit(choices[rng.integers(len(choices))], rng), n), 0.0)
    elif name in NOTES:
        choices = NOTES[name]
        one = instruments.INSTRUMENTS[choices[rng.integers(len(choices))]]
        named = next(key for key, value in instruments.INSTRUMENTS.items() if value is one)
        low, high = (one.low, one.high) if name == "bass" else (max(one.low, 48), min(one.high, 83))
        x = effects.pan(effects.length(instruments.play(named, int(rng.integers(low, high + 1)), SECONDS, rng), n), 0.0)
    else:
        make, styles = textures.TEXTURES[TEXTURES[name]]
        x = make(styles[rng.integers(len(styles))], n, rng)
    return effects.finish(x, -6.0).T


def _phrase(name: str, rng: np.random.Generator) -> np.ndarray:
    """A clip of a kind by the data maker, drawn until it is dry; chords are those of pads and strings."""
    kind = PHRASES[name]
    while True:
        clip = clips.make_clip(int(rng.integers(1 << 31)), 0, SECONDS, {kind: 1.0})
        facts = clip.facts
        if name == "pad chord" and facts.name not in ("synth pad", "string section"):
            continue
        if facts.room in ("dry", "room") and not facts.effect and not facts.filter:
            return clip.audio.T


def features(clip: np.ndarray) -> np.ndarray:
    """Levels in dB below the loudest, by band and moment.  clip: (L, 2) -> (D,)"""
    size, hop = 1024, 256
    padded = np.zeros((samples(SECONDS) + size, 2), np.float32)
    padded[: min(len(clip), samples(SECONDS))] = clip[: samples(SECONDS)]
    power = powers(padded, size, hop)
    edges = np.unique(np.geomspace(1, power.shape[1], BANDS + 1).round().astype(int))
    bands = np.stack([power[:, a:b].sum(axis=1) for a, b in zip(edges, edges[1:], strict=False)], axis=1)
    cuts = [min(round(t * RATE / hop), len(bands) - 1) for t in EDGES]
    levels = np.stack([bands[a : max(b, a + 1)].mean(axis=0) for a, b in zip(cuts, cuts[1:], strict=False)])
    levels = 10 * np.log10(levels / levels.max() + 1e-6)
    return np.concatenate([levels.ravel(), levels.mean(axis=0), levels.max(axis=0), levels.mean(axis=1)])


def dataset(count: int, seed: int, classes: Sequence[str] = CLASSES) -> Iterator[tuple[np.ndarray, str]]:
    """``count`` examples of every class: (features, class)."""
    for index, name in enumerate(classes):
        rng = np.random.default_rng((seed, index))
        for _ in range(count):
            yield features(example(name, rng)), name


class Classifier:
    """Learns from (features, class) pairs; ``accuracy`` of others, ``predict`` of one clip."""

    def __init__(self, pairs: Sequence[tuple[np.ndarray, str]]):
        x = np.stack([values for values, _ in pairs])
        self.classes = tuple(dict.fromkeys(name for _, name in pairs))
        self._mean, self._deviation = x.mean(axis=0), x.std(axis=0) + 3.0
        z = self._standard(x)
        targets = np.array([[float(name == known) for known in self.classes] for _, name in pairs])
        # As many equations as examples, since these are fewer than the features.
        self._weights = z.T @ np.linalg.solve(z @ z.T + RIDGE * np.eye(len(z)), targets)

    def _standard(self, x: np.ndarray) -> np.ndarray:
        z = (x - self._mean) / self._deviation
        return np.concatenate([z, np.ones((len(z), 1))], axis=1)

    def predict(self, values: np.ndarray) -> str:
        return self.classes[int((self._standard(values[None]) @ self._weights).argmax())]

    def accuracy(self, pairs: Sequence[tuple[np.ndarray, str]]) -> float:
        return float(np.mean([self.predict(values) == name for values, name in pairs]))
