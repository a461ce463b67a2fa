"""``python -m tests.parity.make_golden.training``: loss and gradients of one training step, of PyTorch's trainers.

Needs source checkouts of stable-audio-tools and of stable-audio-3 on PYTHONPATH.  The models and the loss functions are
theirs; their training wrappers, which draw what a step is made of, are not run: here the draws are given.
"""

import contextlib
import copy
import io
import sys
import types

import numpy as np
import torch

from tests.parity import steps
from tests.parity.case import FOLDER, Case, save

from . import stubs

stubs.install("stable_audio_tools", "stable_audio_3")
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    import stable_audio_3.models.transformer as transformer
    from stable_audio_3 import factory as factory3
    from stable_audio_3.models.lora.model import LoRAParametrization
    from stable_audio_3.training import utils as utils3
    from stable_audio_tools.models import factory
    from stable_audio_tools.training.losses.losses import MSELoss
    from torch import nn
    from torch.nn.utils import parametrize

    from .attention import masked_attention

STORED = (".inv_freq",)
transformer.Attention.apply_attn = masked_attention(transformer.Attention.apply_attn)
factory3.create_pretransform_from_config = lambda *_: types.SimpleNamespace(downsampling_ratio=1)  # latents are given


def build(case: Case) -> torch.nn.Module:
    config = copy.deepcopy(case.config)
    make = factory3.create_diffusion_cond_from_config if steps.masks(case) else factory.create_model_from_config
    with contextlib.redirect_stdout(io.StringIO()):
        model = make(config).eval().float()
    state = model.state_dict()
    buffers = {k for k, _ in model.named_buffers()}
    case.arrays |= {f"weights/{k}": v.numpy().astype(np.float32) for k, v in state.items() if k.endswith(STORED)}
    case.zeros = {k: list(v.shape) for k, v in state.items() if k in buffers and k.endswith(".beta")}
    case.tensors = {k: list(v.shape) for k, v in state.items() if not (k in case.zeros or k.endswith(STORED))}
    model.load_state_dict({k: torch.tensor(v).reshape(state[k].shape) for k, v in case.weights().items()}, strict=True)
    return model


def loss(case: Case, model: torch.nn.Module) -> torch.Tensor:
    """One training step up to its loss, as the training wrappers compute it from these draws."""
    given = steps.draws(case)
    z, noise, t = (torch.tensor(given[k]) for k in ("z", "noise", "t"))
    sounding, keep, heard = (torch.tensor(given[k]) for k in ("sounding", "keep", "heard"))
    metadata = given["metadata"]
    a, s = (torch.cos(t * np.pi / 2), torch.sin(t * np.pi / 2)) if steps.objective(case) == "v" else (1 - t, t)
    a, s = a[:, None, None], s[:, None, None]
    x, wanted = a * z + s * noise, (noise * a - z * s if steps.objective(case) == "v" else noise - z)
    conditions = model.conditioner(metadata, "cpu")
    if steps.masks(case):
        kept = keep[:, None].float()
        conditions |= {"inpaint_mask": [kept], "inpaint_masked_input": [z * kept]}
    inputs = model.get_conditioning_inputs(conditions)
    inputs["cross_attn_cond"] = inputs["cross_attn_cond"] * heard[:, None, None]
    if not steps.masks(case):
        masked = case.config["training"]["mask_padding"]
        answer = model.model(x, t, **inputs)
        found = {"output": answer, "targets": wanted, "mask": sounding if masked else None}
        return MSELoss("output", "targets", mask_key="mask" if masked else None)(found)
    answer = model.model(x, t, **inputs, padding_mask=sounding)
    made, error = sounding & ~keep, utils3.compute_normalized_mse(answer, wanted, sounding)
    value, *_ = utils3.compute_masked_loss(error, made, True, 1.0)
    kept = sounding & keep
    count = kept.sum(1) * error.shape[1]
    context = torch.where(kept[:, None], error, 0.0).sum((1, 2)) / (count + 1e-8)
    return value + context.mean()


def record(case: Case) -> Case:
    """Loss and digests of the gradients of all parameters, then of each kind of LoRA."""
    model = build(case)
    value = loss(case, model)
    value.backward()
    case.arrays["loss"] = value.detach().numpy()
    keep_digests(case, "", dict(model.named_parameters()))
    if steps.masks(case):
        for kind in steps.KINDS:
            record_lora(case, kind)
    return case


def record_lora(case: Case, kind: str) -> None:
    model = build(case).requires_grad_(False)
    learned = {}
    for root in (model.model, model.conditioner):
        for name, layer in list(root.named_modules()):
            if isinstance(layer, nn.Linear | nn.Conv1d):
                linear = isinstance(layer, nn.Linear)
                make = LoRAParametrization.from_linear if linear else LoRAParametrization.from_conv1d
                lora = make(layer, rank=steps.RANK, lora_alpha=steps.ALPHA, adapter_type=kind)
                for key, value in lora.named_parameters():
                    value.data = torch.tensor(steps.learned(case, kind, name, key, value.detach().numpy()))
                    learned[f"{name}.{key}"] = value
                parametrize.register_parametrization(layer, "weight", lora, unsafe=True)
    value = loss(case, model)
    value.backward()
    case.arrays[f"{kind}|loss"] = value.detach().numpy()
    keep_digests(case, f"{kind}|", learned)


def keep_digests(case: Case, prefix: str, parameters: dict[str, torch.nn.Parameter]) -> None:
    case.arrays[f"{prefix}keys"] = np.array(list(parameters))
    case.arrays[f"{prefix}gradients"] = np.stack(
        [steps.digest(case, key, parameter.grad.numpy()) for key, parameter in parameters.items()]
    )


def main() -> None:
    for case in steps.cases():
        save(record(case), FOLDER)
        size = (FOLDER / f"{case.name}.npz").stat().st_size
        sys.stdout.write(f"{case.name}: {size} bytes, loss {case.arrays['loss']:.6f}\n")


if __name__ == "__main__":
    main()
