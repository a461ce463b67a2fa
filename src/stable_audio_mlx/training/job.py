"""A training from its first file to its last: the model, the sounds, the loop, and what is written on the way."""

import dataclasses
import json
import logging
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import mlx.core as mx

from .. import cpu
from ..data.latent_set import LatentSet
from ..errors import OptionError
from ..lora import native
from ..lora.files import read_lora
from ..weights.folder import check_output
from ..weights.text import TextEncoder
from .adapters import LoraSettings, adapt, as_adapter, take_over
from .config import DiffusionTraining, ema_keep, training_group
from .demos import Demos
from .live import TRAINED, LiveSource, Opened, Weights, parameters_of, write_model
from .loop import Loop, Trainer
from .objective import Denoiser, DiffusionObjective, Plan
from .runner import Hook, Runner, RunOptions
from .sections import section_for
from .text import CachedText

log = logging.getLogger(__name__)
PRECISIONS = {"bf16": "bfloat16", "fp16": "float16"}


@dataclass(frozen=True, kw_only=True)
class Job(RunOptions):
    """What a user asks of a training on latents; ``lora`` None trains the whole model."""

    latents: Path
    lora: LoraSettings | None = None
    pretransform: str | None = None
    lora_checkpoint: str | None = None
    demo_prompts: tuple[str, ...] = ()
    recompute: bool = False
    base_precision: str = "auto"


