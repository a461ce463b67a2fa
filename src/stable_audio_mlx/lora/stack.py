"""LoRAs on a model: which of its weights each file changes, in which order and how strongly.

Files are stacked in the order they are given: the second changes what the first has left.  Base weights are not kept in
memory: a change of strength reads the touched ones from the model's file again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from .. import cpu
from ..errors import OptionError, WeightsError
from ..options import number
from ..weights.checkpoint import DIFFUSION_PARTS, summary
from ..weights.layout import Tensor, axes_of, original, owner, parameters, published_shape
from ..weights.source import ConvertedModel, ModelSource, open_model
from .adapter import Adapter
from .files import read_lora, weights_file
from .merge import Change, Merger, merged_tensor
from .peft import CONFIG

PARTS = ("dit", "conditioner")
FILES = 8  # how many files are remembered for runs that bring their own
# What a file's name of a layer may lack of the checkpoint's: native transformer, native conditioner, nothing, bare DiT.
ROOTS = ("model.", "conditioner.", "", "model.model.")


class Target(NamedTuple):
    """A weight that a LoRA can change: its part, our name, PyTorch's shape, axes from our layout to PyTorch's."""

    part: str
    name: str
    shape: tuple[int, ...]
    turn: tuple[int, ...] | None


@dataclass(frozen=True, eq=False)
class Fit:
    """A LoRA on this model: checkpoint key of each weight it changes -> name of the file's layer; weights there are."""

    adapter: Adapter
    keys: Mapping[str, str]
    total: int

    def __str__(self) -> str:
        a = self.adapter
        return f"{a.name}: changes {len(self.keys)} of {self.total} layers ({a.type}, rank {a.rank})"


def find_targets(model: nn.Module) -> dict[str, Target]:
    """Checkpoint key -> Target for every matrix and kernel of the transformer and the conditioners."""
    out = {}
    for part in PARTS:
        module = model.get(part)
        if not isinstance(module, nn.Module):
            continue
        for name, value in parameters(module).items():
            key = DIFFUSION_PARTS[part] + original(module, name)
            layer = owner(module, name)
            if key.endswith(".weight") and isinstance(layer, nn.Linear | nn.Conv1d):
                axes = axes_of(layer)
                turn = tuple(int(i) for i in np.argsort(axes)) if axes else None
                out[key] = Target(part, name, published_shape(layer, name, value.shape), turn)
    return out


def fit(adapter: Adapter, targets: Mapping[str, Target], model: str) -> Fit:
    """Find each layer's weight.  WeightsError lists every layer that fits nothing."""
    keys: dict[str, str] = {}
    unknown, wrong = [], []
    for name, layer in adapter.layers.items():
        key = next((k for root in ROOTS if (k := f"{root}{name}.weight") in targets), None)
        if key is None:
            unknown.append(name)
            continue
        rows, *rest = targets[key].shape
        misfit = layer.misfit(adapter.kind, rows, int(np.prod(rest)))
        if misfit or key in keys:
            wrong.append(f"{name} {misfit or 'a second time'}")
        keys[key] = name
    if unknown or wrong:
        parts = [f"layers that the model does not have ({len(unknown)}): {summary(unknown)}"] * bool(unknown)
        parts += [f"of another size ({len(wrong)}): {summary(wrong[:3])}{', ...' * (len(wrong) > 3)}"] * bool(wrong)
        none = "is not for" if len(unknown) + len(wrong) == len(adapter.layers) else "does not fit"
        raise WeightsError(f"{adapter.path} {none} {model}: {'; '.join(parts)}")
    return Fit(adapter, keys, len(targets))


