"""Fixed transforms before an encoder and after a decoder: samples to fewer frames of more channels, and back."""

from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn

MAX_FRAME = 1 << 16


@dataclass(frozen=True)
class PatchedConfig:
    """``patch_size`` samples of each channel become one frame."""

    channels: int
    patch_size: int
    oversampling: int = 1

    def __post_init__(self):
        if self.channels < 1 or self.patch_size < 1 or self.channels * self.patch_size > MAX_FRAME:
            raise ValueError(f"channels * patch_size must be 1 to {MAX_FRAME}")
        if self.oversampling != 1:
            raise ValueError("oversampling is not supported, only 1")


class PatchedPretransform(nn.Module):
    """Cuts audio into patches: channel c, sample h of a patch becomes channel c * patch_size + h."""

    Config = PatchedConfig

    def __init__(self, cfg: PatchedConfig):
        super().__init__()
        self.channels, self.patch = cfg.channels, cfg.patch_size
        self.in_channels = self.out_channels = cfg.channels
        self.encoded_channels, self.ratio = cfg.channels * cfg.patch_size, cfg.patch_size

    def encode(self, x: mx.array) -> mx.array:
        """x: (B, L, C) -> (B, ceil(L / patch), C * patch), zeros after the end"""
        x = mx.pad(x, [(0, 0), (0, -x.shape[1] % self.patch), (0, 0)])
        x = x.reshape(len(x), -1, self.patch, self.channels)
        return x.swapaxes(2, 3).flatten(2)

    def decode(self, z: mx.array) -> mx.array:
        """z: (B, T, C * patch) -> (B, T * patch, C)"""
        z = z.reshape(*z.shape[:2], self.channels, self.patch)
        return z.swapaxes(2, 3).reshape(len(z), -1, self.channels)

    # Nothing but a change of shape, so there is nothing to do piece by piece.
    encode_tiled, decode_tiled = encode, decode

    def frames_for(self, samples: int) -> int:
        """How many frames the first ``samples`` of the decoded sound depend on."""
        return -(-samples // self.patch)
