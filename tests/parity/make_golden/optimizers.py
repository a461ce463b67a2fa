"""``python -m tests.parity.make_golden.optimizers``: what PyTorch's optimizers and schedulers do to a small matrix."""

import json

import numpy as np
import torch

from tests.parity.case import FOLDER

UPDATES = 8
OPTIMIZERS = [
    ("Adam", {"lr": 0.1}),
    ("Adam", {"lr": 0.1, "betas": [0.8, 0.99], "eps": 1e-6, "weight_decay": 0.1}),
    ("AdamW", {"lr": 0.1}),
    ("AdamW", {"lr": 0.1, "betas": [0.9, 0.95], "weight_decay": 0.5}),
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 0.05, "weight_decay": 0.1}),
    ("Adagrad", {"lr": 0.3}),
    ("Adadelta", {"lr": 1.0, "weight_decay": 0.1}),
]
SCHEDULERS = [
    ("ConstantLR", {"factor": 0.5, "total_iters": 3}),
    ("LinearLR", {"start_factor": 0.1, "total_iters": 4}),
    ("ExponentialLR", {"gamma": 0.9}),
    ("StepLR", {"step_size": 3, "gamma": 0.5}),
    ("MultiStepLR", {"milestones": [2, 5], "gamma": 0.1}),
    ("PolynomialLR", {"total_iters": 6, "power": 2.0}),
    ("CosineAnnealingLR", {"T_max": 10, "eta_min": 0.01}),
    ("CosineAnnealingWarmRestarts", {"T_0": 2, "T_mult": 2, "eta_min": 0.01}),
    ("CosineAnnealingWarmRestarts", {"T_0": 3}),
]


def main() -> None:
    random = np.random.RandomState(3)
    start = random.standard_normal((3, 2)).astype(np.float32)
    gradients = random.standard_normal((UPDATES, 3, 2)).astype(np.float32)
    arrays = {"start": start, "gradients": gradients}
    for i, (name, config) in enumerate(OPTIMIZERS):
        parameter = torch.nn.Parameter(torch.tensor(start))
        optimizer = getattr(torch.optim, name)([parameter], **config)
        for gradient in gradients:
            parameter.grad = torch.tensor(gradient)
            optimizer.step()
        arrays[f"optimizer{i}"] = parameter.detach().numpy()
    for i, (name, config) in enumerate(SCHEDULERS):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.7)
        scheduler = getattr(torch.optim.lr_scheduler, name)(optimizer, **config)
        rates = []
        for _ in range(UPDATES):
            rates.append(scheduler.get_last_lr()[0])
            optimizer.step()
            scheduler.step()
        arrays[f"scheduler{i}"] = np.array(rates)
    arrays["cases"] = np.array(json.dumps({"optimizers": OPTIMIZERS, "schedulers": SCHEDULERS}))
    np.savez_compressed(FOLDER / "optimizers.npz", **arrays)


if __name__ == "__main__":
    main()
