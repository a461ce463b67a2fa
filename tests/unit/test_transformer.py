"""Attention against its definition in NumPy; the block's invariances; what a block config refuses."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from stable_audio_mlx.layers import attention as module
from stable_audio_mlx.layers.attention import CrossAttention, SelfAttention, attention, tiled_attention
from stable_audio_mlx.layers.norms import LayerNorm
from stable_audio_mlx.layers.transformer import BlockConfig, StackConfig, Transformer, TransformerBlock

SMALL = {"dim": 64, "dim_heads": 32}


def randn(*shape, seed=0):
    return mx.array(np.random.default_rng(seed).standard_normal(shape), dtype=mx.float32)


def error(a, b):
    a, b = np.array(a, dtype=np.float64), np.array(b, dtype=np.float64)
    return np.abs(a - b).max() / np.abs(b).max()


def softmax_attention(q, k, v, scale, mask=None):
    q, k, v = (np.array(a, dtype=np.float64) for a in (q, k, v))
    k, v = (np.repeat(a, q.shape[1] // k.shape[1], axis=1) for a in (k, v))
    scores = scale * q @ np.swapaxes(k, -1, -2)
    if mask is not None:
        scores = np.where(np.array(mask), scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ v


MASKS = {
    "none": lambda b, t, s: None,
    "keys": lambda b, t, s: mx.arange(s)[None, None, None] < mx.array([s - 3, s - 1])[:b, None, None, None],
    "band": lambda b, t, s: mx.abs(mx.arange(s)[None] - mx.arange(t)[:, None]) <= 4,
    "causal and keys": lambda b, t, s: (
        (mx.arange(s)[None] <= mx.arange(t)[:, None])
        & (mx.arange(s)[None, None, None] < mx.array([s - 3, s - 1])[:b, None, None, None])
    ),
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize(
    "heads,kv_heads,tile", [(4, 4, 1 << 20), (4, 2, 1 << 20), (4, 2, 300), (6, 2, 2000), (2, 2, 1)]
)
def test_attention_is_the_softmax_of_its_scores(mask, heads, kv_heads, tile, monkeypatch):
    monkeypatch.setattr(module, "TILE", tile)
    q, k, v = randn(2, heads, 21, 16), randn(2, kv_heads, 25, 16, seed=1), randn(2, kv_heads, 25, 8, seed=2)
    mask = MASKS[mask](2, 21, 25)
    expected = softmax_attention(q, k, v, 0.3, mask)
    assert error(tiled_attention(0.3 * q, k, v, mask), expected) < 5e-6
    assert error(attention(q, k, v, 0.3, mask), expected) < 5e-6


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("heads,kv_heads,tile", [(4, 4, 1 << 20), (4, 2, 300), (6, 2, 2000), (2, 2, 1)])
def test_attention_has_the_exact_derivative(mask, heads, kv_heads, tile, monkeypatch):
    monkeypatch.setattr(module, "TILE", tile)
    q, k, v = randn(2, heads, 21, 16), randn(2, kv_heads, 25, 16, seed=1), randn(2, kv_heads, 25, 16, seed=2)
    mask, plain = MASKS[mask](2, 21, 25), mx.fast.scaled_dot_product_attention
    ours = mx.grad(lambda *a: (attention(*a, 0.25, mask) ** 2).sum(), (0, 1, 2))(q, k, v)
    exact = mx.grad(lambda *a: (plain(*a, scale=0.25, mask=mask) ** 2).sum(), (0, 1, 2))(q, k, v)
    assert max(error(a, b) for a, b in zip(ours, exact, strict=True)) < 1e-5


def test_heads_are_contiguous_groups(monkeypatch):
    layer, x = SelfAttention(BlockConfig(**SMALL)), randn(2, 5, 192)
    views = []
    for fast in (True, False):
        monkeypatch.setattr(module, "fast_forms", lambda fast=fast: fast)
        views.append([np.array(layer.side_by_side(layer.heads(x, 3)[:, i : i + 1])) for i in range(3)])
    for fast, plain in zip(*views, strict=True):
        assert (fast == plain).all()
    assert (views[0][1][:, 1] == np.array(x[:, :, 96:128])).all()


def test_equal_pairs_of_differential_attention_cancel():
    cfg = BlockConfig(**SMALL, differential=True, qk_norm="ln")
    layer = SelfAttention(cfg)
    weight = layer.to_qkv.weight
    layer.to_qkv.weight = mx.concatenate([weight[:192], weight[:128]])
    layer.to_out.weight = mx.eye(64)
    assert mx.abs(layer(randn(1, 6, 64))).max().item() < 1e-6


def test_zero_context_adds_nothing():
    layer = CrossAttention(BlockConfig(**SMALL, context_dim=64, qk_norm="ln"))
    assert mx.abs(layer(randn(1, 6, 64), layer.keys_values(mx.zeros((1, 4, 64))))).max().item() == 0


@pytest.mark.parametrize(
    "options", [{}, {"norm": "rms_norm", "qk_norm": "rms", "differential": True, "feat_scale": True}]
)
def test_masked_equals_cropped(options):
    block = TransformerBlock(BlockConfig(**SMALL, **options))
    if "feat_scale" in options:
        block.self_attn.lambda_dc, block.self_attn.lambda_hf = randn(64, seed=8), randn(64, seed=9)
    x = randn(2, 12, 64)
    mask = mx.arange(12)[None] < mx.array([12, 7])[:, None]
    y = block(x, mask=mask)
    assert error(y[0], block(x[:1])[0]) < 1e-5
    assert error(y[1, :7], block(x[1:, :7])[0]) < 1e-5


def test_causal_block_does_not_see_the_future():
    block = TransformerBlock(BlockConfig(**SMALL, causal=True))
    x = randn(1, 9, 64)
    changed = mx.concatenate([x[:, :5], randn(1, 4, 64, seed=4)], axis=1)
    assert error(block(x)[:, :5], block(changed)[:, :5]) < 1e-6
    assert error(block(x)[:, 5:], block(changed)[:, 5:]) > 0.1


def test_rotary_positions_are_relative():
    layer = SelfAttention(BlockConfig(**SMALL))
    x = randn(1, 6, 64)
    mask = mx.concatenate([mx.zeros((12, 6)), mx.ones((12, 6))], axis=1).astype(mx.bool_)
    shifted = layer(mx.concatenate([x, x], axis=1), mask=mask[None, None])[:, 6:]
    assert error(shifted, layer(x)) < 1e-5


@pytest.mark.parametrize("norm", ["layer_norm", "rms_norm", "dyt"])
@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_half_precision_stays_half(norm, dtype):
    cfg = BlockConfig(**SMALL, norm=norm, context_dim=64, adaln=True, qk_norm="l2", layer_scale=True, local_dim=3)
    stack = Transformer(StackConfig(cfg, 2, 8, 8, num_memory_tokens=2))
    stack.set_dtype(dtype)
    seen = []
    original = TransformerBlock.__call__

    def watch(self, x, *args):
        seen.append(x.dtype)
        return original(self, x, *args)

    TransformerBlock.__call__ = watch
    try:
        modulations = stack.modulations(
            stack.global_cond_embedder(randn(1, 64).astype(dtype)), stack.modulation_table()
        )
        context, local = randn(1, 3, 64).astype(dtype), randn(1, 1, 3).astype(dtype)
        y = stack.transform(
            randn(1, 5, 8).astype(dtype), stack.keys_values(context), modulations, stack.local_embeds(local)
        )
    finally:
        TransformerBlock.__call__ = original
    assert seen == [dtype, dtype] and y.dtype == dtype


def test_constants_of_norms_are_stored_but_never_trained():
    norm = LayerNorm(4)
    norm.unfreeze()
    assert {k for k, _ in tree_flatten(norm.parameters())} == {"weight", "bias"}
    assert {k for k, _ in tree_flatten(norm.trainable_parameters())} == {"weight"}
    assert "bias" in LayerNorm(4, bias=True).trainable_parameters()


def test_training_reaches_every_weight():
    cfg = BlockConfig(**SMALL, context_dim=32, qk_norm="dyt", conformer=True, local_dim=3, feat_scale=True, adaln=True)
    stack = Transformer(StackConfig(cfg, 1, 8, 8, num_memory_tokens=2, learned_positions=40))

    def loss(stack, x, context, local, embed):
        modulations = stack.modulations(stack.global_cond_embedder(embed), stack.modulation_table())
        y = stack.transform(x, stack.keys_values(context), modulations, stack.local_embeds(local))
        return (y**2).sum()

    args = randn(2, 5, 8), randn(2, 3, 32), randn(2, 5, 3), randn(2, 64)
    grads = tree_flatten(nn.value_and_grad(stack, loss)(stack, *args)[1])
    assert {k for k, _ in grads} == {k for k, _ in tree_flatten(stack.trainable_parameters())}
    assert not [k for k, g in grads if not mx.isfinite(g).all().item() or mx.abs(g).max().item() == 0]


@pytest.mark.parametrize(
    "bad",
    [
        {"dim": 65, "dim_heads": 32},
        {"dim": 64, "dim_heads": 16},
        {"dim": 64, "dim_heads": 32, "context_dim": 48},
        {"dim": 96, "dim_heads": 32, "context_dim": 64},
        {**SMALL, "norm": "batch_norm"},
        {**SMALL, "qk_norm": "cosine"},
        {**SMALL, "ff_gate": "relu"},
        {**SMALL, "norm": "dyt", "norm_bias": True},
        {**SMALL, "ff_mult": 0},
        {**SMALL, "ff_mult": 1e9},
        {**SMALL, "ff_kernel": 4},
        {"dim": 1 << 30, "dim_heads": 64},
    ],
)
def test_impossible_blocks_are_refused(bad):
    with pytest.raises(ValueError):
        BlockConfig(**bad)
