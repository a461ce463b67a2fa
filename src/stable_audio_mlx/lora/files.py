"""LoRA files in and out: a .safetensors file in the native layout, or a PEFT folder.  Pickles are never read."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from ..errors import OptionError, WeightsError
from ..files import check_output
from ..weights import safetensors
from ..weights.checkpoint import PICKLES, read_json
from . import native, peft
from .adapter import Adapter
from .patterns import chosen
from .tensors import grouped

STATE = ("lora_dropout_mask", "lora_strength")  # a trainer's own, nothing of the weights


def weights_file(path: str | Path) -> Path:
    """The file that a user means: itself, or the weights in a PEFT folder."""
    path = Path(path).expanduser()
    return path / peft.WEIGHTS if path.is_dir() else path


def read_lora(path: str | Path) -> Adapter:
    """A .safetensors file (native or PEFT), or a PEFT folder.  WeightsError names everything that is wrong with it."""
    path = weights_file(path)
    if path.suffix in PICKLES:
        raise WeightsError(f"{path}: a PyTorch pickle, which can hide programs, is never read; save it as .safetensors")
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; a LoRA is a .safetensors file or a folder with {peft.WEIGHTS}")
    entries = {k: e for k, e in safetensors.read_header(path).items() if not k.endswith(STATE)}
    if any(native.KEY.fullmatch(key) for key in entries):
        return native.read(path, grouped(path, entries, native.KEY), safetensors.read_metadata(path))
    config = path.with_name(peft.CONFIG)
    tensors = grouped(path, entries, peft.KEY, peft.NAMES)
    return peft.read(path, tensors, read_json(config) if config.is_file() else {}, config)


def write_lora(
    adapter: Adapter,
    path: Path,
    format: str,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    overwrite: bool = False,
) -> Path:
    """Write ``adapter`` as "native" (a .safetensors file) or "peft" (a folder); returns the weights file.

    ``include`` and ``exclude`` choose layers.  OptionError for what the format cannot say and for what exists already.
    """
    names = chosen(adapter.layers, include, exclude)
    if not names:
        raise OptionError(f"{adapter.path}: no layer is left after --include and --exclude")
    kept = dataclasses.replace(adapter, layers={name: adapter.layers[name] for name in names})
    if format == "peft":
        return peft.write(kept, check_output(path / peft.WEIGHTS, overwrite, [".safetensors"]))
    return native.write(kept, check_output(path, overwrite, [".safetensors"]))
