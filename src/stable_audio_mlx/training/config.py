"""The ``training`` section of a model_config.json, as stable-audio-tools and Stable Audio 3 have it, read strictly."""

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ..config import build, describe
from ..errors import ConfigError
from .loop import Group
from .masks import MaskSettings
from .optimizers import Adam, AdamW, optimizer_settings
from .schedulers import scheduler_from_config
from .timesteps import SAMPLERS, timestep_sampler

EMA_BETA, EMA_POWER = 0.9999, 0.75


@dataclass(frozen=True)
class DemoSection:
    """What is made while training goes on.  ``demo_cond``: one dict of conditions a demo."""

    demo_every: int = 2000
    demo_steps: int | None = None
    num_demos: int = 4
    demo_cfg_scales: tuple[float, ...] = ()
    demo_cond: tuple[dict, ...] = ()
    demo_cond_from_batch: bool = False

    IGNORED: ClassVar = ("display_audio_cond", "cond_display_configs", "max_demos")

    def __post_init__(self):
        if self.demo_every < 1 or self.num_demos < 1 or (self.demo_steps is not None and self.demo_steps < 1):
            raise ValueError("demo_every, demo_steps and num_demos must be at least 1")


@dataclass(frozen=True)
class InpaintingSection:
    mask_kwargs: MaskSettings = MaskSettings()


@dataclass(frozen=True)
class CommonSection:
    """What trainings of every kind have."""

    learning_rate: float | None = None
    optimizer_configs: dict | None = None
    use_ema: bool = False
    clip_grad_norm: float = 0.0
    demo: DemoSection = DemoSection()

    # ``log_loss_info``: more lines in the reference's log.
    IGNORED: ClassVar = ("log_loss_info",)
    GROUPS: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self):
        if self.clip_grad_norm < 0 or not math.isfinite(self.clip_grad_norm):
            raise ValueError(f"clip_grad_norm {self.clip_grad_norm} must not be negative")
        if self.learning_rate is None and self.optimizer_configs is None:
            raise ValueError("one of learning_rate and optimizer_configs is needed")


@dataclass(frozen=True)
class DiffusionTraining(CommonSection):
    """``training`` of a diffusion model.  ``mask_loss_weight`` and what follows it: of Stable Audio 3's trainer."""

    use_ema: bool = True
    mask_padding: bool = False
    mask_padding_dropout: float = 0.0
    pre_encoded: bool = False
    cfg_dropout_prob: float = 0.1
    timestep_sampler: str = "uniform"
    timestep_sampler_options: dict = field(default_factory=dict)
    p_one_shot: float = 0.0
    inpainting: InpaintingSection | None = None
    mask_loss_weight: float = 0.0
    silence_extension_scale_seconds: float = 0.0
    ot_coupling: bool = False

    GROUPS: ClassVar = ("diffusion",)

    def __post_init__(self):
        super().__post_init__()
        if self.timestep_sampler not in SAMPLERS:
            raise ValueError(f"timestep_sampler {self.timestep_sampler!r} is not one of {', '.join(SAMPLERS)}")
        for name in ("cfg_dropout_prob", "p_one_shot", "mask_padding_dropout"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} {getattr(self, name)} is no probability, 0 to 1")
        if self.silence_extension_scale_seconds < 0 or self.mask_loss_weight < 0:
            raise ValueError("silence_extension_scale_seconds and mask_loss_weight must not be negative")
        timestep_sampler(self.timestep_sampler, self.timestep_sampler_options)


@dataclass(frozen=True)
class AutoencoderTraining(CommonSection):
    """``training`` of an autoencoder; ``loss_configs`` is read by what makes the losses."""

    loss_configs: dict | None = None
    eval_loss_configs: dict | None = None
    warmup_steps: int = 0
    encoder_freeze_on_warmup: bool = False
    force_input_mono: bool = False
    latent_mask_ratio: float = 0.0

    GROUPS: ClassVar = ("autoencoder", "discriminator")


SECTIONS: dict[str, type[CommonSection]] = {
    "autoencoder": AutoencoderTraining,
    "diffusion_cond": DiffusionTraining,
    "diffusion_cond_inpaint": DiffusionTraining,
    "diffusion_uncond": DiffusionTraining,
}


def training_section(config: dict[str, Any], path: str = "model_config") -> Any:
    """The ``training`` section of a whole config as the dataclass of its model type; ConfigError with the JSON path."""
    kind = SECTIONS.get(str(config.get("model_type")))
    if kind is None:
        raise ConfigError(f"{path}.model_type: {describe(config.get('model_type'))} cannot be trained")
    section = config.get("training")
    if section is None:
        raise ConfigError(f'{path}: has no training section; the least is {{"learning_rate": 1e-4}}')
    if isinstance(section, dict) and "arc" in section:
        raise ConfigError(f"{path}.training.arc: adversarial post-training is not supported")
    return build(kind, section, f"{path}.training")


def training_group(section: CommonSection, name: str, path: str = "model_config.training") -> Group:
    """Optimiser and rate of the group ``name``, one of the section's ``GROUPS``; ConfigError with the JSON path.

    Without ``optimizer_configs`` it is Adam for diffusion and AdamW with betas 0.8 and 0.99 for autoencoders.
    """
    if section.optimizer_configs is None:
        assert section.learning_rate is not None
        kind = Adam if name == "diffusion" else AdamW
        betas = (0.9, 0.999) if name == "diffusion" else (0.8, 0.99)
        settings: Any = kind(lr=section.learning_rate, betas=betas)
        return Group(settings.create(), lambda update: settings.lr, section.clip_grad_norm)
    here = f"{path}.optimizer_configs"
    known(section.optimizer_configs, section.GROUPS, here)
    if name not in section.optimizer_configs:
        raise ConfigError(f"{here}: {name!r} is missing")
    return group_from_config(section.optimizer_configs[name], f"{here}.{name}", section.clip_grad_norm)


def group_from_config(section: Any, path: str, clip: float = 0.0) -> Group:
    """{"optimizer": {type, config}, "scheduler": {type, config}} -> Group."""
    if not isinstance(section, dict):
        raise ConfigError(f"{path}: expected an object, got {describe(section)}")
    known(section, ("optimizer", "scheduler"), path)
    if "optimizer" not in section:
        raise ConfigError(f"{path}: missing 'optimizer'")
    for part in section:
        if isinstance(section[part], dict):
            known(section[part], ("type", "config"), f"{path}.{part}")
    settings = optimizer_settings(section["optimizer"], f"{path}.optimizer")
    rate: Callable[[int], float] = lambda update: settings.lr  # noqa: E731
    if "scheduler" in section:
        schedule = scheduler_from_config(section["scheduler"], f"{path}.scheduler")
        rate = lambda update: schedule(update, settings.lr)  # noqa: E731
    return Group(settings.create(), rate, clip)


def known(section: dict[str, Any], names: tuple[str, ...], path: str) -> None:
    """ConfigError for a key that is none of ``names``."""
    for key in section:
        if key not in names:
            close = difflib.get_close_matches(key, names, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names)}"
            raise ConfigError(f"{path}: unknown key {key!r}, {hint}")


def ema_keep(update: int) -> float:
    """How much an average keeps of itself after so many updates, as ema_pytorch with stable-audio-tools' settings."""
    return min(EMA_BETA, 1 - max(1, update - 1) ** -EMA_POWER)
