"""Many takes in one run of the real command: the most memory that each takes, the time from one sound to the next.

    python -m benchmarks.takes                                # 200 takes of the embedded model
    python -m benchmarks.takes --takes 40 --model model/stable-audio-open-small --steps 8

Memory should not grow after the tenth take and no take should be slower than the first warm one.  The prompts differ in
words, the sounds in length, so that what is kept for one prompt or one shape shows.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
WORDS = ("kick drum", "heavy rain", "warm pad, c major", "plucked string playing a4", "fast siren", "hi-hat")
WARM = 10  # takes before memory is held against what follows


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.takes", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="tiny", help="name or folder of a model (default: %(default)s)")
    parser.add_argument("--takes", type=int, default=200, help="how many sounds (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=2, help="sampling steps (default: %(default)s)")
    parser.add_argument("--same", action="store_true", help="one prompt and one length, other seeds only")
    parser.add_argument("--low-memory", action="store_true", help="as the command's")
    parser.add_argument("--json", action="store_true", help="print memory and time of every take as JSON")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    result = measure(options.model, options.takes, options.steps, options.same, options.low_memory)
    print(json.dumps(result) if options.json else table(result))
    return 0


def measure(model: str, takes: int, steps: int, same: bool = False, low_memory: bool = False) -> dict[str, Any]:
    """Run the command and look at it whenever it tells a path.  Exits as it does."""
    with tempfile.TemporaryDirectory() as folder:
        prompts = Path(folder, "prompts.jsonl")
        lines = [
            {"prompt": WORDS[0 if same else k % len(WORDS)], "seed": k, "seconds": 1 if same else lengths(k)}
            for k in range(takes)
        ]
        prompts.write_text("".join(json.dumps(line) + "\n" for line in lines))
        command = [sys.executable, str(ROOT / "generate.py"), "--prompt-file", str(prompts), "--steps", str(steps)]
        command += [
            "--model",
            model,
            "--output",
            f"{folder}/out/",
            "--quiet",
            *(["--low-memory"] if low_memory else []),
        ]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        memory, seconds, work, last = [], [], [0.0], time.perf_counter()
        assert process.stdout
        for path in process.stdout:
            seconds.append(time.perf_counter() - last)
            memory.append(held(process.pid))
            work.append(worked(process.pid))
            Path(path.strip()).unlink()  # a disk's cache is not the matter here
            last = time.perf_counter()
        if process.wait():
            sys.exit(process.returncode)
    return {
        "model": model,
        "takes": takes,
        "steps": steps,
        "memory": memory,
        "seconds": seconds,
        **verdict(memory, busy(work, seconds)),
    }


def lengths(number: int) -> float:
    """2.5 to 0.5 seconds, the longest first, then in no order, none twice among 200."""
    return 2.5 - 73 * number % 200 / 100


def verdict(memory: list[int], seconds: list[float]) -> dict[str, float]:
    """Growth over the most that the warm takes held, as a share; last takes' time over the first's."""
    late, early = seconds[-WARM:], seconds[1 : WARM + 1] or seconds
    growth = max(memory[WARM:] or memory) / max(memory[:WARM]) - 1
    return {"growth": growth, "slower": statistics.median(late) / statistics.median(early)}


def held(pid: int) -> int:
    """The most bytes of memory that a process held since this was last asked; on macOS those it holds now."""
    status = Path(f"/proc/{pid}/status")
    if status.exists():
        lines = status.read_text(encoding="ascii", errors="replace").splitlines()
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak begins anew
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    return int(subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, check=True).stdout) * 1024


def worked(pid: int) -> float:
    """CPU-seconds of a process so far, which a busy machine changes little; 0 where /proc does not tell."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return 0.0
    user, system = stat.read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def busy(work: list[float], seconds: list[float]) -> list[float]:
    """CPU-seconds of each take, or its wall time."""
    return [after - before for before, after in itertools.pairwise(work)] if work[-1] else seconds


def table(result: dict[str, Any]) -> str:
    """The measurement as text."""
    memory, seconds, takes = result["memory"], result["seconds"], result["takes"]
    shown = sorted({n for n in (1, 2, 5, WARM, takes // 4, takes // 2, takes) if 1 <= n <= takes})
    lines = [f"{result['model']}: {takes} takes of {result['steps']} steps", f"{'take':>6}{'memory':>12}{'time':>10}"]
    lines += [f"{n:>6}{memory[n - 1] / 1e6:>9.1f} MB{seconds[n - 1]:>8.3f} s" for n in shown]
    lines.append(f"memory after take {WARM}: {result['growth']:+.1%} at most")
    lines.append(
        f"time of the last {WARM} takes over that of the first warm ones: {result['slower']:.2f} (median CPU-seconds)"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
