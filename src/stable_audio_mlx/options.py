"""What a generation can be asked for: one dataclass for the command line, the Python API and the server.

Only the standard library is imported here, since this module is read before the arguments of a command are parsed.
"""

import math
import numbers
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

from .errors import OptionError
from .presets import ModelFacts, Preset

Audio = tuple[Any, int]  # (array of shape (channels, samples), sample rate in Hz)


@dataclass(frozen=True)
class GenerateOptions:
    """Options of one run; None stands for the model's own value.  OptionError for what no model could do.

    Lists make a batch: ``prompt``, ``negative_prompt``, ``seconds`` and ``seed`` are each one value or one per clip.
    """

    prompt: str | Sequence[str] = ""
    negative_prompt: str | Sequence[str] | None = None
    seconds: float | Sequence[float] | None = None  # None: as long as a given sound, else the model's own default
    steps: int | None = None
    cfg_scale: float | None = None  # 1 turns guidance off
    sampler: str | None = None
    seed: int | Sequence[int] | None = None  # None or -1: chosen and reported; clip k of a batch gets seed + k
    batch_size: int | None = None
    init_audio: Audio | None = None  # a sound to vary
    init_noise_level: float | None = None  # how much: 0 to 1 for flow models, sigma for v models
    inpaint: Sequence[tuple[float, float]] | None = None  # (start, end) in seconds of what is made anew
    inpaint_audio: Audio | None = None  # None: init_audio
    conditions: Mapping[str, Any] | None = None  # what else the model's config asks for, by id: {"bpm": 120}
    apg_scale: float | None = None  # 0 plain guidance, 1 only what is orthogonal to the estimate
    cfg_rescale: float = 0.0
    cfg_interval: tuple[float, float] = (0.0, 1.0)
    cfg_norm_threshold: float = 0.0
    sigma_min: float | None = None  # v models
    sigma_max: float | None = None
    sigmas: Sequence[float] | None = None  # an explicit schedule of steps + 1 levels
    headroom_seconds: float = 6.0  # made beyond the end where the model masks padding (Stable Audio 3)
    noise: Any = None  # (B, latent channels, T): instead of the seed's
    step_noise: Any = None  # one such array for each draw of a stochastic sampler
    return_latents: bool = False
    lora: Sequence[tuple[str | PathLike[str], float]] | None = None  # (file or PEFT folder, strength), on top of others

    def __post_init__(self):
        for name in ("seconds", "steps", "batch_size"):
            for value in as_list(getattr(self, name)):
                require(name, number(value) and value > 0, "must be a number above 0", value)
        for name in ("steps", "batch_size"):
            value = getattr(self, name)
            require(name, value is None or whole(value), "must be a whole number up to 10000", value)
        for name in ("cfg_scale", "init_noise_level", "cfg_norm_threshold", "headroom_seconds"):
            value = getattr(self, name)
            require(name, value is None or (number(value) and value >= 0), "must be a number from 0 on", value)
        for name in ("apg_scale", "cfg_rescale"):
            value = getattr(self, name)
            require(name, value is None or (number(value) and 0 <= value <= 1), "must be between 0 and 1", value)
        for name in ("prompt", "negative_prompt"):
            values = getattr(self, name)
            for value in [None] if values is None and name == "prompt" else as_list(values):
                require(name, isinstance(value, str), "must be text", value)
        for value in as_list(self.seed):
            require("seed", whole(value, -1, 2**64 - 1), "must be a whole number from 0 to 2**64 - 1", value)
        for item in self.lora or ():
            good = pair(item) and isinstance(item[0], str | PathLike) and number(item[1])
            require("lora", good, "must be (file, strength)", item)
        require("sampler", self.sampler is None or isinstance(self.sampler, str), "must be a name", self.sampler)
        require("conditions", isinstance(self.conditions or {}, Mapping), "must be {id: value}", self.conditions)
        self._check_levels()
        self._check_arrays()
        self._check_sources()

    def _check_levels(self) -> None:
        for name in ("sigma_min", "sigma_max"):
            value = getattr(self, name)
            require(name, value is None or (number(value) and value > 0), "must be a number above 0", value)
        if self.sigma_min and self.sigma_max:
            require("sigma_min", self.sigma_min < self.sigma_max, "must be below sigma_max", self.sigma_min)
        interval = self.cfg_interval
        good = pair(interval) and all(map(number, interval)) and interval[0] <= interval[1]
        require("cfg_interval", good, "must be (low, high)", interval)
        if self.sigmas is not None:
            levels = self.sigmas if isinstance(self.sigmas, list | tuple) else []
            pairs = list(zip(levels, levels[1:], strict=False))
            falling = bool(pairs) and all(number(a) and number(b) and a > b >= 0 for a, b in pairs)
            require("sigmas", falling, "must be at least two falling levels, none negative", levels)
            require("steps", self.steps in (None, len(levels) - 1), f"but sigmas has {len(levels)} levels", self.steps)

    def _check_arrays(self) -> None:
        for name in ("init_audio", "inpaint_audio"):
            if (value := getattr(self, name)) is not None and not pair(value):
                raise OptionError(
                    f"{name}: must be (array (channels, samples), sample rate), not {type(value).__name__}"
                )
        if self.noise is not None and len(getattr(self.noise, "shape", ())) != 3:
            raise OptionError("noise: must be an array (batch, latent channels, frames)")
        if self.step_noise is not None and not isinstance(self.step_noise, list | tuple):
            raise OptionError(f"step_noise: must be a list of arrays, not {type(self.step_noise).__name__}")

    def _check_sources(self) -> None:
        source = self.inpaint_audio or self.init_audio
        require("inpaint", not self.inpaint or source is not None, "needs inpaint_audio or init_audio", self.inpaint)
        if self.inpaint_audio is not None and not self.inpaint:
            raise OptionError("inpaint_audio needs inpaint, the (start, end) in seconds of what to make anew")
        if self.init_noise_level is not None and self.init_audio is None:
            raise OptionError("init_noise_level needs init_audio: the sound to vary")
        for item in self.inpaint or ():
            good = pair(item) and all(map(number, item)) and 0 <= item[0] < item[1]
            require("inpaint", good, "must be (start, end) in seconds with 0 <= start < end", item)


