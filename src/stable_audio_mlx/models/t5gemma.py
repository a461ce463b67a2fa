"""T5Gemma's encoder, which reads the prompts of Stable Audio 3, from a Hugging Face config.json."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from ..config import build
from ..errors import ConfigError

# Finite: a padding row outside every window must not become NaN, which would spread to the others.
MASKED = -1e30
ACTIVATIONS = {"gelu_pytorch_tanh": nn.gelu_approx, "gelu": nn.gelu, "silu": nn.silu}


@dataclass(frozen=True)
class T5GemmaConfig:
    """The ``encoder`` object of a config.json; ``sliding_window`` counts the tokens seen to each side."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    vocab_size: int
    hidden_activation: str = "gelu_pytorch_tanh"
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    query_pre_attn_scalar: float = 256.0
    attn_logit_softcapping: float | None = 50.0
    attention_bias: bool = False
    sliding_window: int | None = 4096
    layer_types: tuple[str, ...] = ()
    pad_token_id: int = 0

    def __post_init__(self):
        for name in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size"):
            if not 1 <= getattr(self, name) <= 1 << 20:
                raise ValueError(f"{name} {getattr(self, name)} is out of range")
        if self.num_key_value_heads < 1 or self.num_attention_heads % self.num_key_value_heads:
            raise ValueError("num_attention_heads must be a multiple of num_key_value_heads")
        if self.head_dim < 2 or self.head_dim % 2 or not self.query_pre_attn_scalar > 0:
            raise ValueError("head_dim must be even and query_pre_attn_scalar positive")
        if self.hidden_activation not in ACTIVATIONS:
            raise ValueError(f"hidden_activation {self.hidden_activation!r} is not supported")
        if self.attention_bias:
            raise ValueError("attention_bias is not supported (no released encoder has it)")
        if self.layer_types and len(self.layer_types) != self.num_hidden_layers:
            raise ValueError(f"{len(self.layer_types)} layer_types for {self.num_hidden_layers} layers")
        if unknown := set(self.layer_types) - {"sliding_attention", "full_attention"}:
            raise ValueError(f"layer_types: {', '.join(sorted(unknown))} is not supported")

    @classmethod
    def from_hugging_face(cls, config: Mapping[str, Any], path: str) -> "T5GemmaConfig":
        """Read a whole config.json, or the flat one inside the official NPZ archive."""
        if config.get("model_type", "t5gemma") not in ("t5gemma", "t5_gemma_module"):
            raise ConfigError(f"{path}.model_type: {config['model_type']!r} is not a T5Gemma encoder")
        section = config.get("encoder", config)
        path = f"{path}.encoder" if "encoder" in config else path
        if not isinstance(section, Mapping):
            raise ConfigError(f"{path}: expected an object")
        values = {key: section[key] for key in cls.__dataclass_fields__ if key in section}
        rope = section.get("rope_parameters")
        if isinstance(rope, Mapping):  # where newer files keep it
            if rope.get("rope_type", "default") != "default":
                raise ConfigError(f"{path}.rope_parameters.rope_type: {rope['rope_type']!r} is not supported")
            values["rope_theta"] = rope.get("rope_theta", 10000.0)
        return build(cls, values, path)

    @property
    def width(self) -> int:
        return self.hidden_size

    def slides(self, layer: int) -> bool:
        """Every second layer, from the first, unless the file lists them."""
        return self.layer_types[layer] == "sliding_attention" if self.layer_types else layer % 2 == 0


class GemmaNorm(nn.Module):
    """RMS norm that stores its scale as the distance from one."""

    def __init__(self, dims: int, eps: float):
        super().__init__()
        self.weight = mx.zeros((dims,))
        self.eps = eps

    def __call__(self, x: mx.array) -> mx.array:
        """x: (B, S, D) -> (B, S, D)"""
        return mx.fast.rms_norm(x, 1 + self.weight, self.eps)


