"""``model.diffusion.config`` of a model_config.json: what stable-audio-tools' diffusion transformers may look like."""

from dataclasses import dataclass
from typing import Any, ClassVar

from ..config import build
from ..layers.fourier import FOURIER
from ..layers.transformer import BlockConfig, StackConfig


@dataclass(frozen=True)
class AttentionOptions:
    """``attn_kwargs`` of stable-audio-tools."""

    qk_norm: str = "none"
    qk_norm_eps: float = 1e-6
    differential: bool = False
    feat_scale: bool = False


@dataclass(frozen=True)
class FeedForwardOptions:
    """``ff_kwargs`` of stable-audio-tools."""

    IGNORED: ClassVar = ("zero_init_output",)

    mult: float = 4.0
    no_bias: bool = False
    glu: bool = True
    use_conv: bool = False
    conv_kernel_size: int = 3
    sinusoidal: bool = False

    @property
    def gate(self) -> str | None:
        return ("sin" if self.sinusoidal else "silu") if self.glu else None


@dataclass(frozen=True)
class NormOptions:
    """``norm_kwargs`` of stable-audio-tools."""

    # Our norms always accumulate in float32.
    IGNORED: ClassVar = ("force_fp32",)

    eps: float = 1e-5
    bias: bool = False
    fix_scale: bool = False


