"""SAME: the transformer autoencoders of Stable Audio 3 (``taae_v2``; SAME-S and SAME-L).

``stride`` frames (patches of audio) and one latent make a group of tokens.  The encoder appends a learned token to the
frames of a group and keeps what becomes of it; the decoder appends ``stride`` learned tokens to a latent and keeps
those.  In between, all groups stand in one row of tokens and attend either within chunks, which move by half a chunk
for the second half of the blocks (SAME-S), or within a band around each token (SAME-L).
"""

from collections.abc import Callable, Iterator
from functools import partial

import mlx.core as mx
import mlx.nn as nn

from ..cpu import fast_forms
from ..errors import OptionError
from ..layers.banded import BandedSelfAttention
from ..layers.blocks import Blocks
from ..layers.conv import Chain, Conv1d
from ..layers.parallel import batches, together, width
from ..layers.transformer import BLOCK_KEYS, TransformerBlock
from ..memory import budget
from .same_config import SAMEConfig, SAMEDecoderConfig, SAMEEncoderConfig


class Resampling(Blocks):
    """Groups of ``given`` known and ``asked`` learned tokens through the blocks; the learned ones come out."""

    KEYS = [(r"^transformers\.(\d+)\.", r"block_\1."), *BLOCK_KEYS]
    IGNORE = [r"^transformers\.\d+\.rope\.inv_freq$"]

    def __init__(self, cfg: SAMEConfig, dim_in: int, dim_out: int, given: int, asked: int):
        super().__init__()
        self.given, self.asked, self.stride, self.mask_noise = given, asked, cfg.stride, cfg.mask_noise
        self.window, self.chunk_groups = cfg.sliding_window, cfg.chunk_groups
        self.shift = cfg.chunk_groups // 2 if cfg.chunk_midpoint_shift else 0
        kernel = 3 if cfg.conv_mapping else 1
        conv = Conv1d(dim_in, dim_out, kernel, padding=kernel // 2, bias=cfg.mapping_bias)
        self.mapping = conv if dim_in != dim_out else nn.Identity()
        self.new_tokens = 1e-5 * mx.random.normal((1, 1 if cfg.variable_stride else asked, cfg.width))
        self.add_blocks(cfg.depth, lambda i: make_block(cfg, i))

    def checkpoint_buffers(self) -> dict[str, tuple[int, ...]]:
        """Constants that checkpoints hold and this class computes: key -> shape."""
        half = self.block_0.self_attn.rope_dims // 2
        return {f"transformers.{i}.rope.inv_freq": (half,) for i in range(self.depth)} if half else {}

    def resample(self, x: mx.array, noise: mx.array | None, piece: int | None) -> mx.array:
        """x: (B, N * given, D), noise: (B, <= N, asked, D), piece: as ``transform`` -> (B, N * asked, D)"""
        batch, _, dim = x.shape
        x = x.reshape(batch, -1, self.given, dim)
        new = mx.broadcast_to(self.new_tokens[:, None], (batch, x.shape[1], self.asked, dim))
        if noise is not None:
            if noise.shape[2:] != new.shape[2:] or not 0 <= x.shape[1] - noise.shape[1] < self.chunk_groups:
                raise OptionError(f"noise of the tokens must be like {new.shape}, got {noise.shape}")
            new = new + self.mask_noise * mx.pad(noise, [(0, 0), (0, x.shape[1] - noise.shape[1]), (0, 0), (0, 0)])
        tokens = mx.concatenate([x, new.astype(x.dtype)], axis=2).flatten(1, 2)
        tokens = self.transform(tokens, piece).reshape(batch, -1, self.given + self.asked, dim)
        return tokens[:, :, self.given :].flatten(1, 2)

    def transform(self, x: mx.array, piece: int | None) -> mx.array:
        """All blocks, ``piece`` groups at a time if given, each evaluated.  x: (B, N * (stride + 1), D) -> the same"""
        group = self.stride + 1
        if self.window is not None:
            before, after = (n * group for n in self.window)
            # Rotary positions start anew in every piece: only differences count, and small phases round less.
            for block in self.blocks:
                x = in_pieces(block, x, 1, piece and piece * group, before, after)
            return x
        shift, half = self.shift * group, self.depth // 2
        if not shift:
            return self.in_chunks(self.blocks, x, piece)
        x = self.in_chunks(self.blocks[:half], x, piece)
        x = mx.concatenate([x[:, :shift], x, x[:, -shift:]], axis=1)
        return self.in_chunks(self.blocks[half:], x, piece)[:, shift:-shift]

    def in_chunks(self, blocks: list[nn.Module], x: mx.array, piece: int | None) -> mx.array:
        """The blocks on consecutive chunks, each apart from the others.  x: (B, N, D) -> (B, N, D)"""
        chunks = x.reshape(-1, self.chunk_groups * (self.stride + 1), x.shape[2])
        piece = piece and max(1, piece // self.chunk_groups)
        return in_pieces(nn.Sequential(*blocks), chunks, 0, piece).reshape(x.shape)

    def groups(self, start: int, stop: int) -> tuple[int, int]:
        """The groups that the groups [start, stop) depend on, whole chunks."""
        if self.window is not None:
            return start - self.depth * self.window[0], stop + self.depth * self.window[1]
        size = self.chunk_groups
        start = (start + self.shift) // size * size - self.shift
        stop = -(-(stop + self.shift) // size) * size - self.shift
        return start // size * size, -(-stop // size) * size

    def map_reach(self, start: int, stop: int) -> tuple[int, int]:
        """The input frames of the mapping for its output frames [start, stop)."""
        return self.mapping.reach(start, stop) if isinstance(self.mapping, Conv1d) else (start, stop)

    def tiles(self, network: nn.Module, x: mx.array, noise: mx.array | None) -> Iterator[mx.array]:
        """``network(x, noise)``, of which this is the part that resamples, in consecutive evaluated tiles.

        Each is computed from as much of ``x`` as it depends on, so all have their exact values.
        """
        total, length = x.shape[1], self.length(x.shape[1])
        tile = max(1, budget().window // len(x) // self.chunk_groups) * self.chunk_groups * self.asked
        for start in range(0, length, tile):
            stop = min(start + tile, length)
            low, high = self.reach(start, stop)
            low, high = max(0, low), min(high, total)
            own = None if noise is None else noise[:, low // self.given : -(-high // self.given)]
            at = low // self.given * self.asked
            y = network(x[:, low:high], own, max(1, budget().piece // len(x)))
            part = mx.contiguous(y[:, start - at : stop - at])
            mx.eval(part)
            give_back()
            yield part


class Downsampling(Resampling):
    """``stride`` frames to one: mapping, then the blocks."""

    def __init__(self, cfg: SAMEEncoderConfig):
        super().__init__(cfg, cfg.in_channels, cfg.width, given=cfg.stride, asked=1)

    def __call__(self, x: mx.array, noise: mx.array | None = None, piece: int | None = None) -> mx.array:
        """x: (B, L, C), noise: (B, T, 1, D) -> (B, T, D), T whole chunks, zeros after the end"""
        return self.resample(self.mapping(pad_to(x, self.stride * self.chunk_groups)), noise, piece)

    def reach(self, start: int, stop: int) -> tuple[int, int]:
        """The input frames [start, stop), whole chunks, that the output frames [start, stop) are made of."""
        size = self.stride * self.chunk_groups
        first, last = self.map_reach(*(n * self.stride for n in self.groups(start, stop)))
        return first // size * size, -(-last // size) * size

    def length(self, frames: int) -> int:
        """Output frames for so many input frames."""
        return -(-frames // (self.stride * self.chunk_groups)) * self.chunk_groups


class Upsampling(Resampling):
    """One frame to ``stride``: the blocks, then mapping."""

    def __init__(self, cfg: SAMEDecoderConfig):
        super().__init__(cfg, cfg.width, cfg.out_channels, given=1, asked=cfg.stride)

    def __call__(self, x: mx.array, noise: mx.array | None = None, piece: int | None = None) -> mx.array:
        """x: (B, T, D), noise: (B, T, stride, D) -> (B, T * stride, C)"""
        y = self.mapping(self.resample(pad_to(x, self.chunk_groups), noise, piece))
        return y[:, : self.length(x.shape[1])]

    def reach(self, start: int, stop: int) -> tuple[int, int]:
        """The input frames [start, stop), whole chunks, that the output frames [start, stop) are made of."""
        first, last = self.map_reach(start, stop)
        return self.groups(first // self.stride, -(-last // self.stride))

    def length(self, frames: int) -> int:
        """Output frames for so many input frames."""
        return frames * self.stride


class SAMEEncoder(Chain):
    """Frames of audio to latents: (B, L, in_channels) -> (B, L / stride up to whole chunks, latent_dim)."""

    Config = SAMEEncoderConfig

    def __init__(self, cfg: SAMEEncoderConfig):
        # The identities keep the checkpoint's indices.
        super().__init__(Downsampling(cfg), nn.Identity(), nn.Linear(cfg.width, cfg.latent_dim), nn.Identity())
        self.in_channels, self.out_channels = cfg.in_channels, cfg.latent_dim
        self.strides, self.chunk_latents = cfg.strides, cfg.chunk_groups

    def __call__(self, x: mx.array, noise: mx.array | None = None, piece: int | None = None) -> mx.array:
        """x: (B, L, in_channels), noise: (B, T, 1, D) of the learned tokens -> (B, T, latent_dim)

        ``piece``: latents that go through the blocks at a time, each evaluated; None: all, and nothing is evaluated.
        """
        level, _, project, _ = self.layers
        return project(level(x, noise, piece))

    def reach(self, start: int, stop: int) -> tuple[int, int]:
        """The input frames that the latents [start, stop) are made of; may lie outside of the signal."""
        return self.layers[0].reach(start, stop)

    def tiled(self, x: mx.array, noise: mx.array | None = None) -> Iterator[mx.array]:
        """The same in consecutive evaluated pieces, in memory that does not depend on L."""
        return self.layers[0].tiles(self, x, noise)


class SAMEDecoder(Chain):
    """Latents to frames of audio: (B, T, latent_dim) -> (B, T * stride, out_channels)."""

    Config = SAMEDecoderConfig

    def __init__(self, cfg: SAMEDecoderConfig):
        super().__init__(nn.Identity(), nn.Linear(cfg.latent_dim, cfg.width), nn.Identity(), Upsampling(cfg))
        self.in_channels, self.out_channels = cfg.latent_dim, cfg.out_channels
        self.strides, self.chunk_latents = cfg.strides, cfg.chunk_groups

    def __call__(self, x: mx.array, noise: mx.array | None = None, piece: int | None = None) -> mx.array:
        """x: (B, T, latent_dim), noise: (B, T, stride, D) of the learned tokens -> (B, T * stride, C)

        ``piece``: latents that go through the blocks at a time, each evaluated; None: all, and nothing is evaluated.
        """
        _, project, _, level = self.layers
        return level(project(x), noise, piece)

    def reach(self, start: int, stop: int) -> tuple[int, int]:
        """The latents that the output frames [start, stop) are made of; may lie outside of the signal."""
        return self.layers[-1].reach(start, stop)

    def tiled(self, x: mx.array, noise: mx.array | None = None) -> Iterator[mx.array]:
        """The same in consecutive evaluated pieces, in memory that does not depend on T."""
        return self.layers[-1].tiles(self, x, noise)


def make_block(cfg: SAMEConfig, index: int) -> TransformerBlock:
    block = TransformerBlock(cfg.block(index))
    if cfg.sliding_window is not None:
        before, after = (n * (cfg.stride + 1) for n in cfg.sliding_window)
        block.self_attn = BandedSelfAttention(cfg.block(index), before, after)
    return block


def in_pieces(
    function: Callable[[mx.array], mx.array], x: mx.array, axis: int, piece: int | None, before: int = 0, after: int = 0
) -> mx.array:
    """``function(x)``, ``piece`` positions along ``axis`` at a time, each evaluated; None: at once, unevaluated.

    A position of the result depends on the positions from ``before`` it to ``after`` it.
    """
    if piece is None:
        return function(x)
    total, lead = x.shape[axis], (slice(None),) * axis
    count = -(-total // piece)
    if count > 1:
        piece = -(-total // (count * width()))  # each of the pieces side by side needs memory

    def part(start: int) -> mx.array:
        low, high = max(0, start - before), min(total, start + piece + after)
        return function(x[(*lead, slice(low, high))])[(*lead, slice(start - low, start - low + piece))]

    parts = []
    for batch in batches(range(0, total, piece)):
        parts += together([partial(part, start) for start in batch])
        give_back()
    return mx.concatenate(parts, axis=axis)


def give_back() -> None:
    """Free what MLX keeps of freed memory on the CPU: pieces of other sizes seldom fit it, so it would only add up."""
    if fast_forms():
        mx.clear_cache()


def pad_to(x: mx.array, multiple: int) -> mx.array:
    """Zeros after the end, up to a multiple.  x: (B, T, C)"""
    return mx.pad(x, [(0, 0), (0, -x.shape[1] % multiple), (0, 0)])
