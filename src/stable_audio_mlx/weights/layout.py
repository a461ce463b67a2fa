"""How a checkpoint's tensors become a module's parameters, and back: names, weight norm, layouts.

All of it is data on the classes: ``KEYS`` (rename rules below a module), ``NAMES`` (parameter names of a layer),
``IGNORE`` (keys that are not read), ``WEIGHT_NORM`` (a convolution whose checkpoint holds g and v); the memory layout
follows a layer's type.  ``plan`` goes from checkpoint to module, ``published_tensors`` from module to checkpoint.
"""

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten

from ..errors import WeightsError
from ..layers.parallel import streams, width
from .arrays import FLOATS, Entry
from .checkpoint import DIFFUSION_PARTS, summary

Rule = tuple[str, str]
# PyTorch -> channels last (Out, K, In).
TRANSPOSE = {nn.Conv1d: (0, 2, 1), nn.ConvTranspose1d: (1, 2, 0)}
# The two halves of a weight norm, old and new spelling.
HALVES = {
    "weight_g": "g",
    "weight_v": "v",
    "parametrizations.weight.original0": "g",
    "parametrizations.weight.original1": "v",
}


@dataclass(frozen=True)
class Tensor:
    """One parameter to come: its checkpoint entries (one, or weight norm's g and v), shape and memory layout."""

    entries: tuple[Entry, ...]
    shape: tuple[int, ...]
    axes: tuple[int, ...] | None

    @property
    def nbytes(self) -> int:
        return self.entries[-1].nbytes

    @property
    def own_dtype(self) -> mx.Dtype:
        """The file's where that is half precision; float32 otherwise, and where it is fused."""
        own = self.entries[0].dtype
        return getattr(mx, own) if len(self.entries) == 1 and own in ("float16", "bfloat16") else mx.float32

    def read(self) -> np.ndarray:
        """The parameter as float32 (whole numbers unchanged), fused and laid out as the module wants it."""
        array = fuse(*(e.read() for e in self.entries)) if len(self.entries) == 2 else self.entries[0].read()
        if array.dtype.kind == "f":
            array = array.astype(np.float32, copy=False)
        array = array.transpose(self.axes) if self.axes else array
        return np.ascontiguousarray(array).reshape(self.shape)

    @property
    def plain(self) -> Entry | None:
        """The entry that is the parameter as it stands in the file."""
        plain = type(self) is Tensor and len(self.entries) == 1 and not self.axes and type(self.entries[0]) is Entry
        return self.entries[0] if plain and self.entries[0].shape == self.shape else None

    def load(self, dtype: mx.Dtype | None = None) -> mx.array:
        """The parameter as evaluated MLX array; without ``dtype`` in the file's own, float32 where it is fused."""
        if self.plain is not None:
            return self.plain.load(dtype)
        out = mx.array(self.read())
        out = out.astype(dtype or self.own_dtype) if mx.issubdtype(out.dtype, mx.floating) else out
        mx.eval(out)
        return out


def load_all(tensors: Mapping[str, Tensor | Entry], dtype: mx.Dtype | None) -> list[tuple[str, mx.array]]:
    """(name, parameter) of each as its ``load`` has it.

    Most of the time goes into making memory ready for the first time, which the cores of a Linux CPU share here.
    """
    straight: dict[str, Entry] = {}
    rooms: dict[str, mx.array] = {}
    if width() > 1 and (dtype is None or dtype == mx.float32):  # a cast would need the memory of both at once
        plain = {name: tensor if isinstance(tensor, Entry) else tensor.plain for name, tensor in tensors.items()}
        straight = {name: entry for name, entry in plain.items() if entry is not None and entry.dtype == "float32"}
        rooms = {n: e.room(stream) for (n, e), stream in zip(straight.items(), itertools.cycle(streams(width())))}
        mx.async_eval(*rooms.values())
    return [
        (name, straight[name].load(dtype, rooms.pop(name)) if name in rooms else tensor.load(dtype))
        for name, tensor in tensors.items()
    ]


