"""Muon for hidden matrices, AdamW for the rest."""

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np

from stable_audio_mlx.training.muon import MuonAdamW


def step(optimizer, times=1):
    """A small network after some updates, and the changes of its first matrix."""
    mx.random.seed(0)
    model = nn.Sequential(nn.Linear(12, 20), nn.Linear(20, 3))
    before = mx.array(model.layers[0].weight)
    x = mx.random.normal((5, 12))
    gradient = nn.value_and_grad(model, lambda m: m(x).square().mean())
    for _ in range(times):
        optimizer.update(model, gradient(model)[1])
    mx.eval(model.state, optimizer.state)
    return model, np.array(model.layers[0].weight - before)


def test_updates_of_hidden_matrices_are_nearly_orthogonal():
    optimizer = MuonAdamW(1e-3, lambda name, _: name == "layers.0.weight", ratio=20.0, weight_decay=0.0)
    _, change = step(optimizer)
    values = np.linalg.svd(change, compute_uv=False) / (20 * 1e-3 * (20 / 12) ** 0.5)
    assert values[:3].min() > 0.6 and values.max() < 1.3  # of rank 3: the network has three outputs


def test_everything_else_is_left_to_adamw():
    mine, theirs = (
        MuonAdamW(1e-3, lambda *_: False, betas=[0.9, 0.99]),
        optim.AdamW(1e-3, betas=[0.9, 0.99], bias_correction=True),
    )
    (a, _), (b, _) = step(mine, 3), step(theirs, 3)
    assert all(
        mx.array_equal(p, q)
        for p, q in zip(a.parameters()["layers"][0].values(), b.parameters()["layers"][0].values(), strict=True)
    )


def test_a_hidden_matrix_has_one_average():
    optimizer = MuonAdamW(1e-3, lambda name, parameter: parameter.ndim == 2)
    model, _ = step(optimizer, 2)
    state = optimizer.state["layers"][0]
    assert set(state["weight"]) == {"v"} and set(state["bias"]) == {"m", "v"} and optimizer.state["step"].item() == 2
