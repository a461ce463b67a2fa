"""T5Gemma's encoder against a second implementation in NumPy float64."""

import math

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_map

from stable_audio_mlx.errors import ConfigError
from stable_audio_mlx.models.t5gemma import T5GemmaConfig, T5GemmaEncoder

TINY = {
    "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 4, "head_dim": 8, "vocab_size": 50, "query_pre_attn_scalar": 8,
    "attn_logit_softcapping": 5.0,
}  # fmt: skip


def reference(model: T5GemmaEncoder, x: np.ndarray, mask: np.ndarray) -> np.ndarray:
    cfg, weights = model.cfg, tree_map(lambda a: np.array(a, np.float64), model.parameters())
    length, half = x.shape[1], cfg.head_dim // 2
    angle = np.arange(length)[:, None] * cfg.rope_theta ** (-np.arange(half) / half)
    cos, sin = np.cos(angle), np.sin(angle)
    distance = np.abs(np.arange(length)[:, None] - np.arange(length))

    def norm(x, w):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + cfg.rms_norm_eps) * (1 + w["weight"])

    def heads(h, w):
        return (h @ w["weight"].T).reshape(*h.shape[:2], -1, cfg.head_dim).swapaxes(1, 2)

    def rotate(h):
        a, b = h[..., :half], h[..., half:]
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)

    x = x * math.sqrt(cfg.hidden_size)
    for i, layer in enumerate(weights["layers"]):
        w, h = layer["self_attn"], norm(x, layer["pre_self_attn_layernorm"])
        q, k, v = rotate(heads(h, w["q_proj"])), rotate(heads(h, w["k_proj"])), heads(h, w["v_proj"])
        k, v = (np.repeat(a, cfg.num_attention_heads // cfg.num_key_value_heads, axis=1) for a in (k, v))
        scores = q @ k.swapaxes(2, 3) / math.sqrt(cfg.query_pre_attn_scalar)
        if cfg.attn_logit_softcapping:
            scores = cfg.attn_logit_softcapping * np.tanh(scores / cfg.attn_logit_softcapping)
        seen = mask[:, None, None] & ((i % 2 == 1) | (distance <= cfg.sliding_window))
        share = np.exp(np.where(seen, scores - scores.max(-1, keepdims=True), -1e30))
        share /= np.maximum(share.sum(-1, keepdims=True), 1e-300)
        h = (share @ v).swapaxes(1, 2).reshape(*x.shape[:2], -1) @ w["o_proj"]["weight"].T
        x = x + norm(h, layer["post_self_attn_layernorm"])
        w, h = layer["mlp"], norm(x, layer["pre_feedforward_layernorm"])
        gate = h @ w["gate_proj"]["weight"].T
        gate = 0.5 * gate * (1 + np.tanh(math.sqrt(2 / math.pi) * (gate + 0.044715 * gate**3)))
        x = x + norm(
            (gate * (h @ w["up_proj"]["weight"].T)) @ w["down_proj"]["weight"].T, layer["post_feedforward_layernorm"]
        )
    return norm(x, weights["norm"])


@pytest.mark.parametrize(
    "changes",
    [{}, {"num_key_value_heads": 2}, {"sliding_window": 6}, {"attn_logit_softcapping": None}, {"rope_theta": 500.0}],
    ids=str,
)
def test_agrees_with_padded_and_masked_float64(changes):
    mx.random.seed(2)
    model = T5GemmaEncoder(T5GemmaConfig(**TINY | changes))
    model.update(tree_map(lambda a: a + 0.3 * mx.random.normal(a.shape), model.parameters()))
    x = np.random.default_rng(0).normal(size=(2, 30, 24)).astype(np.float32)
    mask = np.arange(30) < np.array([[30], [9]])
    expected = reference(model, x.astype(np.float64), mask)
    both = np.array(model(mx.array(x), mx.array(mask)))
    alone = np.array(model(mx.array(x[1:, :9])))
    scale = np.abs(expected[mask]).max()
    assert np.abs(both - expected)[mask].max() / scale < 3e-6
    assert np.abs(alone - expected[1:, :9]).max() / scale < 3e-6


def test_reads_nested_and_flat_configs():
    whole = {"model_type": "t5gemma", "encoder": TINY | {"dropout_rate": 0.0}, "decoder": {"hidden_size": 4}}
    newer = {"encoder": TINY | {"rope_parameters": {"rope_type": "default", "rope_theta": 7.0}}}
    assert T5GemmaConfig.from_hugging_face(whole, "c.json") == T5GemmaConfig.from_hugging_face(TINY, "c.json")
    assert T5GemmaConfig.from_hugging_face(newer, "c.json").rope_theta == 7.0


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"hidden_activation": "tanh"}, "hidden_activation 'tanh'"),
        ({"attention_bias": True}, "attention_bias"),
        ({"num_key_value_heads": 3}, "multiple of num_key_value_heads"),
        ({"layer_types": ["full_attention"]}, "1 layer_types for 3 layers"),
        ({"layer_types": ["causal"] * 3}, "causal is not supported"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "'yarn' is not supported"),
    ],
)
def test_refuses_what_it_cannot_build(changes, message):
    with pytest.raises(ConfigError, match=message):
        T5GemmaConfig.from_hugging_face({"encoder": TINY | changes}, "c.json")
