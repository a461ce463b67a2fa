"""Sounds that a model makes while it is trained, with their spectrograms."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import OptionError, SanityError
from ..pipeline import StableAudioPipeline
from ..plots import draw_spectrograms
from ..weights.source import ModelSource

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Demos:
    """``clips``: the conditions of each demo, with "prompt" and "seconds_total"; every one at each cfg scale."""

    folder: Path
    clips: Sequence[Mapping[str, Any]]
    scales: Sequence[float] = ()
    steps: int | None = None
    seed: int = 0

    def make(self, source: ModelSource, step: int) -> list[Path]:
        """Sounds of the model as it is now, with their picture where matplotlib is installed; returns the files.

        What a model early in its training cannot make, it does without.
        """
        pipe = StableAudioPipeline(source)
        scales: list[float | None] = [*self.scales] or [None]
        paths, sounds = [], {}
        for scale in scales if pipe.facts.guidable else scales[:1]:
            for number, clip in enumerate(self.clips):
                name = f"demo-step={step}" + (f"-cfg={scale:g}" if scale is not None else "") + f"-{number}"
                try:
                    sound = self._sound(pipe, clip, scale)
                except SanityError as error:
                    log.warning("%s: no sound yet (%s)", name, error)
                    continue
                paths.append(sound.save(self.folder / f"{name}.wav", overwrite=True).path)
                sounds[f"{name}: {clip.get('prompt', '')}"] = sound.audio
        if sounds:
            try:
                picture = self.folder / f"demo-step={step}.png"
                paths.append(draw_spectrograms(picture, sounds, pipe.sample_rate, overwrite=True))
            except OptionError:  # without matplotlib
                log.info("no pictures of the demos: matplotlib is not installed")
        return paths

    def _sound(self, pipe: StableAudioPipeline, clip: Mapping[str, Any], scale: float | None) -> Any:
        known = dict(clip)
        prompt, seconds = known.pop("prompt", ""), known.pop("seconds_total", None)
        known.pop("seconds_start", None)
        if seconds is not None:
            seconds = min(float(seconds), pipe.facts.longest)
        conditions = {key: value for key, value in known.items() if key in self.keys(pipe)} or None
        [sound] = pipe.make(
            prompt, seconds=seconds, cfg_scale=scale, steps=self.steps, seed=self.seed, conditions=conditions
        )
        return sound

    @staticmethod
    def keys(pipe: StableAudioPipeline) -> set[str]:
        """What the model reads beside the prompt and the seconds."""
        return {str(item["id"]) for item in pipe.config["model"].get("conditioning", {}).get("configs", ())}
