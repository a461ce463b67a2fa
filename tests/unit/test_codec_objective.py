"""Autoencoders in training: each kind learns a batch, a stopped run goes on to the same numbers, configs are strict."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from stable_audio_mlx.errors import ConfigError
from stable_audio_mlx.models.autoencoder import Autoencoder
from stable_audio_mlx.training.codec.objective import AutoencoderObjective, Plan
from stable_audio_mlx.training.config import training_group, training_section
from stable_audio_mlx.training.loop import Loop, Trainer

RATE, RATIO, SAMPLES = 8000, 32, 256
SIZES = {"fft_sizes": [64], "hop_sizes": [16], "win_lengths": [64]}
SPECTRAL = {"spectral": {"type": "mrstft", "config": SIZES, "weights": {"mrstft": 1.0}}}
ENCODEC = {"filters": 3, "n_ffts": [64], "hop_lengths": [16], "win_lengths": [64]}
AGAINST = {"type": "encodec", "config": ENCODEC, "weights": {"adversarial": 0.1, "feature_matching": 5.0}}


class Sounds:
    """Two chords, the same in every batch."""

    rate, samples = RATE, SAMPLES

    def batch(self, places, seed):
        t = np.arange(SAMPLES)[:, None] / RATE
        tones = [np.sin(2 * np.pi * f * t + p) for f, p in ((220, 0), (554, 1), (330, 2), (1318, 3))]
        clips = [0.3 * np.concatenate([tones[i] + tones[i + 1], tones[i] - tones[i + 1]], axis=1) for i in (0, 2)]
        return np.stack(clips).astype(np.float32)


def oobleck(bottleneck, encoded=12, latent=12):
    shared = {"channels": 8, "c_mults": [1, 2], "strides": [4, 8], "use_snake": True}
    return {
        "encoder": {"type": "oobleck", "config": {**shared, "latent_dim": encoded}},
        "decoder": {"type": "oobleck", "config": {**shared, "latent_dim": latent, "final_tanh": False}},
        "bottleneck": bottleneck,
        "latent_dim": latent,
        "downsampling_ratio": RATIO,
        "io_channels": 2,
    }


def same(bottleneck, encoded=12, latent=12):
    shared = {"channels": 16, "c_mults": [3], "strides": [4], "transformer_depths": [2], "dim_heads": 16}
    shared |= {"latent_dim": latent, "chunk_size": 8, "chunk_midpoint_shift": True, "variable_stride": True}
    return {
        "encoder": {"type": "taae_v2", "config": {**shared, "in_channels": 16, "latent_dim": encoded}},
        "decoder": {"type": "taae_v2", "config": {**shared, "out_channels": 16, "mask_noise": 0.01}},
        "bottleneck": bottleneck,
        "pretransform": {"type": "patched", "config": {"channels": 2, "patch_size": 8}},
        "latent_dim": latent,
        "downsampling_ratio": RATIO,
        "io_channels": 2,
    }


SOFTNORM = {"type": "softnorm", "config": {"dim": 12, "auto_scale": True, "noise_regularize": True}}
DAC_RVQ = {"input_dim": 12, "n_codebooks": 4, "codebook_size": 16, "codebook_dim": 4, "quantizer_dropout": 0.5}
RVQ = {"dim": 12, "num_quantizers": 4, "codebook_size": 16, "decay": 0.9, "kmeans_iters": 5}
KINDS = {
    "oobleck-vae": oobleck({"type": "vae"}, encoded=24),
    "oobleck-dac_rvq": oobleck({"type": "dac_rvq", "config": DAC_RVQ}),
    "oobleck-rvq": oobleck({"type": "rvq", "config": RVQ}),
    "oobleck-fsq": oobleck({"type": "fsq", "config": {"levels": [5] * 12}}),
    "same-softnorm": same(SOFTNORM),
    "same-vae": same({"type": "vae"}, encoded=24),
}


def config(section, losses=SPECTRAL, **training):
    training = {"learning_rate": 1e-2, "loss_configs": losses} | training
    return {"model_type": "autoencoder", "sample_rate": RATE, "model": section, "training": training}


def objective(whole, seed=0):
    mx.random.seed(seed)
    model = Autoencoder.from_section(whole["model"], "model")
    return AutoencoderObjective(model, whole["model"], training_section(whole), Sounds(), Plan(2))


def trainer(whole, steps, checkpoint, **options):
    made = objective(whole)
    settings = made.settings
    against = training_group(settings, "discriminator") if made.discriminator else None
    loop = Loop(steps, save_every=10**6, fuse=False, **options)
    return Trainer(made, training_group(settings, "autoencoder"), loop, checkpoint, against)


def weights(run):
    modules = (run.model, run.objective.discriminator) if run.objective.discriminator else (run.model,)
    return np.concatenate([np.array(v).ravel() for m in modules for _, v in tree_flatten(m.parameters())])


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_learns_a_batch(kind, tmp_path):
    losses = SPECTRAL | {"time": {"type": "l1", "weights": {"l1": 1.0}}}
    run, seen = trainer(config(KINDS[kind], losses), 12, tmp_path / "c.safetensors"), []
    run.run(lambda report: seen.append(report.values["loss"]))
    assert seen[-1] < 0.6 * seen[0]


def test_a_stopped_run_against_a_discriminator_goes_on_to_the_same_numbers(tmp_path):
    whole = config(KINDS["oobleck-rvq"], SPECTRAL | {"discriminator": AGAINST}, warmup_steps=3)
    straight = trainer(whole, 8, tmp_path / "a.safetensors")
    seen = []
    straight.run(lambda report: seen.append(set(report.values)))
    assert [("discriminator/loss" in values) for values in seen] == [False, True] * 4
    assert [("loss_adv" in values) for values in seen if "loss" in values] == [False, False, True, True]
    trainer(whole, 5, tmp_path / "b.safetensors").run()
    second = trainer(whole, 8, tmp_path / "b.safetensors")
    assert second.resume() and second.step == 5
    second.run()
    np.testing.assert_array_equal(weights(second), weights(straight))


def test_the_encoder_rests_after_the_warm_up_if_it_is_told_to():
    whole = config(KINDS["oobleck-vae"], warmup_steps=2, encoder_freeze_on_warmup=True)
    made = objective(whole)
    moved = [parts_that_move(made, step) for step in (1, 2)]
    assert moved == [{"encoder", "decoder"}, {"decoder"}]


def parts_that_move(made, step):
    _, gradients = nn.value_and_grad(made.model, made.loss)(made.model, *made.batch(step))
    return {k.partition(".")[0] for k, v in tree_flatten(gradients) if mx.abs(v).max().item() > 0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss_configs": {}}, r"training\.loss_configs: missing 'spectral'"),
        ({"loss_configs": SPECTRAL | {"hubert": {}}}, r"training\.loss_configs: unknown key 'hubert'"),
        (
            {"loss_configs": SPECTRAL | {"time": {"weights": {"l3": 1}}}},
            r"loss_configs\.time: weights: unknown loss 'l3'",
        ),
        ({"loss_configs": SPECTRAL | {"bottleneck": {"weights": {"mmd": 1}}}}, r"loss_configs\.bottleneck: .*'mmd'"),
        (
            {"loss_configs": SPECTRAL | {"discriminator": AGAINST | {"type": "big_vgan"}}},
            r"discriminator\.type: 'big_vgan'",
        ),
        ({"teacher_model": {}}, r"training: unknown key 'teacher_model'"),
        ({"eval_loss_configs": {"stft": {}}}, r"training\.eval_loss_configs: is not supported"),
    ],
)
def test_what_is_not_done_is_named(change, message):
    with pytest.raises(ConfigError, match=message):
        objective(
            config(KINDS["oobleck-vae"]) | {"training": {"learning_rate": 1e-4, "loss_configs": SPECTRAL} | change}
        )


def test_a_part_that_asks_for_no_gradient_has_none():
    section = KINDS["oobleck-vae"] | {"encoder": {**KINDS["oobleck-vae"]["encoder"], "requires_grad": False}}
    names = dict(tree_flatten(objective(config(section)).model.trainable_parameters()))
    assert names and not any(name.startswith("encoder") for name in names)


@pytest.mark.parametrize("kind", ["oobleck-dac_rvq", "same-vae"])
def test_processes_share_the_batch_that_one_would_have(kind):
    """The same sounds and noise, divided."""
    whole = config(KINDS[kind], latent_mask_ratio=0.1)

    def made(plan):
        mx.random.seed(0)
        model = Autoencoder.from_section(whole["model"], "model")
        return AutoencoderObjective(model, whole["model"], training_section(whole), Places(), plan)

    one, parts = made(Plan(4)).batch(3), [made(Plan(2, rank=r, world=2)).batch(3) for r in range(2)]
    for expected, *shares in zip(one, *parts, strict=True):
        got = mx.concatenate(shares) if expected.ndim else shares[0]
        np.testing.assert_array_equal(np.array(got), np.array(expected))


class Places(Sounds):
    """Every place has its own sound."""

    def batch(self, places, seed):
        return np.stack([np.random.default_rng(p).standard_normal((SAMPLES, 2), dtype=np.float32) for p in places])
