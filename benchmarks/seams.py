"""How far sounds jump where they were continued, joined or looped, against how far they jump elsewhere in themselves.

``python -m benchmarks.seams`` prints the table of docs/editing.md, with the embedded model.
"""

from collections.abc import Sequence

import numpy as np

BLOCK = 1024
PROMPTS = ("heavy rain", "a minor chord", "slow siren", "synth note a4", "house beat at 120 bpm")


def jumps(sound: np.ndarray, places: Sequence[int] | np.ndarray) -> np.ndarray:
    """sound: (C, L) -> (P, 3), for each place: level, spectrum, bend.

    Level: dB between the RMS of the blocks before and behind; spectrum: mean dB between their levels in bands, the
    whole level taken out; bend: how the slope changes from sample to sample, over the RMS around.
    """
    mono = sound.mean(axis=0, dtype=np.float64)
    window, out = np.hanning(BLOCK), []
    for place in places:
        before, behind = mono[place - BLOCK : place], mono[place : place + BLOCK]
        a, b = (10 * np.log10(np.mean(x**2) + 1e-9) for x in (before, behind))
        bands = [10 * np.log10(bands_of(np.abs(np.fft.rfft(x * window)) ** 2) + 1e-6) for x in (before, behind)]
        spectra = [band - band.mean() for band in bands]
        bend = np.abs(np.diff(mono[place - 2 : place + 2], 2)).max()
        rms = np.sqrt(np.mean(mono[place - BLOCK : place + BLOCK] ** 2)) + 1e-4
        out.append((abs(a - b), np.mean(np.abs(spectra[0] - spectra[1])), bend / rms))
    return np.array(out)


def bands_of(power: np.ndarray) -> np.ndarray:
    """Mean power in bands that widen with frequency."""
    edges = np.unique(np.geomspace(1, len(power), 17).astype(int))
    return np.add.reduceat(power, edges[:-1]) / np.diff(edges)


def elsewhere(sound: np.ndarray, places: Sequence[int], step: int = 331) -> np.ndarray:
    """``jumps`` all over the sound but near ``places``."""
    others = np.arange(BLOCK, sound.shape[1] - BLOCK, step)
    return jumps(sound, [other for other in others if all(abs(other - place) > 2 * BLOCK for place in places)])


def main() -> None:
    from stable_audio_mlx import GenerateOptions, StableAudioPipeline
    from stable_audio_mlx.completion import complete
    from stable_audio_mlx.run import prepare

    pipe = StableAudioPipeline.from_pretrained("tiny", keep_models=True)
    rate, ratio = pipe.sample_rate, pipe._model.downsampling_ratio

    def make(**options) -> tuple[np.ndarray, list[int]]:
        """The sound, and where windows meet in it."""
        run = prepare(complete(GenerateOptions(seed=1, **options), pipe.facts), pipe._model, pipe.facts)
        return np.array(pipe.generate(seed=1, **options))[0], [p.first * ratio for p in run.passes[1:]]

    print("| sound | what | at the seams: level, spectrum, bend | elsewhere at most |\n|---|---|---|---|")
    for prompt in PROMPTS:
        source = make(prompt=prompt)[0][:, :130_000]
        extended, seams = make(prompt=prompt, inpaint_audio=(source, rate), extend_by=6.0)
        long, meetings = make(prompt=prompt, seconds=10, long=True)
        cases = [("continued", extended, [source.shape[1], *seams]), ("10 s", long, meetings)]
        for kind in (True, "crossfade"):
            loop, _ = make(prompt=prompt, seconds=3, loop=kind)
            twice, end = np.concatenate([loop, loop], axis=1), loop.shape[1]
            cases.append((f"loop, {kind if kind == 'crossfade' else 'made anew'}", twice, [end]))
        for what, sound, places in cases:
            rows = (found.max(axis=0) for found in (jumps(sound, places), elsewhere(sound, places)))
            here, most = (" / ".join(f"{x:.2g}" for x in row) for row in rows)
            print(f"| {prompt} | {what} | {here} | {most} |")


if __name__ == "__main__":
    main()
