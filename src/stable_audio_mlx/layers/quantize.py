"""Vector and scalar quantisers: continuous frames to integer codes and back.  All arrays are (B, T, C)."""

import mlx.core as mx
import mlx.nn as nn

from .conv import Conv1d

# Distances of one piece of the sequence to all codebook rows: at most this many numbers at once.
DISTANCES = 1 << 24


def unit(x: mx.array, eps: float = 1e-12) -> mx.array:
    """x: (..., C) divided by its Euclidean norm over C, not below ``eps``"""
    return x / mx.maximum(mx.linalg.norm(x, axis=-1, keepdims=True), eps)


def nearest(x: mx.array, codebook: mx.array) -> mx.array:
    """x: (B, T, C), codebook: (N, C) -> index of the row at the least Euclidean distance, (B, T) int32"""
    step = max(1, DISTANCES // len(codebook))
    norms = mx.square(codebook).sum(axis=-1)
    frames = x.reshape(-1, x.shape[-1])
    # |x|^2 is the same for every row, so it does not change which is nearest.
    found = [
        mx.argmin(norms - 2 * (frames[start : start + step] @ codebook.T), axis=-1)
        for start in range(0, len(frames), step)
    ]
    return mx.concatenate(found).reshape(x.shape[:-1]).astype(mx.int32)


class VectorQuantize(nn.Module):
    """One codebook of the Descript codec: projected to a few dimensions, matched by direction, projected back."""

    def __init__(self, dim: int, codebook_size: int, codebook_dim: int):
        super().__init__()
        self.in_proj = Conv1d(dim, codebook_dim, 1)
        self.out_proj = Conv1d(codebook_dim, dim, 1)
        self.codebook = nn.Embedding(codebook_size, codebook_dim)

    def codes(self, x: mx.array) -> mx.array:
        """x: (B, T, D) -> (B, T) int32"""
        return nearest(unit(self.in_proj(x)), unit(self.codebook.weight))

    def decode(self, codes: mx.array) -> mx.array:
        """codes: (B, T) -> (B, T, D)"""
        return self.out_proj(self.codebook(codes))


class ResidualVectorQuantize(nn.Module):
    """Codebooks one after the other, each for what the ones before left over (https://arxiv.org/abs/2306.06546)."""

    def __init__(self, dim: int, codebook_size: int, codebook_dims: tuple[int, ...]):
        super().__init__()
        self.quantizers = [VectorQuantize(dim, codebook_size, d) for d in codebook_dims]

    def encode(self, x: mx.array) -> tuple[mx.array, mx.array]:
        """x: (B, T, D) -> quantised (B, T, D) and codes (B, n, T) int32"""
        z, codes = mx.zeros_like(x), []
        for quantizer in self.quantizers:
            codes.append(quantizer.codes(x))
            part = quantizer.decode(codes[-1])
            x, z = x - part, z + part
        return z, mx.stack(codes, axis=1)

    def decode(self, codes: mx.array) -> mx.array:
        """codes: (B, n, T), n at most the number of codebooks -> (B, T, D)"""
        parts = [q.decode(codes[:, i]) for i, q in enumerate(self.quantizers[: codes.shape[1]])]
        return mx.stack(parts).sum(axis=0)


class EuclideanCodebook(nn.Module):
    """A codebook that was trained by running averages; they are in the checkpoint and of no use after training."""

    IGNORE = [r"^(initted|cluster_size|embed_avg)$"]

    def __init__(self, codebook_size: int, dim: int):
        super().__init__()
        self.embed = mx.zeros((1, codebook_size, dim))

    def checkpoint_buffers(self) -> dict[str, tuple[int, ...]]:
        """What checkpoints hold and this class does not: key -> shape."""
        return {"initted": (1,), "cluster_size": self.embed.shape[:2], "embed_avg": self.embed.shape}


class CodebookLayer(nn.Module):
    """One level of ``ResidualVQ``; MLX takes names that start with an underscore for buffers."""

    KEYS = [(r"^_codebook\.", "codebook.")]

    def __init__(self, codebook_size: int, dim: int):
        super().__init__()
        self.codebook = EuclideanCodebook(codebook_size, dim)


class ResidualVQ(nn.Module):
    """Residual quantiser matched by Euclidean distance, optionally projected (vector-quantize-pytorch)."""

    def __init__(self, dim: int, codebook_size: int, num_quantizers: int, codebook_dim: int):
        super().__init__()
        self.layers = [CodebookLayer(codebook_size, codebook_dim) for _ in range(num_quantizers)]
        self.project_in = nn.Linear(dim, codebook_dim) if codebook_dim != dim else nn.Identity()
        self.project_out = nn.Linear(codebook_dim, dim) if codebook_dim != dim else nn.Identity()

    def encode(self, x: mx.array) -> tuple[mx.array, mx.array]:
        """x: (B, T, D) -> quantised (B, T, D) and codes (B, n, T) int32"""
        x, found = self.project_in(x), []
        for layer in self.layers:
            table = layer.codebook.embed[0]
            found.append(nearest(x, table))
            x = x - table[found[-1]]
        codes = mx.stack(found, axis=1)
        return self.decode(codes), codes

    def decode(self, codes: mx.array) -> mx.array:
        """codes: (B, n, T) -> (B, T, D)"""
        rows = [layer.codebook.embed[0][codes[:, i]] for i, layer in enumerate(self.layers[: codes.shape[1]])]
        return self.project_out(mx.stack(rows).sum(axis=0))


class ScalarGrid:
    """Mixed-radix codes of a grid with ``levels`` points per channel, the first channel the fastest digit."""

    def __init__(self, levels: tuple[int, ...]):
        basis = [1]
        for level in levels:
            basis.append(basis[-1] * level)
        if min(levels, default=0) < 2 or basis[-1] >= 1 << 63:
            raise ValueError(f"levels must be 2 or more each with a product below 2**63, got {levels}")
        self.dtype = mx.int32 if basis[-1] < 1 << 31 else mx.int64
        self.levels, self.basis = mx.array(levels, dtype=self.dtype), mx.array(basis[:-1], dtype=self.dtype)

    def join(self, digits: mx.array) -> mx.array:
        """digits: (..., C) -> (...) integers"""
        return (digits.astype(self.dtype) * self.basis).sum(axis=-1)

    def split(self, codes: mx.array) -> mx.array:
        """codes: (...) -> (..., C) integers"""
        return (codes.astype(self.dtype)[..., None] // self.basis) % self.levels
