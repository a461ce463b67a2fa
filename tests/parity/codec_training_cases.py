"""Cases of training: losses, discriminators and whole steps; what PyTorch answers is in ``golden/codec_training.npz``.

The reference computes in float64, so that a difference is ours.  Of a gradient three numbers are kept: its length and
its products with two random tensors.
"""

import numpy as np

from .case import FOLDER, draw, generator

GOLDEN = FOLDER / "codec_training.npz"
RATE = 8000

STFT = {  # loss_configs.spectral.config
    "octaves": {"fft_sizes": [256, 64, 16], "hop_sizes": [64, 16, 4], "win_lengths": [256, 64, 16]},
    "weighted": {"fft_sizes": [64, 32], "hop_sizes": [16, 8], "win_lengths": [64, 32], "perceptual_weighting": True},
    "odd_hops": {"fft_sizes": [128, 64], "hop_sizes": [15, 7], "win_lengths": [75, 30], "w_lin_mag": 0.5},
    "mel": {"fft_sizes": [128], "hop_sizes": [32], "win_lengths": [128], "scale": "mel", "n_bins": [20]},
}
DISCRIMINATORS = {  # loss_configs.discriminator, and the narrow networks that they are compared with
    "encodec": ("encodec", {"filters": 3, "n_ffts": [64, 32], "hop_lengths": [16, 8], "win_lengths": [64, 32]}),
    "encodec_relative": (
        "encodec",
        {"filters": 2, "n_ffts": [32], "hop_lengths": [8], "win_lengths": [32], "normalize_losses": True},
    ),
    "oobleck": ("oobleck", {"in_channels": 2}),
    "dac": ("dac", {"periods": [2, 5], "fft_sizes": [128]}),
    "dac_hinge": ("dac", {"periods": [3], "fft_sizes": [64, 128], "use_hinge": True}),
}
NARROW = 2  # channels of Oobleck's first convolutions
WIDTHS = {32: 3, 128: 4, 512: 5, 1024: 6}  # Descript's channels and what they are here


def sound(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Noise (B, C, L)."""
    return (0.3 * generator(name).standard_normal(shape)).astype(np.float32)


def pair(name: str, noise: float = 0.5, length: int = 500, channels: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """What is real and what an autoencoder would make of it, (B, C, L) each."""
    reals = sound(f"{name}/reals", (2, channels, length))
    return reals, (0.7 * reals + noise * sound(f"{name}/fakes", reals.shape)).astype(np.float32)


def digest(name: str, array: np.ndarray) -> np.ndarray:
    """(3,) float64"""
    array, random = np.asarray(array, np.float64), generator(f"digest/{name}")
    return np.array([np.linalg.norm(array), *((array * random.standard_normal(array.shape)).sum() for _ in range(2))])


def weight(name: str, key: str, shape: tuple[int, ...]) -> np.ndarray:
    """A parameter in PyTorch's layout."""
    return draw(f"training/{name}", key, list(shape))
