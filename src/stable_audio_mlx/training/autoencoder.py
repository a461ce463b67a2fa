"""Training of the embedded autoencoder: a linear start from principal components, then the decoder learns on."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ..data import synth
from ..data.scenes import SCENES
from ..data.voices import HITS
from ..layers.snake import SnakeBeta
from ..metrics import si_sdr
from ..models.autoencoder import Autoencoder
from .losses import SpectralDistance, rows, waveform_distance

CROP = 16  # frames of a training example
START_DEVIATION = 0.08  # of the latents, so that the decoder learns to put up with errors
FAVOUR = {**dict.fromkeys((*HITS, *SCENES), 3.0), "beat": 2.0}  # few sounds of their own kind, all frames different


class AutoencoderLoss:
    """Spectral distance and waveform distance of what the decoder makes of noisy latents."""

    def __init__(self, waveform: float = 2.0):
        self._distance = SpectralDistance()
        self.waveform = waveform

    def __call__(self, model: Autoencoder, audio: mx.array, noise: mx.array) -> mx.array:
        """audio: (B, L, C), noise: (B, T, latent_dim), normal deviates -> scalar"""
        mean, deviation = model["bottleneck"].moments(model.features(audio))
        x, y = rows(audio), rows(model.decode(mean + deviation * noise))
        return self._distance(x, y) + self.waveform * waveform_distance(x, y)


def batch(step: int, size: int, latent_dim: int, seed: int = 0) -> tuple[mx.array, mx.array]:
    """Batch number ``step``: audio (B, L, 2) of frames of the vocabulary, half of them near the onset, and noise."""
    rng = np.random.default_rng((seed, step))
    audio = np.empty((size, CROP * synth.FRAME, 2), np.float32)
    for i in range(size):
        sound = synth.draw(rng, FAVOUR)
        last = 0 if rng.random() < 0.3 else (synth.FRAMES if rng.random() < 0.6 else 2 * CROP) - CROP
        first = rng.integers(0, last + 1)
        end = first + rng.integers(3, CROP) if rng.random() < 0.3 else synth.FRAMES
        audio[i] = synth.vary(sound, end, rng.uniform(-3, 2), first, CROP)
    noise = rng.standard_normal((size, CROP, latent_dim), dtype=np.float32)
    return mx.array(audio), mx.array(noise)


def balanced_frames() -> np.ndarray:
    """All frames of the vocabulary that are not silent, (N, FRAME, 2), scaled so that every kind has its say.

    Nearly equal loudness, or quiet sounds would get no component; louder where a kind has few frames.
    """
    kinds: dict[str, list[np.ndarray]] = {}
    for sound in synth.vocabulary():
        frames = synth.render(sound).reshape(-1, synth.FRAME, 2)
        kinds.setdefault(sound.kind, []).append(frames[(frames**2).mean(axis=(1, 2)) > 1e-7])
    out = []
    for parts in kinds.values():
        frames = np.concatenate(parts)
        power = (frames**2).mean(axis=(1, 2), keepdims=True)
        out.append(frames / (power + 1e-5) ** 0.4 / len(frames) ** 0.35)
    return np.concatenate(out)


def start_linear(model: Autoencoder, frames: np.ndarray) -> None:
    """Set a one-block Oobleck to the projection on principal components of ``frames`` (N, FRAME, 2), nearly linear.

    Worth more than any choice of architecture: training begins from a working codec.
    """
    down, up = model.encoder.layers[1].layers[-1], model.decoder.layers[1].layers[1]
    first, last = model.encoder.layers[0], model.decoder.layers[-1]
    patch, width, stride = model["pretransform"].patch, first.weight.shape[0], down.stride
    patches = frames.reshape(-1, patch, 2).swapaxes(1, 2).reshape(-1, 2 * patch)
    width = min(width, last.weight.shape[2])
    to_patch, power = components(patches, width)
    gain = 1.0
    hidden = (gain * patches @ to_patch).reshape(-1, stride * width)
    inner = min(down.weight.shape[0], up.weight.shape[2])
    to_inner, _ = components(hidden, inner)
    to_latent, power = components(hidden @ to_inner, model.latent_dim)
    deviation = (power / power[0] + 1e-3) ** 0.3  # partly whitened: strong components stay the larger ones
    _set_taps(first, 3, gain * to_patch.T)
    _set_taps(down, stride // 2, to_inner.T.reshape(inner, stride, width))
    scale = np.concatenate([(to_latent / deviation).T, np.zeros((model.latent_dim, inner))])
    _set_taps(model.encoder.layers[-1], 1, scale)
    bias = np.concatenate([np.zeros(model.latent_dim), np.full(model.latent_dim, np.log(np.expm1(START_DEVIATION)))])
    model.encoder.layers[-1].bias = mx.array(bias.astype(np.float32))
    _set_taps(model.decoder.layers[0], 3, to_latent * deviation)
    _set_taps(up, stride // 2, to_inner.reshape(stride, width, inner).swapaxes(0, 1))
    _set_taps(last, 3, to_patch / gain)
    for module in model.modules():
        if isinstance(module, SnakeBeta):
            module.alpha = mx.full(module.alpha.shape, -2.5)
    for part in (model.encoder.layers[1], model.decoder.layers[1]):
        for unit in part.layers:
            if hasattr(unit, "layers"):  # residual units begin small
                unit.layers[-1].weight = 0.1 * unit.layers[-1].weight


def components(x: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Principal components of rows x (N, D), without their mean taken off: (D, count) directions, (count,) powers."""
    power, directions = np.linalg.eigh((x.T @ x).astype(np.float64) / len(x))
    return directions[:, ::-1][:, :count], np.maximum(power[::-1][:count], 0)


def _set_taps(conv: nn.Module, first: int, values: np.ndarray) -> None:
    """Write ``values``, (Out, In) or (Out, K, In), over the taps from ``first`` on; the other taps become zero."""
    weight = 0.0 * np.array(conv.weight)
    values = values[:, None] if values.ndim == 2 else values
    out, taps, inp = values.shape
    weight[:out, first : first + taps, :inp] = values
    conv.weight = mx.array(weight.astype(np.float32))
    if "bias" in conv:
        conv.bias = mx.zeros_like(conv.bias)


def quality(model: Autoencoder) -> dict[str, float]:
    """Median SI-SDR in dB of each kind over whole clips."""
    kinds: dict[str, list[float]] = {}
    for sound in synth.vocabulary():
        audio = mx.array(synth.render(sound))[None]
        value = si_sdr(rows(audio), rows(model.decode(model.encode(audio))))
        kinds.setdefault(sound.kind, []).extend(np.array(value).tolist())
    return {kind: float(np.median(values)) for kind, values in kinds.items()}
