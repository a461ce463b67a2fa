"""From words (and sounds) to sound: ``steps()`` is the generator behind command line, API and server."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from . import audio, cpu
from .completion import Completed, complete
from .errors import OptionError
from .events import Clock, Event
from .lora.stack import Fit, LoraStack
from .memory import LOW, NORMAL, available, within
from .options import GenerateOptions, as_list, spread
from .prompts import Phrase
from .run import transformer_inputs, without_effect
from .run.known import Known, Sounds, Window, given_sounds
from .run.loops import Plan, crossfaded, fits, plan, turned
from .run.stages import Stages, heard
from .run.words import Told, told, word_notes, words_of
from .sound import Sound, check_sound, record
from .weights.catalog import facts_of
from .weights.parts import DECODER, Parts
from .weights.source import ModelSource, open_model

__all__ = ["DECODER", "StableAudioPipeline", "check_sound"]


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
        strength: float | None = None,
        inpaint: Sequence[tuple[float, float] | str] | None = None,
        inpaint_audio: tuple[Any, int] | None = None,
        continue_to: float | None = None,
        extend_by: float | None = None,
        long: bool = False,
        bars: float | None = None,
        bpm: float | None = None,
        beats_per_bar: int = 4,
        key: str | None = None,
        loop: bool | str = False,
        loop_seam: float | None = None,
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

        Shorter clips of a batch end in silence.  Stable Audio 3 is clipped at full scale, as its own pipeline does;
        ``make`` and ``steps`` keep peaks as they are.  ``callback`` is given every event of the run.  Raises
        OptionError, AudioError, WeightsError, SanityError.
        """
        options = {k: v for k, v in locals().items() if k not in ("self", "callback")}
        value = self._result(GenerateOptions(**options), callback).value
        return mx.clip(value, -1, 1) if self.facts.stable_audio_3 and not return_latents else value

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

    def preview(self, event: Event, seconds: float = 2.0) -> list[Sound]:
        """What the first ``seconds`` of each clip will be like, as a "step" event has them; for callbacks.

        Decodes no more than those; of a long sound, the window that is being made.  OptionError for other events.
        """
        if event.kind != "step" or event.estimate is None:
            raise OptionError("preview: needs a step event")
        z, samples = event.estimate, int(seconds * self.sample_rate)
        clips = [heard(z[b : b + 1], samples, self._model, self._parts) for b in range(len(z))]
        return [Sound(clip, self.sample_rate) for clip in clips]

    def steps(self, options: GenerateOptions) -> Generator[Event, None, None]:
        """Run, yielding an ``Event`` for each thing that happens; the last one is the result."""
        return within(self._budget, self._events(options))

    def _events(self, options: GenerateOptions) -> Iterator[Event]:
        completed, model = complete(options, self.facts), self._model
        todo, words = plan(completed, model, self.facts), words_of(completed, self.facts.takes_text)
        self._parts.sized(completed.seconds)
        yield Event("options", options=completed)
        for message in (*without_effect(options, todo.runs[0], model), *word_notes(completed, words, self.facts)):
            yield Event("note", message)
        loras = self._use_loras(completed.lora or ())
        for fit, strength in loras:
            yield Event("note", f"{fit} at strength {strength:g}")
        stages = Stages(self._parts, model, self.facts, Clock(), todo.steps, options, loras)
        sounds = given_sounds(completed, model)
        known = [] if todo.first is None else (yield from stages.listen(todo.first, sounds))
        told = yield from stages.tell(words, todo.runs)
        clips = [audio.fit_length(s, n) for s, n in zip(sounds.kept or (), self._samples(completed), strict=False)]
        if todo.first is not None:
            x = yield from stages.sample(todo.first, known, told[0])
            if completed.return_latents:
                assert isinstance(x, mx.array)
                yield stages.result(completed, x.swapaxes(1, 2))
                return
            if todo.seam is None:
                yield Event("decode")
            clips = stages.decode(x, todo.first, sounds)
            if not completed.loop:
                yield from stages.faint(clips, todo.first)
        if completed.loop:
            each = zip(clips, self._samples(completed), strict=True)
            clips = [crossfaded(clip, samples, todo.fade) for clip, samples in each]
        if todo.seam is not None:
            clips = yield from self._joined(clips, todo, stages, told[-1])
        longest = max(clip.shape[1] for clip in clips)
        value = mx.array(np.stack([audio.fit_length(clip, longest) for clip in clips]))
        yield stages.result(completed, value)

    def _joined(
        self, clips: Sequence[np.ndarray], todo: Plan, stages: Stages, told: Sequence[Told]
    ) -> Generator[Event, None, list[np.ndarray]]:
        """Clips (C, L) as loops: turned so that the seam lies inside, where it is made anew, and turned back."""
        seam, rate, out = todo.seam, self.sample_rate, []
        assert seam is not None
        before = [turned(clip, seam, rate) for clip in clips]
        known = yield from stages.listen(seam, Sounds(kept=before))
        x = yield from stages.sample(seam, known, told)
        yield Event("decode")
        made = stages.decode(x, seam, Sounds(kept=before))
        for old, new in zip(before, made, strict=True):
            good = fits(new, old, seam, rate)
            if not good:
                instead = "it is crossfaded instead" if todo.fade else "try another seed, or the loop by crossfade"
                yield Event("note", f"the loop's seam that the model made does not fit the sound; {instead}")
            out.append(turned(new if good or not todo.fade else old, seam, rate, back=True))
        return out

    def _samples(self, options: Completed) -> list[int]:
        return [int(s * self.sample_rate) for s in options.seconds]

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
        conditioner = self._parts.get("conditioner")
        encoder = self._parts.text() if conditioner is not None and conditioner.text_ids else None
        times = [(0.0, s) for s in spread(seconds, len(prompts))]
        conditions = told(conditioner, encoder, list(map(Phrase, prompts)), times)
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
