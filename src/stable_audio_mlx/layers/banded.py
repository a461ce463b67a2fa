"""Self attention within a band around the diagonal: cost and memory grow linearly with the length."""

import mlx.core as mx

from .attention import SelfAttention
from .block_config import BlockConfig


class BandedSelfAttention(SelfAttention):
    """Token i sees the tokens i - before .. i + after.

    Queries are taken in groups, each with the keys that its band reaches.  The groups that have all their keys share
    one mask and lie side by side on the head axis; what is left at both ends goes apart.
    """

    GROUP = 4  # query tokens of a group per token of the band's wider side: 1.5 times the keys are laid out

    def __init__(self, cfg: BlockConfig, before: int, after: int):
        super().__init__(cfg)
        self.before, self.after = before, after
        self.step = max(1, self.GROUP * max(before, after))

    def weigh(self, q: mx.array, k: mx.array, v: mx.array, mask: mx.array | None) -> mx.array:
        """q, k, v: (B, H, T, dim_heads) -> (B, H, T, dim_heads); takes no mask of its own"""
        total, step = q.shape[2], self.step
        first, last = -(-self.before // step) * step, max(0, total - self.after) // step * step
        if last <= first:
            return self.edge(q, k, v, 0, total)
        parts = [
            *([self.edge(q, k, v, 0, first)] if first else []),
            self.inner(q, k, v, first, last),
            *([self.edge(q, k, v, last, total)] if last < total else []),
        ]
        return mx.concatenate(parts, axis=2)

    def edge(self, q: mx.array, k: mx.array, v: mx.array, start: int, stop: int) -> mx.array:
        """The queries [start, stop) in one piece."""
        low, high = max(0, start - self.before), min(q.shape[2], stop + self.after)
        mask = self.band(stop - start, high - low, start - low)
        return super().weigh(q[:, :, start:stop], k[:, :, low:high], v[:, :, low:high], mask)

    def inner(self, q: mx.array, k: mx.array, v: mx.array, start: int, stop: int) -> mx.array:
        """The queries [start, stop), whole groups, none of whose keys is missing."""
        batch, heads, _, dim = q.shape
        groups, step = (stop - start) // self.step, self.step

        def with_halo(x: mx.array) -> mx.array:
            left, body, right = (
                x[:, :, start + shift : stop + shift].reshape(batch, heads * groups, step, dim)
                for shift in (-self.before, 0, self.after)
            )
            return mx.concatenate([left[:, :, : self.before], body, right[:, :, step - self.after :]], axis=2)

        mask = self.band(step, step + self.before + self.after, self.before)
        queries = q[:, :, start:stop].reshape(batch, heads * groups, step, dim)
        return super().weigh(queries, with_halo(k), with_halo(v), mask).reshape(batch, heads, stop - start, dim)

    def band(self, queries: int, keys: int, offset: int) -> mx.array:
        """Which key each query sees, query i standing at key i + offset. -> bool (1, 1, queries, keys)"""
        distance = mx.arange(keys) - (mx.arange(queries)[:, None] + offset)
        return ((distance >= -self.before) & (distance <= self.after))[None, None]
