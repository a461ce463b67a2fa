"""What a callback is told: progress for each step, previews, times of the phases; an exception in it cancels the run.

python examples/progress_and_cancel.py "rain"
"""

import sys
from functools import partial

from stable_audio_mlx import Event, StableAudioPipeline


class Cancelled(Exception):
    pass


def show(pipe: StableAudioPipeline, event: Event) -> None:
    if event.kind == "step":
        (preview,) = pipe.preview(event, seconds=0.5)
        print(f"step {event.step} of {event.total}: {preview.levels}")
    elif event.kind == "note":
        print(event.message)
    elif event.kind == "result":
        print(", ".join(f"{phase} {seconds:.2f} s" for phase, seconds in event.seconds.items()))


def cancel(event: Event) -> None:
    if event.step == 2:
        raise Cancelled


def main(prompt: str = "rain") -> None:
    pipe = StableAudioPipeline.from_pretrained("tiny")
    (sound,) = pipe.make(prompt, seconds=2, steps=8, seed=1, callback=partial(show, pipe))
    print(sound.save("output/rain.wav", overwrite=True).path)
    try:
        pipe.make(prompt, steps=8, callback=cancel)
    except Cancelled:
        print("cancelled after 2 steps")


if __name__ == "__main__":
    main(*sys.argv[1:])
