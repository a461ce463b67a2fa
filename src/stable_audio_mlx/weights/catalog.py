"""What there is: the models on this computer and those that can be had, with their limits and licences."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import ConfigError, StableAudioError, WeightsError
from ..models.factory import AudioModel
from ..presets import ModelFacts
from . import hub, registry
from .source import ModelSource, open_model

SAMPLE_RATE = 44100  # of every known model
OPTIMIZED_BYTES = {"small": 1_837_000_000, "medium": 6_850_000_000}  # of the official half-precision files


def facts_of(source: ModelSource, model: AudioModel) -> ModelFacts:
    """What has to be known to complete the options of a run; ConfigError for an autoencoder."""
    if model.dit is None or model.objective is None:
        raise ConfigError(f"{source.name}: an autoencoder makes no sound from text; use encode and decode with it")
    if model.sample_size < model.downsampling_ratio:
        raise ConfigError(f"model_config.sample_size: {model.sample_size} samples are less than one latent frame")
    return ModelFacts(
        objective=model.objective,
        sample_rate=model.sample_rate,
        window=model.sample_size // model.downsampling_ratio * model.downsampling_ratio,
        guidable=bool(model.cross_ids or model.prepend_ids),
        takes_text=bool(model.conditioner and model.conditioner.text_ids),
        stable_audio_3=model.mask_padding_attention or bool(model.local_ids),
        defaults=(source.manifest or {}).get("defaults"),
    )


def limits(facts: ModelFacts) -> dict[str, Any]:
    """What a model can make, and what it is sampled with unasked."""
    preset = facts.preset
    return {
        "kind": "text to audio" if facts.takes_text else "audio",
        "seconds": round(facts.longest, 3),
        "default_seconds": facts.default_seconds,
        "steps": preset.steps,
        "cfg_scale": preset.cfg_scale,
        "sampler": preset.sampler,
        "sample_rate": facts.sample_rate,
    }


def installed() -> Iterator[dict[str, Any]]:
    """One record for each converted model of the model folders; "problem" says what is wrong with one."""
    best, seen = hub.best_local_model(), set()
    for home in hub.model_homes():
        for folder in sorted(home.iterdir()) if home.is_dir() else ():
            if (folder / hub.MANIFEST).is_file() and folder.name not in seen:
                seen.add(folder.name)
                yield {"name": folder.name, "folder": str(folder), "default": folder == best, **look(folder)}


def look(folder: Path) -> dict[str, Any]:
    """Licence, size and limits of a converted model, or the problem that it has."""
    size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    try:
        source = open_model(folder)
        model, manifest = source.create(), source.manifest or {}
        about = {"license": manifest.get("license") or "not recorded", "bytes": size, "dtype": manifest.get("dtype")}
        if model.dit is None:
            return {"kind": "autoencoder", "sample_rate": model.sample_rate, **about}
        return {**limits(facts_of(source, model)), **about}
    except StableAudioError as error:
        return {"bytes": size, "problem": str(error)}


def obtainable() -> Iterator[dict[str, Any]]:
    """One record for each known model, the official half-precision files after their originals.

    "downloaded": all that a conversion needs is in the cache of the hub.
    """
    for known in registry.MODELS:
        yield offer(known, known.name, known.size or 4 * known.parameters)
        for name, half in registry.OPTIMIZED.items():
            if half.name == known.name and known.window:
                size = OPTIMIZED_BYTES["medium" if "medium" in name else "small"]
                given = f"{registry.OPTIMIZED_NAME}/{name}"
                yield {**offer(known, given, size), "repo": half.repo, "gated": False, "downloaded": downloaded(half)}


def offer(known: registry.Known, name: str, size: int) -> dict[str, Any]:
    """What a name stands for, how much is downloaded (without a text encoder) and under which conditions."""
    what: dict[str, Any] = {"kind": "autoencoder", "sample_rate": SAMPLE_RATE}
    if known.window:
        what = limits(ModelFacts(known.objective, SAMPLE_RATE, known.window, stable_audio_3="-3-" in known.name))
    terms = {"license": known.license, "gated": known.gated, "bytes": size, "downloaded": downloaded(known)}
    return {"name": name, "repo": known.repo, **what, **terms, "get": f"stable-audio-mlx convert {name}"}


def downloaded(known: registry.Known) -> bool:
    try:
        hub.fetch_model(known.repo, known, download=False)
    except WeightsError:
        return False
    return True
