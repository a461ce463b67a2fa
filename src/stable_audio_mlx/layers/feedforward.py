"""The feed-forward branch of a transformer block, and the Conformer's convolution branch."""

import mlx.core as mx
import mlx.nn as nn

from ..cpu import fast_forms
from .activations import GATES
from .block_config import BlockConfig
from .norms import LayerNorm


def make_linear(dim_in: int, dim_out: int, bias: bool = True, kernel: int = 1) -> nn.Module:
    if kernel == 1:
        return nn.Linear(dim_in, dim_out, bias=bias)
    return nn.Conv1d(dim_in, dim_out, kernel, padding=kernel // 2, bias=bias)


class GatedLinear(nn.Module):
    """Two projections, one gated by the other (SwiGLU, https://arxiv.org/abs/2002.05202); value first, gate second."""

    def __init__(self, dim_in: int, dim_out: int, gate: str = "silu"):
        super().__init__()
        self.proj = nn.Linear(dim_in, dim_out * 2)
        self.gate = gate

    def __call__(self, x: mx.array) -> mx.array:
        """x: (B, T, C) -> (B, T, C')"""
        if fast_forms() and type(self.proj) is nn.Linear:  # halves of one product's result would be read with gaps
            halves = zip(mx.split(self.proj.weight, 2), mx.split(self.proj.bias, 2), strict=True)
            return GATES[self.gate](*(x @ weight.T + bias for weight, bias in halves))
        return GATES[self.gate](*mx.split(self.proj(x), 2, axis=-1))


class FeedForward(nn.Module):
    def __init__(self, cfg: BlockConfig):
        super().__init__()
        inner, kernel = int(cfg.dim * cfg.ff_mult), cfg.ff_kernel
        first: nn.Module
        if cfg.ff_gate:
            first = GatedLinear(cfg.dim, inner, cfg.ff_gate)
        else:
            first = nn.Sequential(nn.Identity(), make_linear(cfg.dim, inner, cfg.ff_bias, kernel), nn.SiLU())
        # The identities keep the checkpoint's indices.
        self.ff = nn.Sequential(first, nn.Identity(), make_linear(inner, cfg.dim, cfg.ff_bias, kernel))

    def __call__(self, x: mx.array) -> mx.array:
        """x: (B, T, D) -> (B, T, D)"""
        return self.ff(x)


class Conformer(nn.Module):
    """Convolution branch of the Conformer (https://arxiv.org/abs/2005.08100), layer norm in place of batch norm."""

    def __init__(self, cfg: BlockConfig):
        super().__init__()
        self.in_norm = LayerNorm(cfg.dim, cfg.norm_eps, cfg.norm_bias, cfg.norm_fix_scale)
        self.pointwise_conv = nn.Conv1d(cfg.dim, cfg.dim, 1, bias=False)
        self.glu = GatedLinear(cfg.dim, cfg.dim)
        self.depthwise_conv = nn.Conv1d(cfg.dim, cfg.dim, 17, padding=8, groups=cfg.dim, bias=False)
        self.mid_norm = LayerNorm(cfg.dim, cfg.norm_eps, cfg.norm_bias, cfg.norm_fix_scale)
        self.pointwise_conv_2 = nn.Conv1d(cfg.dim, cfg.dim, 1, bias=False)

    def __call__(self, x: mx.array) -> mx.array:
        """x: (B, T, D) -> (B, T, D)"""
        x = self.depthwise_conv(self.glu(self.pointwise_conv(self.in_norm(x))))
        return self.pointwise_conv_2(nn.silu(self.mid_norm(x)))
