"""Time one generation phase by phase and set each phase against its floor.

    python -m benchmarks.run --model model/stable-audio-open-small --steps 8
    python -m benchmarks.run --model model/stable-audio-open-small --compare torch

The floor of a phase is its operations over the rate of float32 matrix products, measured in the same process.  On the
CPU its share is taken of CPU-seconds, which a busy machine changes little; compare runs with OPENBLAS_NUM_THREADS=1.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any

FIRST, STEADY = "first step", "median step"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="tiny", help="name or folder of a model (default: %(default)s)")
    parser.add_argument("--seconds", type=float, help="length of the clip (default: the model's)")
    parser.add_argument("--steps", type=int, help="sampling steps (default: the model's)")
    parser.add_argument("--cfg", type=float, help="guidance scale (default: the model's)")
    parser.add_argument("--batch", type=int, default=1, help="clips at once (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print the whole measurement as JSON")
    parser.add_argument("--compare", choices=["torch"], help="time the same shapes with PyTorch, in turn")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    request = {"model": options.model, "batch": options.batch}
    request |= {n: v for n in ("seconds", "steps", "cfg") if (v := getattr(options, n)) is not None}
    result = child("measure", request)
    if options.compare:
        result["compare"] = child("compare", {"model": options.model, "batch": options.batch})
    print(json.dumps(result, indent=2) if options.json else table(result))
    return 0


def child(module: str, request: dict[str, Any]) -> dict[str, Any]:
    """The JSON that a fresh process prints: its memory is its own and nothing is loaded yet.  Exits as it does."""
    command = [sys.executable, "-m", f"benchmarks.{module}", json.dumps(request | {"started": time.time()})]
    process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if process.returncode:
        sys.exit(process.returncode)
    return json.loads(process.stdout)


def table(result: dict[str, Any]) -> str:
    """The measurement as text."""
    on_cpu = "cpu" in result["device"]
    threads = os.environ.get("OPENBLAS_NUM_THREADS", "all")
    lines = [
        f"{result['model']}: {result['seconds']:g} s, {result['steps']} steps, cfg {result['cfg']:g}, "
        f"batch {result['batch']}",
        f"{result['device']}, {result['blas']}, BLAS threads: {threads}, "
        f"matrix products {result['matmul_rate'] / 1e9:.0f} GFLOP/s",
        "",
        f"{'phase':<14}{'wall s':>9}{'CPU s':>9}{'floor s':>9}{'share':>8}",
    ]
    rate = result["matmul_rate_cpu"] if on_cpu else result["matmul_rate"]
    for name, phase in summary(result["phases"]).items():
        operations = result["operations"].get("step" if name in (FIRST, STEADY) else name)
        spent = phase["cpu"] if on_cpu else phase["wall"]
        floor = f"{operations / rate:9.3f}{operations / rate / spent:8.0%}" if operations else ""
        lines.append(f"{name:<14}{phase['wall']:9.3f}{phase['cpu']:9.3f}{floor}")
    lines += [
        "",
        f"start to first step {result['to_first_step']:.2f} s, start to WAV {result['to_sound']:.2f} s",
        f"peak memory {result['peak_memory'] / 1e9:.2f} GB, of which MLX {result['peak_memory_mlx'] / 1e9:.2f} GB",
    ]
    return "\n".join(lines + compared(result.get("compare")))


def summary(phases: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Phases in the order they happened, the steps as the first and the median of the others, and their total."""
    out: dict[str, dict[str, float]] = {}
    steps = [phase for name, phase in phases.items() if name.startswith("step ")]
    for name, phase in phases.items():
        if not name.startswith("step "):
            out[name] = phase
        elif FIRST not in out:
            out[FIRST] = phase
            if len(steps) > 1:
                out[STEADY] = {key: statistics.median(step[key] for step in steps[1:]) for key in phase}
    out["total"] = {key: sum(phase[key] for phase in phases.values()) for key in ("wall", "cpu")}
    return out


def compared(rows: dict[str, Any] | None) -> list[str]:
    """Lines of the comparison with PyTorch: how many times as fast, median and quartiles of the pairs."""
    if rows is None:
        return []
    if "missing" in rows:
        return ["", rows["missing"]]
    lines = ["", f"{'against PyTorch ' + rows['version']:<28}{'MLX s':>8}{'torch s':>9}{'ratio':>8}   quartiles"]
    for row in rows["rows"]:
        low, high = row["quartiles"]
        lines.append(
            f"{row['name']:<28}{row['ours']:8.3f}{row['theirs']:9.3f}{row['ratio']:8.2f}   {low:.2f} to {high:.2f}"
        )
    return [*lines, f"{rows['metric']}, {rows['threads']} threads each, {rows['pairs']} pairs in turn"]


if __name__ == "__main__":
    raise SystemExit(main())
