"""A sound file as the start of others: the higher the noise level, the further they go.

python examples/vary_a_sound.py loop.wav "house beat at 120 bpm"
"""

import sys
from pathlib import Path

from stable_audio_mlx import StableAudioPipeline, audio


def main(file: str, prompt: str = "house beat at 120 bpm", folder: str = "output") -> None:
    pipe = StableAudioPipeline.from_pretrained("tiny", keep_models=True)
    start = audio.read(file, seconds=pipe.facts.longest)
    for level in (0.3, 0.6, 0.9):
        (sound,) = pipe.make(prompt, init_audio=start, init_noise_level=level, seed=1)
        print(sound.save(f"{folder}/{Path(file).stem}-{level}.wav", overwrite=True).path)


if __name__ == "__main__":
    main(*sys.argv[1:])