class LoraStack:
    """The LoRAs of one model, in order, each with its strength; ``adapt`` is what the model's source is given.

    ``add`` and ``set_strength`` change what stays; ``select`` says what acts now.
    """

    def __init__(self, source: ModelSource):
        self._source, self._merger = source, Merger()
        self._targets: dict[str, Target] = {}
        self._files: dict[tuple[tuple[Path, int], ...], Fit] = {}
        self._acting: list[tuple[Fit, float]] = []
        self.loras: list[tuple[Fit, float]] = []
        source.adapt = self.adapt

    def read(self, path: str | Path) -> Fit:
        """A file's fit to this model, read once while it stays the same.

        WeightsError for a file that is damaged or does not fit.
        """
        place = weights_file(path)
        state = tuple((f, f.stat().st_mtime_ns) for f in (place, place.with_name(CONFIG)) if f.is_file())
        if state not in self._files:
            self._targets = self._targets or find_targets(self._source.create())
            self._files[state] = fit(read_lora(place), self._targets, self._source.name)
            if len(self._files) > FILES:
                del self._files[next(iter(self._files))]
        return self._files[state]

    def add(self, path: str | Path, strength: float = 1.0) -> Fit:
        """Put a LoRA on top of the others."""
        found = self.read(path)
        self.loras.append((found, checked_strength(strength)))
        return found

    def set_strength(self, strength: float, index: int | None = None) -> None:
        """Of the LoRA added as number ``index`` (from 0), or of all.  OptionError when there is none."""
        strength = checked_strength(strength)
        if not self.loras or (index is not None and not -len(self.loras) <= index < len(self.loras)):
            raise OptionError(
                f"set_lora_strength: there is no LoRA{'' if index is None else f' {index}'}; load_lora first"
            )
        chosen = range(len(self.loras)) if index is None else [index % len(self.loras)]
        for i in chosen:
            self.loras[i] = (self.loras[i][0], strength)

    def select(self, more: Sequence[tuple[Fit, float]] = ()) -> dict[str, set[str]]:
        """Let the added LoRAs and ``more`` act.  -> the parameters of each part that are other ones now."""
        before, self._acting = self._acting, [(f, s) for f, s in (*self.loras, *more) if s]
        if before == self._acting:
            return {}
        names: dict[str, set[str]] = {}
        for found, _ in (*before, *self._acting):
            for key in found.keys:
                names.setdefault(self._targets[key].part, set()).add(self._targets[key].name)
        return names

    def adapt(self, part: str, module: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """A part's tensors with the LoRAs that act; the others are the very same objects."""
        changes: dict[str, list[Change]] = {}
        for found, strength in self._acting:
            for key, layer in found.keys.items():
                changes.setdefault(key, []).append(Change(found.adapter, found.adapter.layers[layer], strength))
        out = dict(tensors)
        for key, mine in changes.items():
            target = self._targets[key]
            if target.part == part:
                merge = partial(self._merge, key, mine)
                out[target.name] = merged_tensor(tensors[target.name], merge)
        return out

    def _merge(self, key: str, changes: Sequence[Change], weight: mx.array) -> mx.array:
        out = self._merger.merge(key, weight, changes, self._targets[key].turn)
        if not mx.isfinite(out).all().item():
            raise WeightsError(f"{changes[-1].adapter.path}: {key} becomes not finite; lower the strength")
        return out


def checked_strength(strength: float) -> float:
    if not number(strength):
        raise OptionError(f"lora: strength {strength!r} must be a number; 1 is as trained, 0 is off")
    return float(strength)


def lora_effective_weights(
    checkpoint: str | Path, loras: Sequence[tuple[str | Path, float]], keys: Sequence[str]
) -> dict[str, mx.array]:
    """Weights with LoRAs merged, by checkpoint key, float32, in the layout of model.safetensors (out, in[, kernel]).

    Raises WeightsError for LoRAs that do not fit and keys that are no weights of the transformer or the conditioners.
    """
    cpu.setup()
    source = open_model(checkpoint)
    stack, built = LoraStack(source), source.create()
    for path, strength in loras:
        stack.add(path, strength)
    stack.select()
    targets = find_targets(built)
    lost = [key for key in keys if key not in targets]
    if lost:
        raise WeightsError(f"{source.name}: no weights that a LoRA could change: {summary(lost)}")
    tensors = {part: source.adapted(part, built[part]) for part in PARTS if built[part]}
    out = {}
    for key in keys:
        part, name, shape, turn = targets[key]
        tensor = tensors[part][name]
        weight = tensor.load(mx.float32)
        weight = weight.transpose(turn) if turn else weight
        out[key] = weight.reshape(shape if isinstance(source, ConvertedModel) else tensor.entries[-1].shape)
    return out
