"""What stands between network and solver: classifier-free guidance, and regions of a clip that are kept.

Everything happens in velocity space, where it needs no division by the noise level: with x_t = alpha x0 + sigma noise
an estimate x0 = alpha x - sigma v (alpha = 1 for flow models) is affine in v, so a difference of estimates is -sigma
times the difference of velocities.  Arrays are (B, T, C).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import mlx.core as mx

from .solvers import Velocity, alpha_sigma

Pair = Callable[[mx.array, float], tuple[mx.array, mx.array]]
Shares = Callable[[float], tuple[float, float]]


def flow_shares(t: float) -> tuple[float, float]:
    """(alpha, sigma) of ``x0 = alpha x - sigma v`` for a flow model."""
    return 1.0, t


# objective -> (alpha, sigma) of the estimate x0 = alpha x - sigma v
SHARES: dict[str, Shares] = {"v": alpha_sigma, "rectified_flow": flow_shares, "rf_denoiser": flow_shares}


def network_calls(
    network: Any,
    cond: Mapping[str, mx.array | None],
    uncond: Mapping[str, mx.array | None] | None,
    mask: mx.array | None,
    times: Sequence[float] = (),
    last: bool = False,
    mixture: mx.array | None = None,
) -> tuple[Velocity, Pair | None]:
    """The calls ``single`` and ``pair`` of a network; what does not change between steps is computed here, once.

    ``network.condition(**cond, times=times)`` prepares conditions by name and what depends on the noise level alone,
    ``network(x, t, prepared, mask)`` gives the velocity; ``uncond`` are the conditions of the unconditional half (None:
    no guidance); ``mask`` (B, T) marks valid frames.  The network repeats a condition of batch 1 for all.  ``last``:
    it will prepare nothing else.  ``mixture`` (N, B, T, 1): ``cond`` holds N conditions for each clip, (N B, ...);
    their velocities are mixed in these shares, and with them, as that is linear, the estimates of the clean signal.
    """
    copies = 1 if mixture is None else len(mixture)
    both = cond if uncond is None else {name: side_by_side(a, uncond[name]) for name, a in cond.items()}

    @cache
    def prepared() -> Any:
        return network.condition(**both, times=times, last=last)

    @cache
    def of_first_half(batch: int) -> Any:
        return prepared().first(batch)

    def mixed(v: mx.array) -> mx.array:
        return v if mixture is None else mx.sum(v.reshape(copies, -1, *v.shape[1:]) * mixture, axis=0)

    def single(x: mx.array, t: float) -> mx.array:
        conditions = prepared() if uncond is None else of_first_half(copies * len(x))
        return mixed(network(repeated(x, copies), t, conditions, repeated(mask, copies)))

    if uncond is None:
        return single, None
    masks = repeated(mask, copies + 1)

    def pair(x: mx.array, t: float) -> tuple[mx.array, mx.array]:
        v = network(repeated(x, copies + 1), t, prepared(), masks)
        return mixed(v[: copies * len(x)]), v[copies * len(x) :]

    return single, pair


def repeated(a: mx.array | None, times: int) -> mx.array | None:
    """``times`` copies one after the other along the batch."""
    return a if a is None or times == 1 else mx.concatenate([a] * times)


def side_by_side(a: mx.array | None, b: mx.array | None) -> mx.array | None:
    """The conditions of both halves as one batch; one clip's that both share stays as it is."""
    if a is None or b is None:
        return None
    return a if a is b and len(a) == 1 else mx.concatenate([a, b])


