"""Diffusion training: rectified flow and v, with everything that the released models read beside the noisy latents.

Formulas and random choices are those of stable-audio-tools' and, for models that mask padding, of Stable Audio 3's
trainer.  All of the chance is drawn in ``batch``, so that the loss is a function of arrays.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ..data.latent_set import Clip, LatentSet
from ..errors import ConfigError
from ..models.conditioners import Conditioner, Conditioning, assemble, inpaint_conditions
from ..models.dit import DiT
from ..models.factory import INPAINT_IDS, AudioModel
from ..models.text_conditioners import TextSource
from ..run import by_name
from .adapters import AdaptedLayer
from .config import DiffusionTraining
from .coupling import coupled
from .loop import Losses
from .masks import MaskSettings, extended, inpaint_mask
from .timesteps import timestep_sampler

BUCKET = 64  # batches of models that mask padding are as long as their longest clip, rounded up to this
# Objective -> shares of sound and noise at t.
SHARES: dict[str, Callable[[mx.array], tuple[mx.array, mx.array]]] = {
    "v": lambda t: (mx.cos(t * math.pi / 2), mx.sin(t * math.pi / 2)),
    "rectified_flow": lambda t: (1 - t, t),
    "rf_denoiser": lambda t: (1 - t, t),
}


class Denoiser(nn.Module):
    """What diffusion training trains: the transformer and the conditioners."""

    def __init__(self, dit: DiT, conditioner: Conditioner | None):
        super().__init__()
        self.dit = dit
        if conditioner is not None:
            self.conditioner = conditioner


@dataclass(frozen=True)
class Plan:
    """How batches are drawn: ``size`` clips of up to ``length`` latents in a batch of all processes together."""

    size: int
    length: int
    seed: int = 0
    rank: int = 0
    world: int = 1

    @property
    def mine(self) -> slice:
        """This process's part of a batch."""
        share = self.size // self.world
        return slice(self.rank * share, (self.rank + 1) * share)


def target(objective: str, latents: mx.array, noise: mx.array, t: mx.array) -> tuple[mx.array, mx.array]:
    """latents, noise: (B, T, C), t: (B,) -> noisy latents and what the network is to answer to them"""
    sound, share = (a[:, None, None] for a in SHARES[objective](t))
    mixed = sound * latents + share * noise
    return mixed, (sound * noise - share * latents if objective == "v" else noise - latents)


