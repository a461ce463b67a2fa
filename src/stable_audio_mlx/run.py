"""What a generation needs before its first step: lengths, noise levels, noise, latents of given sounds, a velocity."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np

from . import audio
from .errors import OptionError
from .models.conditioners import Condition, Conditioning, assemble, inpaint_conditions
from .models.dit import DiT
from .models.factory import INPAINT_IDS, AudioModel
from .options import Completed, GenerateOptions
from .presets import ModelFacts
from .sampling.guidance import SHARES, Guided, Keeping, network_calls
from .sampling.inpaint import kept_frames
from .sampling.noise import ClipNoise, GivenNoise
from .sampling.samplers import Levels, Sampler, sampler_for
from .weights.parts import ENCODER, Parts


@dataclass(frozen=True)
class Window:
    """Latent frames of a run, and how many are valid in each clip where the model masks padding."""

    frames: int
    valid: Sequence[int]

    @property
    def mask(self) -> mx.array | None:
        """(B, T), True on valid frames; None where all are."""
        if min(self.valid) == self.frames:
            return None
        return mx.arange(self.frames)[None] < mx.array(list(self.valid))[:, None]


@dataclass(frozen=True)
class Known:
    """Given sound: latents to vary and latents to keep (1 or B, T, C), the frames to keep (B, T, 1), samples (C, n)."""

    init: mx.array | None = None
    kept: mx.array | None = None
    keep: mx.array | None = None
    sound: np.ndarray | None = None


@dataclass(frozen=True)
class Run:
    """A generation that is ready to start but for its conditions; ``noise`` is (B, T, C), ``draw()`` gives more."""

    options: Completed
    sampler: Sampler
    window: Window
    levels: list[float]
    noise: mx.array
    draw: Callable[[], mx.array]

    @property
    def rounds(self) -> int | None:
        """How many steps will be reported; None if that is not known before."""
        return self.sampler.rounds(len(self.levels) - 1)


def prepare(options: Completed, model: AudioModel, facts: ModelFacts) -> Run:
    """OptionError for a sampler or conditions that do not fit, noise of a wrong shape, ranges with nothing to make."""
    sampler = sampler_for(options.sampler, facts.objective, facts.stable_audio_3)
    check_conditions(options, model)
    check_ranges(options, model)
    window = window_of(options, model)
    levels = levels_of(options, model, facts, sampler, window)
    needed = sum(level > 0 for level in levels[1:]) if sampler.draws else 0
    draw: Callable[[], mx.array] = ClipNoise(options.seed, model.io_channels, window.valid)
    noise = draw()
    if options.noise is not None:
        noise = given_noise("noise", options.noise, model, window)
    if options.step_noise is not None:
        if len(options.step_noise) < needed:
            raise OptionError(f"step_noise: {len(options.step_noise)} arrays, but this run draws {needed} times")
        draw = GivenNoise([given_noise("step_noise", a, model, window) for a in options.step_noise[:needed]])
    return Run(options, sampler, window, levels, noise, draw)


def window_of(options: Completed, model: AudioModel) -> Window:
    """The whole training window; where the model masks padding, only the clips and their headroom."""
    ratio, rate = model.downsampling_ratio, model.sample_rate
    most = model.sample_size // ratio
    if not model.mask_padding_attention:
        return Window(most, [most] * options.batch_size)
    headroom = int(options.headroom_seconds * rate / ratio)
    valid = [min(most, frames_of(s, model) + headroom) for s in options.seconds]
    return Window(max(valid), valid)


def frames_of(seconds: float, model: AudioModel) -> int:
    """Latent frames of a clip."""
    return math.ceil(int(seconds * model.sample_rate) / model.downsampling_ratio)


def check_conditions(options: Completed, model: AudioModel) -> None:
    """OptionError for a condition that the model would never read."""
    known = model.conditioner.keys_of_a_clip if model.conditioner else []
    for name in options.conditions or {}:
        if name not in known:
            raise OptionError(f"conditions: this model reads no {name!r}, only {', '.join(known) or 'its input'}")


def check_ranges(options: Completed, model: AudioModel) -> None:
    """OptionError for an inpainting range in which no latent frame of the clip begins."""
    seconds, frame = max(options.seconds), model.downsampling_ratio / model.sample_rate
    length = frames_of(seconds, model)
    for start, end in options.inpaint or ():
        if start >= seconds:
            raise OptionError(f"inpaint: {start:g} to {end:g} s lies behind the end of the clip, {seconds:g} s")
        one = kept_frames([(start, end)], seconds, model.sample_rate, model.downsampling_ratio, length)
        if one.all():
            raise OptionError(f"inpaint: {start:g} to {end:g} s is too short; latent frames begin every {frame:.3g} s")


def levels_of(
    options: Completed, model: AudioModel, facts: ModelFacts, sampler: Sampler, window: Window
) -> list[float]:
    """Noise levels of the run; where they depend on the length, a batch has those of its longest clip."""
    if options.sigmas is not None:
        return [float(s) for s in options.sigmas]
    shift = model.sampling_distribution_shift if facts.stable_audio_3 else model.distribution_shift
    length = window.frames
    if model.use_effective_length_for_schedule:
        length = frames_of(max(options.seconds), model)
    start = options.init_noise_level or options.sigma_max
    return sampler.schedule(Levels(options.steps, start, options.sigma_min, length, shift))


def given_noise(name: str, array: Any, model: AudioModel, window: Window) -> mx.array:
    """array: (B or 1, C, T) -> (B, T, C); a model that masks padding takes longer arrays too and cuts them."""
    array = np.asarray(array, dtype=np.float32)
    if model.mask_padding_attention and array.ndim == 3:
        array = array[:, :, : window.frames]
    wanted = (len(window.valid), model.io_channels, window.frames)
    if array.shape not in (wanted, (1, *wanted[1:])):
        raise OptionError(f"{name}: shape {array.shape}, but this run needs {wanted} (batch, channels, frames)")
    return mx.array(np.broadcast_to(array, wanted)).swapaxes(1, 2)


def known_sounds(run: Run, model: AudioModel, parts: Parts) -> Known:
    """Encode the sound to vary and the sound to keep; AudioError for what cannot be used."""
    options, rate, ratio, frames = run.options, model.sample_rate, model.downsampling_ratio, run.window.frames
    if options.init_noise_level is None and not options.inpaint:
        return Known()
    init = sound = keep = None
    if options.init_audio is not None and options.init_noise_level is not None:
        init = audio.prepare(*options.init_audio, rate, model.audio_channels, "init_audio")
    if options.inpaint and options.inpaint_audio is not None:
        sound = audio.prepare(*options.inpaint_audio, rate, model.audio_channels, "inpaint_audio")
        keep = mx.array(np.stack([kept_frames(options.inpaint, s, rate, ratio, frames) for s in options.seconds]))
    autoencoder = parts.get("autoencoder", ENCODER)

    def encode(samples: np.ndarray | None) -> mx.array | None:
        """What each clip knows of the sound, which ends with the clip's own frames."""
        if samples is None:
            return None
        latents = {}
        for valid in dict.fromkeys(run.window.valid):
            z = mx.array(audio.fit_length(samples, valid * ratio).T[None])
            z = z if autoencoder is None else autoencoder.encode_tiled(z) / model.scale
            z = z[:, :valid]
            latents[valid] = mx.pad(z, [(0, 0), (0, frames - z.shape[1]), (0, 0)])
        mx.eval(latents)
        each = list(latents) if len(latents) == 1 else run.window.valid
        return mx.concatenate([latents[valid] for valid in each])

    return Known(encode(init), encode(sound), None if keep is None else keep[..., None], sound)