@dataclass(frozen=True)
class DiTConfig:
    """``model.diffusion.config`` of a model_config.json, under its own names and defaults."""

    # Initial values, the training objective (the pipeline's business) and memory tricks of training.
    IGNORED: ClassVar = ("zero_init_branch_outputs", "diffusion_objective", "use_checkpointing")

    io_channels: int = 32
    patch_size: int = 1
    embed_dim: int = 768
    cond_token_dim: int = 0
    project_cond_tokens: bool = True
    global_cond_dim: int = 0
    project_global_cond: bool = True
    input_concat_dim: int = 0
    prepend_cond_dim: int = 0
    local_add_cond_dim: int | None = None
    depth: int = 12
    num_heads: int = 8
    transformer_type: str = "continuous_transformer"
    global_cond_type: str = "prepend"
    timestep_cond_type: str = "global"
    timestep_embed_dim: int | None = None
    timestep_features_type: str = "learned"
    timestep_features_dim: int = 256
    timestep_features_logsnr: bool = False
    causal: bool = False
    rotary_pos_emb: bool = True
    cross_attn_rotary_pos_emb: bool = False
    add_rope: bool = False
    use_sinusoidal_emb: bool = False
    use_abs_pos_emb: bool = False
    abs_pos_emb_max_length: int = 10000
    num_memory_tokens: int = 0
    final_cross_attn_ix: int = -1
    conformer: bool = False
    layer_scale: bool = False
    remove_norms: bool = False
    norm_type: str = "layer_norm"
    sliding_window: Any = None
    modular_local_cond_configs: Any = None
    attn_kwargs: AttentionOptions = AttentionOptions()
    ff_kwargs: FeedForwardOptions = FeedForwardOptions()
    norm_kwargs: NormOptions = NormOptions()

    def __post_init__(self):
        self.check_sizes()
        self.check_supported()
        self.block  # noqa: B018  its own checks belong to this section

    def check_sizes(self) -> None:
        """Raise ValueError for sizes that no model has, before anything is allocated."""
        limits = {
            "io_channels": (1, 8192), "patch_size": (1, 256), "embed_dim": (1, 16384), "depth": (1, 256),
            "num_heads": (1, 256), "cond_token_dim": (0, 16384), "global_cond_dim": (0, 16384),
            "input_concat_dim": (0, 16384), "prepend_cond_dim": (0, 16384), "num_memory_tokens": (0, 4096),
            "timestep_features_dim": (2, 16384), "abs_pos_emb_max_length": (1, 1 << 20),
        }  # fmt: skip
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} {getattr(self, name)} is out of range, {low} to {high}")
        if self.local_add_cond_dim is not None and not 1 <= self.local_add_cond_dim <= 16384:
            raise ValueError(f"local_add_cond_dim {self.local_add_cond_dim} is out of range, 1 to 16384")
        if self.embed_dim % self.num_heads:
            raise ValueError(f"embed_dim {self.embed_dim} must be a multiple of num_heads {self.num_heads}")
        if self.timestep_features_dim % 2 or (self.use_sinusoidal_emb and self.embed_dim % 2):
            raise ValueError("timestep_features_dim, and embed_dim with use_sinusoidal_emb, must be even")

    def check_supported(self) -> None:
        """Raise ValueError for what the reference's transformer can be and this one cannot."""
        choices = {
            "transformer_type": ("continuous_transformer",),
            "global_cond_type": ("prepend", "adaLN"),
            # "input_concat" fails in stable-audio-tools itself.
            "timestep_cond_type": ("global",),
            "timestep_features_type": tuple(FOURIER),
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} {getattr(self, name)!r} is not supported, known: {', '.join(known)}")
        for name in ("cross_attn_rotary_pos_emb", "sliding_window", "modular_local_cond_configs"):
            if getattr(self, name):
                raise ValueError(f"{name} is not supported (no released model uses it)")
        if self.global_cond_dim and not self.project_global_cond and self.global_cond_dim != self.embed_dim:
            raise ValueError("project_global_cond false needs global_cond_dim equal to embed_dim")
        if not -1 <= self.final_cross_attn_ix < self.depth:
            raise ValueError(f"final_cross_attn_ix {self.final_cross_attn_ix} is not a layer")
        if self.patch_size > 1 and self.local_add_cond_dim:
            raise ValueError("local_add_cond_dim does not go with patch_size above 1")

    @property
    def rope_dims(self) -> int:
        head = self.embed_dim // self.num_heads
        if self.rotary_pos_emb:
            return max(head // 2, 32)
        return head // 2 if self.add_rope else 0

    @property
    def context_dim(self) -> int:
        """Width of the cross attention's context; 0: no cross attention."""
        return self.embed_dim if self.cond_token_dim and self.project_cond_tokens else self.cond_token_dim

    @property
    def block(self) -> BlockConfig:
        """The transformer block this config asks for."""
        attn, ff, norm = self.attn_kwargs, self.ff_kwargs, self.norm_kwargs
        return BlockConfig(
            dim=self.embed_dim,
            dim_heads=self.embed_dim // self.num_heads,
            context_dim=self.context_dim or None,
            local_dim=self.local_add_cond_dim,
            adaln=self.global_cond_type == "adaLN",
            norm="dyt" if self.remove_norms else self.norm_type,
            norm_eps=norm.eps,
            norm_bias=norm.bias,
            norm_fix_scale=norm.fix_scale,
            qk_norm=attn.qk_norm,
            qk_norm_eps=attn.qk_norm_eps,
            differential=attn.differential,
            causal=self.causal,
            feat_scale=attn.feat_scale,
            layer_scale=self.layer_scale,
            conformer=self.conformer,
            rope_dims=self.rope_dims,
            ff_mult=ff.mult,
            ff_gate=ff.gate,
            ff_bias=not ff.no_bias,
            ff_kernel=ff.conv_kernel_size if ff.use_conv else 1,
        )

    @property
    def stack(self) -> StackConfig:
        """The transformer this config asks for."""
        return StackConfig(
            block=self.block,
            depth=self.depth,
            dim_in=(self.io_channels + self.input_concat_dim) * self.patch_size,
            dim_out=self.io_channels * self.patch_size,
            num_memory_tokens=self.num_memory_tokens,
            cross_depth=None if self.final_cross_attn_ix == -1 else self.final_cross_attn_ix + 1,
            sinusoidal_positions=self.use_sinusoidal_emb,
            learned_positions=self.abs_pos_emb_max_length if self.use_abs_pos_emb else 0,
        )

    @classmethod
    def from_section(cls, section: dict, path: str) -> "DiTConfig":
        """Read ``model.diffusion.config``; raises ConfigError with the JSON path."""
        return build(cls, section, path)