class DiffusionObjective:
    """Trains ``model`` (a Denoiser) of what ``built`` describes on ``latents``.

    ``text``: the frozen encoder behind the text conditioners; ``adapters``: the layers of a LoRA.  Raises ConfigError
    for a model that cannot be trained on what it would be given.
    """

    def __init__(
        self,
        model: Denoiser,
        built: AudioModel,
        settings: DiffusionTraining,
        latents: LatentSet,
        plan: Plan,
        text: TextSource | None = None,
        adapters: Sequence[AdaptedLayer] = (),
    ):
        self.model, self.built, self.settings, self.latents, self.plan = model, built, settings, latents, plan
        self.objective = str(built.objective)
        self._text, self._adapters = text, adapters
        self._times = timestep_sampler(settings.timestep_sampler, settings.timestep_sampler_options)
        self._inpaints = bool(set(INPAINT_IDS) & {*built.local_ids, *built.input_concat_ids})
        self._masks = settings.inpainting.mask_kwargs if settings.inpainting else MaskSettings()
        if settings.inpainting and not self._inpaints:
            raise ConfigError(
                "training.inpainting: this model reads no inpaint_mask, only models that do are trained on one"
            )
        self._names: list[tuple[str, int]] = []

    # What a batch is

    def batch(self, step: int) -> tuple[mx.array, ...]:
        """The arguments of ``loss`` after the model, this process's part of batch number ``step``."""
        plan, settings = self.plan, self.settings
        clips = self.latents.clips(step, plan.size, plan.length, plan.seed)
        rng = np.random.default_rng((plan.seed, 2, step))
        valid = [self._heard_frames(rng, clip) for clip in clips]
        length = self._length(valid)
        keep = np.zeros((plan.size, length), bool)
        if self._inpaints:
            padded = not self.built.mask_padding_attention
            keep = np.stack([inpaint_mask(rng, length, v, self._masks, padded) for v in valid])
        t = self._noise_levels(rng, clips)
        heard = rng.random(plan.size) >= settings.cfg_dropout_prob
        masked = settings.mask_padding and rng.random() >= settings.mask_padding_dropout
        weight = self._weights(valid, keep, length, masked)
        own = plan.mine
        mine = clips[own]
        z = self.latents.read(mine, length) / np.float32(self.built.scale)
        noise = np.stack([self._noise(step, i, length) for i in range(own.start, own.stop)])
        if settings.ot_coupling and len(mine) > 1:
            noise = coupled(noise, z)
        sounding = np.arange(length) < np.array(valid[own])[:, None]
        arrays = (z, noise, t[own], weight[own], sounding, keep[own], heard[own].astype(np.float32))
        return *(mx.array(a) for a in arrays), *self._conditions(mine)

    def _heard_frames(self, rng: np.random.Generator, clip: Clip) -> int:
        """Frames that count: those that sound, and for models that mask padding some of the silence behind them."""
        mean = self.settings.silence_extension_scale_seconds * self.built.sample_rate / self.built.downsampling_ratio
        masks = self.built.mask_padding_attention
        return extended(rng, clip.valid, self.plan.length, mean if masks else 0.0)

    def _length(self, valid: Sequence[int]) -> int:
        """Frames of the batch.  What nobody attends to and nothing is learned from is left out."""
        if not self.built.mask_padding_attention:
            return self.plan.length
        return min(self.plan.length, -(-max(valid) // BUCKET) * BUCKET)

    def _noise_levels(self, rng: np.random.Generator, clips: Sequence[Clip]) -> np.ndarray:
        """t of each clip, shifted as the config says for its length, (B,) float32"""
        built, t = self.built, self._times(rng, len(clips))
        if built.distribution_shift is not None:
            lengths = [self._schedule_length(clip) for clip in clips]
            t = np.array([built.distribution_shift(float(a), n) for a, n in zip(t, lengths, strict=True)])
        once = rng.random(len(clips)) < self.settings.p_one_shot
        return np.where(once, 1.0, t).astype(np.float32)

    def _schedule_length(self, clip: Clip) -> int:
        if not self.built.use_effective_length_for_schedule:
            return self.plan.length
        if "seconds_total" not in clip.metadata:
            return clip.valid
        return math.ceil(int(clip.metadata["seconds_total"] * self.built.sample_rate) / self.built.downsampling_ratio)

    def _noise(self, step: int, place: int, length: int) -> np.ndarray:
        """(length, C); each clip has its own stream."""
        rng = np.random.default_rng((self.plan.seed, 3, step, place))
        return rng.standard_normal((length, self.built.io_channels), dtype=np.float32)

    def _weights(self, valid: Sequence[int], keep: np.ndarray, length: int, masked: bool) -> np.ndarray:
        """(B, length): what each frame's error counts; the loss is the mean over clips of a sum over frames.

        stable-audio-tools averages over the frames of the batch, all or those that sound; Stable Audio 3 over the
        frames to be made of each clip, and over those that are kept apart from them.
        """
        sounding = np.arange(length) < np.array(valid)[:, None]
        if self.built.mask_padding_attention:
            made, kept = sounding & ~keep, sounding & keep
            return share(made) + np.float32(self.settings.mask_loss_weight) * share(kept)
        if masked:
            return (sounding * (len(sounding) / sounding.sum())).astype(np.float32)
        return np.full(sounding.shape, 1 / length, np.float32)

    def _conditions(self, clips: Sequence[Clip]) -> list[mx.array]:
        """What the conditioners read, as arrays in a fixed order."""
        conditioner = self.built.conditioner
        if conditioner is None:
            return []
        sources = dict.fromkeys(conditioner.text_ids, self._text) if self._text is not None else {}
        found = conditioner.inputs([clip.metadata for clip in clips], sources)
        arrays = {name: [a for a in items if isinstance(a, mx.array)] for name, items in found.items()}
        self._names = [(name, len(items)) for name, items in arrays.items()]
        return [a for items in arrays.values() for a in items]

    # What is learned from it

    def loss(self, model: Denoiser, *batch: mx.array) -> Losses:
        """Weighted mean square error of the network's answer (velocity, or v)."""
        z, noise, t, weight, sounding, keep, heard, *arrays = batch
        for layer in self._adapters:
            layer.drop()
        x, wanted = target(self.objective, z, noise, t)
        conditioning = self._conditioning(model, z, keep, heard, arrays)
        dit = model.dit
        mask = sounding if self.built.mask_padding_attention else None
        given: dict[str, Any] = by_name(conditioning)
        answer = dit(x, t, dit.condition(**given), mask)
        error = (answer - wanted).astype(mx.float32).square().mean(axis=-1)
        return (weight * error).sum(axis=1).mean(), {}

    def _conditioning(
        self, model: Denoiser, z: mx.array, keep: mx.array, heard: mx.array, arrays: Sequence[mx.array]
    ) -> Conditioning:
        """Everything the transformer reads; where a clip is not ``heard``, all its tokens are zero."""
        conditions: Mapping[str, Any] = {}
        if "conditioner" in model:
            rest, inputs = iter(arrays), {}
            for name, count in self._names:
                inputs[name] = tuple(next(rest) for _ in range(count))
            conditions = model.conditioner.embed(inputs)
        if self._inpaints:
            mask = keep[..., None].astype(z.dtype)
            conditions = {**conditions, **inpaint_conditions(len(z), z.shape[-1], mask, z)}
        found = assemble(self.built, conditions, z.shape[1])
        on = heard[:, None, None]
        cross = None if found.cross is None else found.cross * on.astype(found.cross.dtype)
        prepend = None if found.prepend is None else found.prepend * on.astype(found.prepend.dtype)
        return replace(found, cross=cross, prepend=prepend)


def share(frames: np.ndarray) -> np.ndarray:
    """frames: (B, T) bool -> 1 / their number where there are some, 0 elsewhere"""
    return (frames / np.maximum(frames.sum(axis=1, keepdims=True), 1)).astype(np.float32)
