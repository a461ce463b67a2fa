"""The Linux CPU as a real platform: a fast BLAS for MLX and the choice between MLX's own ops and CPU formulations."""

import os
import sys
from functools import cache


@cache
def fast_forms() -> bool:
    """True where the CPU formulations of ``layers`` should be used: default device is a Linux CPU, not switched off."""
    import mlx.core as mx

    return sys.platform == "linux" and mx.default_device() == mx.cpu and os.environ.get("STABLE_AUDIO_MLX_FAST_CPU") != "0"
