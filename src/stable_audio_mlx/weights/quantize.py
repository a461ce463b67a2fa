"""Quantised weights: which matrices, how they are stored, how they come back.

``mx.quantize``: groups of 64 numbers of a row share a scale and a bias.  A matrix ``x.weight`` becomes three arrays,
``x.weight`` (packed into uint32), ``x.scales`` and ``x.biases``.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from .arrays import FLOATS, Entry
from .layout import Tensor, load_all

BITS, GROUP = (8, 4), 64
# A matrix with a side below this saves nothing that could be noticed.
MIN_SIDE = 512
# What reads or writes the latents, or makes the conditions of all blocks: little of the size, much of the error.
SENSITIVE = re.compile(r"(^|\.)(project_in|project_out|to_\w+_embed|global_cond_embedder)\b")


@dataclass(frozen=True)
class QuantizedTensor(Tensor):
    """One parameter stored quantised; ``entries`` are its packed weight, scales and biases."""

    bits: int

    @property
    def nbytes(self) -> int:
        return sum(entry.nbytes for entry in self.entries)

    def read(self) -> np.ndarray:
        return np.array(self.load(mx.float32))

    def load(self, dtype: mx.Dtype | None = None) -> mx.array:
        """The parameter dequantised, as evaluated MLX array."""
        weight, scales, biases = self.packed(mx.float32)
        out = mx.dequantize(weight, scales, biases, group_size=GROUP, bits=self.bits)
        out = out.astype(dtype) if dtype is not None else out
        mx.eval(out)
        return out

    def packed(self, dtype: mx.Dtype | None = None) -> tuple[mx.array, mx.array, mx.array]:
        """Weight, scales and biases as they are; ``dtype`` casts the last two."""
        weight, scales, biases = self.entries
        return weight.load(), scales.load(dtype), biases.load(dtype)

    @staticmethod
    def names(name: str) -> tuple[str, str, str]:
        """Parameter ``x.weight`` -> the names of the arrays that it is stored in."""
        stem = name.removesuffix("weight")
        return name, f"{stem}scales", f"{stem}biases"


def quantized(entries: Mapping[str, Entry], name: str, shape: tuple[int, ...]) -> QuantizedTensor | str | None:
    """Parameter ``name`` of ``shape`` where ``entries`` hold it quantised, None where not; a string is a complaint."""
    weight, scales, biases = (entries.get(key) for key in QuantizedTensor.names(name))
    if not name.endswith("weight") or weight is None or (scales is None and biases is None):
        return None
    if scales is None or biases is None:
        return "lacks its scales or biases"
    fits = len(shape) == 2 and shape[1] % GROUP == 0 and weight.dtype == "uint32"
    bits = next((b for b in BITS if fits and weight.shape == packed_shapes(shape, b)[0]), None)
    if bits is None:
        return f"is quantised to {weight.dtype} {weight.shape}, which does not fit {shape}"
    groups = packed_shapes(shape, bits)[1]
    if not scales.shape == biases.shape == groups or scales.dtype not in FLOATS or biases.dtype != scales.dtype:
        return f"has scales of shape {scales.shape}, expected {groups}"
    return QuantizedTensor((weight, scales, biases), tuple(shape), None, bits)


def quantizable(module: nn.Module) -> list[str]:
    """Names of the parameters that ``convert --quantize`` quantises: large matrices, but for ``SENSITIVE`` ones."""
    return [
        f"{path}.weight"
        for path, layer in module.named_modules()
        if type(layer) is nn.Linear
        and min(layer.weight.shape) >= MIN_SIDE
        and layer.weight.shape[1] % GROUP == 0
        and not SENSITIVE.search(path)
    ]


def packed_shapes(shape: tuple[int, ...], bits: int) -> tuple[tuple[int, int], ...]:
    """Shapes of packed weight, scales and biases of a matrix."""
    rows, columns = shape
    return (rows, columns * bits // 32), (rows, columns // GROUP), (rows, columns // GROUP)


class Packing:
    """A matrix on its way to disk: quantised once, handed out as the three arrays it is stored in."""

    def __init__(self, read: Callable[[], np.ndarray], bits: int, dtype: mx.Dtype):
        self._read, self._bits, self._dtype = read, bits, dtype
        self._ready: dict[int, np.ndarray] = {}

    def array(self, index: int) -> np.ndarray:
        """0: packed weight, 1: scales, 2: biases; each can be taken once."""
        if not self._ready:
            matrix = mx.array(self._read()).astype(self._dtype)
            weight, scales, biases = mx.quantize(matrix, group_size=GROUP, bits=self._bits)
            self._ready = {0: np.array(weight)}
            self._ready |= {i + 1: np.array(a.astype(mx.float32)) for i, a in enumerate((scales, biases))}
        return self._ready.pop(index)


def load_into(module: nn.Module, tensors: Mapping[str, Tensor | Entry], dtype: mx.Dtype | None) -> None:
    """Read parameters into ``module``; ``dtype`` casts them.

    Quantised ones stay so, in quantised layers, unless MLX computes on the CPU, which has no fast form of them.
    """
    packed = {n: t for n, t in tensors.items() if isinstance(t, QuantizedTensor)}
    if packed and mx.default_device() != mx.cpu:
        keep_packed(module, packed, dtype)
        tensors = {n: t for n, t in tensors.items() if n not in packed}
    module.load_weights(load_all(tensors, dtype), strict=False)


def keep_packed(module: nn.Module, tensors: Mapping[str, QuantizedTensor], dtype: mx.Dtype | None) -> None:
    """Replace the layers of these parameters by quantised ones and read their arrays as they are."""
    for bits in BITS:
        names = {name for name, tensor in tensors.items() if tensor.bits == bits}
        nn.quantize(module, GROUP, bits, class_predicate=partial(among, names))
    module.load_weights(packed_arrays(tensors, dtype), strict=False)


def packed_arrays(tensors: Mapping[str, QuantizedTensor], dtype: mx.Dtype | None) -> list[tuple[str, mx.array]]:
    return [pair for n, t in tensors.items() for pair in zip(t.names(n), t.packed(dtype), strict=True)]


def read_again(module: nn.Module, tensors: Mapping[str, Tensor], dtype: mx.Dtype | None) -> None:
    """Read parameters into a module that ``load_into`` has filled before."""
    on_cpu = mx.default_device() == mx.cpu
    packed = {n: t for n, t in tensors.items() if isinstance(t, QuantizedTensor) and not on_cpu}
    whole = load_all({name: tensor for name, tensor in tensors.items() if name not in packed}, dtype)
    module.load_weights(whole + packed_arrays(packed, dtype), strict=False)


def among(names: set[str], path: str, layer: nn.Module) -> bool:
    return f"{path}.weight" in names
