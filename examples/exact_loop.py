"""A loop of whole bars, exact to the sample: cut at the bar line, its end faded into its beginning, for a sampler.

python examples/exact_loop.py "house beat at 120 bpm" 120 1
"""

import sys

import numpy as np

from stable_audio_mlx import Sound, StableAudioPipeline

CROSSFADE = 0.01  # seconds


def main(prompt: str = "house beat at 120 bpm", bpm: str = "120", bars: str = "1") -> None:
    pipe = StableAudioPipeline.from_pretrained("tiny")
    rate, length = pipe.sample_rate, round(int(bars) * 4 * 60 / float(bpm) * pipe.sample_rate)
    (sound,) = pipe.make(prompt, seconds=length / rate + 2 * CROSSFADE, seed=1)
    overlap = round(CROSSFADE * rate)
    up = np.sqrt(np.arange(overlap, dtype=np.float32) / overlap)
    loop = sound.audio[:, :length].copy()
    loop[:, :overlap] = up * loop[:, :overlap] + up[::-1] * sound.audio[:, length : length + overlap]
    record = {**sound.record, "bpm": float(bpm), "bars": int(bars), "loop": True}
    print(Sound(loop, rate, record).save("output/loop.wav", overwrite=True).path)


if __name__ == "__main__":
    main(*sys.argv[1:])