class Attention(nn.Module):
    """Rotary, grouped-query attention whose scores are squeezed by ``c tanh(s / c)``."""

    def __init__(self, cfg: T5GemmaConfig):
        super().__init__()
        self.cfg = cfg
        inner, shared = cfg.num_attention_heads * cfg.head_dim, cfg.num_key_value_heads * cfg.head_dim
        self.q_proj = nn.Linear(cfg.hidden_size, inner, bias=False)
        self.k_proj = nn.Linear(cfg.hidden_size, shared, bias=False)
        self.v_proj = nn.Linear(cfg.hidden_size, shared, bias=False)
        self.o_proj = nn.Linear(inner, cfg.hidden_size, bias=False)

    def __call__(self, x: mx.array, mask: mx.array | None) -> mx.array:
        """x: (B, S, D), mask: additive, (B, 1, S, S) or less, or None -> (B, S, D)"""
        B, S, _ = x.shape
        cfg = self.cfg
        q, k, v = (f(x).reshape(B, S, -1, cfg.head_dim).swapaxes(1, 2) for f in (self.q_proj, self.k_proj, self.v_proj))
        q, k = (
            mx.fast.rope(h, cfg.head_dim, traditional=False, base=cfg.rope_theta, scale=1.0, offset=0) for h in (q, k)
        )
        groups = cfg.num_attention_heads // cfg.num_key_value_heads
        k, v = (mx.repeat(h, groups, axis=1) if groups > 1 else h for h in (k, v))
        scores = (q * cfg.query_pre_attn_scalar**-0.5) @ k.swapaxes(2, 3)
        if cap := cfg.attn_logit_softcapping:
            scores = mx.tanh(scores / cap) * cap
        if mask is not None:
            scores = scores + mask
        out = mx.softmax(scores, axis=-1, precise=True) @ v
        return self.o_proj(out.swapaxes(1, 2).reshape(B, S, -1))


class GatedMLP(nn.Module):
    def __init__(self, cfg: T5GemmaConfig):
        super().__init__()
        self.act = ACTIVATIONS[cfg.hidden_activation]
        self.gate_proj = nn.Linear(cfg.hidden_size, cfg.intermediate_size, bias=False)
        self.up_proj = nn.Linear(cfg.hidden_size, cfg.intermediate_size, bias=False)
        self.down_proj = nn.Linear(cfg.intermediate_size, cfg.hidden_size, bias=False)

    def __call__(self, x: mx.array) -> mx.array:
        """x: (B, S, D) -> (B, S, D)"""
        return self.down_proj(self.act(self.gate_proj(x)) * self.up_proj(x))


class T5GemmaLayer(nn.Module):
    """A norm before and after each branch."""

    def __init__(self, cfg: T5GemmaConfig):
        super().__init__()
        self.self_attn = Attention(cfg)
        self.mlp = GatedMLP(cfg)
        for name in ("pre_self_attn", "post_self_attn", "pre_feedforward", "post_feedforward"):
            setattr(self, f"{name}_layernorm", GemmaNorm(cfg.hidden_size, cfg.rms_norm_eps))

    def __call__(self, x: mx.array, mask: mx.array | None) -> mx.array:
        """x: (B, S, D) -> (B, S, D)"""
        x = x + self.post_self_attn_layernorm(self.self_attn(self.pre_self_attn_layernorm(x), mask))
        return x + self.post_feedforward_layernorm(self.mlp(self.pre_feedforward_layernorm(x)))


class T5GemmaEncoder(nn.Module):
    """The encoder behind its embedding table (see ``T5Encoder``); embeddings are scaled by sqrt(D) here."""

    Config = T5GemmaConfig
    # Neither a begin nor an end token, whatever the tokenizer file would add.
    END_MARK = False
    PREFIXES = ("model.encoder.", "encoder.", "")
    EMBEDDINGS = ("model.encoder.embed_tokens.weight", "encoder.embed_tokens.weight", "embed_tokens.weight")

    def __init__(self, cfg: T5GemmaConfig):
        super().__init__()
        self.cfg = cfg
        self.layers = [T5GemmaLayer(cfg) for _ in range(cfg.num_hidden_layers)]
        self.norm = GemmaNorm(cfg.hidden_size, cfg.rms_norm_eps)

    def __call__(self, x: mx.array, mask: mx.array | None = None) -> mx.array:
        """x: (B, S, D) embedded tokens, mask: (B, S) True for tokens (None: all) -> (B, S, D)"""
        full = None if mask is None else mx.where(mask[:, None, None], 0.0, MASKED)
        near = self.window(x.shape[1], full)
        x = x * self.cfg.hidden_size**0.5
        for i, layer in enumerate(self.layers):
            x = layer(x, near if self.cfg.slides(i) else full)
        return self.norm(x)

    def window(self, length: int, mask: mx.array | None) -> mx.array | None:
        """The additive mask of the sliding layers; the same as the others' while the prompt fits in the window."""
        reach = self.cfg.sliding_window
        if reach is None or length <= reach + 1:
            return mask
        position = mx.arange(length)
        near = mx.where(mx.abs(position[None] - position[:, None]) <= reach, 0.0, MASKED)
        return near if mask is None else near + mask
