"""model_config.json -> model: the registries of model types, and ``create_model``."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import mlx.nn as nn

from ..config import build, lookup
from ..errors import ConfigError
from ..sampling.schedules import Shift, shift_from_config
from .autoencoder import Autoencoder
from .conditioners import Conditioner
from .dit import DiT, DiTConfig
from .sections import PretransformSection

OBJECTIVES = ("v", "rectified_flow", "rf_denoiser")
# Conditions that the pipeline makes itself, from an inpainting mask and the latents it keeps.
INPAINT_IDS = ("inpaint_mask", "inpaint_masked_input")


@dataclass(frozen=True)
class TopSection:
    """The outermost object; ``sample_size`` is in audio samples."""

    model_type: str
    model: dict
    sample_rate: int
    sample_size: int = 0
    audio_channels: int = 2

    IGNORED: ClassVar = ("training", "demo", "svd_bases_path")

    def __post_init__(self):
        if self.sample_rate <= 0 or self.audio_channels <= 0 or self.sample_size < 0:
            raise ValueError("sample_rate and audio_channels must be positive, sample_size not negative")


@dataclass(frozen=True)
class CondSection:
    """``model`` of ``diffusion_cond`` and ``diffusion_cond_inpaint``."""

    io_channels: int
    diffusion: dict
    pretransform: dict | None = None
    conditioning: dict | None = None


@dataclass(frozen=True)
class UncondSection:
    """``model`` of ``diffusion_uncond``: the network's type and config directly, without a ``diffusion`` object."""

    type: str
    config: dict
    pretransform: dict | None = None


@dataclass(frozen=True)
class DiffusionSection:
    """``model.diffusion``: the network, what it is trained to predict and where each condition enters."""

    type: str
    config: dict
    diffusion_objective: str = "v"
    cross_attention_cond_ids: tuple[str, ...] = ()
    global_cond_ids: tuple[str, ...] = ()
    input_concat_ids: tuple[str, ...] = ()
    prepend_cond_ids: tuple[str, ...] = ()
    local_add_cond_ids: tuple[str, ...] = ()
    distribution_shift_options: dict | None = None
    sampling_distribution_shift_options: dict | None = None
    mask_padding_attention: bool = False
    use_effective_length_for_schedule: bool = False
    modular_local_cond_configs: tuple[Any, ...] = ()

    def __post_init__(self):
        if self.modular_local_cond_configs:
            raise ValueError("modular_local_cond_configs is not supported (no released model uses it)")
        if self.diffusion_objective not in OBJECTIVES:
            raise ValueError(f"diffusion_objective {self.diffusion_objective!r} is not one of {', '.join(OBJECTIVES)}")


class AudioModel(nn.Module):
    """What a config describes: its settings and the children ``dit``, ``conditioner``, ``autoencoder`` (or None).

    ``sample_size`` is in samples, ``io_channels`` counts the channels that the transformer denoises (an autoencoder's
    latent channels), ``scale`` divides encoded latents, ``downsampling_ratio`` is samples per latent frame.  The
    distribution shifts are ``sampling.schedules`` objects or None.
    """

    def __init__(
        self,
        top: TopSection,
        *,
        io_channels: int,
        dit: DiT | None = None,
        conditioner: Conditioner | None = None,
        autoencoder: Autoencoder | None = None,
        scale: float = 1.0,
        diffusion: DiffusionSection | None = None,
        path: str = "model_config",
    ):
        super().__init__()
        self.model_type, self.sample_rate = top.model_type, top.sample_rate
        self.sample_size, self.audio_channels = top.sample_size, top.audio_channels
        self.io_channels, self.scale = io_channels, scale
        self.dit, self.conditioner, self.autoencoder = dit, conditioner, autoencoder
        self.downsampling_ratio = autoencoder.downsampling_ratio if autoencoder is not None else 1
        self.objective = diffusion.diffusion_objective if diffusion else None
        self.cross_ids = diffusion.cross_attention_cond_ids if diffusion else ()
        self.global_ids = diffusion.global_cond_ids if diffusion else ()
        self.input_concat_ids = diffusion.input_concat_ids if diffusion else ()
        self.prepend_ids = diffusion.prepend_cond_ids if diffusion else ()
        self.local_ids = diffusion.local_add_cond_ids if diffusion else ()

        def shift(name: str) -> Shift | None:
            section = getattr(diffusion, name) if diffusion else None
            return shift_from_config(section, f"{path}.model.diffusion.{name}")

        self.distribution_shift = shift("distribution_shift_options")
        self.sampling_distribution_shift = shift("sampling_distribution_shift_options")
        self.mask_padding_attention = bool(diffusion and diffusion.mask_padding_attention)
        self.use_effective_length_for_schedule = bool(diffusion and diffusion.use_effective_length_for_schedule)


def autoencoder_model(top: TopSection, path: str, sizes: Mapping[str, int]) -> AudioModel:
    """``autoencoder``: nothing else."""
    autoencoder = Autoencoder.from_section(top.model, f"{path}.model")
    return AudioModel(top, io_channels=autoencoder.latent_dim, autoencoder=autoencoder)


