"""A loop of whole bars, exact to the sample, with loop points, tempo and key for samplers and DAWs.

python examples/exact_loop.py "house beat" 120 1
"""

import sys

from stable_audio_mlx import StableAudioPipeline


def main(prompt: str = "house beat", bpm: str = "120", bars: str = "1") -> None:
    pipe = StableAudioPipeline.from_pretrained("tiny")
    (loop,) = pipe.make(prompt, bars=float(bars), bpm=float(bpm), loop=True, seed=1)
    print(loop.save("output/loop.wav", overwrite=True).path)


if __name__ == "__main__":
    main(*sys.argv[1:])
