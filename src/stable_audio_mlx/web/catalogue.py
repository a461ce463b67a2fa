"""The models and LoRAs that the studio offers: what clients say is looked up by name and never opened as a path."""

import gc
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfigError, OptionError, StableAudioError
from ..lora.stack import LoraStack
from ..pipeline import StableAudioPipeline
from ..presets import ModelFacts
from ..sampling.samplers import fitting
from ..weights import hub, registry
from ..weights.source import open_model
from .replies import Refused

PEFT = "adapter_config.json"


class Models:
    """``default`` is a model's folder or known name; one model at a time is in memory.

    ``open`` and ``describe`` are for the thread that owns MLX alone; all else any thread may ask.
    """

    def __init__(self, default: str | Path, dtype: str = "auto", low_memory: bool = False):
        path = Path(default).expanduser()
        self.default = path.resolve().name if path.exists() else str(default)
        self._given = {self.default: path if path.exists() else hub.find_model(default)}
        self._dtype, self._low_memory = dtype, low_memory
        self._known: dict[str, dict[str, Any]] = {}  # replaced as a whole, never changed
        self._facts: dict[str, ModelFacts] = {}
        self._open: tuple[str, StableAudioPipeline] | None = None

    def names(self) -> dict[str, Path]:
        """Name -> folder: the default first, then what else is on this computer and can make sound."""
        found = {**self._given, **hub.local_models(), **self._given}
        return {name: path for name, path in found.items() if self._known.get(name, {}).get("state") != "no sound"}

    def named(self, name: Any) -> str:
        """The model that a client names; none is the default."""
        if name is None or name in ("", "default"):
            return self.default
        if isinstance(name, str) and name in self.names():
            return name
        raise Refused(404, f"model: there is no {str(name)[:80]!r} here, only {', '.join(self.names())}")

    def facts(self, name: str) -> ModelFacts | None:
        """What a model can do, if it has been looked at."""
        return self._facts.get(name)

    def check_lora(self, model: str, name: str) -> None:
        """OptionError for a LoRA that is known not to fit."""
        if reason := self._known.get(model, {}).get("loras", {}).get(name):
            raise OptionError(f"lora: {reason}")

    def shown(self) -> list[dict[str, Any]]:
        """What clients are told, the default first."""
        opened = self._open and self._open[0]
        return [
            {
                "id": name,
                "object": "model",
                "created": 0,
                "owned_by": "stable-audio-mlx",
                "default": name == self.default,
                "loaded": name == opened,
                **self._known.get(name, {}),
            }
            for name in self.names()
        ]

    def open(self, name: str) -> StableAudioPipeline:
        """The model, in memory instead of the one before."""
        if self._open is None or self._open[0] != name:
            self._open = None
            folder = self.names().get(name)
            if folder is None:
                raise OptionError(f"model: {name} has gone")
            self._open = name, StableAudioPipeline.from_pretrained(folder, self._dtype, True, self._low_memory)
        return self._open[1]

    def close(self) -> None:
        """Free what MLX holds here rather than wherever Python happens to collect it."""
        self._open = None
        gc.collect()

    def describe(self, name: str, loras: Mapping[str, Path]) -> None:
        """Find out what a model can do and which LoRAs fit."""
        folder = self.names()[name]
        told: dict[str, Any]
        try:
            pipeline = self.open(name) if self._open is None else StableAudioPipeline.from_pretrained(folder)
            self._facts = {**self._facts, name: pipeline.facts}
            told = {"state": "ready", "license": licence(name, folder), **capabilities(pipeline.facts)}
            told["loras"] = {lora: misfit(folder, path) for lora, path in loras.items()}
        except ConfigError as error:
            told = {"state": "no sound", "reason": str(error)}
        except StableAudioError as error:
            told = {"state": "broken", "reason": str(error)}
        self._known = {**self._known, name: told}


def capabilities(facts: ModelFacts) -> dict[str, Any]:
    """What a page offers of a model, and the values that it begins with."""
    preset = facts.preset
    return {
        "longest": facts.longest,
        "seconds": facts.default_seconds,
        "sample_rate": facts.sample_rate,
        "takes_text": facts.takes_text,
        "guidable": facts.guidable,
        "steps": preset.steps,
        "cfg_scale": preset.cfg_scale,
        "sampler": preset.sampler,
        "samplers": list(fitting(facts.objective, facts.stable_audio_3)),
        "objective": facts.objective,
    }


def licence(name: str, folder: Path) -> str:
    """What the model's manifest says, else what is known of a model of this name."""
    known = registry.find(name)
    try:
        return json.loads((folder / hub.MANIFEST).read_text(encoding="utf-8"))["license"]
    except (OSError, ValueError, KeyError, TypeError):
        return known.license if known else ""


def misfit(folder: Path, lora: Path) -> str:
    """Why a LoRA does not fit a model; empty where it does."""
    try:
        LoraStack(open_model(folder)).read(lora)
    except StableAudioError as error:
        return str(error).replace(str(lora), lora.name)
    return ""


class Loras:
    """The LoRAs of a folder by name: .safetensors files and PEFT folders."""

    def __init__(self, folder: Path | None):
        self.folder = folder

    def files(self) -> dict[str, Path]:
        if self.folder is None or not self.folder.is_dir():
            return {}
        items = sorted(self.folder.iterdir())
        return {f.stem: f for f in items if f.suffix == ".safetensors" and f.is_file()} | {
            f.name: f for f in items if (f / PEFT).is_file()
        }

    def file(self, name: Any) -> Path:
        """OptionError where there is none of this name."""
        known = self.files()
        if not isinstance(name, str) or name not in known:
            there = f"only {', '.join(known)}" if known else "none at all; serve --loras DIR offers those of a folder"
            raise OptionError(f"lora: there is no {str(name)[:80]!r} here, {there}")
        return known[name]
