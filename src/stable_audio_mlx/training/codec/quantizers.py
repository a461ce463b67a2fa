"""Residual quantisers as they are trained: straight-through gradients, losses, running averages of codebooks."""

from dataclasses import dataclass
from typing import ClassVar

import mlx.core as mx
import numpy as np

from ...layers.quantize import EuclideanCodebook, ResidualVectorQuantize, ResidualVQ, nearest, unit

SMOOTHING = 1e-5  # keeps the average of a row that nothing is near finite


def straight(x: mx.array, chosen: mx.array) -> mx.array:
    """``chosen``, with the gradient of ``x``"""
    return x + mx.stop_gradient(chosen - x)


def quantize_by_direction(
    quantizer: ResidualVectorQuantize, x: mx.array, depth: mx.array
) -> tuple[mx.array, mx.array, mx.array]:
    """Descript's: x (B, T, D), depth (B,): codebooks that an item hears -> (B, T, D), commitment and codebook loss.

    Codebooks are parameters; both losses are means over codebooks (https://arxiv.org/abs/2306.06546).
    """
    z, commitment, codebook = mx.zeros_like(x), mx.zeros(()), mx.zeros(())
    for i, level in enumerate(quantizer.quantizers):
        projected = level.in_proj(x)
        rows = level.codebook(nearest(mx.stop_gradient(unit(projected)), mx.stop_gradient(unit(level.codebook.weight))))
        part, heard = level.out_proj(straight(projected, rows)), (depth > i).astype(x.dtype)
        commitment = commitment + (mean_square(projected - mx.stop_gradient(rows)) * heard).mean()
        codebook = codebook + (mean_square(rows - mx.stop_gradient(projected)) * heard).mean()
        z, x = z + part * heard[:, None, None], x - part
    count = len(quantizer.quantizers)
    return z, commitment / count, codebook / count


def mean_square(x: mx.array) -> mx.array:
    """x: (B, T, C) -> (B,)"""
    return x.square().mean(axis=(1, 2))


