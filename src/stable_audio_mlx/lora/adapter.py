"""What a LoRA is: adapter kinds, the tensors of each layer, and the weight that comes of them.

Everything works on a weight as a matrix W (out, in), a convolution's kernel folded into ``in`` as PyTorch lays it out.
Kinds: LoRA (Hu et al. 2021), DoRA (Liu et al. 2024) by rows or columns, BoRA (both), and LoRA-XS (Bałazy et al. 2024),
which trains a small matrix between the singular vectors of W.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

EPSILON = 1e-12  # added to every norm
# Below this share of the largest one, singular values are not to be had from squares.
SMALLEST = 1e-10


@dataclass(frozen=True)
class Kind:
    """``core``: the trained tensors of the update; ``magnitudes``: (tensor, axis its norms run over), in order."""

    core: tuple[str, ...]
    magnitudes: tuple[tuple[str, int], ...] = ()

    @property
    def tensors(self) -> tuple[str, ...]:
        return self.core + tuple(name for name, _ in self.magnitudes)

    @property
    def needs_bases(self) -> bool:
        return self.core == XS


AB, XS = ("lora_A", "lora_B"), ("M_xs",)
BASES = ("U", "V")
ROWS, COLUMNS = (("magnitude", 1),), (("magnitude", 0),)
BOTH = (("magnitude_r", 1), ("magnitude_c", 0))
KINDS = {
    "lora": Kind(AB),
    "dora-rows": Kind(AB, ROWS),
    "dora-cols": Kind(AB, COLUMNS),
    "bora": Kind(AB, BOTH),
    "lora-xs": Kind(XS),
    "dora-rows-xs": Kind(XS, ROWS),
    "dora-cols-xs": Kind(XS, COLUMNS),
    "bora-xs": Kind(XS, BOTH),
}


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer's tensors as the file has them, matrices 2-D and magnitudes 1-D; ``scale`` is alpha / rank."""

    tensors: Mapping[str, mx.array]
    scale: float

    @property
    def rank(self) -> int:
        return next(self.tensors[name] for name in ("lora_A", "M_xs") if name in self.tensors).shape[0]

    def misfit(self, kind: Kind, rows: int, columns: int) -> str | None:
        """What keeps this layer from changing a matrix (rows, columns); None if nothing does."""
        rank = self.rank
        wanted = {
            "lora_A": (rank, columns),
            "lora_B": (rows, rank),
            "M_xs": (rank, rank),
            "U": (rows, rank),
            "V": (columns, rank),
            **{name: (rows,) if axis else (columns,) for name, axis in kind.magnitudes},
        }
        for name, tensor in self.tensors.items():
            if tensor.shape != wanted[name]:
                return f"{name} {tensor.shape}, wanted {wanted[name]}"
        too_much = kind.needs_bases and rank > min(rows, columns)
        return f"rank {rank} is more than {min(rows, columns)}" if too_much else None


@dataclass(frozen=True, eq=False)
class Adapter:
    """A LoRA file: its layers by the names the file has, and what its metadata says (``extra``: what is not used)."""

    path: Path
    format: str  # "native" or "peft"
    type: str
    layers: Mapping[str, Layer]
    rank: int
    alpha: float
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What a user calls it: the file, or the PEFT folder."""
        return self.path.parent.name if self.path.stem == "adapter_model" else self.path.name

    @property
    def kind(self) -> Kind:
        return KINDS[self.type]

    @property
    def parameters(self) -> int:
        return sum(t.size for layer in self.layers.values() for t in layer.tensors.values())


def changed(
    kind: Kind, weight: mx.array, layer: Layer, strength: float, bases: tuple[mx.array, mx.array] | None = None
) -> mx.array:
    """weight: (out, in), float32 -> the weight with the LoRA at ``strength``.

    ``bases`` (U (out, r), V (in, r)) are wanted by the -xs kinds.  With magnitudes the result is the new direction
    times the trained magnitude at any strength but 0, so strength does not fade to the base weight; 0 is the base.
    """
    if strength == 0:
        return weight
    tensors = {name: tensor.astype(mx.float32) for name, tensor in layer.tensors.items()}
    if kind.needs_bases:
        assert bases is not None
        delta = (bases[0] @ tensors["M_xs"]) @ bases[1].T
    else:
        delta = tensors["lora_B"] @ tensors["lora_A"]
    out = weight + (layer.scale * strength) * delta
    for name, axis in kind.magnitudes:
        norm = mx.sqrt((out * out).sum(axis, keepdims=True))
        out = out / (norm + EPSILON) * mx.expand_dims(tensors[name], axis)
    return out


def singular_bases(weight: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """weight: (out, in) -> U (out, rank), V (in, rank): the leading singular vectors, float32.

    Signs are fixed as LoRA-XS files want them: the largest entry of each column of U is positive.
    """
    w = weight.astype(np.float64)
    tall = w.shape[0] >= w.shape[1]
    squares, vectors = np.linalg.eigh(w.T @ w if tall else w @ w.T)
    squares, vectors = squares[::-1][:rank], vectors[:, ::-1][:, :rank]
    if squares[-1] > SMALLEST * squares[0]:
        other = (w @ vectors if tall else w.T @ vectors) / np.sqrt(squares)
        u, v = (other, vectors) if tall else (vectors, other)
    else:
        u, _, vt = np.linalg.svd(w, full_matrices=False)
        u, v = u[:, :rank], vt[:rank].T
    signs = np.where(u[np.abs(u).argmax(0), np.arange(rank)] < 0, -1.0, 1.0)
    return (u * signs).astype(np.float32), (v * signs).astype(np.float32)
