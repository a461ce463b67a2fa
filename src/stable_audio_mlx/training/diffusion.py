"""Training of the embedded diffusion transformer together with its text encoder, on latents of captioned sounds."""

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ..data import captions, synth, vocabulary
from ..layers.positions import LearnedPositions
from ..models.autoencoder import Autoencoder
from ..models.conditioners import Conditioner
from ..models.dit import DiT
from ..models.t5 import T5Encoder
from .objective import target
from .timesteps import timestep_sampler

OBJECTIVE = "v"
CROP = 40  # frames of most training examples: many sounds in a batch teach more than few long ones
WHOLE_SHARE = 0.25  # of the batches have whole clips
BEGINNING = {True: 0.85, False: 0.4}  # share of the crops that begin with the clip, where all is over after CROP or not
FULL_SHARE = 0.6  # of the clips sound to the end
SHORTEST = 0.5  # seconds
LEVEL = 1.5  # dB up or down
# The model's own ``training`` section.  Most examples are pure noise: there the words alone decide.
TRAINING: dict[str, Any] = {
    "learning_rate": 1e-3,
    "cfg_dropout_prob": 0.05,
    "p_one_shot": 0.85,
    "timestep_sampler": "log_snr",
    "timestep_sampler_options": {"mean_logsnr": -1.2, "std_logsnr": 1.6},
}
POSITION_LEVEL = 5.0
QUIET = 0.012  # power of latents below which all frames count the same
FAVOUR = {  # what takes longest to learn: sounds that change all the time, and short noises
    **{"beat": 7.0, "progression": 3.0, "sweep": 6.0, "wind": 3.0, "waves": 2.0, "impact": 2.0, "thunder": 1.5},
    **{"crash": 5.0, "open hat": 5.0, "closed hat": 6.0, "clap": 4.0, "snare": 3.0, "rimshot": 3.0},
    **{"synth": 0.5, "pluck": 0.5, "piano": 0.5, "pad": 0.5, "piano chord": 0.7, "arpeggio": 0.6, "bass line": 0.7},
}


class CroppedPositions(LearnedPositions):
    """Positions of crops; ``first``: where each begins, (B,)."""

    def __call__(self, length: int) -> mx.array:
        """-> (B, length, D)"""
        table = self.emb.weight
        return table[self._first[:, None] + mx.arange(length)] * table.shape[1] ** -0.5


class TextToLatent(nn.Module):
    """What is trained here: the transformer, the number embedder and the text encoder with its table."""

    def __init__(self, dit: DiT, conditioner: Conditioner, text: T5Encoder):
        super().__init__()
        self.dit = dit
        self.conditioner = conditioner
        self.text = text
        self.shared = nn.Embedding(text.cfg.vocab_size, text.cfg.d_model)
        self.shared.weight = mx.random.normal(self.shared.weight.shape)
        # The table is divided by the root of the width when it is read; positions must be heard from the first step.
        positions = CroppedPositions(*dit["pos_emb"].emb.weight.shape[::-1])
        positions.emb.weight = POSITION_LEVEL * mx.random.normal(positions.emb.weight.shape)
        dit.pos_emb = positions

    def answer(
        self, x: mx.array, t: mx.array, first: mx.array, ids: mx.array, seconds: mx.array, heard: mx.array
    ) -> mx.array:
        """x: (B, T, C), t: (B,), first: (B,) where the crop begins, ids: (B, S), seconds: (B,) as a share of the

        range, heard: (B,), 0 without caption -> (B, T, C)"""
        mask = ids != vocabulary.PAD
        words = mx.where(mask[..., None], self.text(self.shared(ids), mask), 0.0)
        duration = self.conditioner.conditioners["seconds_total"].embedder(seconds)
        cross = mx.concatenate([words, duration[:, None]], axis=1) * heard[:, None, None]
        self.dit["pos_emb"]._first = first
        return self.dit(x, t, self.dit.condition(cross=cross, global_cond=duration))


