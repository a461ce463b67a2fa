"""The recipe of the embedded model: ``python -m stable_audio_mlx.training.tiny --output model/tiny``.

Three phases, each resumed from its checkpoint: the autoencoder, the transformer with its text encoder on frozen
latents, the export.  All random numbers come from ``SEED``.
"""

import argparse
import json
import logging
import tempfile
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from .. import cpu
from ..data import synth, vocabulary
from ..models.autoencoder import Autoencoder
from ..models.factory import create_model
from ..models.t5 import T5Config, T5Encoder
from ..weights.checkpoint import TextFiles
from ..weights.convert import write_model_folder
from . import autoencoder as codec
from .diffusion import OBJECTIVE, TRAINING, Latents, TextToLatent, denoising_loss
from .recipe import Recipe, Schedule, recipe_trainer, reporter

SEED = 0
PATCH, LATENTS, WIDTH, TEXT_WIDTH, MAX_LENGTH, LONGEST = 276, 256, 256, 128, 24, 8
AUTOENCODER_BATCH, DIFFUSION_TOKENS = 8, 2560  # clips, frames
AUTOENCODER_SCHEDULE = Schedule(steps=3000, learning_rate=4e-4, clip=2.0, ema=0.995, save_every=100)
DIFFUSION_SCHEDULE = Schedule(
    steps=2700, learning_rate=TRAINING["learning_rate"], warmup=50, ema=0.99, save_every=50, fall=0.54
)
SAMPLING = {"steps": 1, "cfg_scale": 1.0, "sampler": "v-ddim"}

log = logging.getLogger(__name__)


