"""What a callback is told: progress for each step, notes, times of the phases; an exception in it cancels the run.

python examples/progress_and_cancel.py "rain"
"""

import sys

from stable_audio_mlx import Event, StableAudioPipeline


class Cancelled(Exception):
    pass


def show(event: Event) -> None:
    if event.kind == "step":
        print(f"step {event.step} of {event.total}")
    elif event.kind == "note":
        print(event.message)
    elif event.kind == "result":
        print(", ".join(f"{phase} {seconds:.2f} s" for phase, seconds in event.seconds.items()))


def cancel(event: Event) -> None:
    if event.step == 2:
        raise Cancelled


def main(prompt: str = "rain") -> None:
    pipe = StableAudioPipeline.from_pretrained("tiny")
    (sound,) = pipe.make(prompt, seconds=2, steps=8, seed=1, callback=show)
    print(sound.save("output/rain.wav", overwrite=True).path)
    try:
        pipe.make(prompt, steps=8, callback=cancel)
    except Cancelled:
        print("cancelled after 2 steps")


if __name__ == "__main__":
    main(*sys.argv[1:])
