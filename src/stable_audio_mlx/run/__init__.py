"""What a generation needs before its first step: windows, noise levels, noise, what the model is told, a velocity."""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import mlx.core as mx
import numpy as np

from ..completion import Completed
from ..errors import OptionError
from ..models.conditioners import Condition, Conditioning, assemble, inpaint_conditions
from ..models.dit import DiT
from ..models.factory import INPAINT_IDS, AudioModel
from ..options import GenerateOptions
from ..presets import ModelFacts
from ..sampling.guidance import SHARES, Guided, Keeping, network_calls
from ..sampling.inpaint import kept_frames
from ..sampling.noise import ClipNoise, GivenNoise
from ..sampling.samplers import Levels, Sampler, sampler_for
from ..sampling.windows import Piece, Windows
from .known import Known, Window
from .words import Told

# Of what a window that continues a sound shows the model, and of what a window that is continued does not use.
CONTEXT_SECONDS, TAIL_SECONDS = 30.0, 6.0


@dataclass(frozen=True)
class Pass:
    """The making of one window: the frames of the clip that it adds, and what the model is told of its seconds.

    ``seconds``: for each clip where the window begins, and the length.  ``number`` chooses the noise.
    """

    window: Window
    levels: list[float]
    first: int
    behind: int
    seconds: Sequence[tuple[float, float]]
    number: int = 0


@dataclass(frozen=True)
class Run:
    """A generation that is ready to start but for its conditions and sounds."""

    options: Completed
    sampler: Sampler
    passes: Sequence[Pass]
    frames: int  # of the clips; more than a window's where they are ``long``
    long: bool = False

    @property
    def rounds(self) -> int | None:
        """How many steps will be reported; None if that is not known before."""
        each = [self.sampler.rounds(len(p.levels) - 1) for p in self.passes]
        return None if None in each else sum(n or 0 for n in each)


def prepare(options: Completed, model: AudioModel, facts: ModelFacts, number: int = 0) -> Run:
    """OptionError for a sampler or conditions that do not fit, noise of a wrong shape, ranges with nothing to make."""
    sampler = sampler_for(options.sampler, facts.objective, facts.stable_audio_3)
    check_conditions(options, model)
    check_ranges(options, model)
    long = max(options.seconds) > facts.longest + 1e-6
    if long:
        passes = long_passes(options, model, facts, sampler)
    else:
        window = window_of(options, model)
        levels = levels_of(options, model, facts, sampler, window.frames)
        passes = [Pass(window, levels, 0, window.frames, [(0.0, s) for s in options.seconds])]
    passes = [replace(p, number=i) for i, p in enumerate(passes, number)]
    run = Run(options, sampler, passes, frames_of(max(options.seconds), model), long)
    if options.noise is not None or options.step_noise is not None:
        draws(run, run.passes[0], model)
    return run


def draws(run: Run, this: Pass, model: AudioModel) -> Callable[[], mx.array]:
    """The noise of a pass: (B, T, C) to start from, then what a stochastic sampler adds."""
    options, window = run.options, this.window
    draw: Callable[[], mx.array] = ClipNoise(options.seed, model.io_channels, window.valid, this.number)
    if options.noise is None and options.step_noise is None:
        return draw
    noise, needed = draw(), sum(level > 0 for level in this.levels[1:]) if run.sampler.draws else 0
    if options.noise is not None:
        noise = given_noise("noise", options.noise, model, window)
    if options.step_noise is not None:
        if len(options.step_noise) < needed:
            raise OptionError(f"step_noise: {len(options.step_noise)} arrays, but this run draws {needed} times")
        draw = GivenNoise(given_noise("step_noise", a, model, window) for a in options.step_noise[:needed])
    return GivenNoise(itertools.chain([noise], (draw() for _ in itertools.count())))


def window_of(options: Completed, model: AudioModel) -> Window:
    """The whole training window; where the model masks padding, only the clips and their headroom."""
    most = model.sample_size // model.downsampling_ratio
    if not model.mask_padding_attention:
        return Window(most, [most] * options.batch_size)
    valid = [min(most, frames_of(s, model) + headroom(options, model)) for s in options.seconds]
    return Window(max(valid), valid)


def headroom(options: Completed, model: AudioModel) -> int:
    """Frames made beyond the end of a clip."""
    return int(options.headroom_seconds * model.sample_rate / model.downsampling_ratio)


