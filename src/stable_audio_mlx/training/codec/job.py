"""The training of an autoencoder from its sounds to a model folder."""

import copy
import dataclasses
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten

from ... import audio as sound
from ... import cpu
from ...codec import AutoencoderModel
from ...data.crops import Crops
from ...data.folder import Item
from ...errors import ConfigError, OptionError, SanityError
from ...layers.weight_norm import fused
from ...plots import draw_spectrograms
from ...weights.convert import write_model_folder
from ...weights.folder import check_output
from ..config import AutoencoderTraining, ema_keep, training_group, training_section
from ..live import LiveSource, Opened, parameters_of
from ..loop import Loop, Trainer
from ..runner import Hook, Runner, RunOptions
from ..sections import with_rate
from .objective import AutoencoderObjective, Plan

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class CodecJob(RunOptions):
    """What a user asks of a training on sounds."""

    items: Sequence[Item]


class CodecTraining(Runner):
    """A job that is ready to run.  OptionError, ConfigError, WeightsError or AudioError for what does not fit."""

    def __init__(self, job: CodecJob):
        cpu.setup()
        self.job, world = job, mx.distributed.init()
        self.source, has_weights = (opened := Opened(job.model)).source, opened.has_weights
        self.settings = settings_for(self.source.config, job.training, job.lr)
        mx.random.seed(job.seed)
        self.built = self.source.create()
        model = self.built.autoencoder
        if model is None or self.built.dit is not None:
            raise ConfigError(f"{self.source.name}: is no autoencoder")
        if has_weights:
            self.source.load("autoencoder", model, dtype="float32")
        self._names = set(parameters_of(model))
        crops = Crops(job.items, self.built.sample_rate, model.out_channels, self._samples())
        for problem in crops.problems if world.rank() == 0 else ():
            log.warning("%s; it is not trained on", problem)
        self.sounds = crops
        plan = Plan(job.batch_size, job.seed, world.rank(), world.size())
        objective = AutoencoderObjective(model, self.source.config["model"], self.settings, crops, plan)
        average = ema_keep if self.settings.use_ema else None
        loop = Loop(job.steps, job.checkpoint_every, job.log_every, job.accumulate, job.seed, average)
        group = training_group(self.settings, "autoencoder")
        against = training_group(self.settings, "discriminator") if objective.discriminator is not None else None
        state = self.state_path(job.output, job.name)
        check_output(self.model_path, overwrite=state.exists())
        trainer = Trainer(objective, group, loop, state, against, self._signature(world.size()))
        super().__init__(trainer, job.output, job.name)

    @property
    def model_path(self) -> Path:
        return self.job.output / self.job.name

    def hooks(self) -> list[Hook]:
        every = self.settings.demo.demo_every if self.job.demo_every is None else self.job.demo_every
        return [(every, self.demonstrate)] if every else []

    def weights(self) -> dict[str, mx.array]:
        """Parameters as they would be shipped now, averaged if they are, without weight norm."""
        trained: Any = tree_flatten(self.trainer.shipped)
        joined = fused(parameters_of(self.trainer.model) | dict(trained))
        return {name: value for name, value in joined.items() if name in self._names}

    def finish(self) -> Path:
        """A model folder."""
        if self.first:
            facts = {"training": dataclasses.asdict(self.settings), "steps": self.trainer.step, "seed": self.job.seed}
            manifest = self.source.manifest or {}
            write_model_folder(
                self.model_path,
                self.source.config,
                {"autoencoder": self.weights()},
                name=self.job.name,
                license=manifest.get("license", "that of the sounds it was trained on"),
                source={"trained_from": self.source.name, **facts},
                overwrite=True,
            )
        return self.model_path

    def demonstrate(self, step: int) -> None:
        """Pieces and what the model makes of them, in turn, in one file, and their spectrograms."""
        codec = AutoencoderModel(LiveSource(self.source, None, {"autoencoder": self.weights}), "float32")
        heard: list[np.ndarray] = []
        pictures: dict[str, np.ndarray] = {}
        for number in range(self.settings.demo.num_demos):
            real = self.sounds.piece(number, self.job.seed)
            given = real.mean(axis=0, keepdims=True) if self.settings.force_input_mono else real
            try:
                made = np.array(codec.decode(codec.encode(given, codec.sample_rate)))[0]
            except SanityError as error:
                log.warning("demo of step %d: nothing to hear yet (%s)", step, error)
                continue
            heard += [real, made := sound.fit_length(made, real.shape[1])]
            pictures |= {f"sound {number}": real, f"sound {number}, decoded": made}
        if heard:
            self._write_demo(f"recon-step={step}", heard, pictures)

    def _write_demo(self, name: str, heard: list[np.ndarray], pictures: dict[str, np.ndarray]) -> None:
        folder, rate = self.job.output / "demos", self.built.sample_rate
        sound.write(folder / f"{name}.wav", np.concatenate(heard, axis=1), rate, overwrite=True)
        try:
            draw_spectrograms(folder / f"{name}.png", pictures, rate, overwrite=True)
        except OptionError:  # without matplotlib
            log.info("no pictures of the demos: matplotlib is not installed")

    def _samples(self) -> int:
        """Of a piece: the config's ``sample_size``, or the job's duration in whole latents."""
        if self.job.duration is None:
            if not self.built.sample_size:
                raise OptionError(f"{self.source.name}: its config has no sample_size; give --duration")
            return self.built.sample_size
        ratio = self.built.downsampling_ratio
        samples = int(self.job.duration * self.built.sample_rate) // ratio * ratio
        if samples < ratio:
            raise OptionError(f"duration: {self.job.duration} s are less than one latent")
        return samples

    def _signature(self, processes: int) -> dict[str, Any]:
        """What a run that goes on must share with the one before."""
        settings = json.dumps([dataclasses.asdict(self.settings), self.source.config["model"]])
        return {
            "model": self.source.name,
            "settings": sha256(settings.encode()).hexdigest()[:16],
            "batch_size": self.job.batch_size * processes,
            "samples": self.sounds.samples,
            "seed": self.job.seed,
            "data": self.sounds.fingerprint(),
        }


def settings_for(config: dict[str, Any], given: dict[str, Any] | None, rate: float | None) -> AutoencoderTraining:
    """``given`` or the config's own section.  ``rate``: instead of its learning rates."""
    section = copy.deepcopy(config.get("training") if given is None else given)
    if rate is not None:
        section = {} if section is None else section
        with_rate(section, rate)
    return training_section({**config, "training": section})