class Training(Runner):
    """A job that is ready to run.  Raises OptionError, ConfigError and WeightsError for what does not fit."""

    def __init__(self, job: Job):
        cpu.setup()
        self.job, self.world = job, mx.distributed.init()
        self.opened = Opened(job.model, job.pretransform)
        source = self.opened.source
        self.settings: DiffusionTraining = section_for(source.config, job.lora is not None, job.training, job.lr)
        mx.random.seed(job.seed)
        self.built = built = self.opened.load(self._precision())
        self.latents = LatentSet(job.latents, built.io_channels, built.downsampling_ratio, built.sample_rate)
        self.layers = None if job.lora is None else adapt(built, job.lora, job.seed)
        if job.lora_checkpoint is not None and job.lora is not None and self.layers is not None:
            take_over(self.layers, read_lora(job.lora_checkpoint), job.lora)
        assert built.dit is not None
        built.dit.recompute = job.recompute
        size = job.batch_size * self.world.size()
        plan = Plan(size, self._frames(), job.seed, self.world.rank(), self.world.size())
        model, adapters = Denoiser(built.dit, built.conditioner), [*(self.layers or {}).values()]
        objective = DiffusionObjective(model, built, self.settings, self.latents, plan, self._text(), adapters)
        average = ema_keep if self.settings.use_ema and job.lora is None else None
        loop = Loop(job.steps, job.checkpoint_every, job.log_every, job.accumulate, job.seed, average)
        group = training_group(self.settings, "diffusion")
        state = self.state_path(job.output, job.name)
        if job.lora is None:  # said now, not after hours of training
            check_output(self.model_path, overwrite=state.exists())
        super().__init__(Trainer(objective, group, loop, state, signature=self._signature(plan)), job.output, job.name)
        self.demos = self._demos()

    def hooks(self) -> list[Hook]:
        return [(self.demo_every, self._make_demos)] if self.demos else []

    def finish(self) -> Path:
        """A LoRA file, or a model folder."""
        if self.layers is not None:
            path = self._lora_path(self.trainer.step)
            if self.first and not path.exists():
                self.saved(self.trainer.step)
            return path
        output = self.model_path
        if self.first:
            facts = {"training": dataclasses.asdict(self.settings), "steps": self.trainer.step, "seed": self.job.seed}
            write_model(self.opened, self._trained(), output, facts)
        return output

    @property
    def model_path(self) -> Path:
        return self.job.output / self.job.name

    @property
    def demo_every(self) -> int:
        return self.settings.demo.demo_every if self.job.demo_every is None else self.job.demo_every

    def _precision(self) -> str:
        """Of the frozen base of a LoRA; what is trained is always float32."""
        if self.job.lora is None:
            return "float32"
        auto = "float32" if mx.default_device() == mx.cpu else "bfloat16"
        return (
            auto
            if self.job.base_precision == "auto"
            else PRECISIONS.get(self.job.base_precision, self.job.base_precision)
        )

    def _frames(self) -> int:
        """Latents of a clip: the model's window, or less."""
        built = self.built
        samples = built.sample_size
        if self.job.duration is not None:
            samples = min(samples, int(self.job.duration * built.sample_rate))
        patch = built.dit.patch_size if built.dit is not None else 1
        frames = samples // built.downsampling_ratio // patch * patch
        if frames < 1:
            raise OptionError(f"duration: {self.job.duration} s are less than one latent")
        return frames

    def _text(self) -> CachedText | None:
        conditioner = self.built.conditioner
        files = self.opened.source.text_files() if conditioner is not None and conditioner.text_ids else None
        return CachedText(TextEncoder.from_files(files.config, files.weights, files.tokenizer)) if files else None

    def _signature(self, plan: Plan) -> dict[str, Any]:
        """What a run that goes on must share with the one before."""
        settings = json.dumps([dataclasses.asdict(self.settings), self.job.lora and dataclasses.asdict(self.job.lora)])
        return {
            "model": self.opened.source.name,
            "settings": sha256(settings.encode()).hexdigest()[:16],
            "batch_size": plan.size,
            "frames": plan.length,
            "seed": plan.seed,
            "data": self.latents.fingerprint(),
        }

    # On the way

    def saved(self, step: int) -> None:
        if self.layers is not None and self.job.lora is not None:
            facts = {"step": step, "epoch": self._epoch(step), "base_model": self.opened.source.name}
            native.write(as_adapter(self.layers, self.job.lora, facts), self._lora_path(step))

    def _epoch(self, step: int) -> int:
        return step * self.job.batch_size * self.world.size() // len(self.latents.items)

    def _lora_path(self, step: int) -> Path:
        return self.job.output / f"{self.job.name}-step={step}-epoch={self._epoch(step)}.safetensors"

    def _trained(self) -> dict[str, Weights]:
        """By part, what gives its parameters as they would be shipped now."""
        parts = [part for part in TRAINED if getattr(self.built, part) is not None]
        return {part: partial(self._weights, part) for part in parts}

    def _weights(self, part: str) -> dict[str, mx.array]:
        from mlx.utils import tree_flatten

        module = getattr(self.built, part)
        found = parameters_of(module) | dict(tree_flatten(self.trainer.shipped.get(part, {})))
        if self.layers is None:
            return found
        adapted = {name: layer for name, layer in module.named_modules() if hasattr(layer, "effective")}
        plain = {}
        for name, value in found.items():
            place, _, rest = name.partition(".base.")
            if place in adapted and rest:
                plain[f"{place}.{rest}"] = adapted[place].effective() if rest == "weight" else value
            elif name.rpartition(".")[0] not in adapted:
                plain[name] = value
        return plain

    def _demos(self) -> Demos | None:
        if not self.demo_every:
            return None
        demo = self.settings.demo
        clips = [dict(clip) for clip in demo.demo_cond]
        known = [item.metadata for item in self.latents.items]
        if self.job.demo_prompts:
            clips = [{**known[0], "prompt": prompt} for prompt in self.job.demo_prompts]
        clips = clips or known[: demo.num_demos]
        folder = self.job.output / "demos"
        return Demos(folder, clips, demo.demo_cfg_scales, demo.demo_steps, self.job.seed)

    def _make_demos(self, step: int) -> None:
        if self.demos:
            source = LiveSource(self.opened.source, self.opened.codec, self._trained())
            self.demos.make(source, step)
