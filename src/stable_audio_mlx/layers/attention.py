"""Self and cross attention: grouped heads, q/k norms, partial rotary positions, differential pairs."""

from collections.abc import Iterator

import mlx.core as mx
import mlx.nn as nn

from ..cpu import fast_forms
from .activations import fast_exp_minus, with_gradient
from .block_config import BlockConfig
from .norms import DynamicTanh, PlainLayerNorm, RMSNorm, UnitNorm
from .positions import rotary

KeysValues = tuple[mx.array, mx.array]  # (B, H, S, dim_heads) each

QK_NORMS = {
    "ln": lambda dim, eps: PlainLayerNorm(dim, eps=eps),
    "rms": lambda dim, eps: RMSNorm(dim, eps=eps),
    "l2": lambda dim, eps: UnitNorm(),
    "dyt": lambda dim, eps: DynamicTanh(dim),
}


# Scores computed at a time on the CPU: 4 MB, so that they stay in the cache.
TILE = 1 << 20


def attention(q: mx.array, k: mx.array, v: mx.array, scale: float, mask: mx.array | None = None) -> mx.array:
    """softmax(scale * q k^T) v.

    q: (B, H, T, D); k, v: (B, Hkv, S, D), every key head serves H / Hkv query heads in a row;
    mask: bool, broadcastable to (B, H, T, S) and the same for all heads, True where a key counts -> (B, H, T, D)
    """

    def exact(q: mx.array, k: mx.array, v: mx.array) -> mx.array:
        return mx.fast.scaled_dot_product_attention(q, k, v, scale=scale, mask=mask)

    def fast(q: mx.array, k: mx.array, v: mx.array) -> mx.array:
        return tiled_attention(scale * q, k, v, mask)

    def gradient(cotangent: mx.array, out: mx.array, q: mx.array, k: mx.array, v: mx.array) -> list[mx.array]:
        dq, dk, dv = tiled_attention_gradient(cotangent, out, scale * q, k, v, mask)
        return [scale * dq, dk, dv]

    return with_gradient(fast, exact, gradient)(q, k, v)


def tiled_attention(q: mx.array, k: mx.array, v: mx.array, mask: mx.array | None) -> mx.array:
    """As ``attention`` with scale 1, a few heads or rows at a time, the softmax normalised after the second product."""
    shape, v_flat = (*q.shape[:3], v.shape[3]), v.flatten(0, 1)
    out = []
    for heads, tiles in tiled_weights(q, k, mask):
        parts = [(weights.swapaxes(1, 2) @ v_flat[heads]) / weights.sum(axis=1)[..., None] for _, weights in tiles]
        out.append(joined(parts, axis=1))
    return joined(out).reshape(shape)


def tiled_attention_gradient(
    cotangent: mx.array, out: mx.array, q: mx.array, k: mx.array, v: mx.array, mask: mx.array | None
) -> tuple[mx.array, mx.array, mx.array]:
    """Of ``tiled_attention``, with respect to q, k and v, by the formulas of FlashAttention's appendix B.4

    (https://arxiv.org/abs/2205.14135): the weights are computed again.
    """
    q_flat, cotangent = (x.reshape(v.shape[0] * v.shape[1], -1, x.shape[3]) for x in (q, cotangent))
    own = (cotangent * out.reshape(cotangent.shape)).sum(axis=-1)
    k_flat, v_flat = k.flatten(0, 1), v.flatten(0, 1)
    dq, dk, dv = [], [], []
    for heads, tiles in tiled_weights(q, k, mask):
        dq_rows, dk_sum, dv_sum = [], mx.array(0.0), mx.array(0.0)
        for rows, weights in tiles:
            weights = weights / weights.sum(axis=1, keepdims=True)
            change = cotangent[heads, rows]
            slope = weights * (v_flat[heads] @ change.swapaxes(1, 2) - own[heads, None, rows])
            dq_rows.append(slope.swapaxes(1, 2) @ k_flat[heads])
            dk_sum = dk_sum + slope @ q_flat[heads, rows]
            dv_sum = dv_sum + weights @ change
        dq.append(joined(dq_rows, axis=1))
        dk.append(dk_sum)
        dv.append(dv_sum)
    return joined(dq).reshape(q.shape), joined(dk).reshape(k.shape), joined(dv).reshape(v.shape)


