"""Optimisers and schedulers by PyTorch's names against PyTorch itself."""

import json

import mlx.core as mx
import numpy as np
import pytest

from stable_audio_mlx.training.optimizers import optimizer_settings
from stable_audio_mlx.training.schedulers import scheduler_from_config

from .case import FOLDER

with np.load(FOLDER / "optimizers.npz") as archive:
    GOLDEN = dict(archive)
CASES = json.loads(str(GOLDEN["cases"]))


@pytest.mark.parametrize("i", range(len(CASES["optimizers"])), ids=lambda i: CASES["optimizers"][i][0])
def test_optimizer(i):
    name, config = CASES["optimizers"][i]
    optimizer = optimizer_settings({"type": name, "config": config}, "optimizer").create()
    parameters = {"w": mx.array(GOLDEN["start"])}
    for gradient in GOLDEN["gradients"]:
        parameters = optimizer.apply_gradients({"w": mx.array(gradient)}, parameters)
    # MLX corrects the bias of the second moment in float32: 1 - 0.999 has five digits there.
    np.testing.assert_allclose(np.array(parameters["w"]), GOLDEN[f"optimizer{i}"], atol=2e-5)


@pytest.mark.parametrize("i", range(len(CASES["schedulers"])), ids=lambda i: CASES["schedulers"][i][0])
def test_scheduler(i):
    name, config = CASES["schedulers"][i]
    schedule = scheduler_from_config({"type": name, "config": config}, "scheduler")
    rates = [schedule(n, 0.7) for n in range(len(GOLDEN[f"scheduler{i}"]))]
    np.testing.assert_allclose(rates, GOLDEN[f"scheduler{i}"], rtol=1e-9)