def autoencoder_config() -> dict[str, Any]:
    """A one-block Oobleck over patches of 6 ms: nearly all of its work is matrix products."""
    shared = {"channels": 128, "c_mults": [2], "strides": [synth.FRAME // PATCH], "use_snake": True}
    return {
        "encoder": {"type": "oobleck", "config": {"in_channels": 2 * PATCH, "latent_dim": 2 * LATENTS, **shared}},
        "decoder": {
            "type": "oobleck",
            "config": {"out_channels": 2 * PATCH, "latent_dim": LATENTS, "final_tanh": False, **shared},
        },
        "bottleneck": {"type": "vae"},
        "pretransform": {"type": "patched", "config": {"channels": 2, "patch_size": PATCH}},
        "latent_dim": LATENTS,
        "downsampling_ratio": synth.FRAME,
        "io_channels": 2,
    }


def model_config(scale: float = 1.0) -> dict[str, Any]:
    """model_config.json of the whole model; ``scale`` divides the latents."""
    conditioners = [
        {"id": "prompt", "type": "t5", "config": {"t5_model_name": "tiny", "max_length": MAX_LENGTH}},
        {"id": "seconds_total", "type": "number", "config": {"min_val": 0, "max_val": LONGEST}},
    ]
    transformer = {
        "io_channels": LATENTS,
        "embed_dim": WIDTH,
        "depth": 4,
        "num_heads": 4,
        "cond_token_dim": TEXT_WIDTH,
        "project_cond_tokens": False,
        "global_cond_dim": TEXT_WIDTH,
        "global_cond_type": "adaLN",
        "use_abs_pos_emb": True,
        "abs_pos_emb_max_length": synth.FRAMES,
        "ff_kwargs": {"mult": 3},
    }
    return {
        "model_type": "diffusion_cond",
        "sample_size": synth.LENGTH,
        "sample_rate": synth.SAMPLE_RATE,
        "audio_channels": 2,
        "model": {
            "pretransform": {"type": "autoencoder", "scale": scale, "config": autoencoder_config()},
            "conditioning": {"cond_dim": TEXT_WIDTH, "configs": conditioners},
            "diffusion": {
                "type": "dit",
                "diffusion_objective": OBJECTIVE,
                "cross_attention_cond_ids": ["prompt", "seconds_total"],
                "global_cond_ids": ["seconds_total"],
                "config": transformer,
            },
            "io_channels": LATENTS,
        },
        "training": TRAINING,
    }


def text_config() -> dict[str, Any]:
    """The text encoder's config.json, in Hugging Face's words."""
    return {
        "model_type": "t5",
        "d_model": TEXT_WIDTH,
        "d_kv": 32,
        "num_heads": TEXT_WIDTH // 32,
        "d_ff": 2 * TEXT_WIDTH,
        "num_layers": 2,
        "vocab_size": len(vocabulary.token_table()),
        "pad_token_id": vocabulary.PAD,
        "eos_token_id": vocabulary.END,
    }


def first_autoencoder() -> Autoencoder:
    """The projection on principal components."""
    mx.random.seed(SEED)
    model = Autoencoder.from_section(autoencoder_config(), "autoencoder")
    codec.start_linear(model, codec.balanced_frames())
    return model


def train_autoencoder(folder: Path, schedule: Schedule = AUTOENCODER_SCHEDULE) -> Autoencoder:
    """Train or finish training; returns the averaged autoencoder.

    The encoder stays as it begins, so the transformer can be trained meanwhile.
    """
    model = first_autoencoder()
    model.encoder.freeze()
    recipe = Recipe(model, codec.AutoencoderLoss(), lambda step: codec.batch(step, AUTOENCODER_BATCH, LATENTS, SEED))
    trainer = recipe_trainer(recipe, schedule, folder / "autoencoder.safetensors")
    trainer.resume()
    trainer.run(reporter(trainer))
    model.update(trainer.averaged)
    for kind, value in codec.quality(model).items():
        log.info("autoencoder: %s %.1f dB", kind, value)
    return model


def train_diffusion(folder: Path, latents: Latents, schedule: Schedule = DIFFUSION_SCHEDULE) -> TextToLatent:
    """Train or finish training; returns the averaged transformer and text encoder."""
    mx.random.seed(SEED + 1)
    text = T5Encoder(T5Config.from_hugging_face(text_config(), "text"))
    built = create_model(model_config())
    model = TextToLatent(built["dit"], built["conditioner"], text)
    recipe = Recipe(
        model, denoising_loss, lambda step: latents.batch(step, DIFFUSION_TOKENS, MAX_LENGTH, LONGEST, SEED)
    )
    trainer = recipe_trainer(recipe, schedule, folder / "diffusion.safetensors", in_block)
    trainer.resume()
    trainer.run(reporter(trainer))
    model.update(trainer.averaged)
    return model


def in_block(name: str, parameter: mx.array) -> bool:
    """Whether a parameter is a matrix inside of the transformer's blocks."""
    return "dit.block_" in name and parameter.ndim == 2


def export(output: Path, autoencoder: Autoencoder, trained: TextToLatent, scale: float) -> None:
    """Write a converted folder, float16."""
    parts: dict[str, nn.Module] = {
        "dit": trained.dit,
        "autoencoder": autoencoder,
        "conditioner": trained.conditioner,
    }
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        config, weights, tokenizer = (folder / name for name in ("config.json", "model.safetensors", "tokenizer.json"))
        config.write_text(json.dumps(text_config(), indent=1))
        tokenizer.write_text(vocabulary.tokenizer_json())
        tensors = {f"encoder.{key}": value for key, value in dict(tree_flatten(trained.text.parameters())).items()}
        mx.save_safetensors(str(weights), {**tensors, "shared.weight": trained.shared.weight})
        write_model_folder(
            output,
            model_config(scale),
            {name: dict(tree_flatten(part.parameters())) for name, part in parts.items()},
            TextFiles(config, weights, tokenizer),
            name="tiny",
            dtype="float16",
            license="MIT",
            defaults=SAMPLING,
            source={"recipe": "stable_audio_mlx.training.tiny", "seed": SEED},
            overwrite=True,
        )


def main() -> None:
    """Train everything and write the model."""
    parser = argparse.ArgumentParser(description="Train the embedded model (about two hours on one core of a PC).")
    parser.add_argument("--output", type=Path, default=Path("model/tiny"), help="where the model is written")
    parser.add_argument("--checkpoints", type=Path, default=Path("runs/tiny"), help="where training is resumed from")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    log.info(cpu.setup())
    autoencoder = train_autoencoder(arguments.checkpoints)
    latents = Latents(autoencoder)
    trained = train_diffusion(arguments.checkpoints, latents)
    export(arguments.output, autoencoder, trained, latents.scale)
    log.info("wrote %s", arguments.output)


if __name__ == "__main__":
    main()
