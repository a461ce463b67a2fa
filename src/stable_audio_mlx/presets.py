"""What a model is meant to be sampled with, and what has to be known of it to complete the options of a run.

Only the standard library is imported here, as in ``options``.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any


@dataclass(frozen=True)
class Preset:
    """What a model is meant to be sampled with."""

    sampler: str
    steps: int
    cfg_scale: float
    init_noise_level: float = 0.7
    sigma_min: float = 0.3
    sigma_max: float = 1.0


# Model cards and the reference user interface; v: the recipe of stable-audio-open-1.0.
PRESETS = {
    "rf_denoiser": Preset("pingpong", steps=8, cfg_scale=1.0),
    "rectified_flow": Preset("euler", steps=50, cfg_scale=7.0),
    "v": Preset("dpmpp-3m-sde", steps=100, cfg_scale=7.0, init_noise_level=5.0, sigma_max=500.0),
}
# Without text there is nothing to guide towards.
UNCONDITIONAL = Preset("v-ddim", steps=100, cfg_scale=1.0)


@dataclass(frozen=True)
class ModelFacts:
    """What has to be known of a model to complete the options; ``window`` is the longest clip in samples."""

    objective: str
    sample_rate: int
    window: int
    guidable: bool = True
    takes_text: bool = True
    stable_audio_3: bool = False
    defaults: Mapping[str, Any] | None = None  # the model's own, over the preset: steps, cfg_scale, sampler, seconds

    @property
    def preset(self) -> Preset:
        preset = PRESETS[self.objective] if self.guidable or self.objective != "v" else UNCONDITIONAL
        own = {k: v for k, v in (self.defaults or {}).items() if k in {f.name for f in fields(Preset)}}
        return replace(preset, **own)

    @property
    def longest(self) -> float:
        return self.window / self.sample_rate

    @property
    def default_seconds(self) -> float:
        """The whole window in whole seconds, as the number conditioners are trained, but no more than 30 at first."""
        own = (self.defaults or {}).get("seconds")
        limit = self.longest if not self.stable_audio_3 else min(self.longest, 30.0)
        return own or (float(math.floor(limit)) if limit >= 1 else limit)
