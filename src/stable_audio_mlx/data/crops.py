"""Random pieces of sounds to train an autoencoder on: a function of the seed and of the step alone."""

import math
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256

import numpy as np

from ..audio import fit_length, prepare, probe, read_piece
from ..errors import AudioError
from .folder import Item

SILENCE = 10 ** (-60 / 20)  # pieces that never get louder teach nothing
TRIES = 40
ORDERS = 2  # epochs whose order is remembered


class Crops:
    """Pieces of ``samples`` of the sounds at a rate and number of channels; shorter ones end in silence.

    Every sound comes once an epoch, from a random place, with its sign turned half of the time.  ``problems``: one
    line for each sound that cannot be read.  AudioError if there is none that can.
    """

    def __init__(self, items: Sequence[Item], rate: int, channels: int, samples: int):
        self.rate, self.channels, self.samples = rate, channels, samples
        self.sounds: list[tuple[Item, int, int]] = []
        self.problems: list[str] = []
        for item in items:
            try:
                self.sounds.append((item, *probe(item.path)))
            except AudioError as error:
                self.problems.append(str(error))
        if not self.sounds:
            raise AudioError(f"none of {len(items)} sounds can be read; the first: {self.problems[0]}")

    def batch(self, places: range, seed: int) -> np.ndarray:
        """The pieces at these places of the endless row of epochs, (B, samples, channels) float32."""
        return np.stack([self.piece(place, seed).T for place in places])

    def piece(self, place: int, seed: int) -> np.ndarray:
        """(channels, samples), within -1 to 1.  AudioError if nothing but silence is found."""
        epoch, index = divmod(place, len(self.sounds))
        number = int(order(len(self.sounds), epoch, seed)[index])
        for attempt in range(TRIES):
            rng = np.random.default_rng((seed, 1, place, attempt))
            if attempt:
                number = int(rng.integers(len(self.sounds)))
            sound = self._cut(number, rng)
            if np.abs(sound).max() >= SILENCE:
                turned = sound if rng.random() < 0.5 else -sound
                return np.clip(turned, -1, 1)
        raise AudioError(
            f"{self.sounds[number][0].path}: silent, as {TRIES - 1} pieces of others are; nothing to learn"
        )

    def _cut(self, number: int, rng: np.random.Generator) -> np.ndarray:
        item, length, rate = self.sounds[number]
        wanted = math.ceil(self.samples * rate / self.rate)
        start = int(rng.integers(0, length - wanted + 1)) if length > wanted else 0
        piece, _ = read_piece(item.path, start, wanted)
        return fit_length(prepare(piece, rate, self.rate, self.channels, str(item.path)), self.samples)

    def fingerprint(self) -> str:
        """The names and lengths of all sounds: what must be the same where a training goes on."""
        return sha256(repr([(item.name, *facts) for item, *facts in self.sounds]).encode()).hexdigest()[:16]


@lru_cache(ORDERS)
def order(count: int, epoch: int, seed: int) -> np.ndarray:
    """The numbers of an epoch, each once."""
    return np.random.default_rng((seed, 0, epoch)).permutation(count)
