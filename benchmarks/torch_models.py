"""The same shapes in plain PyTorch, random weights: what a careful PyTorch program needs for the same work.

It is written for speed comparisons only: keys and values of the cross-attention are given, as in this project, though
the published PyTorch pipeline computes them at every step.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Attention with norms on queries and keys and rotary positions on half of each head."""

    def __init__(self, width: int, heads: int, outputs: int, qk_norm: bool):
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.project, self.out = nn.Linear(width, outputs, bias=False), nn.Linear(width, width, bias=False)
        self.q_norm = nn.LayerNorm(self.size) if qk_norm else nn.Identity()
        self.k_norm = nn.LayerNorm(self.size) if qk_norm else nn.Identity()

    def split(self, x: Tensor) -> Tensor:
        """x: (B, T, H D) -> (B, H, T, D)"""
        return x.unflatten(-1, (-1, self.size)).transpose(1, 2)

    def forward(self, x: Tensor, table: tuple[Tensor, Tensor] | None, context: tuple[Tensor, Tensor] | None) -> Tensor:
        """x: (B, T, D); table: cosines and sines (T, R) of self-attention, or context: keys and values -> (B, T, D)"""
        if context is None:
            q, k, v = (self.split(part) for part in self.project(x).chunk(3, dim=-1))
            q, k = rotate(self.q_norm(q), table), rotate(self.k_norm(k), table)
        else:
            q, (k, v) = self.q_norm(self.split(self.project(x))), context
        mixed = F.scaled_dot_product_attention(q, k, v, enable_gqa=k.shape[1] != q.shape[1])
        return self.out(mixed.transpose(1, 2).flatten(2))


def rotate(x: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
    """x: (B, H, T, D), its first R channels turned."""
    cos, sin = table
    turned, kept = x[..., : cos.shape[-1]], x[..., cos.shape[-1] :]
    a, b = turned.chunk(2, dim=-1)
    return torch.cat([turned * cos + torch.cat([-b, a], dim=-1) * sin, kept], dim=-1)


class Block(nn.Module):
    """Self-attention, cross-attention, gated feed-forward."""

    def __init__(self, width: int, heads: int, qk_norm: bool):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width, bias=False) for _ in range(3))
        self.own = Attention(width, heads, 3 * width, qk_norm)
        self.cross = Attention(width, heads, width, qk_norm)
        self.up, self.down = nn.Linear(width, 8 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, table: tuple[Tensor, Tensor], context: tuple[Tensor, Tensor]) -> Tensor:
        """x: (B, T, D) -> (B, T, D)"""
        x = x + self.own(self.norms[0](x), table, None)
        x = x + self.cross(self.norms[1](x), None, context)
        value, gate = self.up(self.norms[2](x)).chunk(2, dim=-1)
        return x + self.down(value * F.silu(gate))


class Step(nn.Module):
    """One forward pass of Stable Audio Open's diffusion transformer."""

    def __init__(self, dit: dict, context: int):
        super().__init__()
        self.width, self.heads, self.context = dit["embed_dim"], dit["num_heads"], context
        inner = self.width if dit.get("project_cond_tokens", True) else dit["cond_token_dim"]
        self.size = self.width // self.heads
        self.context_heads = inner // self.size
        qk_norm = dit.get("attn_kwargs", {}).get("qk_norm") == "ln"
        self.enter = nn.Linear(dit["io_channels"], self.width, bias=False)
        self.leave = nn.Linear(self.width, dit["io_channels"], bias=False)
        self.blocks = nn.ModuleList(Block(self.width, self.heads, qk_norm) for _ in range(dit["depth"]))

    def inputs(self, batch: int, frames: int) -> tuple:
        """Random arguments of ``forward``."""
        rotary = max(self.size // 2, 32)
        angles = torch.arange(frames + 1)[:, None] / 10000 ** (torch.arange(0, rotary, 2) / rotary)
        angles = torch.cat([angles, angles], dim=-1)
        shape = (batch, self.context_heads, self.context, self.size)
        contexts = [(torch.randn(shape), torch.randn(shape)) for _ in self.blocks]
        x, token = torch.randn(batch, frames, self.enter.in_features), torch.randn(batch, 1, self.width)
        return x, token, (angles.cos(), angles.sin()), contexts

    def forward(self, x: Tensor, token: Tensor, table: tuple, contexts: list) -> Tensor:
        """x: (B, T, C) latents; token: (B, 1, D) -> (B, T, C)"""
        x = torch.cat([token, self.enter(x)], dim=1)
        for block, context in zip(self.blocks, contexts, strict=True):
            x = block(x, table, context)
        return self.leave(x[:, 1:])


class Snake(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.alpha, self.beta = (nn.Parameter(torch.zeros(1, channels, 1)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, L) -> (B, C, L)"""
        return x + (1.0 / (self.beta.exp() + 1e-9)) * torch.sin(x * self.alpha.exp()).pow(2)


class Residual(nn.Sequential):
    def __init__(self, channels: int, dilation: int):
        wide = nn.Conv1d(channels, channels, 7, padding=3 * dilation, dilation=dilation)
        super().__init__(Snake(channels), wide, Snake(channels), nn.Conv1d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, L) -> (B, C, L)"""
        return x + super().forward(x)


def oobleck_decoder(section: dict) -> nn.Sequential:
    """The decoder of a config's ``decoder.config``: latents (B, C, T) -> audio (B, channels, T ratio)."""
    widths = [m * section["channels"] for m in (1, *section["c_mults"])][::-1]
    layers = [nn.Conv1d(section["latent_dim"], widths[0], 7, padding=3)]
    for inputs, outputs, stride in zip(widths, widths[1:], section["strides"][::-1], strict=False):
        up = nn.ConvTranspose1d(inputs, outputs, 2 * stride, stride, padding=-(-stride // 2))
        layers += [Snake(inputs), up, *(Residual(outputs, dilation) for dilation in (1, 3, 9))]
    layers += [Snake(widths[-1]), nn.Conv1d(widths[-1], section.get("out_channels", 2), 7, padding=3, bias=False)]
    return nn.Sequential(*layers)
