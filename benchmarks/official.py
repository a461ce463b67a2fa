"""Stable Audio 3 small against its official MLX runtime, in one process and in turn (A B B A ...), in float32.

    python -m benchmarks.official --model model/stable-audio-3-small-music --official CHECKOUT/optimized/mlx

CHECKOUT is a clone of github.com/Stability-AI/stable-audio-3.  Both sides have the same weights, inputs and BLAS, and
their results are compared.  The peak memory of either side is that of a fresh process that runs nothing else.
With ``--torch``, the repository's PyTorch package takes the other side as well, with random weights of the same shapes.
"""

import argparse
import importlib
import json
import math
import os
import re
import subprocess
import sys
import time
from functools import cache
from typing import Any

SHIPPED, BETTER = (8, 2), (64, 2)  # the runtime's own chunk and overlap for SAME-S, and one it is faster with
LEVEL, TOKENS, LOCAL = 0.5, 257, 257

# Our parameters' names -> theirs.
STEP_KEYS = [
    (r"to_local_embed\.layers\.", "to_local_embed.seq."),
    (r"\.layers\.(\d+)\.", r".\1."),
    (r"^block_(\d+)\.", r"transformer.layers.\1."),
    (r"^(project_in|project_out|memory_tokens|global_cond_embedder)", r"transformer.\1"),
]
DECODE_KEYS = [
    (r"^decoder\.layers\.1\.", "project_in."),
    (r"^decoder\.layers\.3\.", ""),
    (r"^bottleneck\.", ""),
    (r"^block_(\d+)\.", r"blocks.\1."),
    (r"\.self_attn\.", ".attn."),
    (r"\.ff\.ff\.layers\.0\.proj\.", ".ff.glu_proj."),
    (r"\.ff\.ff\.layers\.2\.", ".ff.proj_out."),
    (r"_norm\.weight$", "_norm.gamma"),
    (r"_norm\.bias$", "_norm.beta"),
]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.official", description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="converted folder of a small Stable Audio 3 model")
    parser.add_argument("--official", required=True, help="folder optimized/mlx of the official repository")
    parser.add_argument("--part", choices=["step", "decode"], action="append", help="default: both")
    parser.add_argument("--seconds", type=float, nargs="+", default=[10.0, 60.0], help="lengths (default: 10 60)")
    parser.add_argument("--torch", action="store_true", help="against the official PyTorch package, too")
    parser.add_argument("--pairs", type=int, default=3, help="pairs of measurements (default: %(default)s)")
    options = parser.parse_args(arguments)
    print(
        f"{'part':<26}{'ours s':>9}{'theirs':>9}{'ratio':>8}   {'quartiles':<14}{'GB ours':>8}{'theirs':>8}  difference"
    )
    for part in options.part or ["step", "decode"]:
        for seconds in options.seconds:
            request = {"part": part, "seconds": seconds, "model": options.model, "official": options.official}
            memory = [child("peak", request | {"side": side}) for side in (0, 1)]
            for other in ["runtime", *(["torch"] if options.torch else [])]:
                for row in child("compare_arms", request | {"pairs": options.pairs, "other": other}):
                    print(line(row, memory if other == "runtime" else memory[:1]), flush=True)
    return 0


def line(row: dict[str, Any], memory: list[int]) -> str:
    """A row of the table."""
    times = f"{row['ours']:9.3f}{row['theirs']:9.3f}{row['ratio']:8.2f}"
    quartiles = "{:.2f} to {:.2f}".format(*row["quartiles"])
    held = "".join(f"{peak / 1e9:8.2f}" for peak in memory)
    difference = "" if row["difference"] is None else f"  {row['difference']:.0e}"
    return f"{row['name']:<26}{times}   {quartiles:<14}{held}{difference}"


