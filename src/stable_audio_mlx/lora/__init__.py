"""LoRA: small files that change a model's weights; read, merged with any strength, fused, converted."""

from importlib import import_module
from typing import Any

_HOME = {
    "Adapter": "adapter",
    "read_lora": "files",
    "write_lora": "files",
    "LoraStack": "stack",
    "Fit": "stack",
    "lora_effective_weights": "stack",
    "fuse_model": "fuse",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)
