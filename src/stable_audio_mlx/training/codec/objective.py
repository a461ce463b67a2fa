"""What an autoencoder is trained for: to give back what it hears, and to be taken for the real thing.

Steps of stable-audio-tools: with a discriminator the odd ones train it and the even ones the autoencoder, which is told
what it thinks only after ``warmup_steps``.
"""

from dataclasses import dataclass
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ...data.crops import Crops
from ...errors import ConfigError
from ...layers.weight_norm import normalize
from ...models.autoencoder import Autoencoder
from ...models.bottleneck import Bottleneck
from ...models.same import SAMEDecoder, SAMEEncoder
from ..config import AutoencoderTraining
from ..loop import Losses
from .bottlenecks import Training, normal, training_of
from .config import frozen_parts, read_losses
from .stft_loss import MultiResolutionSTFTLoss

PARTS = ("encoder", "decoder", "bottleneck")


@dataclass(frozen=True)
class Plan:
    """``size``: pieces of a step in this process, number ``rank`` of ``world``."""

    size: int
    seed: int = 0
    rank: int = 0
    world: int = 1

    @property
    def total(self) -> int:
        """Pieces of a step in all processes."""
        return self.size * self.world

    @property
    def mine(self) -> slice:
        """Those of this process."""
        return slice(self.rank * self.size, (self.rank + 1) * self.size)