def long_passes(options: Completed, model: AudioModel, facts: ModelFacts, sampler: Sampler) -> list[Pass]:
    """The windows of clips that are longer than one, each of which sees what was made before it."""
    seconds, rate, ratio = options.seconds[0], model.sample_rate, model.downsampling_ratio
    total, most = frames_of(seconds, model), model.sample_size // ratio
    keep = kept_frames(options.inpaint or [(0.0, seconds)], seconds, rate, ratio, total)
    windows = Windows(
        most=most,
        context=min(int(CONTEXT_SECONDS * rate / ratio), most // 3),
        tail=min(int(TAIL_SECONDS * rate / ratio), most // 8),
        whole=not model.mask_padding_attention,
        grid=getattr(getattr(model.autoencoder, "encoder", None), "chunk_latents", 1),
        bar=options.tempo.bar * rate / ratio if options.tempo else None,
    )
    return [long_pass(piece, total, options, model, facts, sampler) for piece in windows.over(keep)]


def long_pass(
    piece: Piece, total: int, options: Completed, model: AudioModel, facts: ModelFacts, sampler: Sampler
) -> Pass:
    """A model that knows where in a sound it is hears that; to others the window is the sound."""
    frame, frames = model.downsampling_ratio / model.sample_rate, piece.frames
    if model.mask_padding_attention and piece.behind == total:
        frames = min(frames + headroom(options, model), model.sample_size // model.downsampling_ratio)
    window = Window(frames, [frames] * options.batch_size, piece.start)
    levels = levels_of(options, model, facts, sampler, piece.frames)
    start, length = piece.start * frame, options.seconds[0]
    if model.conditioner is None or "seconds_start" not in model.conditioner.keys_of_a_clip:
        start, length = 0.0, min(piece.frames * frame, length - start)
    return Pass(window, levels, piece.first, piece.behind, [(start, length)] * options.batch_size)


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


def levels_of(options: Completed, model: AudioModel, facts: ModelFacts, sampler: Sampler, frames: int) -> list[float]:
    """Noise levels of a window; where they depend on the length, a batch has those of its longest clip."""
    if options.sigmas is not None:
        return [float(s) for s in options.sigmas]
    shift = model.sampling_distribution_shift if facts.stable_audio_3 else model.distribution_shift
    if model.use_effective_length_for_schedule:
        frames = min(frames_of(max(options.seconds), model), frames)
    start = options.init_noise_level or options.sigma_max
    return sampler.schedule(Levels(options.steps, start, options.sigma_min, frames, shift))


def given_noise(name: str, array: Any, model: AudioModel, window: Window) -> mx.array:
    """array: (B or 1, C, T) -> (B, T, C); a model that masks padding takes longer arrays too and cuts them."""
    array = np.asarray(array, dtype=np.float32)
    if model.mask_padding_attention and array.ndim == 3:
        array = array[:, :, : window.frames]
    wanted = (len(window.valid), model.io_channels, window.frames)
    if array.shape not in (wanted, (1, *wanted[1:])):
        raise OptionError(f"{name}: shape {array.shape}, but this run needs {wanted} (batch, channels, frames)")
    return mx.array(np.broadcast_to(array, wanted)).swapaxes(1, 2)


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
    conditions: Mapping[str, Condition],
    window: Window,
    known: Known,
    model: AudioModel,
    negative: bool = False,
    copies: int = 1,
) -> Conditioning:
    """What the transformer reads, with the inpainting inputs of a model that has them; ``copies`` for each clip."""
    if takes_inpainting(model):
        keep, kept = (a if a is None or len(a) == 1 else mx.concatenate([a] * copies) for a in (known.keep, known.kept))
        made = inpaint_conditions(copies * len(window.valid), model.io_channels, keep, kept)
        conditions = {**conditions, **made}
    return assemble(model, conditions, window.frames, negative)


def velocity_of(
    run: Run, this: Pass, known: Known, told: Told, model: AudioModel, dit: DiT, last: bool = False
) -> Guided | Keeping:
    """The transformer with what it is told, guidance and what is to be kept.  ``last``: it serves no other window."""
    options, window = run.options, this.window
    cond, uncond = transformer_inputs(told.conditions, window, known, model, copies=told.copies), None
    if options.cfg_scale != 1:
        negative, other = told.negative, None
        if negative is not None:
            other = transformer_inputs(negative, window, known, model, negative=True)
        one = cond if told.copies == 1 else first_of(cond, options.batch_size)
        uncond = by_name(one.unconditional(other))
    mask, shares = window.mask, SHARES[str(model.objective)]
    single, pair = network_calls(dit, by_name(cond), uncond, mask, run.sampler.times(this.levels), last, told.mixture)
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


def first_of(conditioning: Conditioning, batch: int) -> Conditioning:
    """The conditions of the first ``batch`` of all that are there."""
    names = Conditioning.__dataclass_fields__
    return Conditioning(
        **{n: a if (a := getattr(conditioning, n)) is None or len(a) == 1 else a[:batch] for n in names}
    )


def by_name(conditioning: Conditioning) -> dict[str, mx.array | None]:
    """What ``DiT.condition`` takes."""
    names = ("cross", "global_cond", "local", "input_concat", "prepend")
    return {name: getattr(conditioning, name) for name in names}