BIT_DEPTHS = ("16", "24", "32f")


@dataclass(frozen=True)
class FinishOptions:
    """What is done to a sound after the model has made it, in this order; OptionError for what cannot be done."""

    mono: bool = False  # the mean of the channels
    trim_silence: bool = False  # at both ends, what is more than 60 dB below the peak
    fade_in: float = 0.0  # seconds
    fade_out: float = 0.0
    normalize: str | None = None  # "peak" (to full scale), "peak:-1" (dBFS), "lufs:-14" (integrated loudness)
    limit: float | None = None  # ceiling in dBTP: a true-peak limiter
    bit_depth: str | None = None  # "16", "24" or "32f"; None: what the format of the file is best at

    def __post_init__(self):
        for name in ("mono", "trim_silence"):
            require(name, isinstance(getattr(self, name), bool), "must be true or false", getattr(self, name))
        for name in ("fade_in", "fade_out"):
            value = getattr(self, name)
            require(name, number(value) and value >= 0, "must be seconds from 0 on", value)
        depth = self.bit_depth
        require("bit_depth", depth is None or depth in BIT_DEPTHS, f"is not one of {', '.join(BIT_DEPTHS)}", depth)
        limit = self.limit
        good = limit is None or (number(limit) and -30 <= limit <= 0)
        require("limit", good, "must be a ceiling between -30 and 0 dBTP", limit)
        self.target  # noqa: B018  (it checks)

    @property
    def target(self) -> tuple[str, float] | None:
        """``normalize`` read: ("peak", dBFS) or ("lufs", LUFS)."""
        if self.normalize is None:
            return None
        kind, colon, text = self.normalize.partition(":") if isinstance(self.normalize, str) else ("", "", "")
        try:
            level = float(text) if colon else 0.0
        except ValueError:
            kind, level = "", 0.0
        good = (kind == "peak" and -60 <= level <= 0) or (kind == "lufs" and colon and -60 <= level <= 0)
        require("normalize", bool(good), "must be peak, peak:DBFS or lufs:LUFS, such as lufs:-14", self.normalize)
        return kind, level


@dataclass(frozen=True)
class Completed(GenerateOptions):
    """Options with nothing left to the model, and one value per clip in every list."""

    prompt: Sequence[str] = ()
    negative_prompt: Sequence[str] | None = None
    seconds: Sequence[float] = ()
    steps: int = 1
    cfg_scale: float = 1.0
    sampler: str = ""
    seed: Sequence[int] = ()
    batch_size: int = 1
    apg_scale: float = 0.0
    sigma_min: float = 0.0
    sigma_max: float = 1.0

    def __post_init__(self):
        """Made from options that were checked."""


