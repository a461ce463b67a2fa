"""Merged weights of every kind of LoRA, alone and stacked, at several strengths, against the PyTorch reference."""

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from stable_audio_mlx.lora.adapter import Adapter, Layer
from stable_audio_mlx.lora.merge import Change, Merger

from .case import FOLDER

with np.load(FOLDER / "lora.npz") as archive:
    GOLDEN = dict(archive)
CASES = [(i, name) for name in ("linear", "conv") for i in range(len(GOLDEN["stacks"]))]
SCALE = 3 / 2
TURNS = {"linear": None, "conv": (0, 2, 1)}


def change(item: str, name: str) -> Change:
    kind, strength = item.split(":")
    start = f"lora|{kind}|{name}|"
    layer = Layer({k.removeprefix(start): mx.array(v) for k, v in GOLDEN.items() if k.startswith(start)}, SCALE)
    return Change(Adapter(Path("x"), "native", kind, {name: layer}, 2, 3.0), layer, float(strength))


@pytest.mark.parametrize(("index", "name"), CASES, ids=[f"{GOLDEN['stacks'][i]}-{name}" for i, name in CASES])
def test_merged_weight(index, name):
    stack = str(GOLDEN["stacks"][index])
    weight, turn = GOLDEN[f"weight|{name}"], TURNS[name]
    ours = mx.array(weight.transpose(turn) if turn else weight)
    merged = Merger().merge(name, ours, [change(item, name) for item in stack.split(",")], turn)
    got, wanted = np.array(merged), GOLDEN[f"merged|{name}"][index]
    got = got.transpose(turn) if turn else got
    # The reference finds singular vectors in float32.
    tolerance = 1e-5 if "xs" in stack else 1e-6
    assert np.abs(got - wanted).max() <= tolerance * np.abs(wanted).max()
    if stack.endswith(":0"):
        assert got.tobytes() == weight.tobytes()