def child(function: str, request: dict[str, Any]) -> Any:
    """What a function of this module returns in a fresh process."""
    code = "import json, sys; from benchmarks import official as o; r = json.loads(sys.argv[2]); "
    code += "print(json.dumps(getattr(o, sys.argv[1])(**r)))"
    command = [sys.executable, "-c", code, function, json.dumps(request)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def compare_arms(
    part: str, seconds: float, model: str, official: str, pairs: int, other: str = "runtime"
) -> list[dict[str, Any]]:
    """Seconds of both sides and their ratio: CPU-seconds with one BLAS thread, else wall time."""
    import numpy as np

    from .compare import row

    clock = time.process_time if os.environ.get("OPENBLAS_NUM_THREADS") == "1" else time.perf_counter
    ours, *others = PARTS[part](model, official, seconds)
    if other == "torch":
        others = torch_arms(part, model, official, seconds)
    expected, rows = np.array(ours()), []
    for name, theirs in others:
        result, difference = theirs(), None
        if other == "runtime":
            difference = float(np.abs(np.array(result) - expected).max() / np.abs(expected).max())
        timed = row(f"{name}, {seconds:g} s", ours, theirs, clock, pairs)
        rows.append({**timed, "difference": difference})
    return rows


def peak(part: str, seconds: float, model: str, official: str, side: int) -> int:
    """Bytes that this process needs at most to run one side."""
    from stable_audio_mlx.events import peak_memory

    ours, (_, theirs), *_ = PARTS[part](model, official, seconds, alone=True)
    (theirs if side else ours)()
    return peak_memory()


def step_arms(model: str, official: str, seconds: float, alone: bool = False) -> list[Any]:
    """One step of the transformer: ours, and (name, theirs); ``alone``: only one of them will run."""
    import mlx.core as mx

    from stable_audio_mlx import cpu
    from stable_audio_mlx.weights.source import open_model

    cpu.setup()
    source = open_model(model)
    dit, frames = source.load("dit", source.create().dit), latents(seconds)
    mx.random.seed(0)
    x, cross, total = (mx.random.normal(shape) for shape in ((1, frames, 256), (1, TOKENS, 768), (1, 768)))
    mx.eval(x, cross, total)

    @cache
    def theirs() -> Any:
        model = module(official, "dit_mlx").DiT(T_lat=frames)
        share(model, dict(flat(dit)), STEP_KEYS)
        return model

    @cache
    def fixed() -> Any:
        """What is computed once per clip: the clock runs when it is there."""
        local = mx.zeros((1, 1, LOCAL))
        conditioning = dit.condition(cross=cross, global_cond=total, local=local, times=(LEVEL,), last=alone)
        mx.eval(conditioning)
        return conditioning

    def ours_run() -> mx.array:
        y = dit(x, LEVEL, fixed())
        mx.eval(y)
        return y

    def theirs_run() -> mx.array:
        y = theirs()(x.swapaxes(1, 2), mx.array([LEVEL]), cross, total).swapaxes(1, 2)
        mx.eval(y)
        return y

    return [ours_run, ("step", theirs_run)]


def decode_arms(model: str, official: str, seconds: float, alone: bool = False) -> list[Any]:
    """Latents to sound through SAME-S: ours, and (name, theirs) at the runtime's own chunks and at better ones.

    Decoding takes nothing apart, whether a side runs ``alone`` or not.
    """
    import mlx.core as mx

    from stable_audio_mlx import cpu
    from stable_audio_mlx.pipeline import DECODER
    from stable_audio_mlx.weights.source import open_model

    cpu.setup()
    source = open_model(model)
    autoencoder = source.load("autoencoder", source.create().autoencoder, DECODER)
    z = mx.random.normal((1, latents(seconds), 256), key=mx.random.key(0))
    runtime, sounds = module(official, "same_s_decoder"), module(official, "sa3_pipeline")
    theirs = runtime.SAMESDecoder()
    share(theirs, dict(flat(autoencoder)), DECODE_KEYS)

    def ours_run() -> mx.array:
        y = autoencoder.decode_tiled(z)
        mx.eval(y)
        return y

    def theirs_run(chunk: int, overlap: int) -> mx.array:
        y = sounds.patched_decode(runtime.decode_chunked(theirs, z.swapaxes(1, 2), chunk, overlap)).swapaxes(1, 2)
        mx.eval(y)
        return y

    return [ours_run, *((f"decode, chunks of {c[0]}", lambda c=c: theirs_run(*c)) for c in (SHIPPED, BETTER))]


def torch_arms(part: str, model: str, official: str, seconds: float) -> list[Any]:
    """(name, a run of the PyTorch package): the step, or decoding whole and in the package's usual chunks."""
    from stable_audio_mlx.weights.source import open_model

    from . import official_torch as package

    config, frames = open_model(model).config, latents(seconds)
    if part == "step":
        return [("step, PyTorch", package.step(official, config, frames, TOKENS))]
    ways = {"whole": None, "chunks of 128": 128}
    return [(f"decode, PyTorch, {name}", package.decode(official, config, frames, n)) for name, n in ways.items()]


PARTS = {"step": step_arms, "decode": decode_arms}


def latents(seconds: float) -> int:
    """Frames of a clip, even as the runtime wants them; the headroom that the pipeline adds is left out."""
    frames = math.ceil(seconds * 44100 / 4096)
    return frames + frames % 2


def module(official: str, name: str) -> Any:
    """A module of the official runtime."""
    if official not in sys.path:
        sys.path.insert(0, official)
    return importlib.import_module(f"models.defs.{name}")


def flat(ours: Any) -> list[tuple[str, Any]]:
    from mlx.utils import tree_flatten

    return tree_flatten(ours.parameters())


def renamed(key: str, rules: list[tuple[str, str]]) -> str:
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return key


def share(theirs: Any, ours: dict[str, Any], rules: list[tuple[str, str]]) -> None:
    """Give the official module our arrays under its names; KeyError if one of its parameters would go without."""
    found = {renamed(key, rules): value for key, value in ours.items()}
    shapes = {key: value.shape for key, value in flat(theirs) if not key.startswith(("_", "timestep_features."))}
    theirs.load_weights([(key, found[key].reshape(shape)) for key, shape in shapes.items()], strict=False)


if __name__ == "__main__":
    raise SystemExit(main())