def denoising_loss(model: TextToLatent, z: mx.array, noise: mx.array, t: mx.array, *conditions: mx.array) -> mx.array:
    """Square error of the answer to noisy latents, which counts more where a sound is quiet or over.

    z, noise: (B, T, C), t: (B,) -> scalar
    """
    x, wanted = target(OBJECTIVE, z, noise, t)
    error = (model.answer(x, t, *conditions) - wanted).square().mean(axis=-1)
    return (error * mx.rsqrt(z.square().mean(axis=-1) + QUIET)).mean()


class Latents:
    """Latents of every sound, made once: the autoencoder is frozen."""

    def __init__(self, autoencoder: Autoencoder):
        self.sounds = synth.vocabulary()
        rise = np.tile(np.linspace(0, 1, synth.FRAME, endpoint=False, dtype=np.float32), synth.FRAMES)[:, None]
        shape = (len(self.sounds), synth.FRAMES, autoencoder.latent_dim)
        # Of each frame as it is, and rising from nothing: their sums are all linear fades.
        self.even, self.rising = np.empty(shape, np.float32), np.empty(shape, np.float32)
        self.silence = _encoded(autoencoder, np.zeros((synth.LENGTH, 2), np.float32))[synth.FRAMES // 2]
        for i, sound in enumerate(self.sounds):
            clip = synth.render(sound)
            self.even[i] = _encoded(autoencoder, clip) - self.silence
            self.rising[i] = _encoded(autoencoder, clip * rise) - self.silence
        self.scale = float(np.sqrt(np.mean(self.even**2)))
        power = (self.even**2).sum(axis=2)
        self.short = power[:, CROP:].sum(axis=1) < 1e-3 * power.sum(axis=1)
        self.index = {sound: i for i, sound in enumerate(self.sounds)}

    def clip(self, sound: synth.Sound, seconds: float, first: int, count: int) -> np.ndarray:
        """Scaled latents of ``count`` frames from ``first`` on, faded out just before ``seconds``: (count, C)"""
        at = slice(first, first + count)
        level = synth.fade(seconds, np.arange(first, first + count + 1))[:, None].astype(np.float32)
        i = self.index[sound]
        z = level[:-1] * self.even[i, at] + (level[1:] - level[:-1]) * self.rising[i, at]
        return z / self.scale

    def batch(self, step: int, tokens: int, max_length: int, longest: float, seed: int = 0) -> tuple[mx.array, ...]:
        """Batch number ``step`` of so many frames: the arguments of ``denoising_loss`` after the model."""
        rng = np.random.default_rng((seed, step))
        count = synth.FRAMES if rng.random() < WHOLE_SHARE else CROP
        size = tokens // count
        ids, z, seconds = np.zeros((size, max_length), np.int32), [], np.full(size, longest)
        first = np.zeros(size, np.int32)
        for row in range(size):
            sound = synth.draw(rng, FAVOUR)
            if rng.random() >= FULL_SHARE:
                seconds[row] = rng.uniform(SHORTEST, longest)
            if rng.random() >= BEGINNING[bool(self.short[self.index[sound]])]:
                first[row] = rng.integers(0, synth.FRAMES - count + 1)
            clip = self.clip(sound, seconds[row], int(first[row]), count)
            z.append(clip * 10 ** (rng.uniform(-LEVEL, LEVEL) / 20) + self.silence / self.scale)
            found = vocabulary.token_ids(captions.caption(sound, rng))[: max_length - 1]
            ids[row, : len(found) + 1] = [*found, vocabulary.END]
        t = timestep_sampler(TRAINING["timestep_sampler"], TRAINING["timestep_sampler_options"])(rng, size)
        t[rng.random(size) < TRAINING["p_one_shot"]] = 1
        heard = rng.random(size) >= TRAINING["cfg_dropout_prob"]
        noise = rng.standard_normal((size, *z[0].shape), dtype=np.float32)
        floats = (np.stack(z), noise, t, seconds / longest, heard)
        z_, noise_, t_, seconds_, heard_ = (mx.array(np.asarray(a, np.float32)) for a in floats)
        return z_, noise_, t_, mx.array(first), mx.array(ids), seconds_, heard_


def _encoded(autoencoder: Autoencoder, clip: np.ndarray) -> np.ndarray:
    """clip: (L, 2) -> (T, C)"""
    return np.array(autoencoder.encode(mx.array(clip[None])))[0]
