"""T5's encoder (Raffel et al. 2020), which reads the prompts of Stable Audio Open, from a Hugging Face config.json."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from ..config import build
from ..errors import ConfigError

ACTIVATIONS = {"relu": nn.relu, "gelu": nn.gelu, "gelu_new": nn.gelu_approx, "silu": nn.silu}


@dataclass(frozen=True)
class T5Config:
    """The encoder's share of a config.json: heads are ``d_kv`` wide, whatever ``d_model`` is."""

    d_model: int
    d_kv: int
    d_ff: int
    num_layers: int
    num_heads: int
    vocab_size: int
    relative_attention_num_buckets: int = 32
    relative_attention_max_distance: int = 128
    layer_norm_epsilon: float = 1e-6
    feed_forward_proj: str = "relu"
    pad_token_id: int = 0

    def __post_init__(self):
        for name in ("d_model", "d_kv", "d_ff", "num_layers", "num_heads", "vocab_size"):
            if not 1 <= getattr(self, name) <= 1 << 20:
                raise ValueError(f"{name} {getattr(self, name)} is out of range")
        buckets = self.relative_attention_num_buckets
        if buckets % 4 or not 4 <= buckets <= 1024 or self.relative_attention_max_distance <= buckets // 4:
            raise ValueError(
                "relative_attention_num_buckets must be a multiple of 4, with a max_distance beyond a quarter"
            )
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"feed_forward_proj {self.feed_forward_proj!r} is not supported")

    @classmethod
    def from_hugging_face(cls, config: Mapping[str, Any], path: str) -> "T5Config":
        """Read the encoder's keys from a config.json, which has many that concern training or the decoder only."""
        if config.get("model_type", "t5") != "t5":
            raise ConfigError(f"{path}.model_type: {config['model_type']!r} is not a T5 encoder")
        return build(cls, {key: config[key] for key in cls.__dataclass_fields__ if key in config}, path)

    @property
    def width(self) -> int:
        return self.d_model

    @property
    def gated(self) -> bool:
        return self.feed_forward_proj.startswith("gated-")

    @property
    def activation(self) -> str:
        # T5 v1.1 writes "gated-gelu" and means the tanh approximation.
        return "gelu_new" if self.feed_forward_proj == "gated-gelu" else self.feed_forward_proj.removeprefix("gated-")


class SelfAttention(nn.Module):
    """Attention with a learned bias per relative distance and without the usual 1/sqrt(d); layer 0 owns the bias."""

    def __init__(self, cfg: T5Config, has_bias: bool):
        super().__init__()
        inner = cfg.num_heads * cfg.d_kv
        self.heads = cfg.num_heads
        self.q = nn.Linear(cfg.d_model, inner, bias=False)
        self.k = nn.Linear(cfg.d_model, inner, bias=False)
        self.v = nn.Linear(cfg.d_model, inner, bias=False)
        self.o = nn.Linear(inner, cfg.d_model, bias=False)
        if has_bias:
            self.relative_attention_bias = nn.Embedding(cfg.relative_attention_num_buckets, cfg.num_heads)

    def __call__(self, x: mx.array, bias: mx.array) -> mx.array:
        """x: (B, S, D), bias: (1 or B, H, S, S) -> (B, S, D)"""
        B, S, _ = x.shape
        q, k, v = (f(x).reshape(B, S, self.heads, -1).swapaxes(1, 2) for f in (self.q, self.k, self.v))
        out = mx.fast.scaled_dot_product_attention(q, k, v, scale=1.0, mask=bias)
        return self.o(out.swapaxes(1, 2).reshape(B, S, -1))


class FeedForward(nn.Module):
    def __init__(self, cfg: T5Config):
        super().__init__()
        self.act = ACTIVATIONS[cfg.activation]
        for name in ("wi_0", "wi_1") if cfg.gated else ("wi",):
            setattr(self, name, nn.Linear(cfg.d_model, cfg.d_ff, bias=False))
        self.wo = nn.Linear(cfg.d_ff, cfg.d_model, bias=False)

    def __call__(self, x: mx.array) -> mx.array:
        """x: (B, S, D) -> (B, S, D)"""
        return self.wo(self.act(self.wi_0(x)) * self.wi_1(x) if "wi_1" in self else self.act(self.wi(x)))