class AutoencoderObjective:
    """Trains ``model`` in place, which is given weight norm; ``section`` is the config's object that describes it."""

    def __init__(
        self,
        model: Autoencoder,
        section: dict[str, Any],
        settings: AutoencoderTraining,
        sounds: Crops,
        plan: Plan,
        path: str = "model_config",
    ):
        self.model, self.settings, self.sounds, self.plan = model, settings, sounds, plan
        self._check(section, path)
        self.bottleneck: Training | None = None
        if model.bottleneck is not None:
            self.bottleneck = training_of(
                cast(Bottleneck, model.bottleneck), section["bottleneck"], f"{path}.model.bottleneck"
            )
        self.losses = read_losses(
            settings.loss_configs, model.out_channels, self.bottleneck, f"{path}.training.loss_configs"
        )
        self.discriminator = self.losses.discriminator
        self._spectral = MultiResolutionSTFTLoss(self.losses.spectral, sounds.rate)
        self._check_length(path)
        self._prepare(section)
        self.names = list(self.noise(np.random.default_rng(0)))

    def _check(self, section: dict[str, Any], path: str) -> None:
        outside = 1 if self.settings.force_input_mono else self.model.out_channels
        if self.model.in_channels != outside:
            raise ConfigError(f"{path}.model: has {self.model.in_channels} input channels, but is given {outside}")
        pretransform = section.get("pretransform") or {}
        if pretransform.get("type") == "autoencoder" and pretransform.get("enable_grad"):
            raise ConfigError(f"{path}.model.pretransform.enable_grad: a pretransform is not trained")
        if self.settings.eval_loss_configs is not None:
            raise ConfigError(f"{path}.training.eval_loss_configs: is not supported")
        for part in ("encoder", "decoder"):
            if (section[part].get("config") or {}).get("freeze_backbone"):
                raise ConfigError(f"{path}.model.{part}.config.freeze_backbone: is not supported")

    def _check_length(self, path: str) -> None:
        ratio, samples = self.model.downsampling_ratio, self.sounds.samples
        least = max(self._spectral.longest // 2 + 1, self.discriminator.shortest if self.discriminator else 1)
        if samples % ratio or samples < least:
            raise ConfigError(
                f"{path}.sample_size: {samples} samples must be a multiple of the {ratio} of a latent and at least "
                f"{least} for these losses"
            )

    def _prepare(self, section: dict[str, Any]) -> None:
        """Weight norm as in checkpoints; what is not trained is frozen; codebooks see the first batch."""
        model, frozen = self.model, frozen_parts(section, PARTS)
        if model.pretransform is not None:
            model.pretransform.freeze()
        # All processes look at the same sounds, so that they begin with the same codebooks.
        first = mx.array(self.sounds.batch(range(self.plan.total), self.plan.seed))
        features = model.features(self._heard(first))
        self.frames = features.shape[1]
        if self.bottleneck is not None:
            self.bottleneck.begin(features)
        for part in PARTS:
            if part in frozen:
                model[part].freeze()
            elif model[part] is not None:
                normalize(model[part])

    @property
    def buffers(self) -> tuple[str, ...]:
        """Parameters that change without being trained."""
        return tuple(f"bottleneck.{name}" for name in self.bottleneck.buffers) if self.bottleneck else ()

    # What is drawn

    def batch(self, step: int) -> tuple[mx.array, ...]:
        """Audio (B, L, C), a factor for each loss that fades, noise; and a 1 more once the discriminator is heard."""
        rng = np.random.default_rng((self.plan.seed, 2, step))
        update = step + 1 if self.discriminator is None else step // 2 + 1
        section = self.losses.section
        fades = [mx.array(part.decay**update) for part in (section.spectral, section.time)]
        warm = [mx.array(1.0)] if step >= self.settings.warmup_steps else []
        places = range(step * self.plan.total, (step + 1) * self.plan.total)[self.plan.mine]
        drawn = self.noise(rng).values()
        noise = [mx.array(array[self.plan.mine] if array.ndim else array) for array in drawn]
        return (mx.array(self.sounds.batch(places, self.plan.seed)), *fades, *noise, *warm)

    def noise(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """By name what a step of all processes adds to learned tokens, masks, and needs for the bottleneck."""
        size, frames = self.plan.total, self.frames
        levels = {"encoder": noisy_level(self.model.encoder), "decoder": noisy_level(self.model.decoder)}
        drawn = {
            name: normal(rng, size, frames, level.asked, level.new_tokens.shape[-1])
            for name, level in levels.items()
            if level is not None
        }
        if self.settings.latent_mask_ratio:
            drawn["mask"] = rng.random((size, frames, self.model.latent_dim), dtype=np.float32)
        if self.bottleneck is not None:
            drawn |= {f"bottleneck{i}": a for i, a in enumerate(self.bottleneck.noise(rng, size, frames))}
        return drawn

    # What is learned from it

    def loss(self, model: Autoencoder, *batch: mx.array) -> Losses:
        """Weighted sum of all losses of the autoencoder, and each by the name that the reference gives it."""
        audio, spectral, time, *rest = batch
        z, made, own = self.passed(model, audio, rest)
        real = audio[:, : made.shape[1]]
        losses = self._reconstruction(real, made, spectral, time)
        losses |= {name: self.losses.bottleneck[name] * value for name, value in own.items()}
        adversary = self.losses.section.discriminator
        if self.discriminator is not None and adversary is not None and self._is_warm(rest):
            fooled, distance = self.discriminator.fool(real, made)
            losses["loss_adv"] = adversary.weight("adversarial") * fooled
            losses["feature_matching_loss"] = adversary.weight("feature_matching") * distance
        return sum(losses.values(), mx.zeros(())), losses | {"latent_std": mx.std(z, ddof=1)}

    def discriminates(self, step: int) -> bool:
        """Whether this step trains the discriminator."""
        return self.discriminator is not None and step % 2 == 1

    def discriminator_loss(self, discriminator: nn.Module, *batch: mx.array) -> Losses:
        """How badly it tells the autoencoder's sounds from real ones."""
        audio, _, _, *rest = batch
        _, made, _ = self.passed(self.model, audio, rest)
        judge: Any = discriminator
        return judge.judge(audio[:, : made.shape[1]], mx.stop_gradient(made)), {}

    def passed(
        self, model: Autoencoder, audio: mx.array, rest: list[mx.array]
    ) -> tuple[mx.array, mx.array, dict[str, mx.array]]:
        """audio: (B, L, C) -> latents (B, T, latent_dim), what is made of them, the bottleneck's losses

        ``rest``: of a batch, from the noise on.
        """
        noise = dict(zip(self.names, rest, strict=False))
        own = [noise[name] for name in self.names if name.startswith("bottleneck")]
        encoder, decoder = ({"noise": noise[name]} if name in noise else {} for name in ("encoder", "decoder"))
        z = model.features(self._heard(audio), **encoder)
        losses: dict[str, mx.array] = {}
        if self.bottleneck is not None:
            z, losses = self.bottleneck.encode(z, own)
        if self.settings.encoder_freeze_on_warmup and self._is_warm(rest):
            z, losses = mx.stop_gradient(z), {name: mx.stop_gradient(value) for name, value in losses.items()}
        if "mask" in noise:
            z = mx.where(noise["mask"] < self.settings.latent_mask_ratio, 0.0, z)
        h = z if self.bottleneck is None else self.bottleneck.decode(z, own)
        return z, model.sound(h, **decoder)[:, : audio.shape[1]], losses

    def _heard(self, audio: mx.array) -> mx.array:
        """What the encoder is given.  audio: (B, L, C) -> (B, L, in_channels)"""
        return audio.mean(axis=2, keepdims=True) if self.settings.force_input_mono else audio

    def _is_warm(self, rest: list[mx.array]) -> bool:
        """Whether a batch has the mark that the warm-up is over."""
        return len(rest) > len(self.names)

    def _reconstruction(
        self, real: mx.array, made: mx.array, spectral: mx.array, time: mx.array
    ) -> dict[str, mx.array]:
        section, losses = self.losses.section, {}
        distances = self._spectral(real, made)
        weight = spectral * section.spectral.weight("mrstft")
        if len(distances) == 4:
            losses["mrstft_loss"] = weight * distances[:2].mean()
            losses["stft_loss_left"] = weight / 2 * distances[2]
            losses["stft_loss_right"] = weight / 2 * distances[3]
        else:
            losses["mrstft_loss"] = weight * distances[0]
        for name, distance in (("l1", mx.abs), ("l2", mx.square)):
            if share := section.time.weight(name):
                losses[f"{name}_time_loss"] = time * share * distance(real - made).mean()
        return losses


def noisy_level(coder: nn.Module) -> Any:
    """SAME's part that adds noise to its learned tokens; None where there is none."""
    if not isinstance(coder, SAMEEncoder | SAMEDecoder):
        return None
    level = coder.layers[0 if isinstance(coder, SAMEEncoder) else -1]
    return level if level.mask_noise else None
