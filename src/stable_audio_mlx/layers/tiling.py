"""A chain of convolutions, computed piece by piece: the same numbers in memory that does not grow with the length.

A chain is cut in two.  The half at the low rate runs on long blocks, because its halo is long in seconds; the half at
the high rate, where nearly all memory and time go, runs on tiles that stay in the processor's cache.  What a piece
needs of its input follows from kernels, strides and dilations (``reach``), and only that much is computed twice.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import mlx.core as mx
import mlx.nn as nn

from ..cpu import fast_forms
from .conv import Chain

BLOCK_LATENTS = 256
# One activation of a tile: half of a CPU core's share of cache; a GPU wants large kernels.
CPU_TILE_BYTES, GPU_TILE_BYTES = 4 << 20, 64 << 20


@dataclass(frozen=True)
class Stage:
    """Modules one after the other; ``tile`` output frames are computed at once, or as many as are asked for.

    A module that is not pointwise says with ``reach`` what an output needs, with ``length`` how long an output is and
    with ``first`` where it begins, if it changes the rate.  Tiles begin at multiples of ``step`` output frames, so that
    what a module computes together stays together.
    """

    modules: list[nn.Module]
    tile: int | None = None
    step: int = 1

    def lengths(self, frames: int) -> list[int]:
        """The frames before each module, and after the last, for an input of ``frames``."""
        lengths = [frames]
        for module in self.modules:
            lengths.append(max(0, module.length(lengths[-1])) if hasattr(module, "length") else lengths[-1])
        return lengths

    def spans(self, start: int, stop: int, lengths: list[int]) -> list[tuple[int, int]]:
        """What each module has to be given so that the last one's output holds the frames [start, stop)."""
        spans = []
        for module, length in zip(reversed(self.modules), reversed(lengths[:-1]), strict=True):
            if hasattr(module, "reach"):
                start, stop = module.reach(start, stop)
            start, stop = max(start, 0), min(stop, length)
            spans.append((start, stop))
        return spans[::-1]

    def compute(self, x: mx.array, offset: int, lengths: list[int], start: int, stop: int) -> mx.array:
        """Output frames [start, stop), tile by tile; ``x``: (B, N, C) holds the input frames from ``offset`` on."""
        parts = []
        for begin, end in pieces(start, stop, self.tile or stop - start, self.step):
            y, at = x, offset
            for module, (low, high) in zip(self.modules, self.spans(begin, end, lengths), strict=True):
                y = module(y[:, low - at : high - at])
                at = module.first(low) if hasattr(module, "first") else low
            parts.append(mx.contiguous(y[:, begin - at : end - at]))
            mx.eval(parts[-1])
        return mx.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]

    def tiles(self, x: mx.array) -> Iterator[mx.array]:
        """The whole output in consecutive evaluated tiles.  x: (B, L, C) -> (B, l, C') each"""
        lengths = self.lengths(x.shape[1])
        for start, stop in pieces(0, lengths[-1], self.tile or lengths[-1], self.step):
            yield self.compute(x, 0, lengths, start, stop)


def run_tiled(first: Stage, second: Stage, x: mx.array, block: int) -> Iterator[mx.array]:
    """Both stages one after the other, in pieces of up to ``block`` output frames, each evaluated.

    x: (B, L, C) -> (B, l, C') each
    """
    before = first.lengths(x.shape[1])
    after = second.lengths(before[-1])
    for start, stop in pieces(0, after[-1], block):
        low, high = second.spans(start, stop, after)[0]
        y = second.compute(first.compute(x, 0, before, low, high), low, after, start, stop)
        mx.eval(y)
        yield y


def flatten(modules: list[nn.Module]) -> Iterator[nn.Module]:
    """The modules of plain chains in place of the chains, so that each is given no more than it needs."""
    for module in modules:
        if type(module).__call__ is Chain.__call__:
            yield from flatten(module[module.NAME])
        else:
            yield module


def pieces(start: int, stop: int, longest: int, step: int = 1) -> Iterator[tuple[int, int]]:
    """[start, stop) in pieces of about equal length, none longer than ``longest`` (and a ``step``).

    All but the first begin at multiples of ``step``.
    """
    count = -(-(stop - start) // max(longest, step))
    cuts = [start, *((start + (stop - start) * i // count) // step * step for i in range(1, count)), stop]
    return pairwise(cuts)


def tile_frames(channels: int, frames_apart: int) -> int:
    """Frames of a tile whose widest activation has ``channels``, a multiple of ``frames_apart``."""
    budget = CPU_TILE_BYTES if fast_forms() else GPU_TILE_BYTES
    return max(1, budget // (4 * channels * frames_apart)) * frames_apart


def encode_tiled(layers: list[nn.Module], strides: tuple[int, ...], width: int, x: mx.array) -> Iterator[mx.array]:
    """An encoder: one module, a block per stride, more modules; ``width`` channels at the first rate.

    x: (B, L, C) -> (B, t, C') each
    """
    cut = high_rate_blocks(strides)
    high = math.prod(strides[:cut])
    tile = tile_frames(width, high) // high
    first, second = Stage([*flatten(layers[: cut + 1])], tile), Stage([*flatten(layers[cut + 1 :])])
    return run_tiled(first, second, x, BLOCK_LATENTS)


def decode_tiled(layers: list[nn.Module], strides: tuple[int, ...], width: int, x: mx.array) -> Iterator[mx.array]:
    """A decoder: one module, a block per stride, more modules; ``width`` channels at the last rate.

    x: (B, T, C) -> (B, l, C') each
    """
    cut = len(strides) - high_rate_blocks(strides[::-1])
    tile = tile_frames(width, math.prod(strides[cut:]))
    first, second = Stage([*flatten(layers[: cut + 1])]), Stage([*flatten(layers[cut + 1 :])], tile)
    return run_tiled(first, second, x, BLOCK_LATENTS * math.prod(strides))


def high_rate_blocks(strides: tuple[int, ...]) -> int:
    """How many blocks, counted from the audio side, to tile: about the square root of the whole ratio, at least one."""
    cut, ratio = 1, strides[0]
    while cut < len(strides) - 1 and (ratio * strides[cut]) ** 2 <= math.prod(strides):
        ratio *= strides[cut]
        cut += 1
    return cut
