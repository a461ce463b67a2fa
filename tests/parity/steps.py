"""Training steps whose loss and gradients are golden: small models, and what is drawn of a step, for both sides."""

import numpy as np

from .case import Case, generator

BATCH, LENGTH, CHANNELS, WIDTH = 3, 10, 4, 24
RANK, ALPHA = 2, 3
KINDS = [base + end for end in ("", "-xs") for base in ("lora", "dora-rows", "dora-cols", "bora")]
PROJECTIONS = 4
CONDITIONS = ("seconds_start", "seconds_total")


def cases() -> list[Case]:
    """As Stable Audio Open small, as Stable Audio Open 1.0, as Stable Audio 3 medium."""
    open_small = {"num_heads": 2, "attn_kwargs": {"qk_norm": "ln"}}
    open_large = {"num_heads": 2, "project_cond_tokens": False, "cond_token_dim": 32}
    three = {
        "num_heads": 2,
        "global_cond_type": "adaLN",
        "local_add_cond_dim": CHANNELS + 1,
        "num_memory_tokens": 3,
        "norm_type": "rms_norm",
        "norm_kwargs": {"force_fp32": True},
        "attn_kwargs": {"qk_norm": "rms", "differential": True},
        "ff_kwargs": {"mult": 3.0},
        "timestep_features_type": "expo",
    }
    return [
        case("step_flow", "rf_denoiser", open_small, {"mask_padding": False}),
        case("step_v", "v", open_large, {"mask_padding": True}, cond=32),
        case("step_sa3", "rectified_flow", three, {"mask_loss_weight": 1.0}, inpaint=True),
    ]


def case(name, objective, transformer, training, cond=WIDTH, inpaint=False) -> Case:
    number = {"min_val": 0, "max_val": 384} | ({"fourier_features_type": "expo"} if inpaint else {})
    config = {"io_channels": CHANNELS, "embed_dim": 64, "depth": 2, "cond_token_dim": cond, "global_cond_dim": cond}
    diffusion = {
        "type": "dit",
        "diffusion_objective": objective,
        "cross_attention_cond_ids": ["seconds_start", "seconds_total"],  # differences of one token are 0
        "global_cond_ids": ["seconds_total"],
        "config": config | transformer,
    }
    if inpaint:
        diffusion |= {"local_add_cond_ids": ["inpaint_mask", "inpaint_masked_input"], "mask_padding_attention": True}
    conditioning = {"cond_dim": cond, "configs": [{"id": i, "type": "number", "config": number} for i in CONDITIONS]}
    return Case(
        name,
        {
            "model_type": "diffusion_cond_inpaint" if inpaint else "diffusion_cond",
            "sample_size": LENGTH,
            "sample_rate": 8,
            "audio_channels": CHANNELS,
            "model": {"io_channels": CHANNELS, "conditioning": conditioning, "diffusion": diffusion},
            "training": {"learning_rate": 1e-4, **training},
        },
        [],
        faded=["to_timestep_embed.0.weight", "embedder.embedding.1.weight"] if inpaint else [],
    )


def masks(case: Case) -> bool:
    return case.config["model"]["diffusion"].get("mask_padding_attention", False)


def objective(case: Case) -> str:
    return case.config["model"]["diffusion"]["diffusion_objective"]


def draws(case: Case) -> dict:
    """Latents and noise (B, C, T), times, lengths, what is kept, and which clips are told their conditions."""
    valid = [LENGTH, 7, 4]
    keep = np.zeros((BATCH, LENGTH), bool)
    if masks(case):
        keep[1, 2:5] = keep[2, :3] = True
    return {
        "z": case.draw_input("z", {"normal": [BATCH, CHANNELS, LENGTH]}),
        "noise": case.draw_input("noise", {"normal": [BATCH, CHANNELS, LENGTH]}),
        "t": np.array([0.83, 0.41, 0.12], np.float32),
        "valid": valid,
        "sounding": np.arange(LENGTH) < np.array(valid)[:, None],
        "keep": keep,
        "heard": np.array([1, 0, 1], np.float32),
        "metadata": [{"seconds_start": start, "seconds_total": total} for start, total in ((0, 47), (3, 8), (90, 200))],
    }


def digest(case: Case, key: str, gradient: np.ndarray) -> np.ndarray:
    """Norm of a gradient and some random projections of it, float32.

    Directions are normal: the mean square of the projections of a difference is, on average, its squared norm.
    """
    flat = gradient.astype(np.float64).ravel()
    directions = generator(f"{case.name}/{key}").standard_normal((PROJECTIONS, flat.size))
    return np.array([np.linalg.norm(flat), *(directions @ flat)], np.float32)


def learned(case: Case, kind: str, layer: str, name: str, start: np.ndarray) -> np.ndarray:
    """A LoRA's tensor somewhere on its way: magnitudes near where they start, matrices anywhere."""
    random = generator(f"{case.name}/{kind}/{layer}/{name}").standard_normal(start.shape)
    return (start * (1 + 0.2 * random) if name.startswith("magnitude") else 0.3 * random).astype(np.float32)
