"""What a generation can be asked for: one dataclass for the command line, the Python API and the server.

Only the standard library is imported here, since this module is read before the arguments of a command are parsed.
"""

import numbers
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

from .errors import OptionError
from .music import BEATS_PER_BAR, Key, Tempo, range_in_seconds, seconds_at
from .prompts import parse

LOOPS = ("regenerate", "crossfade")
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
    strength: float | None = None  # the same for every model: the share of noise in it, above 0 to 1 (made anew)
    inpaint: Sequence[tuple[float, float] | str] | None = (
        None  # made anew: (start, end) in seconds, or "A-B" (``music``)
    )
    inpaint_audio: Audio | None = None  # None: init_audio
    continue_to: float | None = None  # seconds up to which a given sound (as for inpaint) goes on
    extend_by: float | None = None  # seconds by which it does
    long: bool = False  # more seconds than the model's window, made one window after the other
    bars: float | None = None  # the length in bars of ``bpm``, to the sample
    bpm: float | None = None  # beats a minute; said in the prompt and to models that have it as a condition
    beats_per_bar: int = BEATS_PER_BAR
    key: str | None = None  # "A minor"; said in the prompt
    loop: bool | str = False  # no seam from end to beginning: "regenerate" (also True) or "crossfade"
    loop_seam: float | None = None  # seconds around the seam that are made anew (1), or of the crossfade (0.05)
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
        for name in ("seconds", "steps", "batch_size", "continue_to", "extend_by", "bars", "bpm", "loop_seam"):
            value = getattr(self, name)
            for one in as_list(value) if name == "seconds" else [value] * (value is not None):
                require(name, number(one) and one > 0, "must be a number above 0", one)
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
        self._check_music()
        self._check_sources()
        self._check_lengths()

    @property
    def tempo(self) -> Tempo | None:
        return None if self.bpm is None else Tempo(self.bpm, self.beats_per_bar)

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

    def _check_music(self) -> None:
        require("bpm", self.bpm is None or self.bpm <= 1000, "must be at most 1000", self.bpm)
        beats = self.beats_per_bar
        require("beats_per_bar", whole(beats, 1, 64), "must be a whole number up to 64", beats)
        require("bars", self.bars is None or self.bpm is not None, "needs bpm, the beats a minute", self.bars)
        require("key", self.key is None or isinstance(self.key, str), "must be text, as in A minor", self.key)
        if self.key is not None:
            Key.parse(self.key)
        known = isinstance(self.loop, bool) or self.loop in LOOPS
        require("loop", known, f"must be true, {' or '.join(LOOPS)}", self.loop)
        require("long", isinstance(self.long, bool), "must be true or false", self.long)
        for text in as_list(self.prompt):
            parse(text, self.tempo)
        for text in as_list(self.negative_prompt):
            said = parse(text)
            require("negative_prompt", len(said.parts) == 1, "must be one prompt; || mixes only others", text)
            require("negative_prompt", not said.negative.text, "has a negative weight; say that in the prompt", text)

    def _check_sources(self) -> None:
        source = self.inpaint_audio or self.init_audio
        for name in ("inpaint", "continue_to", "extend_by"):
            if getattr(self, name) and source is None:
                raise OptionError(f"{name} needs inpaint_audio or init_audio, the sound to work on")
        if self.inpaint_audio is not None and not (self.inpaint or self.continue_to or self.extend_by or self.loop):
            raise OptionError("inpaint_audio needs inpaint, the (start, end) in seconds of what to make anew")
        for name in ("init_noise_level", "strength"):
            if getattr(self, name) is not None and self.init_audio is None:
                raise OptionError(f"{name} needs init_audio: the sound to vary")
        require("strength", self.strength is None or (number(self.strength) and 0 < self.strength <= 1),
                "must be above 0 and at most 1", self.strength)  # fmt: skip
        if self.strength is not None and self.init_noise_level is not None:
            raise OptionError("strength and init_noise_level both say how much a sound is varied; give one")
        ranges = [range_of(item, self.tempo) for item in as_list(self.inpaint)]
        for item in ranges:
            good = pair(item) and all(map(number, item)) and 0 <= item[0] < item[1]
            require("inpaint", good, "must be (start, end) in seconds with 0 <= start < end", item)
        if self.inpaint is not None:
            object.__setattr__(self, "inpaint", tuple(tuple(item) for item in ranges))

    def _check_lengths(self) -> None:
        lengths = [n for n in ("seconds", "continue_to", "extend_by", "bars") if getattr(self, n) is not None]
        if len(lengths) == 2 and lengths[0] == "seconds":  # as completed options have them
            wanted = self.bars * self.tempo.bar if self.bars and self.tempo else self.continue_to or 0
            if all(abs(s - wanted) < 0.05 for s in as_list(self.seconds)):
                return
        if len(lengths) > 1:
            raise OptionError(f"{' and '.join(lengths)} each say how long the sound becomes; give one of them")
        given = self.inpaint_audio is not None or self.inpaint or self.continue_to or self.extend_by
        require("loop", self.loop != "crossfade" or not given, "needs more than is given; use regenerate", self.loop)
        require(
            "loop", not (self.loop and self.return_latents), "is closed in sound; leave return_latents out", self.loop
        )


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

    def check_loop(self) -> None:
        """OptionError for what a loop would not survive."""
        if self.trim_silence or self.fade_in or self.fade_out:
            raise OptionError("trim_silence, fade_in and fade_out would break the loop; leave them out")

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
        return [drawn_seed() if s == -1 else s for s in given]
    first = drawn_seed() if not given or given[0] == -1 else given[0]
    return [first + k for k in range(batch)]


def drawn_seed() -> int:
    """32 bits that nobody can foresee; ``secrets`` would say so too, but takes a tenth of the time that --help has."""
    return int.from_bytes(os.urandom(4), "big")


def spread(value: Any, batch: int) -> list:
    """One value per clip."""
    values = as_list(value)
    return list(values) * batch if len(values) == 1 else list(values)


def as_list(value: Any) -> list:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def range_of(item: Any, tempo: Tempo | None) -> Any:
    """(start, end) in seconds where an item of ``inpaint`` is text, or a pair of it."""
    if isinstance(item, str):
        return range_in_seconds(item, tempo)
    if pair(item):
        return tuple(seconds_at(end, tempo) if isinstance(end, str) else end for end in item)
    return item


def pair(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2


def number(value: Any) -> bool:
    """Whether it is one that can be calculated with: neither NaN nor infinite nor absurd."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and abs(value) <= 1e15  # type: ignore[operator]


def whole(value: Any, low: int = 1, high: int = 10_000) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and low <= int(value) <= high


def require(name: str, good: bool, what: str, value: Any) -> None:
    if not good:
        raise OptionError(f"{name}: {value!r} {what}")
