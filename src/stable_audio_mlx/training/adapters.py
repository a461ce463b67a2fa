"""LoRAs in training: layers whose weight is the frozen base's, changed by what is learned."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_unflatten

from ..errors import OptionError
from ..layers.recompute import recomputed
from ..lora.adapter import BASES, KINDS, Adapter, Layer, changed, singular_bases
from ..lora.patterns import chosen
from ..lora.stack import Target, find_targets
from ..models.factory import AudioModel
from ..weights.layout import owner

ALIASES = {"dora": "dora-rows"}


@dataclass(frozen=True)
class LoraSettings:
    """``alpha``: the update is scaled by alpha / rank, by default 1; ``include``, ``exclude``: ``lora.patterns``."""

    rank: int = 16
    alpha: float | None = None
    adapter_type: str = "dora-rows"
    dropout: float = 0.0
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def __post_init__(self):
        if self.rank < 1:
            raise OptionError(f"rank: {self.rank}, but it is at least 1")
        if self.type not in KINDS:
            raise OptionError(f"adapter type {self.adapter_type!r} is not one of dora, {', '.join(KINDS)}")
        if not 0 <= self.dropout < 1:
            raise OptionError(f"dropout: {self.dropout} must be from 0 to below 1")
        if self.alpha is not None and not (math.isfinite(self.alpha) and self.alpha > 0):
            raise OptionError(f"alpha: {self.alpha} must be positive")

    @property
    def type(self) -> str:
        return ALIASES.get(self.adapter_type, self.adapter_type)

    @property
    def scale(self) -> float:
        return 1.0 if self.alpha is None else self.alpha / self.rank


class AdaptedLayer(nn.Module):
    """A frozen linear layer or convolution ``base`` under a LoRA; U and V of the -xs kinds are frozen, too.

    The changed weight is not kept for the backward pass, but computed again: memory grows by the adapter alone.
    """

    def __init__(self, base: nn.Module, turn: tuple[int, ...] | None, settings: LoraSettings, rng: np.random.Generator):
        super().__init__()
        self.base = base
        self._turn, self._settings, self._kind = turn, settings, KINDS[settings.type]
        self._drawn = SimpleNamespace(kept=None)  # no state of the module: drawn anew before it is used
        matrix = np.array(self.matrix())
        rows, columns = matrix.shape
        if self._kind.needs_bases:
            u, v = singular_bases(matrix, settings.rank)
            self.U, self.V, self.M_xs = mx.array(u), mx.array(v), mx.zeros((settings.rank, settings.rank))
        else:
            # Kaiming's uniform distribution with a = sqrt(5), as PyTorch begins a linear layer.
            start = rng.uniform(-1, 1, (settings.rank, columns)) / math.sqrt(columns)
            self.lora_A, self.lora_B = mx.array(start.astype(np.float32)), mx.zeros((rows, settings.rank))
        for name, axis in self._kind.magnitudes:
            self[name] = mx.array(np.linalg.norm(matrix, axis=axis))
        mx.eval(self.parameters())
        self.freeze()
        self.unfreeze(keys=list(self._kind.tensors), recurse=False)

    @property
    def weight(self) -> mx.array:
        """The base's: what code that asks a layer for its type of numbers looks at."""
        return self.base.weight

    @property
    def learned(self) -> dict[str, mx.array]:
        return {name: self[name] for name in self._kind.tensors}

    def matrix(self) -> mx.array:
        """The base's weight as LoRAs see it, (out, in), float32."""
        weight = self.base.weight
        weight = weight.transpose(self._turn) if self._turn else weight
        return weight.reshape(weight.shape[0], -1).astype(mx.float32)

    def effective(self, learned: Mapping[str, mx.array] | None = None) -> mx.array:
        """The changed weight in the base's layout and type."""
        layer = Layer(dict(learned or self.learned), self._settings.scale)
        bases = (self.U, self.V) if self._kind.needs_bases else None
        out = changed(self._kind, self.matrix(), layer, 1.0, bases)
        if self._turn:
            shape = [self.base.weight.shape[i] for i in self._turn]
            out = out.reshape(shape).transpose(tuple(np.argsort(self._turn).tolist()))
        return out.astype(self.base.weight.dtype)

    def drop(self) -> None:
        """Draw which columns of lora_A are left out in what follows: apart from it, as that may be computed twice."""
        if self._settings.dropout and "lora_A" in self:
            keep = 1 - self._settings.dropout
            self._drawn.kept = mx.random.bernoulli(keep, (1, self.lora_A.shape[1])) / keep

    def __call__(self, x: mx.array) -> mx.array:
        learned = self.learned
        if self._drawn.kept is not None:
            learned["lora_A"] = learned["lora_A"] * self._drawn.kept
        return recomputed(self._run)(learned, x)

    def _run(self, learned: dict[str, mx.array], x: mx.array) -> mx.array:
        own, self.base.weight = self.base.weight, self.effective(learned)
        try:
            return self.base(x)
        finally:
            self.base.weight = own


