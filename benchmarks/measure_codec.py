"""One encoding or decoding in this process, timed, with its memory; ``benchmarks.codec`` starts one for each.

python -m benchmarks.measure_codec '{"model": "same-s", "direction": "decode", "seconds": 5}'   # one JSON object
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

STATUS = Path("/proc/self/status")
WARM_UP_LATENTS = 4


def measure(
    model: str, direction: str, seconds: float, low_memory: bool = False, started: float | None = None
) -> dict[str, Any]:
    """Code ``seconds`` of noise; the clock begins when the weights have been read and used once.

    ``memory``: the most that the process held, in bytes, result and weights included; ``memory_before``: what it held
    when the clock began.  ``started`` is not used.
    """
    import mlx.core as mx
    import numpy as np

    from stable_audio_mlx import AutoencoderModel, cpu

    codec = AutoencoderModel.from_pretrained(model, low_memory=low_memory)
    frames = -(-int(seconds * codec.sample_rate) // codec.downsampling_ratio)
    if direction == "encode":
        work, shape, unit = codec.encode, (codec.in_channels, frames * codec.downsampling_ratio), 0.1
        warm_up = WARM_UP_LATENTS * codec.downsampling_ratio
    else:
        work, shape, unit, warm_up = codec.decode, (codec.latent_dim, frames), 1.0, WARM_UP_LATENTS
    given = np.random.Generator(np.random.Philox(0)).standard_normal(shape, np.float32)
    given *= np.float32(unit)
    mx.eval(work(given[:, :warm_up]))
    before, wall, processor = memory("VmRSS"), time.perf_counter(), time.process_time()
    mx.eval(work(given))
    return {
        "model": codec.name,
        "device": str(mx.default_device()),
        "blas": cpu.setup(),
        "direction": direction,
        "low_memory": low_memory,
        "seconds": frames * codec.downsampling_ratio / codec.sample_rate,
        "wall": time.perf_counter() - wall,
        "cpu": time.process_time() - processor,
        "memory": memory("VmHWM"),
        "memory_before": before,
    }


def memory(entry: str) -> int:
    """A line of the process's status in bytes: VmHWM the most so far, VmRSS now; 0 where the system has none."""
    if not STATUS.exists():
        return 0
    lines = STATUS.read_text().splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{entry}:")), 0)


if __name__ == "__main__":
    print(json.dumps(measure(**json.loads(sys.argv[1]))))
