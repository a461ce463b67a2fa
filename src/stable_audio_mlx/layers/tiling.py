"""A chain of convolutions, computed piece by piece: the same numbers in memory that does not grow with the length.

A codec is cut into stages, one for each change of rate.  A stage at a high rate runs on tiles that stay in the
processor's cache; its neighbour at a lower rate runs on longer blocks, of which the tiles are parts.  What a piece
needs of its input follows from kernels, strides and dilations (``reach``), and only that much is computed twice.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import mlx.core as mx
import mlx.nn as nn

from ..cpu import fast_forms
from ..memory import budget
from .conv import Chain, ResidualUnit
from .parallel import batches, together, width


@dataclass(frozen=True)
class Stage:
    """Modules one after the other, for an input of ``lengths[0]`` frames; ``block`` output frames at once.

    A module that is not pointwise says with ``reach`` what an output needs, with ``length`` how long an output is and
    with ``first`` where it begins, if it changes the rate.
    """

    modules: list[nn.Module]
    block: int
    lengths: list[int]

    def spans(self, start: int, stop: int) -> list[tuple[int, int]]:
        """What each module has to be given so that the last one's output holds the frames [start, stop)."""
        spans = []
        for module, length in zip(reversed(self.modules), reversed(self.lengths[:-1]), strict=True):
            if hasattr(module, "reach"):
                start, stop = module.reach(start, stop)
            start, stop = max(start, 0), min(stop, length)
            spans.append((start, stop))
        return spans[::-1]

    def compute(self, x: mx.array, offset: int, start: int, stop: int) -> mx.array:
        """Output frames [start, stop); ``x``: (B, N, C) holds the input frames from ``offset`` on."""
        at = offset
        for module, length, (low, high) in zip(self.modules, self.lengths, self.spans(start, stop), strict=False):
            x = x[:, low - at : high - at]
            if isinstance(module, ResidualUnit):
                x, at = module.inner(x, low > 0, high < length), low + module.shared * (low > 0)
            else:
                x, at = module(x), module.first(low) if hasattr(module, "first") else low
        return x[:, start - at : stop - at]


def stages_of(layers: list[nn.Module], strides: tuple[int, ...], frames: int, blocks: list[int]) -> list[Stage]:
    """One stage per stride for an input of ``frames``; ``layers``: a module, a block per stride, more modules."""
    stages = []
    for i, block in enumerate(blocks):
        first, last = 0 if i == 0 else i + 1, i + 2 if i < len(strides) - 1 else len(layers)
        modules, lengths = list(flatten(layers[first:last])), [frames]
        for module in modules:
            lengths.append(max(0, module.length(lengths[-1])) if hasattr(module, "length") else lengths[-1])
        stages.append(Stage(modules, block, lengths))
        frames = lengths[-1]
    return stages


def decode_tiled(
    layers: list[nn.Module], strides: tuple[int, ...], widths: list[int], x: mx.array
) -> Iterator[mx.array]:
    """A decoder in evaluated pieces; ``widths``: channels before the first block and after each.

    x: (B, T, C) -> (B, l, C') each
    """
    blocks = [tile_frames(width) for width in widths[1:]]
    blocks[0] = max(blocks[0], budget().block * strides[0])
    stages = stages_of(layers, strides, x.shape[1], blocks)
    return decode_stage(stages, strides, 0, x, 0, 0, stages[-1].lengths[-1])


# Functions of the module: one inside another that calls itself would hold the stages, and with them all weights,
# in a cycle until Python happens to look for such.
def decode_stage(
    stages: list[Stage], strides: tuple[int, ...], i: int, x: mx.array, offset: int, start: int, stop: int
) -> Iterator[mx.array]:
    """Output frames [start, stop) of the whole chain; ``x`` holds stage i's input from ``offset`` on."""
    for batch in batches(pieces(start, stop, stages[i].block * math.prod(strides[i + 1 :]))):
        spans = []
        for span in batch:
            for stage in stages[:i:-1]:
                span = stage.spans(*span)[0]
            spans.append(span)
        parts = together([partial(stages[i].compute, x, offset, *span) for span in spans])
        if i + 1 == len(stages):
            yield from parts
            continue
        for y, (first, _), (low, high) in zip(parts, spans, batch, strict=True):
            yield from decode_stage(stages, strides, i + 1, y, first, low, high)


def encode_tiled(
    layers: list[nn.Module], strides: tuple[int, ...], widths: list[int], x: mx.array
) -> Iterator[mx.array]:
    """An encoder in evaluated pieces; ``widths``: channels before the first block and after each.

    x: (B, L, C) -> (B, t, C') each
    """
    blocks = [max(1, tile_frames(width) // stride) for width, stride in zip(widths[:-1], strides, strict=True)]
    blocks[-1] = max(blocks[-1], budget().block)
    stages = stages_of(layers, strides, x.shape[1], blocks)
    return encode_stage(stages, len(stages) - 1, x, 0, stages[-1].lengths[-1])


def encode_stage(stages: list[Stage], i: int, x: mx.array, start: int, stop: int) -> Iterator[mx.array]:
    """Output frames [start, stop) of stage i; ``x`` is the input of the first."""
    for batch in batches(pieces(start, stop, stages[i].block)):
        jobs = []
        for low, high in batch:
            h, first = x, 0
            if i > 0:
                first, last = stages[i].spans(low, high)[0]
                before = list(encode_stage(stages, i - 1, x, first, last))
                h = mx.concatenate(before, axis=1) if len(before) > 1 else before[0]
            jobs.append(partial(stages[i].compute, h, first, low, high))
        yield from together(jobs)


def tile_frames(channels: int) -> int:
    """Frames of a tile whose activations have so many channels."""
    size = budget().cpu_tile if fast_forms() else budget().gpu_tile
    return max(size // (4 * channels), budget().least)


def flatten(modules: list[nn.Module]) -> Iterator[nn.Module]:
    """The modules of plain chains in place of the chains, so that each is given no more than it needs."""
    for module in modules:
        if type(module).__call__ is Chain.__call__:
            yield from flatten(module[module.NAME])
        else:
            yield module


def pieces(start: int, stop: int, longest: int) -> list[tuple[int, int]]:
    """[start, stop) in pieces of about equal length, none longer than ``longest``, shared out evenly over the cores."""
    count = -(-(stop - start) // max(longest, 1))
    if count > 1:
        count = min(-(-count // width()) * width(), stop - start)
    ends = [start + (stop - start) * i // max(count, 1) for i in range(count + 1)]
    return list(zip(ends, ends[1:], strict=False))
