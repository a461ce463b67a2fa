"""The same shapes with MLX and with PyTorch in one process, in turn (A B B A ...); ``benchmarks.run`` starts it.

python -m benchmarks.compare '{"model": "model/stable-audio-open-small"}'      # one JSON object on stdout
"""

import importlib.util
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

CHUNK = 64  # latents at which PyTorch decodes fastest on a CPU; it is also given the whole clip, and the better counts


def compare(model: str, batch: int = 1, pairs: int = 5, started: float | None = None) -> dict[str, Any]:
    """How many times as fast as PyTorch float32 one step and the decoder are."""
    if importlib.util.find_spec("torch") is None:
        return {"missing": "PyTorch is not installed, so nothing is compared (pip install torch)"}
    import torch

    threads = int(os.environ.get("OPENBLAS_NUM_THREADS") or os.cpu_count() or 1)
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    clock = time.process_time if threads == 1 else time.perf_counter
    rows = []
    with torch.inference_mode():
        for name, (ours, theirs), count in (
            ("step", step_arms(model, batch), pairs),
            ("decode", decode_arms(model, batch, clock), 3),
        ):
            ours(), theirs()
            rows.append(row(name, ours, theirs, clock, count))
    metric = "CPU-seconds" if threads == 1 else "wall seconds"
    version = torch.__version__
    return {"version": version, "threads": threads, "metric": metric, "pairs": pairs, "rows": rows}


def row(name: str, ours: Callable, theirs: Callable, clock: Callable[[], float], pairs: int) -> dict[str, Any]:
    """Time two functions in turn; the ratio is the median over pairs of theirs over ours.  Both have run before."""
    taken: list[tuple[float, float]] = []
    for i in range(pairs):
        first, second = (ours, theirs) if i % 2 == 0 else (theirs, ours)
        a, b = timed(first, clock), timed(second, clock)
        taken.append((a, b) if i % 2 == 0 else (b, a))
    ratios = [b / a for a, b in taken]
    low, _, high = statistics.quantiles(ratios, n=4, method="inclusive")
    mine, other = (statistics.median(column) for column in zip(*taken, strict=True))
    return {"name": name, "ours": mine, "theirs": other, "ratio": statistics.median(ratios), "quartiles": [low, high]}


def timed(function: Callable, clock: Callable[[], float]) -> float:
    start = clock()
    function()
    return clock() - start


def step_arms(model: str, batch: int) -> tuple[Callable, Callable]:
    """One step of the diffusion transformer with MLX, and with PyTorch."""
    import mlx.core as mx

    from stable_audio_mlx import cpu
    from stable_audio_mlx.weights.source import open_model

    from . import floors, torch_models

    cpu.setup()
    source = open_model(model)
    config, frames = source.config, floors.latent_frames(source.config)
    section, tokens = config["model"]["diffusion"]["config"], floors.context_tokens(config)
    dit = source.load("dit", source.create().dit)
    cross = mx.random.normal((batch, tokens, section["cond_token_dim"]))
    fixed = dit.condition(cross=cross, global_cond=mx.random.normal((batch, section["global_cond_dim"])))
    x = mx.random.normal((batch, frames, section["io_channels"]))
    mx.eval(x, fixed)
    module = torch_models.Step(section, tokens).eval()
    arguments = module.inputs(batch, frames)
    return lambda: mx.eval(dit(x, 0.5, fixed)), lambda: module(*arguments)


def decode_arms(model: str, batch: int, clock: Callable[[], float]) -> tuple[Callable, Callable]:
    """A whole clip through the decoder with MLX, and with PyTorch in the better of two ways."""
    import mlx.core as mx
    import torch

    from stable_audio_mlx.pipeline import DECODER
    from stable_audio_mlx.weights.source import open_model

    from . import floors, torch_models

    source = open_model(model)
    frames = floors.latent_frames(source.config)
    section = source.config["model"]["pretransform"]["config"]["decoder"]["config"]
    autoencoder = source.load("autoencoder", source.create().autoencoder, DECODER)
    z = mx.random.normal((batch, frames, section["latent_dim"]))
    module, latents = torch_models.oobleck_decoder(section).eval(), torch.randn(batch, section["latent_dim"], frames)

    def whole() -> None:
        module(latents)

    def chunked() -> None:
        for start in range(0, frames, CHUNK):
            module(latents[:, :, start : start + CHUNK])

    return lambda: mx.eval(autoencoder.decode_tiled(z)), min((chunked, whole), key=lambda f: timed(f, clock))


if __name__ == "__main__":
    print(json.dumps(compare(**json.loads(sys.argv[1]))))
