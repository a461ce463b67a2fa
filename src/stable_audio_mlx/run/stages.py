"""The stages of a generation: what the model is told, the steps through its windows, latents as sound."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from ..completion import Completed
from ..errors import SanityError
from ..events import Clock, Event, peak_memory
from ..lora.stack import Fit
from ..models.factory import AudioModel
from ..options import GenerateOptions
from ..presets import ModelFacts
from ..sampling.guidance import SHARES, Guided, Keeping, Watched
from ..sampling.inpaint import faint, put_back
from ..sound import check_sound
from ..weights.parts import DECODER, ENCODER, Parts
from . import Pass, Run, draws, takes_inpainting, velocity_of
from .known import Canvas, Known, Sounds, known_in, remarks
from .words import Told, Words, rows_of, told, unread


@dataclass
class Stages:
    """One generation on its way; its parts are read for a stage and given back after it."""

    parts: Parts
    model: AudioModel
    facts: ModelFacts
    clock: Clock
    total: int | None  # steps of all runs
    given: GenerateOptions
    loras: Sequence[tuple[Fit, float]] = ()
    done: int = 0

    def result(self, options: Completed, value: mx.array) -> Event:
        """The last event."""
        acting = [(fit.adapter.path, strength) for fit, strength in self.loras]
        took, memory = self.clock.seconds, peak_memory()
        return Event(
            "result", options=options, given=self.given, loras=acting, value=value, seconds=took, peak_memory=memory
        )

    def tell(self, words: Words, runs: Sequence[Run]) -> Generator[Event, None, list[list[Told]]]:
        """What the model is told in each pass of each run; every prompt is encoded once."""
        options, passes = runs[0].options, [p for run in runs for p in run.passes]
        conditioner = self.parts.get("conditioner")
        encoder = self.parts.text() if conditioner is not None and conditioner.text_ids else None
        flat = [phrase for clips in words.phrases for phrase in clips]
        seconds = [s for p in passes for _ in range(words.copies) for s in p.seconds]
        found = [told(conditioner, encoder, flat * len(passes), seconds, options)]
        if words.negative is not None:
            seconds = [s for p in passes for s in p.seconds]
            found.append(told(conditioner, encoder, [*words.negative] * len(passes), seconds, options))
        for conditions in found:
            for message in unread(conditions):
                yield Event("note", message)
        yield Event("text")
        del conditioner, encoder
        self.parts.release("conditioner", "text")
        self.clock.lap("text")
        frame, batch = self.model.downsampling_ratio / self.model.sample_rate, options.batch_size

        def of(k: int, this: Pass) -> Told:
            each = [len(flat), batch]
            rows = [
                c if len(passes) == 1 else rows_of(c, k * n, (k + 1) * n) for c, n in zip(found, each, strict=False)
            ]
            mixture = words.mixture(this.window.start, this.window.frames, frame)
            return Told(rows[0], rows[1] if len(rows) > 1 else None, words.copies, mixture)

        all_told = iter([of(k, p) for k, p in enumerate(passes)])
        return [[next(all_told) for _ in run.passes] for run in runs]

    def listen(self, run: Run, sounds: Sounds) -> Generator[Event, None, list[Known]]:
        """Given sounds as latents, window by window."""
        if sounds.init is None and sounds.kept is None:
            return [Known() for _ in run.passes]
        autoencoder = self.parts.get("autoencoder", ENCODER)
        known = [known_in(p.window, run.options, sounds, self.model, autoencoder) for p in run.passes]
        del autoencoder
        self.parts.release("autoencoder")
        self.clock.lap("encode")
        for message in remarks(run.options, self.facts):
            yield Event("note", message)
        return known

    def sample(
        self, run: Run, known: Sequence[Known], told: Sequence[Told]
    ) -> Generator[Event, None, mx.array | Canvas]:
        """-> latents (B, T, C) of the only window, or the canvas of several; one event a step."""
        dit, alone = self.parts.take("dit")
        self.clock.lap("load transformer")
        canvas = Canvas(run.options.batch_size, run.frames, self.model.io_channels) if run.long else None
        for this, given, words in zip(run.passes, known, told, strict=True):
            shown = given if canvas is None else canvas.known(this.window, given)
            velocity = velocity_of(run, this, shown, words, self.model, dit, alone and this is run.passes[-1])
            x = yield from self._window(run, this, shown, velocity)
            if canvas is not None:
                canvas.add(x, this.window, this.first, this.behind, shown)
                x = canvas.latents
        del dit, velocity
        self.parts.release("dit")
        self.clock.lap("sampling")
        if not mx.isfinite(x).all().item():
            raise SanityError("the latents are not finite: try --dtype float32, a lower cfg scale, or convert again")
        return x if canvas is None else canvas

    def _window(
        self, run: Run, this: Pass, known: Known, velocity: Guided | Keeping
    ) -> Generator[Event, None, mx.array]:
        """-> latents (B, T, C); nothing but a step waits for the device."""
        draw = draws(run, this, self.model)
        start = run.sampler.mix(known.init, draw(), this.levels[0])
        watched = Watched(velocity, SHARES[str(self.model.objective)])
        for x in run.sampler.run(watched, start, this.levels, draw):
            mx.eval(x)
            self.done += 1
            yield Event("step", step=self.done, total=self.total, value=x, estimate=watched.estimate)
        # A model that reads what is kept makes latents that fit it; the samples are put back after decoding.
        if known.keep is None or known.kept is None or takes_inpainting(self.model):
            return x
        return mx.where(known.keep, known.kept, x)

    def decode(self, x: mx.array | Canvas, run: Run, sounds: Sounds) -> list[np.ndarray]:
        """-> sounds (channels, samples), cut to the seconds asked and checked, with what was given as it was."""
        self.parts.get("autoencoder", DECODER)
        self.clock.lap("load decoder")
        clips = []
        for b, seconds in enumerate(run.options.seconds):
            samples = int(seconds * self.model.sample_rate)
            if isinstance(x, Canvas):
                clip = self._spans(x, b, samples)
            else:
                clip = heard(x[b : b + 1, : run.passes[0].window.valid[b]], samples, self.model, self.parts)
            if sounds.kept is not None and run.options.inpaint:
                clip = put_back(clip, sounds.kept[b], run.options.inpaint, self.model.sample_rate)
            check_sound(clip, samples)
            clips.append(clip)
        self.parts.release("autoencoder")
        self.clock.lap("decode")
        return clips

    def faint(self, clips: Sequence[np.ndarray], run: Run) -> Iterator[Event]:
        """A note on each part made anew that is all but silent beside what was given."""
        for clip in clips if run.options.inpaint else ():
            for start, end, db in faint(clip, run.options.inpaint or (), self.model.sample_rate):
                message = f"{start:.2f} to {end:.2f} s came out {db:.0f} dB quieter than what stands beside it"
                yield Event("note", f"{message}; try another seed")

    def _spans(self, canvas: Canvas, clip: int, samples: int) -> np.ndarray:
        """The sound of a clip on the canvas (channels, samples), silent where nothing was made."""
        out, ratio = np.zeros((self.model.audio_channels, samples), np.float32), self.model.downsampling_ratio
        for first, behind in canvas.spans():
            start, end = first * ratio, min(behind * ratio, samples)
            z = canvas.latents[clip : clip + 1, first:behind]
            out[:, start:end] = heard(z, end - start, self.model, self.parts)
        return out


def heard(z: mx.array, samples: int, model: AudioModel, parts: Parts) -> np.ndarray:
    """z: (1, T, C) -> its first samples (channels, samples); latents that they do not depend on are not decoded."""
    autoencoder = parts.get("autoencoder", DECODER)
    if autoencoder is not None:
        z = autoencoder.decode_tiled(z[:, : autoencoder.latents_for(samples)] * model.scale)
    return np.array(z[0, :samples].astype(mx.float32)).T