@dataclass(frozen=True)
class Guided:
    """A guided velocity: ``pair`` is one batched call for (conditional, unconditional), ``single`` only the former.

    Scale 1 (or no ``pair``) turns guidance off, as does a sigma outside ``interval``; then ``single`` is called.
    ``apg`` 1 keeps only the part of the difference orthogonal to the estimate (Sadat et al. 2024), 0 is plain guidance;
    ``norm_threshold`` limits the L2 norm of the difference of estimates; ``rescale`` pulls the standard deviation over
    channels towards that of the conditional output (Lin et al. 2023).  ``mask`` (B, T, 1) is 1 on valid frames.
    """

    single: Velocity
    pair: Pair | None
    shares: Shares
    scale: float = 1.0
    interval: tuple[float, float] = (0.0, 1.0)
    rescale: float = 0.0
    apg: float = 0.0
    norm_threshold: float = 0.0
    mask: mx.array | None = None

    def __call__(self, x: mx.array, t: float) -> mx.array:
        return self.both(x, t)[0]

    def both(self, x: mx.array, t: float) -> tuple[mx.array, mx.array]:
        """(guided, unconditional) velocities; twice the conditional one where guidance is off."""
        alpha, sigma = self.shares(t)
        if self.pair is None or self.scale == 1 or not self.interval[0] <= sigma <= self.interval[1]:
            v = self.single(x, t)
            return v, v
        cond, uncond = self.pair(x, t)
        difference = cond - uncond
        if self.norm_threshold > 0:
            norm = sigma * mx.sqrt(self._dot(difference, difference))
            difference = difference * mx.minimum(1.0, self.norm_threshold / norm)
        if self.apg > 0:
            estimate = alpha * x - sigma * cond
            along = self._dot(difference, estimate) / mx.maximum(self._dot(estimate, estimate), 1e-16)
            difference = difference - self.apg * along * self._valid(estimate)
        guided = cond + (self.scale - 1) * difference
        if self.rescale:
            ratio = mx.std(cond, axis=-1, keepdims=True, ddof=1) / mx.std(guided, axis=-1, keepdims=True, ddof=1)
            guided = guided * (self.rescale * ratio + (1 - self.rescale))
        return guided, uncond

    def _valid(self, a: mx.array) -> mx.array:
        return a if self.mask is None else a * self.mask

    def _dot(self, a: mx.array, b: mx.array) -> mx.array:
        """Inner product of each clip over its valid frames, in float32: (B, 1, 1)."""
        product = a.astype(mx.float32) * b.astype(mx.float32)
        return mx.sum(self._valid(product), axis=(1, 2), keepdims=True)


class Watched:
    """A velocity that remembers its last evaluation, for previews; an ``estimate`` costs nothing until it is used."""

    def __init__(self, velocity: Any, shares: Shares):
        self._velocity, self._shares = velocity, shares
        self._last: tuple[mx.array, mx.array, float] | None = None

    def __call__(self, x: mx.array, t: float) -> mx.array:
        return self.both(x, t)[0]

    def both(self, x: mx.array, t: float) -> tuple[mx.array, mx.array]:
        guided, plain = self._velocity.both(x, t)
        self._last = x, guided, t
        return guided, plain

    @property
    def estimate(self) -> mx.array | None:
        """The clean signal as the last evaluation has it (B, T, C)."""
        if self._last is None:
            return None
        x, v, t = self._last
        alpha, sigma = self._shares(t)
        return alpha * x - sigma * v


@dataclass(frozen=True)
class Keeping:
    """A velocity that leads the frames where ``keep`` (1, T, 1) is 1 to ``known`` (B, T, C), whatever the solver.

    There the estimate of the clean signal is replaced by the known one, so that x stays the known latents at each
    noise level: replacement inpainting (RePaint, Lugmayr et al. 2022) for models without inpainting inputs.
    """

    velocity: Guided
    known: mx.array
    keep: mx.array
    shares: Shares

    def __call__(self, x: mx.array, t: float) -> mx.array:
        return self.both(x, t)[0]

    def both(self, x: mx.array, t: float) -> tuple[mx.array, mx.array]:
        alpha, sigma = self.shares(t)
        to_known = (alpha * x - self.known) * (1 / max(sigma, 1e-3))
        guided, plain = self.velocity.both(x, t)
        return mx.where(self.keep, to_known, guided), mx.where(self.keep, to_known, plain)
