"""One generation in this process, timed phase by phase; ``benchmarks.run`` starts a fresh process for it.

python -m benchmarks.measure '{"model": "tiny", "seconds": 2}'      # one JSON object on stdout
"""

import functools
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Phase:
    wall: float = 0.0
    cpu: float = 0.0


@dataclass
class Meter:
    """Wall and CPU-seconds by phase; a phase inside another is not counted in the outer one."""

    phases: dict[str, Phase] = field(default_factory=dict)
    current: str = "import"
    wall: float = field(default_factory=time.perf_counter)
    cpu: float = field(default_factory=time.process_time)

    def enter(self, phase: str) -> None:
        """Everything since the last change belongs to the phase that ends here."""
        wall, cpu = time.perf_counter(), time.process_time()
        ended = self.phases.setdefault(self.current, Phase())
        ended.wall, ended.cpu = ended.wall + wall - self.wall, ended.cpu + cpu - self.cpu
        self.current, self.wall, self.cpu = phase, wall, cpu

    def wrap(self, owner: Any, name: str, phase: str, settle: Callable[[Any], Any] = lambda result: None) -> None:
        """Count calls of a method as a phase of their own; ``settle`` evaluates what the method left lazy."""
        method = getattr(owner, name)

        @functools.wraps(method)
        def timed(*args, **kwargs):
            outer = self.current
            self.enter(phase)
            result = method(*args, **kwargs)
            settle(result)
            self.enter(outer)
            return result

        setattr(owner, name, timed)


def measure(
    model: str,
    seconds: float | None = None,
    steps: int | None = None,
    cfg: float | None = None,
    batch: int = 1,
    started: float | None = None,
) -> dict[str, Any]:
    """Generate ``batch`` clips and return what each phase took, the floors and the peak memory.

    ``started``: when the process was asked for, in seconds since the epoch.
    """
    meter, started = Meter(), started or time.time()
    import mlx.core as mx

    from stable_audio_mlx import audio, cpu, events, pipeline
    from stable_audio_mlx.models.dit import DiT
    from stable_audio_mlx.options import GenerateOptions
    from stable_audio_mlx.weights.source import ModelSource
    from stable_audio_mlx.weights.text import TextEncoder

    meter.wrap(ModelSource, "load", "load")
    meter.wrap(TextEncoder, "_load", "load")
    meter.wrap(DiT, "condition", "conditioning", settle=mx.eval)
    meter.enter("open")
    pipe = pipeline.StableAudioPipeline.from_pretrained(model)
    options = GenerateOptions(
        prompt="warm pad and soft rain", seconds=seconds, steps=steps, cfg_scale=cfg, seed=0, batch_size=batch
    )
    to_first_step = 0.0
    for event in pipe.steps(options):
        if event.kind == "options":
            options = event.options
            meter.enter("text")
        elif event.kind == "text":
            meter.enter("step 1")
        elif event.kind == "step":
            meter.enter(f"step {event.step + 1}" if event.step < (event.total or 0) else "finish")
            if event.step == 1:
                to_first_step = time.time() - started - meter.phases["step 1"].wall
        elif event.kind == "decode":
            meter.enter("decode")
    meter.enter("write")
    write_sound(audio, event.value, pipe.sample_rate)
    meter.enter("end")
    to_sound = time.time() - started
    peak, peak_mlx = events.peak_memory(), mx.get_peak_memory()
    return {
        "model": pipe.name,
        "device": str(mx.default_device()),
        "blas": cpu.setup(),
        "seconds": max(options.seconds),
        "steps": options.steps,
        "cfg": options.cfg_scale,
        "batch": batch,
        "phases": {name: vars(phase) for name, phase in meter.phases.items()},
        "to_first_step": to_first_step,
        "to_sound": to_sound,
        "peak_memory": peak,
        "peak_memory_mlx": peak_mlx,
        **floors_of(pipe, options, batch),
    }


def write_sound(audio: Any, value: Any, rate: int) -> None:
    """Write the first clip where nobody keeps it, as ``generate`` would."""
    import tempfile

    import numpy as np

    with tempfile.TemporaryDirectory() as folder:
        audio.write(Path(folder) / "clip.wav", np.array(value[0]), rate)


def floors_of(pipe: Any, options: Any, batch: int) -> dict[str, Any]:
    """Operations of the phases that have a floor, and the rate of matrix products here, now."""
    from . import floors

    wall, cpu = floors.matmul_rate()
    frames = floors.latent_frames(pipe.config)
    passes = 2 if options.cfg_scale != 1 else 1
    return {
        "matmul_rate": wall,
        "matmul_rate_cpu": cpu,
        "operations": {
            "step": floors.step_operations(pipe.config, frames, batch * passes),
            "decode": batch * (floors.decode_operations(pipe.config, frames) or 0) or None,
        },
    }


if __name__ == "__main__":
    from stable_audio_mlx.cli.common import run

    sys.exit(run(lambda: print(json.dumps(measure(**json.loads(sys.argv[1]))))))
