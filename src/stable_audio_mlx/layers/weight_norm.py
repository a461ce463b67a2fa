"""Weight norm as it is trained (https://arxiv.org/abs/1602.07868): a direction and a length for each channel.

Models hold the product, which is what inference needs.  ``normalize`` splits it for training, ``fused`` joins what was
trained; the names and meanings are those of PyTorch's checkpoints, the layout is MLX's.
"""

from functools import cache
from typing import Any

import mlx.core as mx
import mlx.nn as nn

TRANSPOSED_AXES, AXES = (0, 1), (1, 2)  # of (Out, K, In); PyTorch's transposed convolutions have one length per input


def joined(g: mx.array, v: mx.array) -> mx.array:
    """g * v / |v|, the norm over all axes on which ``g`` has one entry."""
    axes = tuple(i for i, n in enumerate(g.shape) if n == 1)
    return v * (g / mx.sqrt(v.square().sum(axis=axes, keepdims=True)))


@cache
def normalized(kind: type[nn.Module]) -> type[nn.Module]:
    """The class of a convolution that makes its weight of the parameters ``weight_g`` and ``weight_v``."""
    return type(f"Normalized{kind.__name__}", (kind,), {"weight": property(lambda c: joined(c.weight_g, c.weight_v))})


def normalize(module: nn.Module) -> None:
    """Split the weight of every convolution whose checkpoints do: v is the weight, g its length."""
    for layer in module.modules():
        if getattr(layer, "WEIGHT_NORM", False) and "weight" in layer:
            axes = TRANSPOSED_AXES if isinstance(layer, nn.ConvTranspose1d) else AXES
            weight = layer.pop("weight")
            kind: Any = type(layer)
            layer.__class__ = normalized(kind)
            layer.weight_v, layer.weight_g = weight, mx.sqrt(weight.square().sum(axis=axes, keepdims=True))


def fused(parameters: dict[str, mx.array]) -> dict[str, mx.array]:
    """Parameters by dotted name with every ``weight_g`` and ``weight_v`` as their product ``weight``."""
    out: dict[str, Any] = {}
    for name, value in parameters.items():
        base, dot, leaf = name.rpartition(".")
        if leaf == "weight_v":
            out[f"{base}{dot}weight"] = joined(parameters[f"{base}{dot}weight_g"], value)
        elif leaf != "weight_g":
            out[name] = value
    return out
