"""The one transformer block of Stable Audio Open, Stable Audio 3 and SAME, and the stack the diffusion models use."""

from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import mlx.core as mx
import mlx.nn as nn

from .attention import CrossAttention, KeysValues, SelfAttention
from .block_config import BlockConfig
from .blocks import Blocks, mlp
from .feedforward import Conformer, FeedForward
from .norms import DynamicTanh, LayerNorm, RMSNorm
from .positions import LearnedPositions, SinusoidalPositions
from .recompute import recomputed_module

Result = TypeVar("Result")
# Names inside a block: stable-audio-tools -> ours.
BLOCK_KEYS = [
    (r"\.to_local_embed\.(\d+)\.", r".to_local_embed.layers.\1."),
    (r"\.ff\.ff\.(\d+)\.", r".ff.ff.layers.\1."),
    (r"\.ff\.ff\.layers\.0\.1\.", ".ff.ff.layers.0.layers.1."),
]


def make_norm(cfg: BlockConfig) -> nn.Module:
    if cfg.norm == "layer_norm":
        return LayerNorm(cfg.dim, cfg.norm_eps, cfg.norm_bias, cfg.norm_fix_scale)
    if cfg.norm == "rms_norm":
        return RMSNorm(cfg.dim, cfg.norm_eps, cfg.norm_fix_scale)
    return DynamicTanh(cfg.dim)