@dataclass(frozen=True)
class AverageSettings:
    """``bottleneck.config`` of ``rvq`` and ``rvq_vae``: what it says of training."""

    decay: float = 0.99
    kmeans_init: bool = True
    kmeans_iters: int = 50
    threshold_ema_dead_code: float = 2
    commitment_weight: float = 1.0
    quantize_dropout: bool = False
    quantize_dropout_cutoff_index: int = 0
    quantize_dropout_multiple_of: int = 1

    IGNORED: ClassVar = ("dim", "codebook_size", "num_quantizers", "codebook_dim")

    def __post_init__(self):
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay {self.decay} must be from 0 up to, but not including, 1")
        if min(self.threshold_ema_dead_code, self.commitment_weight, self.quantize_dropout_cutoff_index) < 0:
            raise ValueError("threshold_ema_dead_code, commitment_weight and cutoff index must not be negative")
        if self.kmeans_iters < 1 or self.quantize_dropout_multiple_of < 1:
            raise ValueError("kmeans_iters and quantize_dropout_multiple_of must be at least 1")

    def last(self, rng: np.random.Generator, levels: int) -> int:
        """The last of ``levels`` codebooks that a batch hears."""
        if not self.quantize_dropout or levels < 2:
            return levels - 1
        multiple = self.quantize_dropout_multiple_of
        drawn = int(rng.integers(min(self.quantize_dropout_cutoff_index, levels - 1), levels))
        return -(-(drawn + 1) // multiple) * multiple - 1


def quantize_by_average(
    quantizer: ResidualVQ, x: mx.array, last: mx.array, settings: AverageSettings
) -> tuple[mx.array, mx.array]:
    """vector-quantize-pytorch's: x (B, T, D), last: number of the last codebook heard -> (B, T, D), loss.

    Rows move to the running mean of what is nearest to them; one that too little is near becomes a part of the batch.
    The gradient of every level reaches ``x``, so it is as many times as large as there are levels.
    """
    rest = x = quantizer.project_in(x)
    z, loss = mx.zeros_like(x), mx.zeros(())
    for i, level in enumerate(quantizer.layers):
        heard, table = last >= i, level.codebook.embed[0]
        codes = nearest(mx.stop_gradient(rest), table)
        rows = table[codes]
        part = straight(rest, rows)
        loss = loss + heard * settings.commitment_weight * (rest - rows).square().mean()
        follow(level.codebook, mx.stop_gradient(rest).flatten(0, 1), codes.flatten(), heard, settings)
        z, rest = z + heard * part, rest - mx.stop_gradient(part)
    return quantizer.project_out(z), loss / len(quantizer.layers)


def follow(
    codebook: EuclideanCodebook, frames: mx.array, codes: mx.array, heard: mx.array, settings: AverageSettings
) -> None:
    """Move a codebook's averages, in all processes alike.  frames: (N, C), codes: (N,), heard: whether it may"""
    rows = codebook.embed.shape[1]
    counts = over_processes(mx.zeros(rows).at[codes].add(1.0))
    sums = over_processes(mx.zeros((rows, frames.shape[1])).at[codes].add(frames))
    size = settings.decay * codebook.cluster_size[0] + (1 - settings.decay) * counts
    average = settings.decay * codebook.embed_avg[0] + (1 - settings.decay) * sums
    total = size.sum()
    smooth = (size + SMOOTHING) / (total + rows * SMOOTHING) * total
    embed = average / smooth[:, None]
    if threshold := settings.threshold_ema_dead_code:
        lonely = size < threshold
        drawn = frames[some(len(frames), rows)]
        drawn = drawn if mx.distributed.init().rank() == 0 else mx.zeros_like(drawn)
        embed = mx.where(lonely[:, None], over_processes(drawn), embed)
        average = mx.where(lonely[:, None], embed * threshold, average)
        size = mx.where(lonely, threshold, size)
    codebook.embed = mx.where(heard, embed[None], codebook.embed)
    codebook.embed_avg = mx.where(heard, average[None], codebook.embed_avg)
    codebook.cluster_size = mx.where(heard, size[None], codebook.cluster_size)


def over_processes(x: mx.array) -> mx.array:
    """The sum over all processes."""
    world = mx.distributed.init()
    return x if world.size() == 1 else mx.distributed.all_sum(x, group=world, stream=mx.cpu)


def some(count: int, wanted: int) -> mx.array:
    """Numbers below ``count``, (wanted,), each at most once where there are enough."""
    return mx.random.permutation(count)[:wanted] if count >= wanted else mx.random.randint(0, count, (wanted,))


def begin(quantizer: ResidualVQ, x: mx.array, settings: AverageSettings) -> None:
    """Give all codebooks their averages; those that are all zero become clusters of x (B, T, D), or random."""
    rest = quantizer.project_in(x).flatten(0, 1)
    for level in quantizer.layers:
        codebook, size = level.codebook, max(1.0, settings.threshold_ema_dead_code)
        rows, dim = codebook.embed.shape[1:]
        sizes = mx.full((rows,), size)
        if not codebook.embed.any():
            if settings.kmeans_init:
                codebook.embed, sizes = clusters(rest, rows, settings.kmeans_iters)
            else:
                bound = (6 / (rows * dim)) ** 0.5
                codebook.embed = mx.random.uniform(-bound, bound, codebook.embed.shape)
        codebook.cluster_size, codebook.embed_avg = sizes[None], codebook.embed * sizes[:, None]
        codebook.freeze()
        rest = rest - codebook.embed[0][nearest(rest, codebook.embed[0])]
        mx.eval(codebook.parameters(), rest)


def clusters(frames: mx.array, count: int, rounds: int) -> tuple[mx.array, mx.array]:
    """k-means: frames (N, C) -> centres (1, count, C) and how many are nearest to each (count,)"""
    centres, sizes = frames[some(len(frames), count)], mx.zeros(count)
    for _ in range(rounds):
        codes = nearest(frames, centres)
        sizes = mx.zeros(count).at[codes].add(1.0)
        sums = mx.zeros(centres.shape).at[codes].add(frames)
        centres = mx.where(sizes[:, None] > 0, sums / mx.maximum(sizes, 1)[:, None], centres)
        mx.eval(centres, sizes)
    return centres[None], sizes
