"""Everything about weight files: checkpoints in, our NPZ folders, names and downloads, text encoders."""

from importlib import import_module
from typing import Any

# Where each public name lives; looked up on first use, so that names and --help cost no import of MLX.
_HOME = {
    "ModelSource": "source",
    "open_model": "source",
    "convert_folder": "convert",
    "write_model_folder": "convert",
    "published_tensors": "layout",
    "best_local_model": "hub",
    "verify_model": "verify",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)
