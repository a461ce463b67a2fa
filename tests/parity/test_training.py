"""One training step against PyTorch's trainers: loss and gradients of rectified flow, v and LoRAs of every kind."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from stable_audio_mlx.data.latent_set import Clip
from stable_audio_mlx.training.adapters import LoraSettings, adapt
from stable_audio_mlx.training.config import training_section
from stable_audio_mlx.training.live import Opened
from stable_audio_mlx.training.objective import Denoiser, DiffusionObjective, Plan
from stable_audio_mlx.weights.checkpoint import DIFFUSION_PARTS
from stable_audio_mlx.weights.layout import axes_of, original, owner

from . import steps
from .case import load
from .project import write_checkpoint

TOLERANCE = 1e-4
NAMES = [case.name for case in steps.cases()]


@pytest.fixture(scope="module", params=NAMES)
def step(request, tmp_path_factory):
    case = load(request.param)
    return case, write_checkpoint(case, tmp_path_factory.mktemp("steps") / case.name)


def objective(case, folder):
    built = Opened(folder).load("float32")
    settings = training_section(case.config)
    plan = Plan(steps.BATCH, steps.LENGTH)
    return DiffusionObjective(Denoiser(built.dit, built.conditioner), built, settings, None, plan), built


def batch(case, found):
    """The arguments of the loss, as ``DiffusionObjective.batch`` puts them together, from the golden draws."""
    given = steps.draws(case)
    z, noise = (given[key].swapaxes(1, 2) for key in ("z", "noise"))
    weight = found._weights(given["valid"], given["keep"], steps.LENGTH, found.settings.mask_padding)
    arrays = (z, noise, given["t"], weight, given["sounding"], given["keep"], given["heard"])
    clips = [Clip(0, 0, 0, metadata) for metadata in given["metadata"]]
    return [mx.array(np.ascontiguousarray(a)) for a in arrays] + found._conditions(clips)


def compare(case, prefix, value, gradients):
    assert value.item() == pytest.approx(float(case.arrays[f"{prefix}loss"]), rel=TOLERANCE)
    keys = case.arrays[f"{prefix}keys"].tolist()
    assert set(keys) == set(gradients)
    largest = case.arrays[f"{prefix}gradients"][:, 0].max()
    for key, wanted in zip(keys, case.arrays[f"{prefix}gradients"], strict=True):
        norm, *projections = steps.digest(case, key, gradients[key]) - wanted
        error = max(abs(norm), np.sqrt(np.mean(np.square(projections))))
        assert error <= TOLERANCE * max(wanted[0], 1e-3 * largest), (key, error, wanted[0])


def as_published(built, gradients):
    """Gradients by checkpoint key, in PyTorch's layout."""
    out = {}
    for part in ("dit", "conditioner"):
        for name, value in tree_flatten(gradients.get(part, {})):
            layer = owner(built[part], name)
            axes = axes_of(layer) if name.endswith("weight") else None
            array = np.array(value)
            array = array.transpose(np.argsort(axes)) if axes else array
            out[DIFFUSION_PARTS[part] + original(built[part], name)] = array
    return out


@pytest.mark.parametrize("recompute", [False, True])
def test_loss_and_gradients(step, recompute):
    case, folder = step
    found, built = objective(case, folder)
    built.dit.recompute = recompute
    (value, _), gradients = nn.value_and_grad(found.model, found.loss)(found.model, *batch(case, found))
    compare(case, "", value, as_published(built, gradients))


@pytest.mark.parametrize(("kind", "recompute"), [*((kind, False) for kind in steps.KINDS), ("dora-rows", True)])
def test_loss_and_gradients_of_a_lora(kind, recompute, tmp_path):
    case = load("step_sa3")
    found, built = objective(case, write_checkpoint(case, tmp_path / "model"))
    layers = adapt(built, LoraSettings(steps.RANK, steps.ALPHA, kind))
    built.dit.recompute = recompute
    for name, layer in layers.items():
        for key, start in layer.learned.items():
            layer[key] = mx.array(steps.learned(case, kind, name, key, np.array(start)))
    arguments = batch(case, found)
    (value, _), gradients = nn.value_and_grad(found.model, found.loss)(found.model, *arguments)
    flat = {}
    places = {id(layer): name for name, layer in layers.items()}
    for part in ("dit", "conditioner"):
        for name, gradient in tree_flatten(gradients.get(part, {})):
            flat[f"{places[id(owner(built[part], name))]}.{name.rpartition('.')[2]}"] = np.array(gradient)
    compare(case, f"{kind}|", value, flat)
