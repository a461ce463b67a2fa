"""The same weights under every spelling that checkpoints have: the answers of the golden files stay what they are."""

import numpy as np
import pytest

from . import case as cases
from .project import Project
from .test_golden import align, relative

RUN = "euler_cfg"


def parametrized(weights):
    """Weight norm as newer PyTorch names it."""
    names = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
    parts = {key: key.rpartition(".") for key in weights}
    return {f"{parts[k][0]}.{names.get(parts[k][2], parts[k][2])}": v for k, v in weights.items()}


def fused(weights):
    """Weight norm already multiplied out."""
    out = {}
    for key, value in weights.items():
        if key.endswith("weight_v"):
            gain = weights[key.removesuffix("_v") + "_g"]
            norm = np.sqrt((value.astype(np.float64) ** 2).sum(axis=(1, 2), keepdims=True))
            out[key.removesuffix("_v")] = (gain * value / norm).astype(np.float32)
        elif not key.endswith("weight_g"):
            out[key] = value
    return out


def training(weights):
    """A trainer's checkpoint: the transformer's raw weights, which are not to be used, and their moving average."""
    network = {k: v for k, v in weights.items() if k.startswith("model.")}
    raw = {f"diffusion.{k}": v + 1 if k in network else v for k, v in weights.items()}
    return raw | {f"diffusion_ema.ema_model.{k.removeprefix('model.')}": v for k, v in network.items()}


def without_frequencies(weights):
    """Rotary frequencies are computed, whether the file has them or not."""
    return {k: v for k, v in weights.items() if not k.endswith("inv_freq")}


@pytest.mark.parametrize("spelling", [parametrized, fused, training, without_frequencies])
def test_spelling(spelling, tmp_path):
    case = cases.load("clips_flow")
    ours = Project(case, tmp_path, spelling(case.weights()))
    run = next(r for r in case.runs if r["name"] == RUN)
    answers = ours.answer(run)
    for key, wanted in case.expected(run).items():
        got, wanted = align(run, case.config, key, answers[key], wanted)
        assert relative(got, wanted) < 2e-5, key


def test_half_precision_files_are_computed_in_float32(tmp_path):
    case = cases.load("clips_flow")
    narrow = {k: v.astype(np.float16) for k, v in case.weights().items()}
    wide = {k: v.astype(np.float32) for k, v in narrow.items()}
    sounds = [Project(case, tmp_path / name, w).answer(case.runs[0]) for name, w in (("16", narrow), ("32", wide))]
    np.testing.assert_array_equal(sounds[0]["latents"], sounds[1]["latents"])