def fuse(g: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Weight norm: ``g * v / |v|``, the norm over all axes but the first; computed in float64, a few rows at a time."""
    out = np.empty(v.shape, np.float32)
    rows = max(1, (1 << 20) // max(1, v[0].size)) if len(v) else 1
    for i in range(0, len(v), rows):
        part = v[i : i + rows].astype(np.float64)
        norm = np.sqrt((part * part).sum(axis=tuple(range(1, v.ndim)), keepdims=True))
        with np.errstate(divide="ignore", invalid="ignore"):
            out[i : i + rows] = part * (g[i : i + rows].astype(np.float64).reshape(norm.shape) / norm)
    return out


def plan(module: nn.Module, entries: dict[str, Entry], where: str) -> dict[str, Tensor]:
    """Parameter name -> Tensor for every parameter of ``module``, strictly.

    ``entries``: checkpoint keys below the module's prefix.  WeightsError lists every key that is missing, left over
    (empty tensors and keys in ``IGNORE`` may be) or of another shape than the config says.
    """
    wanted = parameters(module)
    found: dict[str, dict[str, Entry]] = {}
    spelled: dict[str, str] = {}
    for key, item in entries.items():
        base, half = split_half(key)
        name = rename(module, base)
        if name is None or (name not in wanted and not item.size):
            continue
        pieces = found.setdefault(name, {})
        if half in pieces or "whole" in pieces or (half == "whole" and pieces):
            raise WeightsError(f"{where}: {key} and {spelled[name]} are the same tensor; remove one")
        pieces[half], spelled[name] = item, key
    tensors, wrong = {}, []
    for name in wanted.keys() & found.keys():
        tensor = place(module, name, found[name], wanted[name].shape)
        if isinstance(tensor, str):
            wrong.append(f"{spelled[name]} {tensor}")
        else:
            tensors[name] = tensor
    check(where, missing=wanted.keys() - found.keys(), extra=[spelled[n] for n in found.keys() - wanted], wrong=wrong)
    return {name: tensors[name] for name in wanted}


def parameters(module: nn.Module) -> dict[str, mx.array]:
    """Every parameter of a module by its dotted name."""
    flat: Any = tree_flatten(module.parameters())
    return dict(flat)


def check(where: str, missing: Any, extra: Any, wrong: list[str]) -> None:
    """Raise a WeightsError that names all keys that do not fit; nothing when there are none."""
    parts = [
        f"{title} ({len(keys)}): {summary(sorted(keys))}"
        for title, keys in (("missing", missing), ("not in the model", extra), ("wrong shape", wrong))
        if keys
    ]
    if parts:
        raise WeightsError(f"{where} does not fit its model_config.json: " + "; ".join(parts))


def place(module: nn.Module, name: str, pieces: dict[str, Entry], shape: tuple[int, ...]) -> "Tensor | str":
    """Match what was found to a parameter of ``shape``; a string says what does not fit."""
    if len(pieces) == 1 and "whole" not in pieces:
        return "lacks the other half of its weight norm"
    entries = tuple(pieces[half] for half in ("g", "v", "whole") if half in pieces)
    *gain, item = entries
    axes = axes_of(owner(module, name)) if name.endswith("weight") else None
    axes = axes if axes and len(item.shape) == len(axes) else None
    turned = tuple(item.shape[a] for a in axes) if axes else item.shape
    if squeeze(turned) != squeeze(shape) or any(e.dtype not in FLOATS for e in entries):
        return f"is {item.dtype} {item.shape}, expected {published_shape(owner(module, name), name, shape)}"
    if gain and gain[0].size != item.shape[0]:
        return f"has a weight_g of shape {gain[0].shape}"
    return Tensor(entries, tuple(shape), axes)


def split_half(key: str) -> tuple[str, str]:
    """Checkpoint key -> (key of the whole weight, "g" or "v" of a weight norm, "whole" for everything else)."""
    for suffix, half in HALVES.items():
        if key.endswith("." + suffix):
            return key.removesuffix(suffix) + "weight", half
    return key, "whole"


def rename(module: Any, key: str) -> str | None:
    """Checkpoint key below ``module`` -> parameter name; None for keys that the classes ignore."""
    if any(re.search(pattern, key) for pattern in getattr(module, "IGNORE", ())):
        return None
    for pattern, replacement in getattr(module, "KEYS", ()):
        key = re.sub(pattern, replacement, key)
    head, dot, rest = key.partition(".")
    if not dot:
        return getattr(module, "NAMES", {}).get(key, key)
    tail = rename(child(module, head), rest)
    return None if tail is None else f"{head}.{tail}"


def original(module: Any, name: str) -> str:
    """The inverse of ``rename``: parameter name below ``module`` -> checkpoint key."""
    head, dot, rest = name.partition(".")
    if dot:
        name = f"{head}.{original(child(module, head), rest)}"
    else:
        name = next((k for k, v in getattr(module, "NAMES", {}).items() if v == name), name)
    for pattern, replacement in reversed(getattr(module, "KEYS", ())):
        name = re.sub(*invert(pattern, replacement), name)
    return name


def invert(pattern: str, replacement: str) -> Rule:
    """A rename rule backwards.  Rules are anchors, literal text and plain groups, the groups in the same order."""
    groups = re.findall(r"\([^()]*\)", pattern)
    parts = re.findall(r"\\(\d)|([^\\]+)", replacement)
    back = "".join(groups[int(n) - 1] if n else re.escape(text) for n, text in parts)
    number = itertools.count(1)
    forth = re.sub(r"\([^()]*\)", lambda _: f"\\{next(number)}", pattern.removeprefix("^").removesuffix("$"))
    back = "^" * pattern.startswith("^") + back + "$" * pattern.endswith("$")
    return back, forth.replace(r"\.", ".")


def child(module: Any, name: str) -> Any:
    """The child called ``name`` of a module, dict or list; None when there is none."""
    if isinstance(module, list | tuple):
        return module[int(name)] if name.isdigit() and int(name) < len(module) else None
    return module.get(name) if isinstance(module, dict) else None


def owner(module: nn.Module, name: str) -> Any:
    """The layer that owns parameter ``name``."""
    for part in name.split(".")[:-1]:
        module = child(module, part)
    return module


def axes_of(layer: Any) -> tuple[int, ...] | None:
    return next((axes for kind, axes in TRANSPOSE.items() if isinstance(layer, kind)), None)


def squeeze(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)


def published_shape(layer: Any, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A parameter's shape in the checkpoint."""
    leaf = name.rpartition(".")[2]
    axes = axes_of(layer) if leaf == "weight" else None
    if axes:
        return tuple(shape[axes.index(i)] for i in range(len(axes)))
    return tuple(shape)


def published_tensors(model: nn.Module) -> dict[str, tuple[tuple[int, ...], bool]]:
    """The list of tensors that the model's checkpoint has: key -> (PyTorch shape, is a buffer and no parameter)."""
    parts = ("dit", "autoencoder", "conditioner")
    out: dict[str, tuple[tuple[int, ...], bool]] = {}
    present = {part: model[part] for part in parts if isinstance(model.get(part), nn.Module)}
    alone = list(present) == ["autoencoder"]
    for part, module in present.items():
        prefix = "" if alone else DIFFUSION_PARTS[part]
        out |= {prefix + key: value for key, value in published_part(module)}
    return out


def published_part(module: nn.Module) -> Iterator[tuple[str, tuple[tuple[int, ...], bool]]]:
    """The checkpoint's tensors of one part, without prefix."""
    learned = dict(tree_flatten(module.trainable_parameters()))
    for name, value in parameters(module).items():
        layer, key = owner(module, name), original(module, name)
        shape, buffer = published_shape(layer, name, value.shape), name not in learned
        if getattr(layer, "WEIGHT_NORM", False) and name.endswith(".weight"):
            yield f"{key}_g", ((shape[0],) + (1,) * (len(shape) - 1), buffer)
            yield f"{key}_v", (shape, buffer)
        else:
            yield key, (shape, buffer)
    for path, below in module.named_modules():
        for name, shape in below.checkpoint_buffers().items() if hasattr(below, "checkpoint_buffers") else ():
            yield original(module, f"{path}.{name}" if path else name), (tuple(shape), True)
