"""From words (and sounds) to sound: ``steps()`` is the generator behind command line, API and server."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from . import audio, cpu, record
from .errors import ConfigError, OptionError, SanityError
from .events import Clock, Event, peak_memory
from .lora.stack import Fit, LoraStack
from .memory import LOW, NORMAL, available, within
from .models.conditioners import Condition
from .options import Completed, GenerateOptions, as_list, complete, spread
from .run import (
    Known,
    Run,
    Window,
    known_sounds,
    prepare,
    remarks,
    takes_inpainting,
    transformer_inputs,
    velocity_of,
    without_effect,
)
from .sampling.inpaint import put_back
from .sound import Sound, check_sound
from .weights.catalog import facts_of
from .weights.parts import DECODER, Parts
from .weights.source import ModelSource, open_model


class StableAudioPipeline:
    """A text-to-audio model; its parts are read when needed: text encoder, then transformer, then decoder.

    Each is freed after its phase, unless ``keep_models``; None keeps them if all take less than half of what is free.
    """

    def __init__(
        self, source: ModelSource, dtype: str = "auto", keep_models: bool | None = False, low_memory: bool = False
    ):
        cpu.setup()
        if keep_models is None:
            keep_models = not low_memory and source.weight_bytes < available() // 2
        self._source, self._dtype = source, dtype
        self._budget = LOW if low_memory else NORMAL
        self._parts, self._loras = Parts(source, dtype, keep_models), LoraStack(source)
        self._model = model = source.create()
        if model.dit is None:
            raise ConfigError(f"{source.name}: an autoencoder makes no sound from text; use encode and decode with it")
        if model.sample_size < model.downsampling_ratio:
            raise ConfigError(f"model_config.sample_size: {model.sample_size} samples are less than one latent frame")
        self.name, self.config, self.sample_rate = source.name, source.config, model.sample_rate
        self.facts = facts_of(source, model)

    @classmethod
    def from_pretrained(
        cls, name: str | Path, dtype: str = "auto", keep_models: bool | None = False, low_memory: bool = False
    ) -> "StableAudioPipeline":
        """Open a known name, a hub id or a folder (converted or source).

        ``dtype``: "auto", "float32", "float16" or "bfloat16".  ``low_memory``: the same sound in smaller pieces,
        somewhat slower.  Raises WeightsError, ConfigError.
        """
        return cls(open_model(name), dtype, keep_models, low_memory)

    def generate(
        self,
        prompt: str | Sequence[str] = "",
        *,
        negative_prompt: str | Sequence[str] | None = None,
        seconds: float | Sequence[float] | None = None,
        steps: int | None = None,
        cfg_scale: float | None = None,
        sampler: str | None = None,
        seed: int | Sequence[int] | None = None,
        batch_size: int | None = None,
        init_audio: tuple[Any, int] | None = None,
        init_noise_level: float | None = None,
        inpaint: Sequence[tuple[float, float]] | None = None,
        inpaint_audio: tuple[Any, int] | None = None,
        conditions: Mapping[str, Any] | None = None,
        apg_scale: float | None = None,
        cfg_rescale: float = 0.0,
        cfg_interval: tuple[float, float] = (0.0, 1.0),
        cfg_norm_threshold: float = 0.0,
        sigma_min: float | None = None,
        sigma_max: float | None = None,
        sigmas: Sequence[float] | None = None,
        headroom_seconds: float = 6.0,
        noise: Any = None,
        step_noise: Any = None,
        return_latents: bool = False,
        lora: Sequence[tuple[str | Path, float]] | None = None,
        callback: Callable[[Event], None] | None = None,
    ) -> mx.array:
        """Audio (batch, channels, samples), float32, or latents (batch, channels, frames); see ``GenerateOptions``.

        Shorter clips of a batch end in silence.  ``callback`` is given every event of the run.  Raises OptionError,
        AudioError, WeightsError, SanityError.
        """
        options = {k: v for k, v in locals().items() if k not in ("self", "callback")}
        return self._result(GenerateOptions(**options), callback).value

    def make(
        self, prompt: str | Sequence[str] = "", *, callback: Callable[[Event], None] | None = None, **options: Any
    ) -> list[Sound]:
        """As ``generate``, with its arguments, but one ``Sound`` per clip, which knows how it was made."""
        return self.sounds(self._result(GenerateOptions(prompt, **options), callback))

    def _result(self, options: GenerateOptions, callback: Callable[[Event], None] | None) -> Event:
        for event in self.steps(options):
            if callback is not None:
                callback(event)
        return event

    def sounds(self, event: Event) -> list[Sound]:
        """One ``Sound`` per clip of a result, each of its own seconds and with its own record.

        OptionError for latents.
        """
        options, given = event.options, event.given
        if options is None or given is None or options.return_latents:
            raise OptionError("sounds: needs the result of a run without return_latents")
        made_with = {**record.of_run(self._source, event.loras, self._dtype), "sample_rate": self.sample_rate}
        return [
            Sound(
                np.array(clip[:, : int(seconds * self.sample_rate)]),
                self.sample_rate,
                {**record.of_clip(given, options, k), **made_with},
            )
            for k, (clip, seconds) in enumerate(zip(event.value, options.seconds, strict=True))
        ]

    def steps(self, options: GenerateOptions) -> Iterator[Event]:
        """Run, yielding an ``Event`` for each thing that happens; the last one is the result."""
        return within(self._budget, self._events(options))

    def _events(self, options: GenerateOptions) -> Iterator[Event]:
        run = prepare(complete(options, self.facts), self._model, self.facts)
        yield Event("options", options=run.options)
        for message in without_effect(options, run, self._model):
            yield Event("note", message)
        loras = self._use_loras(run.options.lora or ())
        for fit, strength in loras:
            yield Event("note", f"{fit} at strength {strength:g}")
        clock = Clock()
        known = known_sounds(run, self._model, self._parts)
        self._parts.release("autoencoder")
        if known.init is not None or known.kept is not None:
            clock.lap("encode")
            for message in remarks(run.options, self.facts):
                yield Event("note", message)
        conditions = yield from self._conditions(run.options)
        self._parts.release("conditioner", "text")
        clock.lap("text")
        self._parts.get("dit")
        clock.lap("load transformer")
        x = yield from self._sample(run, known, conditions)
        self._parts.release("dit")
        clock.lap("sampling")
        if not mx.isfinite(x).all().item():
            raise SanityError("the latents are not finite: try --dtype float32, a lower cfg scale, or convert again")
        if run.options.return_latents:
            value = x.swapaxes(1, 2)
        else:
            yield Event("decode")
            self._parts.get("autoencoder", DECODER)
            clock.lap("load decoder")
            value = yield from self._decode(x, run, known)
            clock.lap("decode")
            self._parts.release("autoencoder")
        yield Event(
            "result",
            value=value,
            options=run.options,
            seconds=clock.seconds,
            peak_memory=peak_memory(),
            given=options,
            loras=[(fit.adapter.path, strength) for fit, strength in loras],
        )

    def _conditions(self, options: Completed) -> Generator[Event, None, tuple[dict, dict | None]]:
        """Conditions by id of the prompts, and of the negative prompts (None where they have no effect)."""
        negative = options.negative_prompt
        if negative is not None and options.cfg_scale == 1:
            negative = None
        if any(options.prompt) and not self.facts.takes_text:
            yield Event("note", "this model takes no text; the prompt is ignored")
        found = [self._encode_text(options.prompt, options.seconds, options.conditions)]
        if negative is not None:
            found.append(self._encode_text(negative, options.seconds, options.conditions))
        for conditions in found:
            for condition in conditions.values():
                if any(condition.truncated):
                    yield Event(
                        "note", f"a prompt is longer than {condition.tokens.shape[1]} tokens; its end is not read"
                    )
        yield Event("text")
        return found[0], found[1] if negative is not None else None

    def _encode_text(
        self, prompts: Sequence[str], seconds: Sequence[float], more: Mapping | None
    ) -> dict[str, Condition]:
        """Conditions by id for one clip per prompt, from its words, its seconds and what ``more`` says."""
        conditioner = self._parts.get("conditioner")
        if conditioner is None:
            return {}
        encoder = self._parts.text() if conditioner.text_ids else None
        clips = [
            {**dict.fromkeys(conditioner.text_ids, text), "seconds_start": 0, "seconds_total": s, **(more or {})}
            for text, s in zip(prompts, seconds, strict=True)
        ]
        conditions = conditioner(clips, dict.fromkeys(conditioner.text_ids, encoder))
        mx.eval(list(conditions.values()))
        return conditions

    def _sample(self, run: Run, known: Known, conditions: tuple[dict, dict | None]) -> Generator[Event, None, mx.array]:
        """-> latents (B, T, C), one event a step; nothing else waits for the device."""
        velocity = velocity_of(run, known, conditions, self._model, *self._parts.take("dit"))
        start = run.sampler.mix(known.init, run.noise, run.levels[0])
        for step, x in enumerate(run.sampler.run(velocity, start, run.levels, run.draw), 1):
            mx.eval(x)
            yield Event("step", step=step, total=run.rounds, value=x)
        # A model that reads what is kept makes latents that fit it; the samples are put back after decoding.
        if known.keep is None or known.kept is None or takes_inpainting(self._model):
            return x
        return mx.where(known.keep, known.kept, x)

    # From latents to sound

    def _decode(self, x: mx.array, run: Run, known: Known) -> Generator[Event, None, mx.array]:
        """x: (B, T, C) -> audio (B, channels, samples), clip by clip, cut to the seconds asked and checked.

        Latents that nothing of those seconds depends on are not decoded.
        """
        autoencoder, clips = self._parts.get("autoencoder", DECODER), []
        for latents, valid, seconds in zip(x, run.window.valid, run.options.seconds, strict=True):
            samples = int(seconds * self.sample_rate)
            y = latents[None, :valid]
            if autoencoder is not None:
                y = autoencoder.decode_tiled(y[:, : autoencoder.latents_for(samples)] * self._model.scale)
            clip = np.array(y[0, :samples].astype(mx.float32)).T
            if self.facts.stable_audio_3 and np.abs(clip).max() > 1:
                yield Event("note", "peaks were limited to full scale, as this model's own pipeline does")
                clip = np.clip(clip, -1, 1)
            if known.sound is not None and run.options.inpaint:
                clip = put_back(clip, known.sound, run.options.inpaint, self.sample_rate)
            check_sound(clip, samples)
            clips.append(clip)
        longest = max(clip.shape[1] for clip in clips)
        return mx.array(np.stack([audio.fit_length(clip, longest) for clip in clips]))

    # LoRAs

    def load_lora(self, path: str | Path, strength: float = 1.0) -> Fit:
        """Put a LoRA (.safetensors file or PEFT folder) on top of those that are loaded; it stays until the end.

        Its weights are merged where the base's are read.  WeightsError for a file that is damaged or does not fit.
        """
        fit = self._loras.add(path, strength)
        self._use_loras()
        return fit

    def set_lora_strength(self, strength: float, index: int | None = None) -> None:
        """Of the LoRA loaded as number ``index`` (from 0), or of all; at 0 the model is exactly the base.

        The base is not loaded again: of a model in memory only the layers that LoRAs touch are read.
        """
        self._loras.set_strength(strength, index)
        self._use_loras()

    def _use_loras(self, more: Sequence[tuple[str | PathLike[str], float]] = ()) -> list[tuple[Fit, float]]:
        """Let the loaded LoRAs and ``more`` act, and no others; returns those."""
        extra = [(self._loras.read(Path(path)), float(strength)) for path, strength in more]
        for part, names in self._loras.select(extra).items():
            self._parts.reread(part, names)
        return [*self._loras.loras, *extra]

    # Doors for comparing with other programs

    def conditioning_arrays(
        self, prompts: str | Sequence[str], seconds: float | Sequence[float], negative: bool = False
    ) -> dict[str, mx.array]:
        """What the transformer reads: cross_cond (B, S, C), mask (B, S), global_cond (B, G), token_ids (B, L).

        ``negative``: as the unconditional half of guidance has it.
        """
        self._use_loras()
        prompts = as_list(prompts)
        conditions = self._encode_text(prompts, spread(seconds, len(prompts)), None)
        found = transformer_inputs(conditions, Window(1, [1] * len(prompts)), Known(), self._model, negative)
        ids = next((c.ids for c in conditions.values() if c.ids is not None), None)
        arrays = {
            "cross_cond": found.cross,
            "mask": found.cross_mask,
            "global_cond": found.global_cond,
            "token_ids": ids,
        }
        return {name: array for name, array in arrays.items() if array is not None}

    def transformer_output(
        self, x: mx.array, t: mx.array, cross_cond: mx.array | None = None, global_cond: mx.array | None = None
    ) -> mx.array:
        """One evaluation, unguided.  x: (B, C, T), t: (B,), cross_cond: (B, S, C), global_cond: (B, G) -> (B, C, T)"""
        self._use_loras()
        dit = self._parts.get("dit")
        return dit(x.swapaxes(1, 2), t, dit.condition(cross=cross_cond, global_cond=global_cond)).swapaxes(1, 2)