def remarks(options: Completed, facts: ModelFacts) -> Iterator[str]:
    """What a user should know about the length of the given sound; its array and rate have been checked."""
    given, longest = options.inpaint_audio or options.init_audio, max(options.seconds)
    if given is None:
        return
    ends = known = np.shape(given[0])[-1] / given[1]
    for start, end in sorted(options.inpaint or [(0.0, longest)]):
        known = max(known, end) if start <= known + 0.01 else known
    if ends > facts.longest:
        yield f"the given sound lasts {ends:.1f} s; the model can take {facts.longest:.1f} s, so its end is not used"
    elif known < longest - 0.01:
        yield f"the given sound ends at {ends:.2f} s; what follows stays silent but for the ranges"


def without_effect(given: GenerateOptions, run: Run, model: AudioModel) -> Iterator[str]:
    """What a user should know about options that were given, but change nothing in this run."""
    if run.options.cfg_scale == 1:
        plain = GenerateOptions()
        for name in ("negative_prompt", "apg_scale", "cfg_rescale", "cfg_interval", "cfg_norm_threshold"):
            if getattr(given, name) != getattr(plain, name):
                yield f"{name} has no effect at cfg scale 1, where nothing is guided"
    if given.sigma_min is not None and not run.sampler.to_sigma_min:
        yield f"sigma_min has no effect with {run.options.sampler}, which goes to 0"
    if given.headroom_seconds != GenerateOptions.headroom_seconds and not model.mask_padding_attention:
        yield "headroom_seconds has no effect on this model, which always makes its whole window"


def takes_inpainting(model: AudioModel) -> bool:
    """Whether the transformer itself reads what an inpainting keeps."""
    return bool(set(INPAINT_IDS) & {*model.local_ids, *model.input_concat_ids})


def transformer_inputs(
    conditions: Mapping[str, Condition], window: Window, known: Known, model: AudioModel, negative: bool = False
) -> Conditioning:
    """What the transformer reads, with the inpainting inputs of a model that has them."""
    if takes_inpainting(model):
        made = inpaint_conditions(len(window.valid), model.io_channels, known.keep, known.kept)
        conditions = {**conditions, **made}
    return assemble(model, conditions, window.frames, negative)


def velocity_of(
    run: Run, known: Known, conditions: tuple[dict, dict | None], model: AudioModel, dit: DiT, last: bool = False
) -> Guided | Keeping:
    """The transformer with this run's conditions (positive, negative), guidance and what is to be kept.

    ``last``: the transformer serves no other run.
    """
    options, (positive, negative) = run.options, conditions
    cond, uncond = transformer_inputs(positive, run.window, known, model), None
    if options.cfg_scale != 1:
        other = None if negative is None else transformer_inputs(negative, run.window, known, model, negative=True)
        uncond = by_name(cond.unconditional(other))
    mask, shares = run.window.mask, SHARES[str(model.objective)]
    single, pair = network_calls(dit, by_name(cond), uncond, mask, run.sampler.times(run.levels), last)
    velocity = Guided(
        single,
        pair,
        shares,
        scale=options.cfg_scale,
        interval=options.cfg_interval,
        rescale=options.cfg_rescale,
        apg=options.apg_scale,
        norm_threshold=options.cfg_norm_threshold,
        mask=None if mask is None else mask[..., None],
    )
    if known.keep is None or known.kept is None or takes_inpainting(model):
        return velocity
    return Keeping(velocity, known.kept, known.keep, shares)


def by_name(conditioning: Conditioning) -> dict[str, mx.array | None]:
    """What ``DiT.condition`` takes."""
    names = ("cross", "global_cond", "local", "input_concat", "prepend")
    return {name: getattr(conditioning, name) for name in names}
