"""Convolutions with half of the products: Winograd's minimal filtering, as in https://arxiv.org/abs/1509.09308.

Four neighbouring outputs of four taps, y_i = sum_k g_k x_(i + k), need seven products instead of sixteen.  A product of
two polynomials of degree 3 is known from its values at seven points, here +-1, +-2, +-1/2 and infinity (Toom and Cook);
a filter is the transposed problem.  With Q(w) = (w - 1)(w - 4)(w - 1/4), one product for each point,

    M_p   = (sum_k p^k g_k / (2 p Q'(p^2))) (sum_k e_k (p x_2k + x_(2k+1)))    e: coefficients of Q(w) / (w - p^2)
    M_inf = g_3 (sum_k f_k x_2k)                                               f: coefficients of Q

gives y_i = sum_p p^i M_p, where y_3 has M_inf on top.  A longer kernel is several such filters, side by side, and their
products are added up before they are put together: seven taps cost 14 products for 4 outputs instead of 28.  The points
were chosen for their rounding error, 6e-7 to 1.3e-6 of the result for 128 to 1024 channels.
"""

from functools import cache

import mlx.core as mx
import numpy as np

from .activations import loop

TILE = 4  # outputs, and taps, of one filter
POINTS = (1.0, 2.0, 0.5)  # each of them with both signs
# What the sums before and after the products cost is less than the products saved from here on.
CHANNELS, FRAMES, MULTIPLICATIONS = 128, 512, 1 << 25


def suits(kernel: int, inputs: int, outputs: int) -> bool:
    """Whether so many taps and channels gain by it."""
    return 7 * -(-kernel // TILE) <= 0.6 * TILE * kernel and min(inputs, outputs) >= CHANNELS


def is_long_enough(frames: int, inputs: int, outputs: int) -> bool:
    """Whether so many output frames gain by it."""
    return frames >= FRAMES and frames * inputs * outputs >= MULTIPLICATIONS


def factors_of(taps: mx.array) -> mx.array:
    """The taps' side of the products, for each of ``POINTS`` with either sign, then for infinity.

    taps: (K, In, Out) -> (7, ceil(K / 4), In, Out)
    """
    filters = -(-len(taps) // TILE)
    taps = mx.pad(taps, [(0, filters * TILE - len(taps)), (0, 0), (0, 0)])
    rows = []
    for p in POINTS:
        slope = float(np.prod([p * p - q * q for q in POINTS if q != p]))
        rows += [[s * (s * p) ** k / (2 * p * slope) for k in range(TILE)] for s in (1, -1)]
    rows.append([0.0] * (TILE - 1) + [1.0])
    y = mx.array(rows) @ taps.reshape(filters, TILE, -1)
    return mx.contiguous(y.swapaxes(0, 1)).reshape(len(rows), filters, *taps.shape[1:])


def convolution(x: mx.array, factors: mx.array, kernel: int, bias: mx.array | None, dilation: int) -> mx.array:
    """Of stride 1 and without padding, by the ``factors`` of ``kernel`` taps.

    x: (B, L, C) -> (B, L - dilation * (kernel - 1), Out)
    """
    clips = [filtered(clip, factors, kernel, bias, dilation)[None] for clip in x]
    return clips[0] if len(clips) == 1 else mx.concatenate(clips)


def filtered(x: mx.array, factors: mx.array, kernel: int, bias: mx.array | None, dilation: int) -> mx.array:
    """x: (L, C) -> (L - dilation * (kernel - 1), Out)"""
    filters, channels = factors.shape[1:3]
    length = len(x) - dilation * (kernel - 1)
    tiles = -(-length // (TILE * dilation))
    own = split(x, tiles + filters, dilation)
    seen = [*own[:, :-1], *own[:3, 1:]]  # by a tile: four frames of its own and three of the next one

    def product(v: mx.array, point: int, total: mx.array | None) -> mx.array:
        first, *others = (v[i : i + tiles].reshape(-1, channels) for i in range(filters))
        total = first @ factors[point, 0] if total is None else mx.addmm(total, first, factors[point, 0])
        for rows, matrix in zip(others, factors[point, 1:], strict=True):
            total = mx.addmm(total, rows, matrix)
        return total

    products: list[mx.array] = []
    lower, lowest = coefficients()
    for p in POINTS:
        for signed in (p, -p):
            v = at_point(*seen[:6], mx.array(signed), *map(mx.array, lower[p]))
            # What is added to the product at 1 is added to every output.
            products.append(product(v, len(products), bias if signed == 1 else None))
    outputs = [put_together(*products, *(mx.array(f**i) for f in (-1.0, *POINTS[1:]))) for i in range(TILE)]
    outputs[-1] = product(at_infinity(*seen[::2], *map(mx.array, lowest)), len(products), outputs[-1])
    y = mx.stack([y.reshape(tiles, dilation, -1) for y in outputs], axis=1)
    return y.reshape(tiles * TILE * dilation, -1)[:length]


def split(x: mx.array, tiles: int, dilation: int) -> mx.array:
    """The four frames of each tile apart, and zeros after the end.  A frame is ``dilation`` neighbours at a time.

    x: (L, C) -> (4, tiles, dilation * C)
    """
    size = TILE * dilation
    whole = len(x) // size
    rest = mx.pad(x[whole * size :], [(0, tiles * size - len(x)), (0, 0)])
    parts = [part.reshape(-1, TILE, dilation * x.shape[1]).swapaxes(0, 1) for part in (x[: whole * size], rest)]
    return mx.concatenate(parts, axis=1)


@cache
def coefficients() -> tuple[dict[float, list[float]], list[float]]:
    """e for each of ``POINTS``, and f, lowest power first and without the highest, which is 1."""
    squares = np.square(POINTS)
    others = {p: np.poly(squares[squares != p * p]) for p in POINTS}
    return {p: e[:0:-1].tolist() for p, e in others.items()}, np.poly(squares)[:0:-1].tolist()


@loop
def at_point(*arrays: mx.array) -> mx.array:
    x0, x1, x2, x3, x4, x5, p, e0, e1 = arrays
    return p * (e0 * x0 + e1 * x2 + x4) + (e0 * x1 + e1 * x3 + x5)


@loop
def at_infinity(*arrays: mx.array) -> mx.array:
    x0, x2, x4, x6, f0, f1, f2 = arrays
    return (f0 * x0 + f1 * x2) + (f2 * x4 + x6)


@loop
def put_together(*arrays: mx.array) -> mx.array:
    plus1, minus1, plus2, minus2, plus3, minus3, sign, second, third = arrays
    return (plus1 + sign * minus1) + second * (plus2 + sign * minus2) + third * (plus3 + sign * minus3)
