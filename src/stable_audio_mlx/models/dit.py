"""The diffusion transformer of Stable Audio Open and Stable Audio 3: everything is chosen by the config."""

from collections.abc import Sequence
from typing import NamedTuple

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_map

from ..errors import OptionError
from ..layers.blocks import mlp
from ..layers.fourier import FOURIER
from ..layers.transformer import BLOCK_KEYS, Transformer
from .dit_config import DiTConfig


class DiTConditioning(NamedTuple):
    """What does not change between the steps of a clip; a tuple of arrays, so ``mx.eval(conditioning)`` works.

    Where the batch B of a part is 1, it is the same for all clips.
    """

    keys_values: list | None  # per block, of its cross attention
    global_embed: mx.array | None  # (B, D)
    embeds: dict[float, mx.array]  # by noise level, (B, D), or (B, 6 D) for modulation
    local: list | None  # per block, (B, T or 1, D)
    input_concat: mx.array | None  # (B, T, I)
    prepend: mx.array | None  # (B, P, D)
    modulation_table: mx.array | None  # (N blocks, 6 D)

    def first(self, batch: int) -> "DiTConditioning":
        """Of the first ``batch`` clips alone."""
        shared = ("embeds", "modulation_table")
        own = {name: value for name, value in self._asdict().items() if name not in shared}
        embeds = {t: embed[:batch] for t, embed in self.embeds.items()}
        return self._replace(embeds=embeds, **tree_map(lambda a: None if a is None else a[:batch], own))


