"""Stable Audio on Apple's MLX: text in, sound out, on your own computer."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .codec import AutoencoderModel
    from .events import Event
    from .lora.stack import lora_effective_weights
    from .options import FinishOptions, GenerateOptions
    from .pipeline import StableAudioPipeline
    from .sound import Sound, finish

__version__ = "0.1.0"
__all__ = [
    "AutoencoderModel",
    "Event",
    "FinishOptions",
    "GenerateOptions",
    "Sound",
    "StableAudioPipeline",
    "finish",
    "lora_effective_weights",
]

# Imported on first use: the package itself loads in a few milliseconds.
_HOMES = {
    "AutoencoderModel": "codec",
    "Event": "events",
    "FinishOptions": "options",
    "GenerateOptions": "options",
    "Sound": "sound",
    "StableAudioPipeline": "pipeline",
    "finish": "sound",
    "lora_effective_weights": "lora.stack",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
