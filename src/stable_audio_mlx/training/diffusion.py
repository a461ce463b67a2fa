"""Training of the embedded diffusion transformer together with its text encoder, on latents of captioned sounds."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ..data import captions, synth, vocabulary
from ..models.autoencoder import Autoencoder
from ..models.conditioners import Conditioner
from ..models.dit import DiT
from ..models.t5 import T5Encoder

LENGTHS = (1, 2, 3, 4)  # seconds_total of training clips
CAPTION_DROPOUT = 0.1
FAVOUR = {"beat": 3.0, "sweep": 1.5, "rain": 1.5}  # where a word decides over what happens at every moment
POSITION_LEVEL = 5.0
TIME_MEAN, TIME_DEVIATION = 1.2, 1.6  # of the logit of t: words decide near pure noise


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
        positions = dit["pos_emb"].emb
        positions.weight = POSITION_LEVEL * mx.random.normal(positions.weight.shape)

    def velocity(self, x: mx.array, t: mx.array, ids: mx.array, seconds: mx.array, heard: mx.array) -> mx.array:
        """x: (B, T, C), t: (B,), ids: (B, S), seconds: (B,) as a share of the range, heard: (B,), 0 without caption."""
        mask = ids != vocabulary.PAD
        words = mx.where(mask[..., None], self.text(self.shared(ids), mask), 0.0)
        duration = self.conditioner.conditioners["seconds_total"].embedder(seconds)
        cross = mx.concatenate([words, duration[:, None]], axis=1) * heard[:, None, None]
        return self.dit(x, t, self.dit.condition(cross=cross, global_cond=duration))


def flow_loss(model: TextToLatent, z: mx.array, noise: mx.array, t: mx.array, *conditions: mx.array) -> mx.array:
    """Mean square error of the velocity noise - z at (1 - t) z + t noise (rectified flow, Liu et al. 2022).

    z, noise: (B, T, C), t: (B,) -> scalar
    """
    level = t[:, None, None]
    velocity = model.velocity((1 - level) * z + level * noise, t, *conditions)
    return (velocity - (noise - z)).square().mean()


class Latents:
    """Latents of every sound at every length, some variations of each, made once: the autoencoder is frozen."""

    def __init__(self, autoencoder: Autoencoder, variations: int, seed: int = 0):
        rng = np.random.default_rng(seed)
        self.latents = {}
        for sound in synth.vocabulary():
            for seconds in LENGTHS:
                clips = np.stack([synth.vary(sound, seconds, rng) for _ in range(variations)])
                z = autoencoder.encode(mx.array(clips))
                mx.eval(z)
                self.latents[sound, seconds] = np.array(z)
        self.scale = float(np.sqrt(np.mean([np.square(z).mean() for z in self.latents.values()])))

    def batch(self, step: int, size: int, max_length: int, longest: float, seed: int = 0) -> tuple[mx.array, ...]:
        """Batch number ``step``: the arguments of ``flow_loss`` after the model."""
        rng = np.random.default_rng((seed, step))
        ids, z, seconds = np.zeros((size, max_length), np.int32), [], np.empty(size, np.float32)
        for row in range(size):
            sound = synth.draw(rng, FAVOUR)
            duration = LENGTHS[rng.choice(len(LENGTHS), p=(0.15, 0.15, 0.15, 0.55))]
            variations = self.latents[sound, duration]
            z.append(variations[rng.integers(len(variations))] / self.scale)
            tokens = vocabulary.token_ids(captions.caption(sound, rng))[: max_length - 1]
            ids[row, : len(tokens) + 1] = [*tokens, vocabulary.END]
            seconds[row] = duration / longest
        t = 1 / (1 + np.exp(-rng.normal(TIME_MEAN, TIME_DEVIATION, size)))
        heard = rng.random(size) >= CAPTION_DROPOUT
        noise = rng.standard_normal((size, *z[0].shape), dtype=np.float32)
        arrays = (np.stack(z), noise, t.astype(np.float32), ids, seconds, heard.astype(np.float32))
        return tuple(mx.array(a) for a in arrays)
