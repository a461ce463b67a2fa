"""``python -m tests.parity.make_golden.lora``: what the stable_audio_3 package's LoRAs make of two weights.

Needs a source checkout of the package on PYTHONPATH.
"""

import numpy as np
import torch
from stable_audio_3.models.lora.model import LoRAParametrization
from torch import nn
from torch.nn.utils import parametrize

from tests.parity.case import FOLDER

RANK, ALPHA, STRENGTHS = 2, 3, (0.0, 0.5, 1.0, 2.0, -1.0)
KINDS = [base + end for end in ("", "-xs") for base in ("lora", "dora-rows", "dora-cols", "bora")]
STACKS = ["dora-rows:0.5,lora:1", "lora:0.8,dora-rows:1", "bora-xs:1,bora:-1,dora-cols:2", "lora:1,lora-xs:0.5"]


def layers() -> dict[str, nn.Module]:
    torch.manual_seed(5)
    return {"linear": nn.Linear(5, 7, bias=False), "conv": nn.Conv1d(4, 6, 3, bias=False)}


def parametrization(layer: nn.Module, kind: str, index: int = 0) -> LoRAParametrization:
    make = LoRAParametrization.from_linear if isinstance(layer, nn.Linear) else LoRAParametrization.from_conv1d
    return make(layer, rank=RANK, lora_alpha=ALPHA, adapter_type=kind, lora_index=index)


def merged(name: str, stack: str, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """The weight of layer ``name`` under a stack such as "lora:0.5,bora:1"."""
    layer = layers()[name]
    for index, item in enumerate(stack.split(",")):
        kind, strength = item.split(":")
        lora, start = parametrization(layer, kind, index), f"lora|{kind}|{name}|"
        state = {k.removeprefix(start): torch.tensor(v).float() for k, v in arrays.items() if k.startswith(start)}
        lora.load_state_dict(state, strict=False)
        lora.lora_strength.fill_(float(strength))
        parametrize.register_parametrization(layer, "weight", lora, unsafe=True)
    return layer.weight.detach().numpy().copy()


def main() -> None:
    arrays: dict[str, np.ndarray] = {}
    for name, layer in layers().items():
        arrays[f"weight|{name}"] = layer.weight.detach().numpy().copy()
        for kind in KINDS:
            for key, value in parametrization(layer, kind).named_parameters():
                wide = 1 + 0.3 * torch.randn(value.shape) if key.startswith("magnitude") else torch.randn(value.shape)
                new = value.detach() * wide if key.startswith("magnitude") else 0.4 * wide
                arrays[f"lora|{kind}|{name}|{key}"] = new.half().numpy()
    arrays["stacks"] = np.array([f"{kind}:{strength:g}" for kind in KINDS for strength in STRENGTHS] + STACKS)
    for name in layers():
        arrays[f"merged|{name}"] = np.stack([merged(name, stack, arrays) for stack in arrays["stacks"]])
    np.savez_compressed(FOLDER / "lora.npz", **arrays)


if __name__ == "__main__":
    main()