class AttentionLayer(nn.Module):
    def __init__(self, cfg: T5Config, has_bias: bool):
        super().__init__()
        self.SelfAttention = SelfAttention(cfg, has_bias)
        self.layer_norm = nn.RMSNorm(cfg.d_model, cfg.layer_norm_epsilon)

    def __call__(self, x: mx.array, bias: mx.array) -> mx.array:
        """x: (B, S, D) -> (B, S, D)"""
        return x + self.SelfAttention(self.layer_norm(x), bias)


class FeedForwardLayer(nn.Module):
    def __init__(self, cfg: T5Config):
        super().__init__()
        self.DenseReluDense = FeedForward(cfg)
        self.layer_norm = nn.RMSNorm(cfg.d_model, cfg.layer_norm_epsilon)

    def __call__(self, x: mx.array) -> mx.array:
        """x: (B, S, D) -> (B, S, D)"""
        return x + self.DenseReluDense(self.layer_norm(x))


class T5Block(nn.Module):
    def __init__(self, cfg: T5Config, has_bias: bool):
        super().__init__()
        self.layer = [AttentionLayer(cfg, has_bias), FeedForwardLayer(cfg)]

    def __call__(self, x: mx.array, bias: mx.array) -> mx.array:
        """x: (B, S, D) -> (B, S, D)"""
        attention, feed_forward = self.layer
        return feed_forward(attention(x, bias))


class T5Encoder(nn.Module):
    """The encoder behind its embedding table: token embeddings in, the last hidden state out.

    Names are those of the checkpoint below ``encoder.``; the table stays outside, so that only the rows of a prompt
    are read (``weights.text``).
    """

    Config = T5Config
    # Tokens that the tokenizer file adds around a prompt: an end token.
    END_MARK = True
    PREFIXES = ("encoder.",)
    EMBEDDINGS = ("shared.weight", "encoder.embed_tokens.weight")

    def __init__(self, cfg: T5Config):
        super().__init__()
        self.cfg = cfg
        self.block = [T5Block(cfg, has_bias=i == 0) for i in range(cfg.num_layers)]
        self.final_layer_norm = nn.RMSNorm(cfg.d_model, cfg.layer_norm_epsilon)

    def __call__(self, x: mx.array, mask: mx.array | None = None) -> mx.array:
        """x: (B, S, D) embedded tokens, mask: (B, S) True for tokens (None: all) -> (B, S, D)"""
        table = self.block[0].layer[0].SelfAttention.relative_attention_bias
        bias = table(relative_buckets(x.shape[1], self.cfg)).transpose(2, 0, 1)[None]
        if mask is not None:
            bias = mx.where(mask[:, None, None], bias, -mx.inf)
        for block in self.block:
            x = block(x, bias)
        return self.final_layer_norm(x)


def relative_buckets(length: int, cfg: T5Config) -> mx.array:
    """(S, S) bucket of every (query, key) pair: half for keys after the query; near distances exactly, far ones by log.

    The last bucket of each half takes everything from ``relative_attention_max_distance`` on.
    """
    half = cfg.relative_attention_num_buckets // 2
    exact = half // 2
    position = mx.arange(length)
    delta = position[None] - position[:, None]
    distance = mx.abs(delta)
    # float32 and this order of operations decide on which side of a bucket's edge a distance falls.
    ratio = mx.log(mx.maximum(distance, 1).astype(mx.float32) / exact) / math.log(
        cfg.relative_attention_max_distance / exact
    )
    far = mx.minimum(exact + (ratio * (half - exact)).astype(mx.int32), half - 1)
    return mx.where(distance < exact, distance, far) + mx.where(delta > 0, half, 0)
