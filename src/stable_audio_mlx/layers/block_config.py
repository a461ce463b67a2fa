"""What a transformer block may look like."""

from dataclasses import dataclass

from .activations import GATES

NORMS = ("layer_norm", "rms_norm", "dyt")
QK_NORMS = ("none", "ln", "rms", "l2", "dyt")


@dataclass(frozen=True)
class BlockConfig:
    """One transformer block; every field is an axis on which models in stable-audio-tools' format differ."""

    dim: int
    dim_heads: int = 64
    context_dim: int | None = None  # None: no cross attention
    local_dim: int | None = None  # None: no local conditioning
    adaln: bool = False
    norm: str = "layer_norm"
    norm_eps: float = 1e-5
    norm_bias: bool = False
    norm_fix_scale: bool = False
    qk_norm: str = "none"
    qk_norm_eps: float = 1e-6
    differential: bool = False
    causal: bool = False
    feat_scale: bool = False
    layer_scale: bool = False
    conformer: bool = False
    rope_dims: int = 32  # 0: no rotary positions
    ff_mult: float = 4.0
    ff_gate: str | None = "silu"  # None: a plain two-layer feed-forward
    ff_bias: bool = True
    ff_kernel: int = 1  # > 1: convolutions over time in place of the feed-forward's linear layers, but for a gated one

    def __post_init__(self):
        if not 1 <= self.dim <= 16384 or not 1 <= self.dim_heads <= self.dim or self.dim % self.dim_heads:
            raise ValueError(f"width {self.dim} cannot be split into heads of {self.dim_heads}")
        if self.context_dim is not None:
            kv_heads = self.context_dim // self.dim_heads
            if not kv_heads or self.context_dim % self.dim_heads or (self.dim // self.dim_heads) % kv_heads:
                raise ValueError(f"context width {self.context_dim} does not fit {self.dim // self.dim_heads} heads")
        if self.rope_dims and (self.rope_dims % 2 or self.rope_dims > self.dim_heads):
            raise ValueError(f"rotary positions need heads of at least {self.rope_dims}, got {self.dim_heads}")
        for name, value, known in (
            ("norm_type", self.norm, NORMS),
            ("qk_norm", self.qk_norm, QK_NORMS),
            ("ff gate", self.ff_gate, (None, *GATES)),
        ):
            if value not in known:
                raise ValueError(f"{name} {value!r} is not supported, known: {', '.join(map(str, known))}")
        if self.norm != "layer_norm" and self.norm_bias:
            raise ValueError(f"norm_kwargs.bias does not go with norm_type {self.norm!r}")
        if not 0 < self.ff_mult * self.dim <= 262144 or int(self.ff_mult * self.dim) < 1:
            raise ValueError(f"ff_kwargs.mult {self.ff_mult} is out of range")
        if not 1 <= self.ff_kernel <= 63 or self.ff_kernel % 2 == 0:
            raise ValueError(f"ff_kwargs.conv_kernel_size {self.ff_kernel} must be odd and at most 63")
        if not (0 <= self.norm_eps < 1 and 0 <= self.qk_norm_eps < 1):
            raise ValueError("norm eps must be in [0, 1)")
