"""The options of a run with nothing left open, for one model.

Only the standard library is imported here, as in ``options``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .errors import OptionError
from .music import exact_seconds
from .options import GenerateOptions, as_list, batch_length, number, seeds, spread
from .presets import ModelFacts, Preset


@dataclass(frozen=True)
class Completed(GenerateOptions):
    """Options with nothing left to the model, and one value per clip in every list.

    As ``GenerateOptions`` they make the same again: ``strength`` and ``extend_by`` have become what they stand for
    (``init_noise_level``, ``continue_to``), and what goes on behind a given sound is one of the ranges of ``inpaint``.
    """

    prompt: Sequence[str] = ()
    negative_prompt: Sequence[str] | None = None
    seconds: Sequence[float] = ()
    steps: int = 1
    cfg_scale: float = 1.0
    sampler: str = ""
    seed: Sequence[int] = ()
    inpaint: Sequence[tuple[float, float]] | None = None
    batch_size: int = 1
    apg_scale: float = 0.0
    sigma_min: float = 0.0
    sigma_max: float = 1.0
    loop_seam: float = 0.0

    def __post_init__(self):
        """Made from options that were checked."""


# Seconds of a loop's seam.
SEAMS = {"regenerate": 1.0, "crossfade": 0.05}


def complete(options: GenerateOptions, facts: ModelFacts) -> Completed:
    """The options with the model's own values filled in, lists at batch length and seeds chosen.

    Raises OptionError for what this model cannot do, above all for more seconds than it has.
    """
    preset, batch = facts.preset, batch_length(options)
    if not facts.guidable and options.cfg_scale not in (None, 1):
        raise OptionError("cfg_scale: this model has no text or other condition to guide with; leave it out")
    sampler = options.sampler or preset.sampler
    ranges = ranges_to_make(options, facts)
    continued = options.continue_to or (options.extend_by and ranges and ranges[-1][1])
    level = noise_level(options, facts, sampler, bool(ranges))
    sigma_min = options.sigma_min or preset.sigma_min
    given = {name: getattr(options, name) for name in GenerateOptions.__dataclass_fields__}
    filled = {
        "prompt": spread(options.prompt, batch),
        "negative_prompt": spread(options.negative_prompt, batch) or None,
        "seconds": clip_seconds(options, facts, batch, ranges),
        "steps": len(options.sigmas) - 1 if options.sigmas else options.steps or preset.steps,
        "cfg_scale": preset.cfg_scale if options.cfg_scale is None else options.cfg_scale,
        "sampler": sampler,
        "seed": seeds(options.seed, batch),
        "batch_size": batch,
        "apg_scale": float(facts.stable_audio_3) if options.apg_scale is None else options.apg_scale,
        "sigma_min": sigma_min if level is None or level > sigma_min else level / 10,
        "sigma_max": options.sigma_max or (1.0 if in_time(sampler) else preset.sigma_max),
        "init_noise_level": level,
        "inpaint": ranges,
        "continue_to": continued or None,
        "inpaint_audio": (options.inpaint_audio or options.init_audio) if ranges else options.inpaint_audio,
        "loop_seam": options.loop_seam or SEAMS["crossfade" if options.loop == "crossfade" else "regenerate"],
    }
    return Completed(**{**given, **filled, "strength": None, "extend_by": None})


def ranges_to_make(options: GenerateOptions, facts: ModelFacts) -> list[tuple[float, float]] | None:
    """What is made anew of a given sound, in seconds: the ranges, and from its end to where it shall go on."""
    ranges = [(float(start), float(end)) for start, end in options.inpaint or ()]  # type: ignore
    if options.continue_to is not None or options.extend_by is not None:
        ends = given_seconds(options, facts)
        target = ends + (options.extend_by or 0) if options.continue_to is None else options.continue_to
        if target <= ends:
            raise OptionError(f"continue_to: {target:g}, but the given sound lasts {ends:g} seconds already")
        ranges += [(ends, target)] if (ends, target) not in ranges else []
    return ranges or None


def given_seconds(options: GenerateOptions, facts: ModelFacts) -> float:
    """How long the given sound is in whole samples of the model; 0 where there is none."""
    array, rate = options.inpaint_audio or options.init_audio or (None, 0)
    samples = getattr(array, "shape", (0,))[-1]
    if not samples or not number(rate) or rate <= 0:
        return 0.0
    return exact_seconds(int(samples * facts.sample_rate / rate), facts.sample_rate)


def clip_seconds(options: GenerateOptions, facts: ModelFacts, batch: int, ranges: list | None = None) -> list[float]:
    """Seconds of each clip; OptionError beyond what the model can make and for less than one sample."""
    if options.bars is not None and options.tempo:
        given: list = [exact_seconds(options.tempo.samples(options.bars, facts.sample_rate), facts.sample_rate)]
    else:
        given = as_list(options.seconds) or [default_seconds(options, facts, ranges)]
    seconds = [float(s) for s in spread(given, batch)]
    for value in seconds:
        if value * facts.sample_rate < 1:
            raise OptionError(f"seconds: {value:g} is less than one sample at {facts.sample_rate} Hz")
    if max(seconds) > facts.longest + 1e-6:
        check_long(options, facts, seconds, ranges)
    return seconds


def check_long(options: GenerateOptions, facts: ModelFacts, seconds: list[float], ranges: list | None) -> None:
    """OptionError for what cannot be made window by window."""
    limit = math.floor(facts.longest * 100) / 100
    if not options.long and not ranges:
        raise OptionError(
            f"seconds: {max(seconds):g} is more than this model can make; the limit is {limit:g} seconds at once "
            "(long, or --long, makes more in windows that continue each other)"
        )
    if len(set(seconds)) > 1:
        raise OptionError(f"seconds: clips beyond {limit:g} seconds need one length for the whole batch")
    for name in one_window(options):
        raise OptionError(f"{name}: only for a single window, up to {limit:g} seconds")


def one_window(options: GenerateOptions) -> list[str]:
    """What is given of the options that have a meaning for one window only."""
    given = {"noise": options.noise, "step_noise": options.step_noise, "return_latents": options.return_latents or None}
    return [name for name, value in given.items() if value is not None]


def default_seconds(options: GenerateOptions, facts: ModelFacts, ranges: list | None = None) -> float:
    """As long as the given sound, or up to where ranges continue it; else the model's own default."""
    known = given_seconds(options, facts)
    if not known:
        return facts.default_seconds
    whole = max(known, *(end for _, end in ranges or ((0, 0),)))
    longer = (ranges or options.long) and not one_window(options)
    return whole if longer else min(whole, facts.longest)


