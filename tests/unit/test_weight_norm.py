"""Weight norm in training: the same network, PyTorch's parameters and gradients, and back to one weight."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten

from stable_audio_mlx.layers.weight_norm import fused, normalize
from stable_audio_mlx.models.autoencoder import Autoencoder

SECTION = {
    "encoder": {"type": "oobleck", "config": {"channels": 4, "c_mults": [2], "strides": [3], "latent_dim": 6}},
    "decoder": {"type": "oobleck", "config": {"channels": 4, "c_mults": [2], "strides": [3], "latent_dim": 3}},
    "bottleneck": {"type": "vae"},
    "latent_dim": 3,
    "downsampling_ratio": 3,
    "io_channels": 2,
}


def flat(tree):
    return dict(tree_flatten(tree))


def test_a_normalized_network_is_the_same_and_goes_back():
    mx.random.seed(0)
    model = Autoencoder.from_section(SECTION, "model")
    audio, before = mx.random.normal((1, 30, 2)), flat(model.parameters())
    wanted = model.decode(model.encode(audio))
    normalize(model)
    after = flat(model.trainable_parameters())
    assert not any(key.endswith(".weight") for key in after) and len(after) > len(before)
    np.testing.assert_allclose(np.array(model.decode(model.encode(audio))), np.array(wanted), rtol=1e-4, atol=1e-5)
    back = fused(after)
    assert back.keys() == before.keys()
    for key, value in before.items():
        np.testing.assert_allclose(np.array(back[key]), np.array(value), rtol=1e-5, atol=1e-6)


def test_a_step_along_the_weight_changes_nothing():
    """The direction has no gradient along itself, of transposed convolutions too."""
    mx.random.seed(0)
    model = Autoencoder.from_section(SECTION, "model")
    normalize(model)
    audio = mx.random.normal((1, 30, 2))
    gradients = flat(nn.value_and_grad(model, lambda m: m.decode(m.encode(audio)).square().mean())(model)[1])
    for key, value in flat(model.trainable_parameters()).items():
        if key.endswith("weight_v"):
            axes = tuple(i for i, n in enumerate(flat(model.parameters())[key[:-1] + "g"].shape) if n == 1)
            along = (value * gradients[key]).sum(axis=axes)
            assert mx.abs(along).max().item() < 1e-5 * mx.abs(gradients[key]).max().item() + 1e-7, key
