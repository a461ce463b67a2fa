"""Stable Audio 3 by its own PyTorch package, for ``benchmarks.official``: the same shapes, random weights, float32.

The package lies beside the MLX runtime in the official repository.  It runs as published: keys and values of the cross
attention are computed in every step, the autoencoder decodes the whole clip or, with ``chunk``, in its own chunks.
"""

import contextlib
import importlib
import io
import os
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any


def package(official: str, module: str) -> Any:
    """A module of the package in the repository that ``official``, its folder optimized/mlx, belongs to."""
    import torch

    torch.set_num_threads(int(os.environ.get("OPENBLAS_NUM_THREADS") or os.cpu_count() or 1))
    root = str(Path(official).resolve().parents[1])
    if root not in sys.path:
        sys.path.insert(0, root)
    try:
        importlib.import_module("torchaudio")
    except ImportError:  # it resamples files; nothing here does
        stand_in, transforms = types.ModuleType("torchaudio"), types.ModuleType("torchaudio.transforms")
        transforms.Resample = object  # type: ignore[attr-defined]
        stand_in.transforms = transforms  # type: ignore[attr-defined]
        sys.modules |= {"torchaudio": stand_in, "torchaudio.transforms": transforms}
    with contextlib.redirect_stdout(io.StringIO()):
        # The plain form of banded attention: the other one is compiled at every length.
        importlib.import_module("stable_audio_3.models.transformer").flex_attention_available = False
        return importlib.import_module(f"stable_audio_3.{module}")


def step(official: str, config: dict[str, Any], frames: int, tokens: int) -> Callable[[], Any]:
    """One step of the transformer for one clip."""
    import torch

    section = config["model"]["diffusion"]["config"]
    model = package(official, "models.dit").DiffusionTransformer(**section).eval()
    inputs = {
        "cross_attn_cond": torch.randn(1, tokens, section["cond_token_dim"]),
        "global_embed": torch.randn(1, section["global_cond_dim"]),
        "local_add_cond": torch.zeros(1, section["local_add_cond_dim"], frames),
    }
    x, t = torch.randn(1, section["io_channels"], frames), torch.tensor([0.5])

    def run() -> Any:
        with torch.inference_mode():
            return model(x, t, **inputs)

    return run


def decode(official: str, config: dict[str, Any], frames: int, chunk: int | None) -> Callable[[], Any]:
    """Latents to sound; ``chunk``: the package's own chunked decoding with chunks of so many latents."""
    import torch

    section = config["model"]["pretransform"]["config"]
    factory = package(official, "factory")
    with contextlib.redirect_stdout(io.StringIO()):
        model = factory.create_autoencoder_from_config(section, config["sample_rate"]).eval()
    z = torch.randn(1, section["latent_dim"], frames)
    settings = {} if chunk is None else {"chunked": True, "chunk_size": chunk, "overlap": chunk // 4}

    def run() -> Any:
        with torch.inference_mode():
            return model.decode_audio(z, **settings)

    return run
