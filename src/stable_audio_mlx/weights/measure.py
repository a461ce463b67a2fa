"""What storing a transformer in fewer bits does to what it computes: one step, two noise levels, random conditions.

It never is in memory as a whole: each matrix is read when the step comes to it and dropped after.
"""

import math
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_unflatten

from .. import cpu
from .layout import Tensor, parameters

FRAMES, TOKENS, LEVELS, SEED = 32, 16, (0.3, 0.8), 0
EQUAL = 200.0  # dB, for results that do not differ at all
Tensors = Callable[[Any], dict[str, Tensor]]


class ReadLinear(nn.Module):
    """A linear layer that reads its matrix each time."""

    def __init__(self, tensor: Tensor, dtype: mx.Dtype | None, bias: mx.array | None):
        super().__init__()
        self._tensor, self._dtype = tensor, dtype
        if bias is not None:
            self.bias = bias

    def __call__(self, x: mx.array) -> mx.array:
        """x: (..., C) -> (..., C')"""
        y = x @ self._tensor.load(self._dtype).T
        y = y + self.bias if "bias" in self else y
        mx.eval(y)
        return y


def velocity_snr(create: Callable[[], Any], exact: Tensors, stored: Tensors) -> float:
    """Signal-to-noise ratio in dB of the velocity from ``stored`` weights against that from ``exact`` ones in float32.

    ``create`` makes a transformer without weights, ``exact`` and ``stored`` plan its tensors.  The stored ones compute
    in the type that a generation on this device uses: float32 on the CPU, their own elsewhere.
    """
    cpu.setup()
    own = mx.float32 if mx.default_device() == mx.cpu else None
    wanted = velocity(create(), exact, mx.float32)
    noise = velocity(create(), stored, own) - wanted
    power, loss = float((wanted**2).sum()), float((noise**2).sum())
    return min(EQUAL, 10 * math.log10(power / loss)) if loss > 0 < power else EQUAL


def velocity(dit: Any, plan: Tensors, dtype: mx.Dtype | None) -> np.ndarray:
    """One evaluation of the transformer on seeded noise -> (B, T, C), float64"""
    tensors = plan(dit)
    widths = {name: value.shape for name, value in parameters(dit).items()}
    read_on_demand(dit, tensors, dtype)
    rest = [(name, tensors[name].load(dtype)) for name in parameters(dit)]
    dit.load_weights(rest, strict=True)
    rng = np.random.Generator(np.random.Philox(SEED))
    batch = len(LEVELS)

    def noise(frames: int | None, *layers: str) -> mx.array | None:
        """Random condition as wide as the first of ``layers`` that the transformer has; None without any."""
        width = next((widths[name][-1] for name in layers if name in widths), 0)
        shape = (batch, width) if frames is None else (batch, frames, width)
        return mx.array(rng.standard_normal(shape, dtype=np.float32)) if width else None

    channels = dit.io_channels
    beside = widths["preprocess_conv.weight"][-1] - channels
    x = mx.array(rng.standard_normal((batch, FRAMES * dit.patch_size, channels), dtype=np.float32))
    local = noise(1, "block_0.to_local_embed.layers.0.weight")
    conditioning = dit.condition(
        cross=noise(TOKENS, "to_cond_embed.layers.0.weight"),
        global_cond=noise(None, "to_global_embed.layers.0.weight"),
        local=None if local is None else mx.zeros_like(local),
        input_concat=mx.zeros((batch, x.shape[1], beside)) if beside else None,
        prepend=noise(1, "to_prepend_embed.layers.0.weight"),
    )
    out = dit(x, mx.array(LEVELS), conditioning)
    return np.array(out.astype(mx.float32)).astype(np.float64)


def read_on_demand(module: Any, tensors: dict[str, Tensor], dtype: mx.Dtype | None) -> None:
    """Replace the linear layers of a module."""
    layers = []
    for path, layer in module.named_modules():
        if type(layer) is nn.Linear:
            bias = tensors[f"{path}.bias"].load(dtype) if "bias" in layer else None
            layers.append((path, ReadLinear(tensors[f"{path}.weight"], dtype, bias)))
    module.update_modules(tree_unflatten(layers))
