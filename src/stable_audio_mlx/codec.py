"""``AutoencoderModel``: sound to latents or codes and back, for every autoencoder that a config can describe."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten

from . import audio as sound
from . import cpu
from .errors import AudioError, ConfigError, OptionError, SanityError
from .memory import LOW, NORMAL, spending
from .models.autoencoder import Autoencoder, Noise
from .weights.parts import DECODER, ENCODER, Parts
from .weights.source import ModelSource, open_model


class AutoencoderModel:
    """An autoencoder, alone or from inside a diffusion model.  Arrays are channels first: (batch, channels, frames).

    Encoder and decoder are read from disk when they are first used.  ``downsampling_ratio`` is samples per latent;
    ``discrete`` says whether latents have codes; ``scale`` is what a whole model's config divides latents by.
    """

    def __init__(self, source: ModelSource, dtype: str = "auto", low_memory: bool = False):
        cpu.setup()
        self._budget = LOW if low_memory else NORMAL
        model = source.create()
        if model.autoencoder is None:
            raise ConfigError(f"{source.name}: this model has no autoencoder")
        self.name, self.config, self.sample_rate = source.name, source.config, model.sample_rate
        self.latent_dim = model.autoencoder.latent_dim
        self.downsampling_ratio = model.autoencoder.downsampling_ratio
        self.in_channels, self.out_channels = model.autoencoder.in_channels, model.autoencoder.out_channels
        self.scale, self.discrete = model.scale, model.autoencoder.discrete
        self._source, self._parts = source, Parts(source, dtype, keep=True)

    @classmethod
    def from_pretrained(cls, name: str | Path, dtype: str = "auto", low_memory: bool = False) -> "AutoencoderModel":
        """Open a known name, a hub id or a folder (converted or source).

        ``dtype``: "auto", "float32", "float16" or "bfloat16".  ``low_memory``: the same numbers in smaller pieces,
        somewhat slower.  Raises WeightsError, ConfigError.
        """
        return cls(open_model(name), dtype, low_memory)

    def encode(
        self,
        audio: Any,
        sr: int | Sequence[int] | None = None,
        chunked: bool = False,
        chunk_size: int = 128,
        overlap: int = 32,
        noise: Any = None,
        sample: bool = False,
        seed: int = 0,
        batch_size: int = 1,
    ) -> mx.array:
        """Latents (B, latent_dim, T), float32, of a batch (B, C, L), a clip (C, L) or (L,), or a list of clips.

        ``sr``: their sample rate or rates, in Hz (default: the model's).  Shorter clips of a list end in silence.
        ``noise`` (B, latent_dim, T), or ``sample`` with ``seed``, draws from a VAE instead of giving its mean.
        ``chunked`` works on ``chunk_size`` latents that share ``overlap``, as stable-audio-tools does; memory is
        bounded without it, too.  ``batch_size`` clips are encoded at a time.  Raises AudioError, OptionError.
        """
        if batch_size < 1:
            raise OptionError(f"batch_size: {batch_size}, but it is at least 1")
        clips = self.prepare(audio, sr)
        shape = (len(clips), self.latent_dim, clips.shape[2] // self.downsampling_ratio)
        if sample and noise is None:
            noise = np.random.Generator(np.random.Philox(seed)).standard_normal(shape, dtype=np.float32)
        if noise is not None:
            noise = self._latents(noise, "noise", shape)
        latents = []
        with spending(self._budget):
            model = self._load(ENCODER)
            for i in range(0, len(clips), batch_size):
                x = self._inside(clips[i : i + batch_size])
                own = None if noise is None else self._inside(noise[i : i + batch_size])
                if chunked:
                    latents.append(model.encode_chunked(x, chunk_size, overlap, own))
                else:
                    latents.append(model.encode_tiled(x, own))
            return self._outside(latents) / self.scale

    def decode(
        self, latents: Any, chunked: bool = False, chunk_size: int = 128, overlap: int = 32, noise: Any = None
    ) -> mx.array:
        """Audio (B, channels, samples), float32, of latents (B, latent_dim, T) or (latent_dim, T).

        ``noise``: what the reference adds at inference, {"bottleneck": (B, C, T), "tokens": (B, T, stride, width)}
        or the first of them; none by default.  ``chunked`` as in ``encode``.  Raises AudioError, OptionError.
        """
        z = self._latents(latents, "latents") * np.float32(self.scale)
        clips = []
        with spending(self._budget):
            model = self._load(DECODER)
            for i in range(len(z)):
                x = self._inside(z[i : i + 1])
                if chunked:
                    clips.append(model.decode_chunked(x, chunk_size, overlap))
                else:
                    clips.append(model.decode_tiled(x, self._noise(noise, i)))
            return self._outside(clips)

    def encode_codes(self, audio: Any, sr: int | Sequence[int] | None = None) -> mx.array:
        """Codes (B, n_codebooks, T), int32 (int64 where a codebook is larger); OptionError without codebooks."""
        self._check_discrete()
        clips = self.prepare(audio, sr)
        with spending(self._budget):
            model = self._load(ENCODER)
            codes = mx.concatenate([model.encode_codes(self._inside(clip[None])) for clip in clips])
            mx.eval(codes)
        return codes

    def decode_codes(self, codes: Any) -> mx.array:
        """Audio (B, channels, samples) of codes (B, n, T) or (n, T); OptionError without codebooks."""
        self._check_discrete()
        with spending(self._budget):
            model = self._load(DECODER)
        array = np.asarray(codes)
        array = array[None] if array.ndim == 2 else array
        bottleneck = model["bottleneck"]
        if array.ndim != 3 or not array.size or not np.issubdtype(array.dtype, np.integer):
            raise AudioError(f"codes: expected integers (batch, codebooks, frames), got {array.dtype} {array.shape}")
        if array.shape[1] > bottleneck.codebooks or array.min() < 0 or array.max() >= bottleneck.codebook_size:
            raise AudioError(
                f"codes: {array.shape[1]} codebooks with codes {array.min()} to {array.max()}; this model has "
                f"{bottleneck.codebooks} codebooks of {bottleneck.codebook_size}"
            )
        with spending(self._budget):
            return self._outside([model.decode_codes(mx.array(clip[None])) for clip in array])

    def roundtrip(
        self, audio: Any, sr: int | None = None, chunked: bool = False, chunk_size: int = 128, overlap: int = 32
    ) -> tuple[np.ndarray, np.ndarray]:
        """One clip as the model takes it and as it comes back: (C, L) twice, at the model's rate, of equal length."""
        rate = self.sample_rate if sr is None else sr
        clip = sound.prepare(audio, rate, self.sample_rate, self.in_channels)
        latents = self.encode(clip, None, chunked, chunk_size, overlap)
        result = np.array(self.decode(latents, chunked, chunk_size, overlap)[0])
        return sound.match_channels(clip, self.out_channels), sound.fit_length(result, clip.shape[1])

    def fingerprint(self) -> np.ndarray:
        """A few dozen weights, float32: nearly the same for one model in every format and precision."""
        tensors = self._source.tensors("autoencoder", self._source.create()["autoencoder"])
        small = [tensors[name] for name in sorted(tensors) if 1 < math.prod(tensors[name].shape) <= 1 << 16]
        return np.concatenate(
            [tensor.read().ravel()[:4] for tensor in small[:: len(small) // 32 + 1]], dtype=np.float32
        )

    def check_origin(self, name: str, fingerprint: np.ndarray) -> None:
        """AudioError if codes that the model ``name`` made are not this model's."""
        own = self.fingerprint()
        if fingerprint.shape != own.shape or not np.linalg.norm(fingerprint - own) <= 0.01 * np.linalg.norm(own):
            other = name if name != self.name else "other weights of that name"
            raise AudioError(f"codes: made by {other}, so {self.name} cannot decode them; use the same --model")

    def prepare(self, audio: Any, sr: int | Sequence[int] | None = None) -> np.ndarray:
        """Any sound as the encoder takes it, (B, C, L): rate, channels, silence up to a multiple of the ratio."""
        clips = list(audio) if isinstance(audio, list | tuple) or getattr(audio, "ndim", 0) == 3 else [audio]
        if not clips:
            raise AudioError("audio: no clips")
        rates = list(sr) if isinstance(sr, Sequence) else [sr or self.sample_rate] * len(clips)
        if len(rates) != len(clips):
            raise OptionError(f"sr: {len(rates)} sample rates for {len(clips)} clips")
        arrays = []
        for i, (clip, rate) in enumerate(zip(clips, rates, strict=True)):
            where = f"audio[{i}]" if len(clips) > 1 else "audio"
            array = to_numpy(clip, where)
            array = array[0] if array.ndim == 3 and len(array) == 1 else array
            arrays.append(sound.prepare(array, rate, self.sample_rate, self.in_channels, where))
        longest = max(array.shape[1] for array in arrays)
        length = -(-longest // self.downsampling_ratio) * self.downsampling_ratio
        return np.stack([sound.fit_length(array, length) for array in arrays])

    def _load(self, children: tuple[str, ...]) -> Autoencoder:
        model = self._parts.get("autoencoder", children)
        weights: dict[str, mx.array] = dict(tree_flatten(model[children[0]].parameters()))
        self._dtype = next(iter(weights.values())).dtype
        return model

    def _check_discrete(self) -> None:
        if not self.discrete:
            raise OptionError(f"{self.name}: this autoencoder has no codebooks; use encode and decode")

    def _latents(self, array: Any, name: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
        """``array`` as float32 (B, latent_dim, T), checked."""
        array = to_numpy(array, name)
        array = array[None] if array.ndim == 2 else array
        if array.ndim != 3 or not array.size or array.shape[1] != self.latent_dim:
            raise AudioError(f"{name}: needed is (batch, {self.latent_dim}, frames), not {array.shape}")
        if shape is not None and array.shape != shape:
            raise AudioError(f"{name}: expected shape {shape}, got {array.shape}")
        if not np.isfinite(array).all():
            raise AudioError(f"{name}: holds values that are not finite (NaN or infinity)")
        return array

    def _noise(self, noise: Any, item: int) -> Noise:
        """Item ``item`` of the user's noise as the model takes it: channels last."""
        if noise is None:
            return None
        given = noise if isinstance(noise, dict) else {"bottleneck": noise}
        if not given.keys() <= {"bottleneck", "tokens"}:
            raise OptionError(f"noise: keys {sorted(given)}, known are 'bottleneck' and 'tokens'")
        own = {key: to_numpy(value, f"noise[{key!r}]")[item : item + 1] for key, value in given.items()}
        if "bottleneck" in own:
            own["bottleneck"] = own["bottleneck"].swapaxes(1, 2)
        return {key: mx.array(value).astype(self._dtype) for key, value in own.items()}

    def _inside(self, array: np.ndarray) -> mx.array:
        """(B, C, L) of NumPy -> (B, L, C) in the weights' dtype"""
        return mx.array(np.ascontiguousarray(array.swapaxes(1, 2))).astype(self._dtype)

    @staticmethod
    def _outside(items: list[mx.array]) -> mx.array:
        """(1, L, C) each -> (B, C, L) float32; SanityError for what is not finite"""
        result = mx.contiguous(mx.concatenate(items).swapaxes(1, 2).astype(mx.float32))
        if not mx.isfinite(result).all():
            raise SanityError("the result is not finite: try --dtype float32 or convert the model again")
        return result


def to_numpy(array: Any, where: str) -> np.ndarray:
    """An array of NumPy, MLX or nested lists as float32; AudioError if it is none."""
    if isinstance(array, mx.array):
        array = array.astype(mx.float32)
    try:
        return np.asarray(array, dtype=np.float32)
    except (TypeError, ValueError):
        raise AudioError(f"{where}: not an array of numbers") from None
