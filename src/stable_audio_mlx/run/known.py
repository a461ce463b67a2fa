"""What is known of a clip: given sounds as latents, and what the windows before have made of a long one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import mlx.core as mx
import numpy as np

from .. import audio
from ..completion import Completed
from ..models.autoencoder import Autoencoder
from ..models.factory import AudioModel
from ..presets import ModelFacts
from ..sampling.inpaint import kept_frames

JOINED = 4  # frames over which one window's latents become the next one's


@dataclass(frozen=True)
class Window:
    """Latent frames of a window, how many are valid in each clip where the model masks padding, where it begins."""

    frames: int
    valid: Sequence[int]
    start: int = 0

    @property
    def mask(self) -> mx.array | None:
        """(B, T), True on valid frames; None where all are."""
        if min(self.valid) == self.frames:
            return None
        return mx.arange(self.frames)[None] < mx.array(list(self.valid))[:, None]


@dataclass(frozen=True)
class Sounds:
    """Given sounds at the model's rate, (C, n): one to vary, and one per clip to keep."""

    init: np.ndarray | None = None
    kept: Sequence[np.ndarray] | None = None


@dataclass(frozen=True)
class Known:
    """Of a window: latents to vary and latents to keep (1 or B, T, C), and which frames are kept (B, T, 1)."""

    init: mx.array | None = None
    kept: mx.array | None = None
    keep: mx.array | None = None


def given_sounds(options: Completed, model: AudioModel) -> Sounds:
    """What a run starts from; AudioError for what cannot be used."""
    rate, channels, init, kept = model.sample_rate, model.audio_channels, None, None
    if options.init_audio is not None and options.init_noise_level is not None:
        init = audio.prepare(*options.init_audio, rate, channels, "init_audio")
    if options.inpaint_audio is not None:
        kept = [audio.prepare(*options.inpaint_audio, rate, channels, "inpaint_audio")] * options.batch_size
    return Sounds(init, kept)


def frames_to_keep(options: Completed, sounds: Sounds, model: AudioModel, length: int) -> np.ndarray:
    """(B, length) bool: frames of the given sound that stay.  One in which a sound to be continued ends does not."""
    rate, ratio, ranges = model.sample_rate, model.downsampling_ratio, options.inpaint or ()
    keep = np.stack([kept_frames(ranges, s, rate, ratio, length) for s in options.seconds])
    for row, sound in zip(keep, sounds.kept or (), strict=True):
        ends = sound.shape[1]
        if options.continue_to is not None:
            row[ends // ratio : -(-ends // ratio)] = False
    return keep


def known_in(
    window: Window, options: Completed, sounds: Sounds, model: AudioModel, autoencoder: Autoencoder | None
) -> Known:
    """Encode what a window shows of the given sounds."""
    ratio, frames, first = model.downsampling_ratio, window.frames, window.start * model.downsampling_ratio
    keep = None
    if sounds.kept is not None:
        whole = frames_to_keep(options, sounds, model, window.start + frames)
        keep = mx.array(whole[:, window.start :])[..., None]

    def encode(samples: np.ndarray, valid: int) -> mx.array:
        z = mx.array(audio.fit_length(samples[:, first:], valid * ratio).T[None])
        z = z if autoencoder is None else autoencoder.encode_tiled(z) / model.scale
        z = z[:, :valid]
        z = mx.pad(z, [(0, 0), (0, frames - z.shape[1]), (0, 0)])
        mx.eval(z)
        return z

    def encode_each(each: Sequence[np.ndarray]) -> mx.array:
        """What each clip knows of its sound, which ends with the clip's own frames."""
        keys = [(id(samples), valid) for samples, valid in zip(each, window.valid, strict=True)]
        latents = {}
        for key, samples in zip(keys, each, strict=True):
            if key not in latents:
                latents[key] = encode(samples, key[1])
        return mx.concatenate([latents[key] for key in (keys if len(latents) > 1 else keys[:1])])

    init = None if sounds.init is None else encode_each([sounds.init] * len(window.valid))
    return Known(init, None if sounds.kept is None else encode_each(sounds.kept), keep)


class Canvas:
    """Latents of clips that are longer than a window, (B, T, C), as one window after the other makes them."""

    def __init__(self, batch: int, frames: int, channels: int):
        self.latents = mx.zeros((batch, frames, channels))
        self._there, self._made = np.zeros(frames, bool), np.zeros(frames, bool)

    def known(self, window: Window, given: Known) -> Known:
        """What is known in a window, with what has been made there."""
        batch, total, channels = self.latents.shape
        behind = min(window.start + window.frames, total)
        made = np.zeros(window.frames, bool)
        made[: behind - window.start] = self._made[window.start : behind]
        if not made.any():
            return given
        own = self.latents[:, window.start : behind]
        own = mx.pad(own, [(0, 0), (0, window.frames - own.shape[1]), (0, 0)])
        here = mx.array(made)[None, :, None]
        keep = here if given.keep is None else here | given.keep
        kept = own if given.kept is None else mx.where(here, own, given.kept)
        return replace(given, kept=kept, keep=mx.broadcast_to(keep, (batch, window.frames, 1)))

    def add(self, x: mx.array, window: Window, first: int, behind: int, known: Known) -> None:
        """Put the frames ``first`` to ``behind`` of a window's latents x (B, T, C) down, with what it was shown around.

        Where a window has made something before, the last frames before ``first`` become this one's step by step.
        """
        start, end = window.start, min(window.start + window.frames, len(self._there))
        share = np.where(self._there[start:end], 0.0, 1.0).astype(np.float32)
        if self._made[first - 1 : first].any():
            length = min(JOINED, first - start)
            share[first - length - start : first - start] = (np.arange(length) + 1) / (length + 1)
        shown = 0 if known.keep is None else int(np.argmin(np.append(np.array(known.keep)[0, behind - start :, 0], 0)))
        until = min(behind + shown, end)
        share[until - start :] = 0
        weight = mx.array(share)[None, :, None]
        self.latents[:, start:end] = weight * x[:, : end - start] + (1 - weight) * self.latents[:, start:end]
        mx.eval(self.latents)
        self._there[start:until] = True
        self._made[first:behind] = True

    def spans(self) -> list[tuple[int, int]]:
        """Where latents are: (first frame, behind the last)."""
        edges = np.flatnonzero(np.diff(np.concatenate([[0], self._there.astype(np.int8), [0]])))
        return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def remarks(options: Completed, facts: ModelFacts) -> Iterator[str]:
    """What a user should know about the length of the given sound; its array and rate have been checked."""
    given, longest = options.inpaint_audio or options.init_audio, max(options.seconds)
    if given is None:
        return
    ends = known = np.shape(given[0])[-1] / given[1]
    for start, end in sorted(options.inpaint or [(0.0, longest)]):
        known = max(known, end) if start <= known + 0.01 else known
    if ends > max(facts.longest, longest + 0.01):
        yield f"the given sound lasts {ends:.1f} s; the model can take {facts.longest:.1f} s, so its end is not used"
    elif known < longest - 0.01:
        yield f"the given sound ends at {ends:.2f} s; what follows stays silent but for the ranges"