def noise_level(options: GenerateOptions, facts: ModelFacts, sampler: str, kept: bool = False) -> float | None:
    """How much a given sound is varied; None where none is, or where it only says what is ``kept``."""
    level = options.init_noise_level if options.strength is None else level_of(options, facts, sampler)
    only_kept = kept and options.inpaint_audio is None and level is None
    if options.init_audio is None or only_kept:
        return None
    bounded = facts.objective != "v" or in_time(sampler)
    if level is None:
        return Preset.init_noise_level if facts.objective == "v" and bounded else facts.preset.init_noise_level
    if level == 0 or (bounded and level > 1):
        raise OptionError(f"init_noise_level: {level:g}, but it must be above 0{' and at most 1' if bounded else ''}")
    return float(level)


def level_of(options: GenerateOptions, facts: ModelFacts, sampler: str) -> float:
    """The noise level at which noise and sound are as ``strength`` to ``1 - strength``, whatever the objective."""
    strength = float(options.strength or 0)
    if facts.objective != "v":
        return strength
    most = options.sigma_max or (1.0 if in_time(sampler) else facts.preset.sigma_max)
    ratio = strength / (1 - strength) if strength < 1 else math.inf
    return min(math.atan(ratio) * 2 / math.pi if in_time(sampler) else ratio, most)


def in_time(sampler: str) -> bool:
    """Whether a sampler of v models runs over t from 1 to 0 instead of sigma."""
    return sampler.startswith("v-ddim")