class DiT(Transformer):
    """Velocity of the latents at noise level ``t``; the blocks ``block_0 ..`` sit on the DiT itself."""

    Config = DiTConfig
    KEYS = [
        (r"^transformer\.(project_in|project_out|memory_tokens|pos_emb|global_cond_embedder)", r"\1"),
        (r"^transformer\.layers\.(\d+)\.", r"block_\1."),
        (r"^(to_\w+_embed|global_cond_embedder)\.(\d+)\.", r"\1.layers.\2."),
        *BLOCK_KEYS,
    ]
    IGNORE = [r"(^|\.)(rotary_pos_emb|rope)\.inv_freq$"]

    def __init__(self, cfg: DiTConfig):
        super().__init__(cfg.stack)
        dim, channels = cfg.embed_dim, cfg.io_channels
        self.shared_rope = cfg.rotary_pos_emb
        self.io_channels, self.patch_size, self.logsnr = channels, cfg.patch_size, cfg.timestep_features_logsnr
        self.timestep_features = FOURIER[cfg.timestep_features_type](cfg.timestep_features_dim)
        self.to_timestep_embed = mlp(cfg.timestep_features_dim, dim)
        if cfg.cond_token_dim:
            self.to_cond_embed = mlp(cfg.cond_token_dim, cfg.context_dim, bias=False)
        if cfg.global_cond_dim:
            self.to_global_embed = mlp(cfg.global_cond_dim, dim, bias=False)
        if cfg.prepend_cond_dim:
            self.to_prepend_embed = mlp(cfg.prepend_cond_dim, dim, bias=False)
        width = channels + cfg.input_concat_dim
        self.preprocess_conv = nn.Conv1d(width, width, 1, bias=False)
        self.postprocess_conv = nn.Conv1d(channels, channels, 1, bias=False)

    def checkpoint_buffers(self) -> dict[str, tuple[int, ...]]:
        """Constants that checkpoints hold and this class computes: key -> shape."""
        half = self.block_0.self_attn.rope_dims // 2
        if not half:
            return {}
        own = [f"transformer.layers.{i}.rope.inv_freq" for i in range(self.depth)]
        return dict.fromkeys(["transformer.rotary_pos_emb.inv_freq"] if self.shared_rope else own, (half,))

    @property
    def dtype(self) -> mx.Dtype:
        """What the network computes in: the type of its weights."""
        return self.preprocess_conv.weight.dtype

    def condition(
        self,
        cross: mx.array | None = None,
        global_cond: mx.array | None = None,
        local: mx.array | None = None,
        input_concat: mx.array | None = None,
        prepend: mx.array | None = None,
        times: Sequence[float] = (),
        last: bool = False,
    ) -> DiTConditioning:
        """Compute once per clip what all steps share, and for the noise levels ``times`` what they alone decide.

        cross: (B, S, C) tokens; global_cond: (B, G); local: (B, T, L), or (B, 1, L) where it is the same at all times;
        input_concat: (B, T', I), stretched to the latents' length; prepend: (B, P, C) tokens.  B may be 1 for all.
        ``last``: no other clip follows, so the weights that only serve here are given back as they are done with.
        """
        cross, global_cond, local, input_concat, prepend = (
            None if a is None else a.astype(self.dtype) for a in (cross, global_cond, local, input_concat, prepend)
        )
        global_embed = None if global_cond is None else self.to_global_embed(global_cond)
        features = [self.features(t) for t in times]
        embeds = self.embed(mx.concatenate(features)[:, None], global_embed) if features else ()
        return DiTConditioning(
            keys_values=None if cross is None else self.keys_values(self.to_cond_embed(cross), last),
            global_embed=global_embed,
            embeds=dict(zip(times, embeds, strict=True)),
            local=None if local is None else self.local_embeds(local, last),
            input_concat=input_concat,
            prepend=None if prepend is None else self.to_prepend_embed(prepend),
            modulation_table=self.modulation_table() if "global_cond_embedder" in self else None,
        )

    def __call__(
        self, x: mx.array, t: float | mx.array, conditioning: DiTConditioning, mask: mx.array | None = None
    ) -> mx.array:
        """x: (B, T, C); t: noise level, a number or (B,); mask: (B, T), True where latents are valid -> (B, T, C)"""
        dtype, (batch, length, _) = x.dtype, x.shape
        embed = conditioning.embeds.get(t) if isinstance(t, float) else None
        if embed is None:
            embed = self.embed(self.features(t), conditioning.global_embed)
        x = x.astype(self.dtype)
        if conditioning.input_concat is not None:
            more = nearest(conditioning.input_concat, length)
            x = mx.concatenate([x, mx.broadcast_to(more, (batch, *more.shape[1:]))], axis=-1)
        modulations, prepend = None, conditioning.prepend
        if conditioning.modulation_table is not None:
            modulations = self.modulations(embed, conditioning.modulation_table)
        else:
            token = mx.broadcast_to(embed, (batch, embed.shape[1]))[:, None]
            prepend = token if prepend is None else mx.concatenate([prepend, token], axis=1)
        x = self.patch(x + self.preprocess_conv(x))
        mask = None if mask is None else mask[:, :: self.patch_size]
        x = self.transform(x, conditioning.keys_values, modulations, conditioning.local, prepend, mask)
        x = self.unpatch(x[:, -(length // self.patch_size) :])
        return (x + self.postprocess_conv(x)).astype(dtype)

    def features(self, t: float | mx.array) -> mx.array:
        """t: number or (B,) -> (1 or B, F)"""
        return self.timestep_features(logsnr_position(t) if self.logsnr else t).astype(self.dtype)

    def embed(self, features: mx.array, global_embed: mx.array | None) -> mx.array:
        """features: (..., 1 or B, F); global_embed: (B, D) -> (..., B, D or 6 D): the global embedding at a noise level

        For a model with adaLN it is what all blocks' modulations share.
        """
        embed = self.to_timestep_embed(features)
        if global_embed is not None:
            embed = global_embed + embed
        return self.global_cond_embedder(embed) if "global_cond_embedder" in self else embed

    def patch(self, x: mx.array) -> mx.array:
        """x: (B, T, C) -> (B, T / p, C p), channel-major as in the checkpoints"""
        if self.patch_size == 1:
            return x
        batch, length, channels = x.shape
        if length % self.patch_size:
            raise OptionError(f"{length} latents are not a multiple of the model's patch size {self.patch_size}")
        return (
            x.reshape(batch, -1, self.patch_size, channels)
            .swapaxes(2, 3)
            .reshape(batch, -1, channels * self.patch_size)
        )

    def unpatch(self, x: mx.array) -> mx.array:
        """x: (B, T / p, C p) -> (B, T, C)"""
        if self.patch_size == 1:
            return x
        batch, length, _ = x.shape
        return x.reshape(batch, length, -1, self.patch_size).swapaxes(2, 3).reshape(batch, length * self.patch_size, -1)


def nearest(x: mx.array, length: int) -> mx.array:
    """x: (B, T, C) -> (B, length, C), each frame the nearest earlier one"""
    if x.shape[1] == length:
        return x
    return x[:, mx.arange(length) * x.shape[1] // length]


def logsnr_position(t: float | mx.array) -> mx.array:
    """Noise level -> its log signal-to-noise ratio ln((1 - t) / t), from [5, -12] to [0, 1]."""
    t = mx.clip(mx.array(t, dtype=mx.float32), 1e-7, 1 - 1e-7)
    return (5 - mx.clip(mx.log((1 - t) / t), -12, 5)) / 17