def adapt(built: AudioModel, settings: LoraSettings, seed: int = 0) -> dict[str, AdaptedLayer]:
    """Put LoRAs on the layers of transformer and conditioners that the settings choose; all else is frozen.

    -> the layers by the names they have in files.  OptionError where none is left or a rank is too large.
    """
    targets = {native_name(key): target for key, target in find_targets(built).items()}
    names = chosen(targets, settings.include, settings.exclude)
    if not names:
        raise OptionError("no layer is left after --include and --exclude; lora info --layers lists their names")
    if KINDS[settings.type].needs_bases:
        small = [name for name in names if settings.rank > min(folded(targets[name]))]
        if small:
            raise OptionError(f"rank {settings.rank} is more than {small[0]} has; take less, or --exclude it")
    rng = np.random.default_rng((seed, 4))
    layers: dict[str, AdaptedLayer] = {}
    places: dict[str, dict[str, AdaptedLayer]] = {}
    for part in ("dit", "conditioner"):
        if (module := getattr(built, part)) is not None:
            module.freeze()
    for name in names:
        target = targets[name]
        place = target.name.removesuffix(".weight")
        layer = owner(built[target.part], target.name)
        layers[name] = places.setdefault(target.part, {})[place] = AdaptedLayer(layer, target.turn, settings, rng)
    for part, found in places.items():
        built[part].update_modules(tree_unflatten(list(found.items())))
    return layers


def native_name(key: str) -> str:
    """What LoRA files call the layer of a checkpoint's weight."""
    name = key.removesuffix(".weight")
    return name.removeprefix("conditioner.") if name.startswith("conditioner.") else name.removeprefix("model.")


def folded(target: Target) -> tuple[int, int]:
    """Rows and columns of a weight as a matrix."""
    return target.shape[0], math.prod(target.shape[1:])


def as_adapter(layers: Mapping[str, AdaptedLayer], settings: LoraSettings, extra: Mapping[str, Any]) -> Adapter:
    """What was learned so far as a LoRA to be written: float16, as the reference stores them."""
    found = {
        name: Layer({key: value.astype(mx.float16) for key, value in layer.learned.items()}, settings.scale)
        for name, layer in layers.items()
    }
    own = {"dropout": settings.dropout, **choice(layers, settings)}
    alpha = settings.scale * settings.rank
    return Adapter(Path("training"), "native", settings.type, found, settings.rank, alpha, {**own, **extra})


def choice(layers: Iterable[str], settings: LoraSettings) -> dict[str, list[str] | None]:
    """include and exclude as Stable Audio 3's loader has to read them to find these very layers.

    It looks for plain substrings, and its brackets do not mean what its documentation promises; where ours would be
    read differently there, the layers stand by their names.
    """
    patterns = [*settings.include, *settings.exclude]
    if any("[" in pattern or pattern.startswith(".") for pattern in patterns):
        return {"include": list(layers), "exclude": None}
    return {"include": list(settings.include) or None, "exclude": list(settings.exclude) or None}


def take_over(layers: Mapping[str, AdaptedLayer], adapter: Adapter, settings: LoraSettings) -> None:
    """Begin with a LoRA that was trained before.  OptionError where it is of another kind, rank or scale."""
    if (adapter.type, adapter.rank) != (
        settings.type,
        settings.rank,
    ) or adapter.alpha != settings.scale * settings.rank:
        raise OptionError(
            f"{adapter.path}: is {adapter.type} of rank {adapter.rank} and alpha {adapter.alpha:g}; "
            "give the same --adapter-type, --rank and --lora-alpha"
        )
    common = adapter.layers.keys() & layers.keys()
    if not common:
        raise OptionError(f"{adapter.path}: has none of the layers that are trained")
    for name in common:
        for key, tensor in adapter.layers[name].tensors.items():
            if key not in BASES:
                layers[name][key] = tensor.astype(mx.float32)
