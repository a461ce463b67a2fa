"""A chain of convolutions, computed piece by piece: the same numbers in memory that does not grow with the length.

A chain is cut in two.  The half at the low rate runs on long blocks, because its halo is long in seconds; the half at
the high rate, where nearly all memory and time go, runs on tiles that stay in the processor's cache.  What a piece
needs of its input follows from kernels, strides and dilations (``reach``), and only that much is computed twice.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn

from ..cpu import fast_forms
from .conv import chain_length, chain_reach

BLOCK_LATENTS = 256
# One activation of a tile: half of a CPU core's share of cache; a GPU wants large kernels.
CPU_TILE_BYTES, GPU_TILE_BYTES = 4 << 20, 64 << 20


@dataclass(frozen=True)
class Stage:
    """Modules that change the rate by ``up / down``; ``tile`` output frames at once, or as many as are asked for."""

    modules: list[nn.Module]
    up: int = 1
    down: int = 1
    tile: int | None = None

    def inputs(self, start: int, stop: int, total: int) -> tuple[int, int]:
        """Which of ``total`` input frames the output frames [start, stop) need."""
        first, last = chain_reach(self.modules, start, stop)
        return max(first, 0) // self.down * self.down, min(last, total)

    def compute(self, x: mx.array, offset: int, total: int, start: int, stop: int) -> mx.array:
        """Output frames [start, stop), tile by tile; ``x``: (B, N, C) holds the input frames from ``offset`` on."""
        parts = []
        for begin, end in pieces(start, stop, self.tile or stop - start):
            first, last = self.inputs(begin, end, total)
            y = x[:, first - offset : last - offset]
            for module in self.modules:
                y = module(y)
            skip = begin - first // self.down * self.up
            parts.append(mx.contiguous(y[:, skip : skip + end - begin]))
            mx.eval(parts[-1])
        return mx.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]


def run_tiled(first: Stage, second: Stage, x: mx.array, block: int) -> Iterator[mx.array]:
    """Both stages one after the other, in pieces of up to ``block`` output frames, each evaluated.

    x: (B, L, C) -> (B, l, C') each
    """
    total, middle = x.shape[1], chain_length(first.modules, x.shape[1])
    for start, stop in pieces(0, chain_length(second.modules, middle), block):
        low, high = second.inputs(start, stop, middle)
        y = second.compute(first.compute(x, 0, total, low, high), low, middle, start, stop)
        mx.eval(y)
        yield y


def pieces(start: int, stop: int, longest: int) -> Iterator[tuple[int, int]]:
    """[start, stop) in pieces of about equal length, none longer than ``longest``."""
    count = -(-(stop - start) // max(longest, 1))
    for i in range(count):
        yield start + (stop - start) * i // count, start + (stop - start) * (i + 1) // count


def tile_frames(channels: int, frames_apart: int) -> int:
    """Frames of a tile whose widest activation has ``channels``, a multiple of ``frames_apart``."""
    budget = CPU_TILE_BYTES if fast_forms() else GPU_TILE_BYTES
    return max(1, budget // (4 * channels * frames_apart)) * frames_apart


def encode_tiled(layers: list[nn.Module], strides: tuple[int, ...], width: int, x: mx.array) -> Iterator[mx.array]:
    """An encoder: one module, a block per stride, more modules; ``width`` channels at the first rate.

    x: (B, L, C) -> (B, t, C') each
    """
    cut = high_rate_blocks(strides)
    high, low = math.prod(strides[:cut]), math.prod(strides[cut:])
    tile = tile_frames(width, high) // high
    first, second = Stage(layers[: cut + 1], down=high, tile=tile), Stage(layers[cut + 1 :], down=low)
    return run_tiled(first, second, x, BLOCK_LATENTS)


def decode_tiled(layers: list[nn.Module], strides: tuple[int, ...], width: int, x: mx.array) -> Iterator[mx.array]:
    """A decoder: one module, a block per stride, more modules; ``width`` channels at the last rate.

    x: (B, T, C) -> (B, l, C') each
    """
    cut = len(strides) - high_rate_blocks(strides[::-1])
    low, high = math.prod(strides[:cut]), math.prod(strides[cut:])
    first, second = Stage(layers[: cut + 1], up=low), Stage(layers[cut + 1 :], up=high, tile=tile_frames(width, high))
    return run_tiled(first, second, x, BLOCK_LATENTS * low * high)


def high_rate_blocks(strides: tuple[int, ...]) -> int:
    """How many blocks, counted from the audio side, to tile: about the square root of the whole ratio, at least one."""
    cut, ratio = 1, strides[0]
    while cut < len(strides) - 1 and (ratio * strides[cut]) ** 2 <= math.prod(strides):
        ratio *= strides[cut]
        cut += 1
    return cut
