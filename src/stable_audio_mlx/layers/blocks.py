"""Blocks: the mixin that names repeated layers ``block_0 .. block_N``, as they are called in our weight files."""

from collections.abc import Callable

import mlx.nn as nn


class Blocks(nn.Module):
    """Base of modules that hold ``depth`` equal children."""

    def add_blocks(self, depth: int, make: Callable[[int], nn.Module]) -> None:
        """Create the children ``block_i = make(i)``."""
        self.depth = depth
        for i in range(depth):
            setattr(self, f"block_{i}", make(i))

    @property
    def blocks(self) -> list[nn.Module]:
        """The children in order."""
        return [self[f"block_{i}"] for i in range(self.depth)]


def mlp(dim_in: int, dim: int, dim_out: int | None = None, bias: bool = True) -> nn.Sequential:
    """Linear, SiLU, Linear: how Stable Audio projects every kind of conditioning."""
    return nn.Sequential(nn.Linear(dim_in, dim, bias=bias), nn.SiLU(), nn.Linear(dim, dim_out or dim, bias=bias))