def conditional_model(top: TopSection, path: str, sizes: Mapping[str, int]) -> AudioModel:
    """``diffusion_cond`` and ``diffusion_cond_inpaint``: a transformer, conditioners and an autoencoder."""
    section = build(CondSection, top.model, f"{path}.model")
    here = f"{path}.model.diffusion"
    network = lookup(NETWORKS, section.diffusion, here)
    diffusion = build(DiffusionSection, section.diffusion, here)
    cfg = network.Config.from_section(diffusion.config, f"{here}.config")
    if cfg.io_channels != section.io_channels:
        raise ConfigError(f"{here}.config.io_channels: {cfg.io_channels}, but model.io_channels: {section.io_channels}")
    conditioner = None
    if section.conditioning is not None:
        conditioner = Conditioner.from_section(section.conditioning, f"{path}.model.conditioning", sizes)
    check_ids(diffusion, conditioner, here)
    check_widths(diffusion, conditioner, cfg, here)
    autoencoder, scale = pretransform(section.pretransform, cfg.io_channels, path)
    return AudioModel(
        top,
        io_channels=cfg.io_channels,
        dit=network(cfg),
        conditioner=conditioner,
        autoencoder=autoencoder,
        scale=scale,
        diffusion=diffusion,
        path=path,
    )


def unconditional_model(top: TopSection, path: str, sizes: Mapping[str, int]) -> AudioModel:
    """``diffusion_uncond``: a transformer that is told nothing."""
    section = build(UncondSection, top.model, f"{path}.model")
    network = lookup(NETWORKS, top.model, f"{path}.model")
    channels = section.config.get("in_channels")
    if not isinstance(channels, int) or "io_channels" in section.config:
        raise ConfigError(f"{path}.model.config: an unconditional network names its channels 'in_channels'")
    flat = {("io_channels" if key == "in_channels" else key): value for key, value in section.config.items()}
    dit = network(network.Config.from_section(flat, f"{path}.model.config"))
    autoencoder, scale = pretransform(section.pretransform, channels, path)
    diffusion = DiffusionSection(type=section.type, config=flat)
    return AudioModel(
        top, io_channels=channels, dit=dit, autoencoder=autoencoder, scale=scale, diffusion=diffusion, path=path
    )


MODELS = {
    "autoencoder": autoencoder_model,
    "diffusion_cond": conditional_model,
    "diffusion_cond_inpaint": conditional_model,
    "diffusion_uncond": unconditional_model,
}
NETWORKS = {"dit": DiT}
PRETRANSFORMS = {"autoencoder": Autoencoder}


def create_model(
    config: Mapping[str, Any], sizes: Mapping[str, int] | None = None, path: str = "model_config"
) -> AudioModel:
    """Build the model that ``config`` (a parsed model_config.json) describes, with untrained weights.

    ``sizes`` gives what a config leaves to files beside it, by conditioner id (see ``conditioners.checkpoint_sizes``).
    Raises ConfigError, starting with the JSON path, for whatever the config says and this project does not do.
    """
    make = lookup(MODELS, config, path, key="model_type")
    return make(build(TopSection, config, path), path, sizes or {})


def pretransform(section: dict | None, io_channels: int, path: str) -> tuple[Autoencoder | None, float]:
    """The autoencoder of a diffusion model and its latent scale; None for a model that denoises samples directly."""
    if section is None:
        return None, 1.0
    cls = lookup(PRETRANSFORMS, section, f"{path}.model.pretransform")
    settings = build(PretransformSection, section, f"{path}.model.pretransform")
    autoencoder = cls.from_section(settings.config or {}, f"{path}.model.pretransform.config")
    if autoencoder.latent_dim != io_channels:
        raise ConfigError(
            f"{path}.model.pretransform.config.latent_dim: {autoencoder.latent_dim}, "
            f"but the transformer denoises {io_channels} channels"
        )
    return autoencoder, settings.scale


def check_ids(diffusion: DiffusionSection, conditioner: Conditioner | None, path: str) -> None:
    """Every id that the transformer reads must be made by a conditioner (or, for inpainting, by the pipeline)."""
    made = tuple(conditioner.ids) if conditioner else ()
    for field, known in (
        ("cross_attention_cond_ids", made),
        ("global_cond_ids", made),
        ("prepend_cond_ids", made),
        ("input_concat_ids", made + INPAINT_IDS),
        ("local_add_cond_ids", made + INPAINT_IDS),
    ):
        for name in getattr(diffusion, field):
            if name not in known:
                close = difflib.get_close_matches(name, known, 1)
                hint = f", did you mean {close[0]!r}?" if close else ""
                raise ConfigError(f"{path}.{field}: no conditioner has the id {name!r}{hint}")


def check_widths(diffusion: DiffusionSection, conditioner: Conditioner | None, cfg: DiTConfig, path: str) -> None:
    """The conditions must be as wide as the transformer was built for: tokens each, the others side by side."""
    own = {"inpaint_mask": 1, "inpaint_masked_input": cfg.io_channels}
    for key, ids, joined in (
        ("cond_token_dim", diffusion.cross_attention_cond_ids, False),
        ("prepend_cond_dim", diffusion.prepend_cond_ids, False),
        ("global_cond_dim", diffusion.global_cond_ids, True),
        ("input_concat_dim", diffusion.input_concat_ids, True),
        ("local_add_cond_dim", diffusion.local_add_cond_ids, True),
    ):
        widths = [conditioner.width(name) if conditioner and name in conditioner.ids else own[name] for name in ids]
        wanted = getattr(cfg, key) or 0
        if ids and (sum(widths) != wanted if joined else set(widths) != {wanted}):
            raise ConfigError(f"{path}.config.{key}: {wanted}, but {', '.join(ids)} are {widths} wide")
