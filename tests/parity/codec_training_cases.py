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


# ---- whole steps


def oobleck(encoded: int, latent: int, bottleneck: dict, channels: int = 2) -> dict:
    shared = {"channels": 3, "c_mults": [1, 2], "strides": [2, 4], "use_snake": True}
    return {
        "encoder": {"type": "oobleck", "config": {**shared, "in_channels": channels, "latent_dim": encoded}},
        "decoder": {
            "type": "oobleck",
            "config": {**shared, "out_channels": channels, "latent_dim": latent, "final_tanh": False},
        },
        "bottleneck": bottleneck,
        "latent_dim": latent,
        "downsampling_ratio": 8,
        "io_channels": channels,
    }


def dac(latent: int, bottleneck: dict) -> dict:
    return {
        "encoder": {"type": "dac", "config": {"in_channels": 1, "latent_dim": latent, "d_model": 4, "strides": [2, 4]}},
        "decoder": {"type": "dac", "config": {"latent_dim": latent, "channels": 16, "rates": [4, 2]}},
        "bottleneck": bottleneck,
        "latent_dim": latent,
        "downsampling_ratio": 8,
        "io_channels": 1,
    }


def same(latent: int, freeze: bool, encoder: dict, decoder: dict) -> dict:
    shared = {"channels": 8, "c_mults": [3], "strides": [4], "latent_dim": latent, "dim_heads": 12}
    shared |= {"differential": True, "variable_stride": True}
    settings = {"dim": latent, "auto_scale": True, "freeze": freeze, "noise_augment_dim": 0, "noise_regularize": True}
    return {
        "encoder": {"type": "taae_v2", "config": {**shared, "in_channels": 16, **encoder}},
        "decoder": {"type": "taae_v2", "config": {**shared, "out_channels": 16, **decoder}},
        "bottleneck": {"type": "softnorm", "config": settings},
        "pretransform": {"type": "patched", "enable_grad": True, "config": {"channels": 2, "patch_size": 8}},
        "latent_dim": latent,
        "downsampling_ratio": 32,
        "io_channels": 2,
    }


def losses(bottleneck: dict | None = None, discriminator: str | None = None, **time: float) -> dict:
    """``training.loss_configs``."""
    sizes = {"fft_sizes": [64, 16], "hop_sizes": [16, 4], "win_lengths": [64, 16]}
    found = {"spectral": {"type": "mrstft", "config": sizes, "weights": {"mrstft": 1.0}}}
    found["time"] = {"type": "l1", "config": {}, "weights": time or {"l1": 0.0}}
    if bottleneck:
        found["bottleneck"] = {"type": "kl", "weights": bottleneck}
    if discriminator:
        kind, config = DISCRIMINATORS[discriminator]
        weights = {"adversarial": 0.1, "feature_matching": 5.0}
        found["discriminator"] = {"type": kind, "config": config, "weights": weights}
    return found


CHUNKS = {"chunk_size": 8, "chunk_midpoint_shift": True, "transformer_depths": [2]}
BAND = {"sliding_window": [1, 1], "transformer_depths": [2]}
RVQ = {"dim": 5, "codebook_size": 9, "num_quantizers": 3, "decay": 0.9, "threshold_ema_dead_code": 0}
STEPS = {  # the autoencoder, its losses, and the noise of a step by its name here
    "oobleck_vae": (
        oobleck(8, 4, {"type": "vae"}),
        losses({"kl": 0.01}, "encodec", l1=0.5, l2=0.25),
        {"bottleneck0": (2, 32, 4)},
    ),
    "oobleck_dac_rvq": (
        oobleck(
            6,
            6,
            {
                "type": "dac_rvq",
                "config": {
                    "input_dim": 6,
                    "n_codebooks": 3,
                    "codebook_size": 7,
                    "codebook_dim": 2,
                    "quantizer_dropout": 0.5,
                },
            },
        ),
        losses(None, "dac"),
        {"bottleneck0": (2,)},
    ),
    "oobleck_rvq_vae": (
        oobleck(10, 5, {"type": "rvq_vae", "config": RVQ | {"kmeans_init": False, "commitment_weight": 0.5}}),
        losses({"kl": 0.02}),
        {"bottleneck0": (), "bottleneck1": (2, 32, 5)},
    ),
    "dac_wasserstein": (
        dac(4, {"type": "wasserstein", "config": {"use_tanh": True}}),
        losses({"mmd": 3.0}, l1=1.0),
        {"bottleneck0": (2, 32, 4)},
    ),
    "dac_fsq": (
        dac(4, {"type": "fsq", "config": {"levels": [3, 4], "num_codebooks": 2}}),
        losses(l2=1.0),
        {},
    ),
    "dac_dithered_fsq": (
        dac(
            4,
            {"type": "dithered_fsq", "config": {"dim": 2, "levels": [5, 4], "num_codebooks": 2, "noise_dropout": 0.5}},
        ),
        losses(l2=1.0),
        {"bottleneck0": (2, 2), "bottleneck1": (2, 32, 4)},
    ),
    "same_small": (
        same(6, False, CHUNKS, CHUNKS | {"conv_mapping": True, "mask_noise": 0.01, "sinusoidal_blocks": [0]}),
        losses({"softnorm": 0.1}, "encodec"),
        {"decoder": (2, 8, 4, 24), "bottleneck0": (2, 8, 6)},
    ),
    "same_large": (
        same(6, True, BAND | {"mask_noise": 0.05}, BAND | {"mask_noise": 0.1, "sinusoidal_blocks": [2]}),
        losses({"softnorm": 0.1}),
        {"encoder": (2, 8, 1, 24), "decoder": (2, 8, 4, 24), "bottleneck0": (2, 8, 6)},
    ),
}
LENGTH = 256
LOSS_NAMES = {
    "kl": "kl_loss",
    "mmd": "mmd_loss",
    "vq/codebook_loss": "codebook_loss",
    "vq/commitment_loss": "commitment_loss",
}
DEPTH = (2, 4)  # codebooks heard of 3: the first item of a batch has some dropped


def step_noise(name: str) -> dict[str, np.ndarray]:
    """The noise of a case by name, in our layout."""
    out = {key: generator(f"{name}/noise/{key}").standard_normal(shape) for key, shape in STEPS[name][2].items()}
    if name == "oobleck_dac_rvq":
        out["bottleneck0"] = np.array(DEPTH)
    if name == "oobleck_rvq_vae":
        out["bottleneck0"] = np.array(2)
    if name == "dac_dithered_fsq":
        out = {"bottleneck0": np.array([[1, 1], [0, 0]]), "bottleneck1": np.clip(out["bottleneck1"] / 6, -0.5, 0.5)}
    return {key: value.astype(np.float32) for key, value in out.items()}


def buffer(name: str, key: str, shape: tuple[int, ...]) -> np.ndarray:
    """What is not trained: codebooks, how many are near their rows, and what these sum up to; deviations."""
    if key.endswith("cluster_size"):
        return (3 + np.abs(generator(f"{name}/{key}").standard_normal(shape))).astype(np.float32)
    if key.endswith("embed_avg"):
        base = key.removesuffix("embed_avg")
        return buffer(name, f"{base}cluster_size", shape[:2])[..., None] * buffer(name, f"{base}embed", shape)
    return weight(name, key, shape)
