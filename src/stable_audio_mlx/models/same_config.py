"""Settings of SAME, as the configs of Stable Audio 3 spell them."""

from dataclasses import dataclass
from typing import ClassVar

from ..layers.block_config import BlockConfig

MAX_WIDTH, MAX_STRIDE, MAX_DEPTH, MAX_GROUPS = 1 << 14, 256, 256, 1 << 12


@dataclass(frozen=True)
class SAMEConfig:
    """What encoder and decoder have in common; lists have one entry per level of resampling, and there is one."""

    channels: int
    latent_dim: int
    c_mults: tuple[int, ...]
    strides: tuple[int, ...]
    transformer_depths: tuple[int, ...]
    chunk_size: int = 128  # frames
    chunk_midpoint_shift: bool = False
    sliding_window: tuple[int, ...] | None = None  # groups before and after; None: chunks
    dim_heads: int = 128
    differential: bool = True
    dyt: bool = True
    ff_mult: float = 3.0
    layer_scale: bool = False
    conformer: bool = False
    variable_stride: bool = False
    conv_mapping: bool = False
    mapping_bias: bool = True
    mask_noise: float = 0.0

    # Training, and keys that the reference takes and does nothing with.
    IGNORED: ClassVar = (
        "checkpointing",
        "freeze_backbone",
        "mapping_style",
        "use_flash",
        "use_snake",
        "use_dilated_conv",
        "conv_bias",
        "causal",
    )

    def __post_init__(self):
        if not len(self.c_mults) == len(self.strides) == len(self.transformer_depths) == 1:
            raise ValueError("c_mults, strides and transformer_depths must have one entry each")
        for name, value, most in (
            ("channels * c_mults", self.width, MAX_WIDTH),
            ("latent_dim", self.latent_dim, MAX_WIDTH),
            ("strides", self.stride, MAX_STRIDE),
            ("transformer_depths", self.depth, MAX_DEPTH),
        ):
            if not 1 <= value <= most:
                raise ValueError(f"{name} must be 1 to {most}, got {value}")
        if self.conformer:
            raise ValueError("conformer is not supported (no released model uses it)")
        if not 0 <= self.mask_noise < 1e3:
            raise ValueError(f"mask_noise must be 0 to 1000, got {self.mask_noise}")
        self.check_span()
        self.block(0)

    def check_span(self) -> None:
        """Raise ValueError for a window or chunk that does not fit the groups."""
        if self.sliding_window is not None:
            if len(self.sliding_window) != 2 or not all(0 <= n <= MAX_GROUPS for n in self.sliding_window):
                raise ValueError(f"sliding_window must be two counts of groups, got {self.sliding_window}")
        elif self.chunk_size % self.stride or not 1 <= self.chunk_groups <= MAX_GROUPS:
            raise ValueError(f"chunk_size {self.chunk_size} must be a multiple of the stride {self.stride}")
        elif self.chunk_midpoint_shift and self.chunk_groups % 2:
            raise ValueError(f"chunk_midpoint_shift needs an even number of latents per chunk, not {self.chunk_groups}")

    @property
    def width(self) -> int:
        return self.channels * self.c_mults[0]

    @property
    def stride(self) -> int:
        return self.strides[0]

    @property
    def depth(self) -> int:
        return self.transformer_depths[0]

    @property
    def chunk_groups(self) -> int:
        """Groups that are computed together, 1 where the window slides."""
        return 1 if self.sliding_window is not None else self.chunk_size // self.stride

    def block(self, index: int) -> BlockConfig:
        """The settings of transformer block ``index``."""
        dim_heads = min(self.dim_heads, self.width)
        return BlockConfig(
            dim=self.width,
            dim_heads=dim_heads,
            norm="dyt" if self.dyt else "rms_norm",
            norm_eps=1e-3,
            qk_norm="dyt" if self.dyt else "rms",
            qk_norm_eps=1e-3,
            differential=self.differential,
            layer_scale=self.layer_scale,
            rope_dims=dim_heads // 2,
            ff_mult=self.ff_mult,
            ff_gate="sin" if self.depth - index < self.sine_gates else "silu",
        )

    @property
    def sine_gates(self) -> int:
        """One more than the number of last blocks whose feed-forward has a sine for a gate."""
        return 0


@dataclass(frozen=True)
class SAMEEncoderConfig(SAMEConfig):
    in_channels: int = 2


@dataclass(frozen=True)
class SAMEDecoderConfig(SAMEConfig):
    out_channels: int = 2
    sinusoidal_blocks: tuple[int, ...] = (0,)

    def __post_init__(self):
        if len(self.sinusoidal_blocks) != 1:
            raise ValueError("sinusoidal_blocks must have one entry")
        super().__post_init__()

    @property
    def sine_gates(self) -> int:
        return self.sinusoidal_blocks[0]
