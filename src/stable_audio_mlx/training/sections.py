"""The training section of a run: the user's, the model's own, or the recipe that Stable Audio 3 documents."""

import copy
from typing import Any

from ..models.factory import INPAINT_IDS
from .config import DiffusionTraining, training_section

LORA_RATE, MODEL_RATE = 1e-4, 1e-5


def section_for(
    config: dict[str, Any], lora: bool, given: dict[str, Any] | None, rate: float | None
) -> DiffusionTraining:
    """``given`` if there is one; a LoRA is trained by the recipe, a model by its own section, else by the recipe too.

    ``rate``: instead of the section's learning rate.  ConfigError with the JSON path for what cannot be done.
    """
    section = given if given is not None else None if lora else config.get("training")
    section = copy.deepcopy(section) if section is not None else recipe(config, LORA_RATE if lora else MODEL_RATE, lora)
    if rate is not None:
        with_rate(section, rate)
    return training_section({**config, "training": section})


def recipe(config: dict[str, Any], rate: float, lora: bool) -> dict[str, Any]:
    """Of Stable Audio 3's LoRA trainer; v models, which it does not know, learn from all noise levels alike.

    How often examples are pure noise is taken from the model's own section: models of one step live there.
    """
    diffusion = config.get("model", {}).get("diffusion", {})
    flow = diffusion.get("diffusion_objective", "v") != "v"
    inpaints = set(INPAINT_IDS) & {*diffusion.get("local_add_cond_ids", ()), *diffusion.get("input_concat_ids", ())}
    optimizer = {"type": "AdamW", "config": {"lr": rate, "betas": [0.9, 0.95], "weight_decay": 0.01}}
    return {
        "optimizer_configs": {"diffusion": {"optimizer": optimizer}},
        "use_ema": not lora,
        "timestep_sampler": "trunc_logit_normal" if flow else "uniform",
        "p_one_shot": (config.get("training") or {}).get("p_one_shot", 0.0),
        "mask_loss_weight": 1.0,
        "silence_extension_scale_seconds": 4.0,
        "ot_coupling": True,
        "demo": {"demo_every": 500},
        **({"inpainting": {"mask_kwargs": {"mask_type_probabilities": [0.1, 0.8, 0.1]}}} if inpaints else {}),
    }


def with_rate(section: dict[str, Any], rate: float) -> None:
    """Set the learning rate wherever the section has it."""
    groups = section.get("optimizer_configs")
    if not isinstance(groups, dict):
        section["learning_rate"] = rate
        return
    for group in groups.values():
        group.setdefault("optimizer", {}).setdefault("config", {})["lr"] = rate
