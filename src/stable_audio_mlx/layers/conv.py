"""One-dimensional convolutions in the forms that every back end runs fast, and what a tile of their output needs.

Weights are (Out, K, In), as MLX and the converted files keep them.  A transposed convolution never becomes an MLX
transposed convolution: on Metal that is a convolution over a zero-stuffed input, on the CPU a scalar loop.
"""

from collections.abc import Callable

import mlx.core as mx
import mlx.nn as nn

from ..cpu import can_fuse, fast_forms
from ..memory import budget
from . import winograd


def shifted_products(
    x: mx.array, weight: mx.array, bias: mx.array | None, dilation: int, padding: tuple[int, int]
) -> mx.array:
    """Convolution of stride 1 as one matrix product per tap.

    x: (B, L, C) -> (B, L + sum(padding) - dilation * (K - 1), Out)
    """
    first, *others = weight.transpose(1, 2, 0)  # unpacked, as an index alone, [i], would copy
    if any(padding):
        x = mx.pad(x, [(0, 0), padding, (0, 0)])
    length = x.shape[1] - dilation * len(others)
    y = x[:, :length] @ first
    for i, tap in enumerate(others, 1):
        y = mx.addmm(y, x[:, i * dilation : i * dilation + length], tap)
    return y if bias is None else y + bias


def strided_products(x: mx.array, weight: mx.array, bias: mx.array | None, stride: int, padding: int) -> mx.array:
    """Convolution with K = 2 stride as two matrix products over blocks of ``stride`` frames, ``padding`` <= stride.

    x: (B, L, C) -> (B, floor((L + 2 padding) / stride) - 1, Out)
    """
    blocks = (x.shape[1] + 2 * padding) // stride
    x = mx.pad(x, [(0, 0), (padding, padding), (0, 0)])[:, : blocks * stride].reshape(len(x), blocks, -1)
    first, second = weight.transpose(1, 2, 0).reshape(2, -1, len(weight))
    y = mx.addmm(x[:, :-1] @ first, x[:, 1:], second)
    return y if bias is None else y + bias


