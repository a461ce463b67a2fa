"""Loops: sounds whose end goes on into their beginning, by a seam made anew or by a crossfade."""

from dataclasses import dataclass, replace

import numpy as np

from .completion import SEAMS, Completed
from .models.factory import AudioModel
from .presets import ModelFacts
from .run import Run, prepare


@dataclass(frozen=True)
class Plan:
    """The runs of a generation: ``first`` makes the sounds (None: they are given), ``seam`` what joins their ends.

    ``fade``: samples that are made beyond the end and crossfaded into the beginning.
    """

    first: Run | None
    seam: Run | None = None
    fade: int = 0

    @property
    def runs(self) -> list[Run]:
        return [run for run in (self.first, self.seam) if run is not None]

    @property
    def steps(self) -> int | None:
        """Of all runs; None if that is not known before."""
        rounds = [run.rounds for run in self.runs]
        return None if None in rounds else sum(n or 0 for n in rounds)


def plan(options: Completed, model: AudioModel, facts: ModelFacts) -> Plan:
    """OptionError as ``prepare``; a sound that is too short for a seam of latent frames is crossfaded."""
    shortest, frame = min(options.seconds), model.downsampling_ratio / model.sample_rate
    seam = min(options.loop_seam, shortest / 2)
    given = options.inpaint_audio is not None and not options.inpaint
    if options.loop == "regenerate" and (given or seam >= 2 * frame):
        first = None if given else prepare(options, model, facts)
        middle = int(shortest * model.sample_rate) // 2 / model.sample_rate
        around = replace(
            options,
            inpaint=[(middle - seam / 2, middle + seam / 2)],
            init_audio=None,
            init_noise_level=None,
            noise=None,
            step_noise=None,
        )
        return Plan(first, prepare(around, model, facts, number=len(first.passes) if first else 0))
    if not options.loop:
        return Plan(prepare(options, model, facts))
    fade = int(
        min(options.loop_seam if options.loop == "crossfade" else SEAMS["crossfade"], shortest / 2) * facts.sample_rate
    )
    longer = [s + fade / facts.sample_rate for s in options.seconds]
    return Plan(prepare(replace(options, seconds=longer), model, facts), fade=fade)


def turned(clip: np.ndarray, run: Run, rate: int, back: bool = False) -> np.ndarray:
    """clip: (C, L), turned so that its end meets its beginning in the middle of the seam that ``run`` makes."""
    start, end = (run.options.inpaint or [(0.0, 0.0)])[0]
    middle = round((start + end) / 2 * rate)
    return np.roll(clip, -middle if back else middle, axis=1)


def crossfaded(clip: np.ndarray, fade: int) -> np.ndarray:
    """clip: (C, L + fade) -> (C, L): what follows the end fades out where the beginning fades in, at equal power."""
    angle = (np.arange(fade, dtype=np.float32) + 0.5) * np.float32(np.pi / 2 / max(fade, 1))
    length = clip.shape[1] - fade
    out = clip[:, :length].copy()
    out[:, :fade] = out[:, :fade] * np.sin(angle) + clip[:, length:] * np.cos(angle)
    return out