class LayerScale(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.scale = mx.full((dim,), 1e-5)

    def __call__(self, x: mx.array) -> mx.array:
        """x: (B, T, D) -> (B, T, D)"""
        return x * self.scale


class Modulation(NamedTuple):
    """adaLN of one branch: ``gate * branch(norm(x) * scale + shift)``; (B, 1, D) each."""

    scale: mx.array
    shift: mx.array
    gate: mx.array


class TransformerBlock(nn.Module):
    """Self attention, cross attention, convolution, local conditioning, feed-forward: each added to the residual."""

    def __init__(self, cfg: BlockConfig):
        super().__init__()
        self.pre_norm = make_norm(cfg)
        self.self_attn = SelfAttention(cfg)
        if cfg.context_dim:
            self.cross_attend_norm = make_norm(cfg)
            self.cross_attn = CrossAttention(cfg)
        if cfg.conformer:
            self.conformer = Conformer(cfg)
        if cfg.local_dim:
            self.to_local_embed = mlp(cfg.local_dim, cfg.dim)
        self.ff_norm = make_norm(cfg)
        self.ff = FeedForward(cfg)
        if cfg.adaln:
            self.to_scale_shift_gate = mx.random.normal((6 * cfg.dim,)) * cfg.dim**-0.5
        if cfg.layer_scale:
            for name in ("self_attn", "cross_attn", "conformer", "ff"):
                if name in self:
                    setattr(self, f"{name}_scale", LayerScale(cfg.dim))

    def __call__(
        self,
        x: mx.array,
        keys_values: KeysValues | None = None,
        modulation: tuple[Modulation, Modulation] | None = None,
        local: mx.array | None = None,
        mask: mx.array | None = None,
    ) -> mx.array:
        """x: (B, T, D); keys_values: of ``cross_attn``; local: broadcastable to (B, T, D); mask: as SelfAttention"""
        attn_mod, ff_mod = modulation or (None, None)
        x = x + self.branch("self_attn", self.pre_norm(x), attn_mod, mask)
        if keys_values is not None:
            x = x + self.branch("cross_attn", self.cross_attend_norm(x), None, keys_values)
        if "conformer" in self:
            x = x + self.branch("conformer", x, None)
        if local is not None:
            x = x + local
        return x + self.branch("ff", self.ff_norm(x), ff_mod)

    def branch(self, name: str, x: mx.array, modulation: Modulation | None, *args) -> mx.array:
        """One residual branch with its modulation and layer scale. x: (B, T, D) -> (B, T, D)"""
        if modulation is not None:
            x = x * modulation.scale + modulation.shift
        x = self[name](x, *args)
        if modulation is not None:
            x = x * modulation.gate
        return self[f"{name}_scale"](x) if f"{name}_scale" in self else x


@dataclass(frozen=True)
class StackConfig:
    """A stack of equal blocks between two projections."""

    block: BlockConfig
    depth: int
    dim_in: int
    dim_out: int
    num_memory_tokens: int = 0
    cross_depth: int | None = None  # only the first so many blocks have cross attention; None: all
    sinusoidal_positions: bool = False
    learned_positions: int = 0  # length of the table; 0: none


class Transformer(Blocks):
    """Projection in, memory tokens, blocks, projection out.

    With ``recompute``, gradients are had from what goes into each block alone; its inside is computed again.
    """

    recompute = False

    def __init__(self, cfg: StackConfig):
        super().__init__()
        dim, no_cross = cfg.block.dim, replace(cfg.block, context_dim=None)
        self.project_in = nn.Linear(cfg.dim_in, dim, bias=False)
        self.project_out = nn.Linear(dim, cfg.dim_out, bias=False)
        if cfg.num_memory_tokens:
            self.memory_tokens = mx.random.normal((cfg.num_memory_tokens, dim))
        if cfg.learned_positions:
            self.pos_emb: nn.Module = LearnedPositions(dim, cfg.learned_positions + cfg.num_memory_tokens)
        elif cfg.sinusoidal_positions:
            self.pos_emb = SinusoidalPositions(dim)
        if cfg.block.adaln:
            self.global_cond_embedder = mlp(dim, dim, 6 * dim)
        cross_depth = cfg.depth if cfg.cross_depth is None else cfg.cross_depth
        self.add_blocks(cfg.depth, lambda i: TransformerBlock(cfg.block if i < cross_depth else no_cross))

    @property
    def num_memory_tokens(self) -> int:
        return self.memory_tokens.shape[0] if "memory_tokens" in self else 0

    def keys_values(self, context: mx.array, last: bool = False) -> list[KeysValues | None]:
        """context: (B, S, C) -> keys and values of every block that has cross attention

        ``last``: the weights that make them are given back, block by block.
        """
        return [
            spent(b.cross_attn, "to_kv", b.cross_attn.keys_values(context), last) if "cross_attn" in b else None
            for b in self.blocks
        ]

    def local_embeds(self, local: mx.array, last: bool = False) -> list[mx.array]:
        """local: (B, T, L) -> (B, T, D) for every block; ``last`` as in ``keys_values``"""
        return [spent(b, "to_local_embed", b.to_local_embed(local), last) for b in self.blocks]

    def modulation_table(self) -> mx.array:
        """What each block adds to the modulation. -> (N blocks, 6 D)"""
        return mx.stack([b.to_scale_shift_gate for b in self.blocks])

    def modulations(self, embed: mx.array, table: mx.array) -> list[tuple[Modulation, Modulation]]:
        """embed: (B, 6 D) of ``global_cond_embedder``; table: of ``modulation_table``

        -> modulation of attention and feed-forward for every block
        """
        m = embed[None, :, None] + table[:, None, None]
        scale, shift, gate = mx.moveaxis(m.reshape(*m.shape[:3], 2, 3, -1), 4, 0)
        scale, gate = 1 + scale, mx.sigmoid(1 - gate)
        attn, ff = (Modulation(scale[..., j, :], shift[..., j, :], gate[..., j, :]) for j in (0, 1))
        return [(Modulation(*(a[i] for a in attn)), Modulation(*(a[i] for a in ff))) for i in range(self.depth)]

    def transform(
        self,
        x: mx.array,
        keys_values: list | None = None,
        modulations: list | None = None,
        local: list | None = None,
        prepend: mx.array | None = None,
        mask: mx.array | None = None,
    ) -> mx.array:
        """x: (B, T, dim_in); prepend: (B, P, D); local: (B, T or 1, D) each; mask: (B, T) -> (B, P + T, dim_out)"""
        x = self.project_in(x)
        batch, length = x.shape[:2]
        if prepend is not None:
            x = mx.concatenate([prepend, x], axis=1)
        memory = self.num_memory_tokens
        if memory:
            tokens = mx.broadcast_to(self.memory_tokens, (batch, *self.memory_tokens.shape))
            x = mx.concatenate([tokens, x], axis=1)
        lead = x.shape[1] - length
        if "pos_emb" in self:
            x = x + self.pos_emb(x.shape[1])
        if mask is not None:
            mask = mx.concatenate([mx.ones((batch, lead), dtype=mx.bool_), mask], axis=1)
        none = [None] * self.depth
        for block, kv, m, e in zip(self.blocks, keys_values or none, modulations or none, local or none, strict=True):
            run = recomputed_module(block) if self.recompute else block
            x = run(x, kv, m, None if e is None else after(lead, e, length), mask)
        return self.project_out(x[:, memory:])


def spent(module: nn.Module, name: str, result: Result, last: bool) -> Result:
    """``result``; if the ``name`` of ``module`` that made it has done so for the ``last`` time, its memory is free."""
    if last:
        mx.eval(result)
        module.pop(name)
        mx.clear_cache()
    return result


def after(lead: int, local: mx.array, length: int) -> mx.array:
    """local: (B, length or 1, D) -> (B, lead + length, D), zero over the tokens in front"""
    local = mx.broadcast_to(local, (local.shape[0], length, local.shape[2]))
    return mx.pad(local, [(0, 0), (lead, 0), (0, 0)])