def tiled_weights(
    q: mx.array, k: mx.array, mask: mx.array | None
) -> Iterator[tuple[slice, list[tuple[slice, mx.array]]]]:
    """exp(k q^T - maximum) of a few of the B * Hkv key heads at a time, and for these of a few rows at a time.

    The rows of a key head are those of its H / Hkv query heads, one after the other.  They are the columns of the
    weights, (heads, S, rows): sums and maxima along S then run over whole rows of memory, at twice the speed.
    """
    (batch, heads, length, _), (_, kv_heads, keys, _) = q.shape, k.shape
    group, flat = heads // kv_heads, batch * kv_heads
    total = group * length
    q, k = q.reshape(flat, total, -1).swapaxes(1, 2), k.reshape(flat, keys, -1)
    if mask is not None:
        mask = mx.where(mask, 0.0, -1e9).reshape(*[1] * (4 - mask.ndim), *mask.shape).swapaxes(2, 3)
        shared = mask.shape[0] == mask.shape[1] == 1
        mask = mask[0] if shared else mx.broadcast_to(mask, (batch, kv_heads, *mask.shape[2:])).flatten(0, 1)
        mask = mx.tile(mask, (1, 1, group if mask.shape[2] > 1 else 1))
    step, row_step = max(1, TILE // (total * keys)), max(16, TILE // keys)
    for i in range(0, flat, step):
        at, tiles = slice(i, i + step), []
        for r in range(0, total, row_step):
            rows = slice(r, r + row_step)
            scores = k[at] @ q[at, :, rows]
            if mask is not None:
                row = rows if mask.shape[2] > 1 else slice(None)
                scores = scores + (mask[:, :, row] if shared else mask[at, :, row])
            tiles.append((rows, fast_exp_minus(scores - scores.max(axis=1, keepdims=True))))
        yield at, tiles


def joined(parts: list[mx.array], axis: int = 0) -> mx.array:
    return mx.concatenate(parts, axis=axis) if len(parts) > 1 else parts[0]


class Attention(nn.Module):
    """What self and cross attention share.

    A differential layer has a second query/key pair per head on the same values and returns the difference of the two
    results; both pairs go through one attention call, side by side on the head axis.
    """

    def __init__(self, cfg: BlockConfig):
        super().__init__()
        self.dim_heads, self.differential, self.causal = cfg.dim_heads, cfg.differential, cfg.causal
        self.streams = 2 if cfg.differential else 1
        self.to_out = nn.Linear(cfg.dim, cfg.dim, bias=False)
        if cfg.qk_norm != "none":
            self.q_norm = QK_NORMS[cfg.qk_norm](cfg.dim_heads, cfg.qk_norm_eps)
            self.k_norm = QK_NORMS[cfg.qk_norm](cfg.dim_heads, cfg.qk_norm_eps)
        if cfg.feat_scale:
            self.lambda_dc, self.lambda_hf = mx.zeros((cfg.dim,)), mx.zeros((cfg.dim,))

    def heads(self, x: mx.array, parts: int) -> mx.array:
        """x: (B, T, parts * H * dim_heads) -> (B, parts, H, T, dim_heads)"""
        return x.reshape(*x.shape[:2], parts, -1, self.dim_heads).transpose(0, 2, 3, 1, 4)

    def side_by_side(self, x: mx.array) -> mx.array:
        """x: (B, 1 or streams, H, T, dim_heads) -> (B, streams * H, T, dim_heads)"""
        x = mx.broadcast_to(x, (x.shape[0], self.streams, *x.shape[2:]))
        # On the CPU each of the operations that follow would make its own copy of a transposed view.
        return (mx.contiguous(x) if fast_forms() else x).flatten(1, 2)

    def attend(self, q: mx.array, k: mx.array, v: mx.array, mask: mx.array | None) -> mx.array:
        """q: (B, streams * H, T, dim_heads); k, v: (B, streams * Hkv, S, dim_heads) -> (B, T, D)"""
        if self.causal and q.shape[2] > 1:
            past = mx.arange(k.shape[2]) <= mx.arange(q.shape[2])[:, None]
            mask = past if mask is None else mask & past
        out = self.weigh(q, k, v, mask)
        if self.differential:
            main, other = mx.split(out, 2, axis=1)
            out = main - other
        return self.to_out(out.swapaxes(1, 2).reshape(q.shape[0], q.shape[2], -1))

    def weigh(self, q: mx.array, k: mx.array, v: mx.array, mask: mx.array | None) -> mx.array:
        """As ``attention``: (B, streams * H, T, dim_heads)"""
        return attention(q, k, v, self.dim_heads**-0.5, mask)

    def scale_features(self, x: mx.array, valid: mx.array | None = None) -> mx.array:
        """x: (B, T, D); valid: (B, T) -> x plus learned shares of its mean over time and of the rest."""
        if "lambda_dc" not in self:
            return x
        if valid is None:
            mean = x.mean(axis=1, keepdims=True)
            return x + self.lambda_dc * mean + self.lambda_hf * (x - mean)
        weight = valid[..., None].astype(x.dtype)
        mean = (x * weight).sum(axis=1, keepdims=True) / mx.maximum(weight.sum(axis=1, keepdims=True), 1)
        return x + (self.lambda_dc * mean + self.lambda_hf * (x - mean)) * weight


class SelfAttention(Attention):
    def __init__(self, cfg: BlockConfig):
        super().__init__(cfg)
        self.rope_dims = cfg.rope_dims
        self.to_qkv = nn.Linear(cfg.dim, cfg.dim * (1 + 2 * self.streams), bias=False)

    def __call__(self, x: mx.array, mask: mx.array | None = None) -> mx.array:
        """x: (B, T, D); mask: bool, (B, T) of valid positions or broadcastable to (B, H, T, T) -> (B, T, D)"""
        parts = self.heads(self.to_qkv(x), 1 + 2 * self.streams)  # q, k, v, and the second q and k
        q, k, v = (self.side_by_side(part) for part in (parts[:, ::3], parts[:, 1::3], parts[:, 2:3]))
        if "q_norm" in self:
            q, k = self.q_norm(q), self.k_norm(k)
        if self.rope_dims:
            q, k = rotary(q, self.rope_dims), rotary(k, self.rope_dims)
        valid = mask if mask is not None and mask.ndim == 2 else None
        out = self.attend(q, k, v, mask if valid is None else valid[:, None, None])
        return self.scale_features(out, valid)


class CrossAttention(Attention):
    """Attention to a context; its keys and values do not change between sampling steps and are computed apart."""

    def __init__(self, cfg: BlockConfig):
        super().__init__(cfg)
        self.to_q = nn.Linear(cfg.dim, cfg.dim * self.streams, bias=False)
        width = cfg.context_dim or cfg.dim
        self.to_kv = nn.Linear(width, width * (1 + self.streams), bias=False)

    def keys_values(self, context: mx.array) -> KeysValues:
        """context: (B, S, C) -> keys and values, (B, streams * Hkv, S, dim_heads) each"""
        parts = self.heads(self.to_kv(context), 1 + self.streams)
        k, v = self.side_by_side(parts[:, :-1]), self.side_by_side(parts[:, -1:])
        return (self.k_norm(k) if "k_norm" in self else k), v

    def __call__(self, x: mx.array, keys_values: KeysValues) -> mx.array:
        """x: (B, T, D) -> (B, T, D)"""
        q = self.side_by_side(self.heads(self.to_q(x), self.streams))
        if "q_norm" in self:
            q = self.q_norm(q)
        return self.scale_features(self.attend(q, *keys_values, mask=None))
