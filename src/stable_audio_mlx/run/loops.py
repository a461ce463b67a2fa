"""Loops: sounds whose end goes on into their beginning, by a seam made anew or by a crossfade."""

from dataclasses import dataclass, replace

import numpy as np

from ..completion import SEAMS, Completed
from ..models.factory import AudioModel
from ..presets import ModelFacts
from . import Run, prepare

TAIL_SECONDS = 2.0  # made behind a loop and cut off: models end a sound where it is said to end
UNLIKE = 10.0  # dB between a seam made anew and what stood there
BLOCK_SECONDS, AUDIBLE = 0.025, 3.0  # dB from one block to the next


@dataclass(frozen=True)
class Plan:
    """The runs of a generation: ``first`` makes the sounds (None: they are given), ``seam`` what joins their ends.

    ``fade``: samples behind the end that are made to be crossfaded into the beginning.
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
    if not options.loop:
        return Plan(prepare(options, model, facts))
    rate, frame = facts.sample_rate, model.downsampling_ratio / facts.sample_rate
    given = options.inpaint_audio is not None and not options.inpaint
    seam = min(options.loop_seam, min(options.seconds) / 2)
    anew = options.loop != "crossfade" and (given or bool(options.inpaint) or seam >= 2 * frame)
    first, fade = None, 0
    if not given:
        longer, fade = (options, 0) if options.inpaint else with_tail(options, facts, at_any_cost=not anew)
        first = prepare(longer, model, facts)
    if not anew:
        return Plan(first, fade=fade)
    middle = int(min(options.seconds) * rate) // 2 / rate
    around = replace(
        options,
        inpaint=[(middle - seam / 2, middle + seam / 2)],
        continue_to=None,
        init_audio=None,
        init_noise_level=None,
        noise=None,
        step_noise=None,
    )
    return Plan(first, prepare(around, model, facts, number=len(first.passes) if first else 0), fade)


def with_tail(options: Completed, facts: ModelFacts, at_any_cost: bool) -> tuple[Completed, int]:
    """Options of the sound with what is needed behind its end, and how many samples of that are a crossfade.

    No second window is made for it, but ``at_any_cost`` for the crossfade.
    """
    room = max(facts.longest - max(options.seconds), 0.0) if options.noise is None else 0.0
    wanted = options.loop_seam if options.loop == "crossfade" else SEAMS["crossfade"]
    wanted = min(wanted, min(options.seconds) / 2)
    fade = int((wanted if at_any_cost else min(wanted, room)) * facts.sample_rate)
    more = fade / facts.sample_rate
    more += 0.0 if options.init_audio else min(max(room - more, 0.0), TAIL_SECONDS)
    return replace(options, seconds=[s + more for s in options.seconds]), fade


def turned(clip: np.ndarray, run: Run, rate: int, back: bool = False) -> np.ndarray:
    """clip: (C, L), turned so that its end meets its beginning in the middle of the seam that ``run`` makes."""
    start, end = (run.options.inpaint or [(0.0, 0.0)])[0]
    middle = round((start + end) / 2 * rate)
    return np.roll(clip, -middle if back else middle, axis=1)


def fits(made: np.ndarray, before: np.ndarray, run: Run, rate: int) -> bool:
    """Whether the seam that ``run`` made, in turned sounds (C, L), is about as loud as what stood there.

    At its edges the level may not jump by more than it does anywhere in the sound.
    """
    start, end = (int(t * rate) for t in (run.options.inpaint or [(0.0, 0.0)])[0])
    block = max(int(BLOCK_SECONDS * rate), 1)

    def jump(clip: np.ndarray, at: int) -> float:
        return abs(level(clip[:, at - block : at]) - level(clip[:, at : at + block]))

    own = max((jump(before, at) for at in range(block, before.shape[1] - block, block)), default=0.0)
    edges = max(jump(made, at) for at in (start, end))
    change = abs(level(made[:, start:end]) - level(before[:, start:end]))
    return change <= UNLIKE and edges <= max(own, AUDIBLE)


def level(clip: np.ndarray) -> float:
    """RMS in dB."""
    return float(10 * np.log10(np.mean(np.square(clip)) + 1e-10))


def crossfaded(clip: np.ndarray, samples: int, fade: int) -> np.ndarray:
    """clip: (C, L + fade or more) -> (C, L): what follows the end fades out where the beginning fades in.

    At equal power, since what follows the end and the beginning are different sounds.
    """
    out = clip[:, :samples].copy()
    if fade:
        angle = (np.arange(fade, dtype=np.float32) + 0.5) * np.float32(np.pi / 2 / fade)
        out[:, :fade] = out[:, :fade] * np.sin(angle) + clip[:, samples : samples + fade] * np.cos(angle)
    return out
