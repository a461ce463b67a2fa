"""Memory for time in training: what is inside a function is computed again for its gradients (Chen et al. 2016)."""

from collections.abc import Callable, Iterator
from typing import Any

import mlx.core as mx
import mlx.nn as nn


def recomputed(function: Callable[..., mx.array]) -> Callable[..., mx.array]:
    """``function`` of trees of arrays, of which only what goes in is kept.

    As ``mx.checkpoint``, but in order: a second computation waits for the gradient of what it gave, and what comes
    before it for all that it finds.  Without that, MLX may compute all of them before it uses the first.
    """

    def call(*trees: Any) -> mx.array:
        def flat(*arrays: mx.array) -> mx.array:
            rest = iter(arrays)
            return function(*(filled(tree, rest) for tree in trees))

        run: Any = mx.custom_function(flat)

        @run.vjp
        def backward(primals: Any, cotangent: mx.array, _: mx.array) -> tuple[mx.array, ...]:
            primals = list(primals) if isinstance(primals, list | tuple) else [primals]
            later = mx.depends(primals, [cotangent])
            grads = mx.vjp(flat, later, [cotangent])[1]
            return tuple(mx.depends(grads, grads))

        return run(*(array for tree in trees for array in leaves(tree)))

    return call


def recomputed_module(module: nn.Module) -> Callable[..., mx.array]:
    """A module, to be called as it is, whose inside is computed again."""

    def run(parameters: dict, *arguments: Any) -> mx.array:
        module.update(parameters)
        return module(*arguments)

    return lambda *arguments: recomputed(run)(module.trainable_parameters(), *arguments)


def leaves(tree: Any) -> Iterator[mx.array]:
    """The arrays in dicts, lists and tuples, in order; all else is passed over."""
    if isinstance(tree, mx.array):
        yield tree
    elif isinstance(tree, dict | list | tuple):
        for part in tree.values() if isinstance(tree, dict) else tree:
            yield from leaves(part)


def filled(tree: Any, arrays: Iterator[mx.array]) -> Any:
    """``tree`` with other arrays in the places of its own."""
    if isinstance(tree, mx.array):
        return next(arrays)
    if isinstance(tree, dict):
        return {key: filled(part, arrays) for key, part in tree.items()}
    if isinstance(tree, list | tuple):
        parts = [filled(part, arrays) for part in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    return tree
