"""``model_config.json`` of Stable Audio 3 as Stability AI published them, for weights that come without one.

The optimised NPZ folder has no configs; benchmarks make checkpoints of true shape from these.
"""

from typing import Any

SAMPLE_RATE = 44100
FULL_MEDIUM = 16_777_216  # samples, 4096 latents
SAMPLE_SIZES = {"small": 5_292_032, "small-base": 5_324_800, "medium": FULL_MEDIUM, "medium-base": FULL_MEDIUM}
VARIANTS = ("small-music", "small-sfx", "small-music-base", "small-sfx-base", "medium", "medium-base")

SAME_S = {
    "channels": 128,
    "c_mults": [6],
    "strides": [16],
    "latent_dim": 256,
    "transformer_depths": [6],
    "dim_heads": 64,
    "dyt": True,
    "differential": True,
    "variable_stride": True,
    "chunk_size": 32,
    "chunk_midpoint_shift": True,
    "mapping_style": "none",
    "use_flash": True,
}
SAME_L = {
    "channels": 256,
    "c_mults": [6],
    "strides": [16],
    "latent_dim": 256,
    "transformer_depths": [12],
    "dim_heads": 64,
    "differential": True,
    "variable_stride": True,
    "sliding_window": [1, 1],
    "checkpointing": True,
    "conformer": False,
    "layer_scale": False,
    "use_snake": False,
    "use_dilated_conv": False,
}
# What encoder and decoder add to the common settings.
HALVES: dict[str, tuple[dict, dict, dict]] = {
    "same-s": (
        SAME_S,
        {"conv_mapping": False, "mask_noise": 0.0},
        {"conv_mapping": True, "mask_noise": 0.01, "sinusoidal_blocks": [0], "freeze_backbone": False},
    ),
    "same-l": (SAME_L, {"mask_noise": 0.001}, {"mask_noise": 0.1, "sinusoidal_blocks": [8]}),
}
DIT = {
    "io_channels": 256,
    "cond_token_dim": 768,
    "global_cond_dim": 768,
    "global_cond_type": "adaLN",
    "local_add_cond_dim": 257,
    "num_memory_tokens": 64,
    "norm_type": "rms_norm",
    "norm_kwargs": {"force_fp32": True},
    "ff_kwargs": {"mult": 4.0},
    "timestep_features_type": "expo",
}
SMALL = {
    "embed_dim": 1024,
    "depth": 20,
    "num_heads": 16,
    "attn_kwargs": {"qk_norm": "rms", "differential": False},
    "timestep_features_logsnr": False,
}
MEDIUM = {"embed_dim": 1536, "depth": 24, "num_heads": 24, "attn_kwargs": {"qk_norm": "rms", "differential": True}}


def published_config(name: str) -> dict[str, Any] | None:
    """The config of ``same-s``, ``same-l``, ``stable-audio-3-small-music`` ...; None for other names."""
    if name in HALVES:
        size = SAMPLE_SIZES["small" if name == "same-s" else "medium"]
        return {"model_type": "autoencoder", **top(size), "model": same(name)}
    variant = name.removeprefix("stable-audio-3-")
    return diffusion(variant) if name != variant and variant in VARIANTS else None


def top(sample_size: int) -> dict[str, Any]:
    return {"sample_size": sample_size, "sample_rate": SAMPLE_RATE, "audio_channels": 2}


def same(name: str) -> dict[str, Any]:
    """The ``model`` of an autoencoder's config."""
    common, encoder, decoder = HALVES[name]
    return {
        "encoder": {"type": "taae_v2", "config": {**common, "in_channels": 512, **encoder}},
        "decoder": {"type": "taae_v2", "config": {**common, "out_channels": 512, **decoder}},
        "bottleneck": {
            "type": "softnorm",
            "config": {
                "dim": 256,
                "auto_scale": True,
                "freeze": True,
                "noise_augment_dim": 0,
                "noise_regularize": True,
            },
        },
        "latent_dim": 256,
        "downsampling_ratio": 4096,
        "io_channels": 2,
        "pretransform": {"type": "patched", "config": {"channels": 2, "patch_size": 256}},
    }


def diffusion(variant: str) -> dict[str, Any]:
    """The whole config of a diffusion model."""
    size, base = variant.partition("-")[0], variant.endswith("-base")
    small = size == "small"
    shift = {"min_length": 256, "max_length": 4096}
    prompt = {
        "repo_id": f"stabilityai/stable-audio-3-{variant}",
        "subfolder": "t5gemma-b-b-ul2",
        "max_length": 256,
        "padding_mode": "learned",
    }
    seconds = {"min_val": 0, "max_val": 384, "fourier_features_type": "expo"}
    autoencoder = same("same-s" if small else "same-l")
    return {
        "model_type": "diffusion_cond_inpaint",
        **top(SAMPLE_SIZES[size + "-base" * base]),
        "model": {
            "pretransform": {"type": "autoencoder", "chunked": True, "iterate_batch": False, "config": autoencoder},
            "conditioning": {
                "cond_dim": 768,
                "configs": [
                    {"id": "prompt", "type": "t5gemma", "config": prompt},
                    {"id": "seconds_total", "type": "number", "config": seconds},
                ],
            },
            "diffusion": {
                "type": "dit",
                "diffusion_objective": "rectified_flow" if base else "rf_denoiser",
                "cross_attention_cond_ids": ["prompt", "seconds_total"],
                "global_cond_ids": ["seconds_total"],
                "local_add_cond_ids": ["inpaint_mask", "inpaint_masked_input"],
                "distribution_shift_options": {**shift, "type": "full"} if small else shift,
                "mask_padding_attention": True,
                "use_effective_length_for_schedule": True,
                "config": {**DIT, **(SMALL if small else MEDIUM)},
            },
            "io_channels": 256,
        },
    }
