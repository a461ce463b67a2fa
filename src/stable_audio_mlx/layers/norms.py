"""Normalisation layers of the transformers, over the last axis."""

import mlx.core as mx
import mlx.nn as nn

from ..cpu import fast_forms
from .activations import tanh

# What stable-audio-tools calls the parameters of its own norms.
NAMES = {"gamma": "weight", "beta": "bias"}


class WithConstants(nn.Module):
    """Mixin: parameters that are kept in files, as in the checkpoints, but never trained."""

    def keep(self, constants: list[str]) -> None:
        """These are constants from now on."""
        self._constants = constants
        self.freeze(keys=constants, recurse=False)

    def unfreeze(
        self, *, recurse: bool = True, keys: str | list[str] | None = None, strict: bool = False
    ) -> "WithConstants":
        super().unfreeze(recurse=recurse, keys=keys, strict=strict)
        self.freeze(keys=self._constants, recurse=False)
        return self


def mean(x: mx.array) -> mx.array:
    """x: (..., D) float32 -> (..., 1); as a product, twice as fast as MLX's reduction on the CPU."""
    return x @ mx.full((x.shape[-1], 1), 1 / x.shape[-1])


class PlainLayerNorm(nn.LayerNorm):
    """PyTorch's layer norm, by its names."""

    def __call__(self, x: mx.array) -> mx.array:
        """x: (..., D) -> (..., D)"""
        if not fast_forms() or x.dtype != mx.float32:
            return super().__call__(x)
        x = x - mean(x)
        return x * mx.rsqrt(mean(x * x) + self.eps) * self.weight + self.bias


class LayerNorm(WithConstants, PlainLayerNorm):
    """Layer norm whose bias (and scale) may be constants."""

    NAMES = NAMES

    def __init__(self, dim: int, eps: float = 1e-5, bias: bool = False, fix_scale: bool = False):
        super().__init__(dim, eps=eps)
        self.keep([*([] if bias else ["bias"]), *(["weight"] if fix_scale else [])])


class RMSNorm(WithConstants, nn.RMSNorm):
    """Root mean square norm; the scale may be a constant."""

    NAMES = NAMES

    def __init__(self, dim: int, eps: float = 1e-5, fix_scale: bool = False):
        super().__init__(dim, eps=eps)
        self.keep(["weight"] if fix_scale else [])

    def __call__(self, x: mx.array) -> mx.array:
        """x: (..., D) -> (..., D)"""
        if not fast_forms() or x.dtype != mx.float32:
            return super().__call__(x)
        return x * mx.rsqrt(mean(x * x) + self.eps) * self.weight


class DynamicTanh(nn.Module):
    """``weight * tanh(alpha * x) + bias`` with one scalar alpha (https://arxiv.org/abs/2503.10622)."""

    NAMES = NAMES

    def __init__(self, dim: int, alpha: float = 4.0):
        super().__init__()
        self.alpha = mx.full((1,), alpha)
        self.weight = mx.ones((dim,))
        self.bias = mx.zeros((dim,))

    def __call__(self, x: mx.array) -> mx.array:
        """x: (..., D) -> (..., D)"""
        return self.weight * tanh(self.alpha * x) + self.bias


class UnitNorm(nn.Module):
    """``x / |x|``, without parameters."""

    def __call__(self, x: mx.array) -> mx.array:
        """x: (..., D) -> (..., D)"""
        length = mx.linalg.norm(x.astype(mx.float32), axis=-1, keepdims=True)
        return (x / mx.maximum(length, 1e-12)).astype(x.dtype)