def complete(options: GenerateOptions, facts: ModelFacts) -> Completed:
    """The options with the model's own values filled in, lists at batch length and seeds chosen.

    Raises OptionError for what this model cannot do, above all for more seconds than it has.
    """
    preset, batch = facts.preset, batch_length(options)
    if not facts.guidable and options.cfg_scale not in (None, 1):
        raise OptionError("cfg_scale: this model has no text or other condition to guide with; leave it out")
    sampler = options.sampler or preset.sampler
    level = noise_level(options, facts, sampler)
    sigma_min = options.sigma_min or preset.sigma_min
    given = {name: getattr(options, name) for name in GenerateOptions.__dataclass_fields__}
    filled = {
        "prompt": spread(options.prompt, batch),
        "negative_prompt": spread(options.negative_prompt, batch) or None,
        "seconds": clip_seconds(options, facts, batch),
        "steps": len(options.sigmas) - 1 if options.sigmas else options.steps or preset.steps,
        "cfg_scale": preset.cfg_scale if options.cfg_scale is None else options.cfg_scale,
        "sampler": sampler,
        "seed": seeds(options.seed, batch),
        "batch_size": batch,
        "apg_scale": float(facts.stable_audio_3) if options.apg_scale is None else options.apg_scale,
        "sigma_min": sigma_min if level is None or level > sigma_min else level / 10,
        "sigma_max": options.sigma_max or (1.0 if in_time(sampler) else preset.sigma_max),
        "init_noise_level": level,
        "inpaint_audio": (options.inpaint_audio or options.init_audio) if options.inpaint else None,
    }
    return Completed(**{**given, **filled})


def clip_seconds(options: GenerateOptions, facts: ModelFacts, batch: int) -> list[float]:
    """Seconds of each clip; OptionError beyond what the model can make and for less than one sample."""
    seconds = spread(default_seconds(options, facts) if options.seconds is None else options.seconds, batch)
    for value in seconds:
        if value > facts.longest + 1e-6:
            limit = math.floor(facts.longest * 100) / 100
            raise OptionError(f"seconds: {value:g} is more than this model can make; the limit is {limit:g} seconds")
        if value * facts.sample_rate < 1:
            raise OptionError(f"seconds: {value:g} is less than one sample at {facts.sample_rate} Hz")
    return [float(s) for s in seconds]


def default_seconds(options: GenerateOptions, facts: ModelFacts) -> float:
    """As long as the given sound, or up to where inpainting ranges continue it; else the model's own default."""
    array, rate = options.inpaint_audio or options.init_audio or (None, 0)
    samples = getattr(array, "shape", (0,))[-1]
    if not samples or not number(rate) or rate <= 0:
        return facts.default_seconds
    return min(max(samples / rate, *(end for _, end in options.inpaint or ((0, 0),))), facts.longest)


def noise_level(options: GenerateOptions, facts: ModelFacts, sampler: str) -> float | None:
    """How much a given sound is varied; None where none is, or where it only says what inpainting keeps."""
    level = options.init_noise_level
    only_kept = options.inpaint and options.inpaint_audio is None and level is None
    if options.init_audio is None or only_kept:
        return None
    bounded = facts.objective != "v" or in_time(sampler)
    if level is None:
        return Preset.init_noise_level if facts.objective == "v" and bounded else facts.preset.init_noise_level
    if level == 0 or (bounded and level > 1):
        raise OptionError(f"init_noise_level: {level:g}, but it must be above 0{' and at most 1' if bounded else ''}")
    return float(level)


def in_time(sampler: str) -> bool:
    """Whether a sampler of v models runs over t from 1 to 0 instead of sigma."""
    return sampler.startswith("v-ddim")


def batch_length(options: GenerateOptions) -> int:
    """Clips of a run: what lists, noise and batch_size agree on; OptionError where they do not."""
    lengths = {
        name: len(value)
        for name in ("prompt", "negative_prompt", "seconds", "seed")
        if isinstance(value := getattr(options, name), list | tuple) and len(value) != 1
    }
    if options.noise is not None and options.noise.shape[0] != 1:
        lengths["noise"] = options.noise.shape[0]
    if options.batch_size is not None:
        lengths["batch_size"] = options.batch_size
    if len(set(lengths.values())) > 1:
        raise OptionError("a batch of which size? " + ", ".join(f"{k} has {v}" for k, v in lengths.items()))
    length = next(iter(lengths.values()), 1)
    if length == 0:
        raise OptionError(f"{next(iter(lengths))} is empty")
    return length


def seeds(seed: int | Sequence[int] | None, batch: int) -> list[int]:
    """One seed per clip; one given seed counts on, none (or -1) is drawn."""
    given = as_list(seed)
    if len(given) == batch and batch > 1:
        return [secrets.randbelow(2**32) if s == -1 else s for s in given]
    first = secrets.randbelow(2**32) if not given or given[0] == -1 else given[0]
    return [first + k for k in range(batch)]


def spread(value: Any, batch: int) -> list:
    """One value per clip."""
    values = as_list(value)
    return list(values) * batch if len(values) == 1 else list(values)


def as_list(value: Any) -> list:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def pair(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2


def number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def whole(value: Any, low: int = 1, high: int = 10_000) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and low <= int(value) <= high


def require(name: str, good: bool, what: str, value: Any) -> None:
    if not good:
        raise OptionError(f"{name}: {value!r} {what}")
