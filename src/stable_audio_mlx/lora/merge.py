"""Tensors that come out of their file changed by LoRAs: float32 until they are done, then cast or quantised."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from ..weights.layout import Tensor
from ..weights.quantize import GROUP, QuantizedTensor
from .adapter import Adapter, Layer, changed, singular_bases


class Change(NamedTuple):
    """One LoRA's share in a weight."""

    adapter: Adapter
    layer: Layer
    strength: float


class Merger:
    """Applies changes to weights; keeps the singular vectors that -xs kinds ask for again and again."""

    def __init__(self) -> None:
        self._bases: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def merge(self, key: str, weight: mx.array, changes: Sequence[Change], turn: tuple[int, ...] | None) -> mx.array:
        """weight: as the module has it, float32 -> the same, each change acting on what the one before has left.

        ``turn``: axes that give PyTorch's layout.  On the CPU, where float32 products are never shortened.
        """
        with mx.stream(mx.cpu):
            torch = weight.transpose(turn) if turn else weight
            base = torch.reshape(torch.shape[0], -1)
            matrix = base
            for adapter, layer, strength in changes:
                bases = None
                if adapter.kind.needs_bases and strength:
                    bases = self._bases_of(key, base, layer)
                matrix = changed(adapter.kind, matrix, layer, strength, bases)
            out = matrix.reshape(torch.shape)
            out = out.transpose(tuple(np.argsort(turn).tolist())) if turn else out
            out = mx.contiguous(out)
            mx.eval(out)
        return out

    def _bases_of(self, key: str, base: mx.array, layer: Layer) -> tuple[mx.array, mx.array]:
        """A file's own bases, else those of the weight under all LoRAs."""
        if "U" in layer.tensors:
            return layer.tensors["U"].astype(mx.float32), layer.tensors["V"].astype(mx.float32)
        if key not in self._bases or self._bases[key][0].shape[1] < layer.rank:
            self._bases[key] = singular_bases(np.array(base), layer.rank)
        u, v = self._bases[key]
        return mx.array(u[:, : layer.rank]), mx.array(v[:, : layer.rank])


@dataclass(frozen=True)
class MergedTensor(Tensor):
    """A parameter whose base is read from ``base`` and changed by ``merge``."""

    base: Tensor
    merge: Callable[[mx.array], mx.array]

    def read(self) -> np.ndarray:
        return np.array(self.merge(self.base.load(mx.float32)))

    def load(self, dtype: mx.Dtype | None = None) -> mx.array:
        out = self.merge(self.base.load(mx.float32)).astype(dtype or self.base.own_dtype)
        mx.eval(out)
        return out


@dataclass(frozen=True)
class MergedQuantizedTensor(QuantizedTensor):
    """A quantised parameter: made plain, changed, and where it stays quantised, quantised again."""

    base: QuantizedTensor
    merge: Callable[[mx.array], mx.array]

    def load(self, dtype: mx.Dtype | None = None) -> mx.array:
        out = self.merge(self.base.load(mx.float32)).astype(dtype or mx.float32)
        mx.eval(out)
        return out

    def packed(self, dtype: mx.Dtype | None = None) -> tuple[mx.array, mx.array, mx.array]:
        weight, scales, biases = mx.quantize(self.load(), group_size=GROUP, bits=self.bits)
        own = dtype or getattr(mx, self.entries[1].dtype)
        return weight, scales.astype(own), biases.astype(own)


def merged_tensor(base: Tensor, merge: Callable[[mx.array], mx.array]) -> Tensor:
    if isinstance(base, QuantizedTensor):
        return MergedQuantizedTensor(base.entries, base.shape, base.axes, base.bits, base, merge)
    return MergedTensor(base.entries, base.shape, base.axes, base, merge)
