"""Ten takes of one prompt with one model in memory; the loudest three are kept.

python examples/many_variations.py "snare drum" output/snares
"""

import sys

from stable_audio_mlx import FinishOptions, StableAudioPipeline, finish


def main(prompt: str = "snare drum", folder: str = "output/snares", count: str = "10") -> None:
    pipe = StableAudioPipeline.from_pretrained("tiny", keep_models=True)
    takes = [pipe.make(prompt, seconds=1, seed=seed)[0] for seed in range(int(count))]
    takes.sort(key=lambda sound: sound.levels.lufs or -100, reverse=True)
    for sound in takes[:3]:
        sound = finish(sound, FinishOptions(trim_silence=True, fade_out=0.05, normalize="peak:-1"))
        written = sound.save(f"{folder}/{sound.record['seed']}.wav", overwrite=True, metadata=True)
        print(f"{written.path}: {sound.seconds:.2f} s, {sound.levels}")


if __name__ == "__main__":
    main(*sys.argv[1:])