def polyphase_products(x: mx.array, weight: mx.array, bias: mx.array | None, padding: int) -> mx.array:
    """Transposed convolution with K = 2 stride as two matrix products: each output sample sees two input frames.

    x: (B, T, C) -> (B, (T + 1) stride - 2 padding, Out)
    """
    out, kernel, channels = weight.shape
    now, before = weight.swapaxes(0, 1).reshape(2, kernel // 2 * out, channels)
    x = mx.pad(x, [(0, 0), (1, 1), (0, 0)])
    y = mx.addmm(x[:, :-1] @ before.T, x[:, 1:], now.T).reshape(len(x), -1, out)
    y = y[:, padding : y.shape[1] - padding]
    return y if bias is None else y + bias


class Conv1d(nn.Conv1d):
    """``mx.conv1d``, or shifted matrix products where that is the faster form of the same numbers.

    On a Linux CPU MLX runs a dilated convolution in a scalar loop and expands an undilated one K times in memory.
    """

    WEIGHT_NORM = True  # checkpoints hold the weight as g and v

    def __call__(self, x: mx.array) -> mx.array:
        """x: (B, L, C) -> (B, L', Out)"""
        if fast_forms() and self.weight.shape[1] == 2 * self.stride and self.dilation == 1:
            return strided_products(x, self.weight, self.get("bias"), self.stride, self.padding)
        return self.padded(x, (self.padding, self.padding))

    def padded(self, x: mx.array, padding: tuple[int, int]) -> mx.array:
        """With so many zeros before and after.  x: (B, L, C) -> (B, L', Out)"""
        if fast_forms() and self.stride == 1:
            return self._products(x, padding)
        before, after = padding
        if before != after:
            x, before = mx.pad(x, [(0, 0), padding, (0, 0)]), 0
        y = mx.conv1d(x, self.weight, self.stride, before, self.dilation)
        return y + self.bias if "bias" in self else y

    def _products(self, x: mx.array, padding: tuple[int, int]) -> mx.array:
        out, kernel, channels = self.weight.shape
        frames = x.shape[1] + sum(padding) - self.dilation * (kernel - 1)
        # Factors of a weight that has changed since would be wrong without anybody noticing.
        factors = self.get("_factors") if self.get("_laid_out") is self.weight else None
        if factors is None or not winograd.is_long_enough(frames, channels, out):
            return shifted_products(x, self.weight, self.get("bias"), self.dilation, padding)
        if any(padding):
            x = mx.pad(x, [(0, 0), padding, (0, 0)])
        return winograd.convolution(x, factors, kernel, self.get("bias"), self.dilation)

    def reach(self, start: int, stop: int) -> tuple[int, int]:
        """The input frames [start, stop) that the output frames [start, stop) are made of, from a whole stride on."""
        last = (stop - 1) * self.stride - self.padding + self.dilation * (self.weight.shape[1] - 1)
        return (start * self.stride - self.padding) // self.stride * self.stride, last + 1

    def first(self, frame: int) -> int:
        """The output frame where the output begins for an input that begins at ``frame``, a whole stride."""
        return frame // self.stride

    def length(self, frames: int) -> int:
        """Output frames for so many input frames."""
        return (frames + 2 * self.padding - self.dilation * (self.weight.shape[1] - 1) - 1) // self.stride + 1


class PlainConv1d(Conv1d):
    """A convolution whose checkpoint holds the weight itself, without weight norm."""

    WEIGHT_NORM = False


class ConvTranspose1d(nn.ConvTranspose1d):
    """Upsampling by ``stride`` with a kernel of twice that, the two-tap polyphase form on every back end.

    Exact for odd strides too, where padding ceil(stride / 2) makes the output one sample shorter than T * stride.
    """

    WEIGHT_NORM = True  # checkpoints hold the weight as g and v

    def __init__(self, in_channels: int, out_channels: int, stride: int, bias: bool = True):
        super().__init__(in_channels, out_channels, 2 * stride, stride, padding=(stride + 1) // 2, bias=bias)

    def __call__(self, x: mx.array) -> mx.array:
        """x: (B, T, C) -> (B, T * stride - stride % 2, Out)"""
        return polyphase_products(x, self.weight, self.get("bias"), self.padding)

    def reach(self, start: int, stop: int) -> tuple[int, int]:
        """The input frames that the output samples [start, stop) are made of."""
        return (start + self.padding) // self.stride - 1, (stop - 1 + self.padding) // self.stride + 1

    def first(self, frame: int) -> int:
        """The output sample where the output begins for an input that begins at ``frame``."""
        return frame * self.stride

    def length(self, frames: int) -> int:
        """Output samples for so many input frames."""
        return (frames + 1) * self.stride - 2 * self.padding


class NearestUpsample(nn.Module):
    """Repeat each frame, then a convolution that keeps the length (one frame less padding on the left, as 'same')."""

    KEYS = [(r"^1\.", "conv.")]

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.stride = stride
        self.conv = Conv1d(in_channels, out_channels, 2 * stride, bias=False)

    def __call__(self, x: mx.array) -> mx.array:
        """x: (B, T, C) -> (B, T * stride, Out)"""
        x = mx.repeat(x, self.stride, axis=1)
        return self.conv(mx.pad(x, [(0, 0), (self.stride - 1, self.stride), (0, 0)]))

    def reach(self, start: int, stop: int) -> tuple[int, int]:
        """The input frames that the output samples [start, stop) are made of."""
        return (start - self.stride + 1) // self.stride, (stop - 1 + self.stride) // self.stride + 1

    def first(self, frame: int) -> int:
        """The output sample where the output begins for an input that begins at ``frame``."""
        return frame * self.stride

    def length(self, frames: int) -> int:
        """Output samples for so many input frames."""
        return frames * self.stride


class Chain(nn.Module):
    """Modules one after the other, kept in a list under the name that the checkpoint gives it."""

    NAME = "layers"

    def __init__(self, *modules: nn.Module):
        super().__init__()
        self[self.NAME] = list(modules)

    def __call__(self, x: mx.array) -> mx.array:
        """x: (B, L, C) -> (B, L', C')"""
        for module in self[self.NAME]:
            x = module(x)
        return x

    def reach(self, start: int, stop: int) -> tuple[int, int]:
        """The input frames that the output frames [start, stop) are made of; what has no ``reach`` is pointwise."""
        for module in reversed(self[self.NAME]):
            if hasattr(module, "reach"):
                start, stop = module.reach(start, stop)
        return start, stop


class ResidualUnit(Chain):
    """x + conv1(act(conv7(act(x)))), the wide convolution dilated; ``act`` makes an activation for its channels."""

    def __init__(self, channels: int, dilation: int, act: Callable[[int], nn.Module]):
        super().__init__(
            act(channels),
            Conv1d(channels, channels, 7, padding=3 * dilation, dilation=dilation),
            act(channels),
            Conv1d(channels, channels, 1),
        )

    def __call__(self, x: mx.array) -> mx.array:
        """x: (B, L, C) -> (B, L, C)"""
        return self.inner(x, before=False, after=False)

    def inner(self, x: mx.array, before: bool, after: bool) -> mx.array:
        """Part of a longer signal: where there is more of it ``before`` or ``after``, the frames that lack some of
        their neighbours are left out.

        x: (B, L, C) -> (B, L - shared * (before + after), C)
        """
        act1, conv7, act2, conv1 = self[self.NAME]
        first, last = self.shared * before, x.shape[1] - self.shared * after
        y = act2(conv7.padded(act1(x), (self.shared * (not before), self.shared * (not after))))
        # One product adds the residual; adding it afterwards would read and write everything once more.
        return mx.addmm(x[:, first:last] + conv1.bias, y, conv1.weight[:, 0].T)

    @property
    def shared(self) -> int:
        """Frames on either side that an output frame depends on."""
        return self[self.NAME][1].padding


def lay_out_weights(module: nn.Module) -> None:
    """Put the taps of every convolution one after the other in memory, where matrix products read them, and beside them
    what Winograd's form needs, where it is the faster one and the budget has room.

    The parameters keep their shape (Out, K, In), as transposed views of the new arrays, so there is one copy of each;
    values, saving and training stay what they were.  What has not changed since a first call stays as it is.
    """
    for child in module.modules():
        if not isinstance(child, Conv1d | ConvTranspose1d) or child.get("_laid_out") is child.weight:
            continue
        out, kernel, channels = child.weight.shape
        if isinstance(child, ConvTranspose1d):
            order, back, fewer = (1, 0, 2), (1, 0, 2), False
        elif fast_forms() and kernel > 1:
            order, back, fewer = (1, 2, 0), (2, 0, 1), child.stride == 1 and winograd.suits(kernel, channels, out)
        else:
            continue
        taps = mx.contiguous(child.weight.transpose(order))
        made = [taps.transpose(back)]
        if fewer and can_fuse() and budget().factors:
            made.append(winograd.factors_of(taps))
        mx.eval(made)  # before another thread can see it: MLX computes an array only in the thread that asked for it
        child.weight = child._laid_out = made[0]
        child.pop("_factors", None)
        if len(made) > 1:
            child._factors = made[1]
