"""PyTorch's optimizers by their names, with its formulas and defaults, on MLX's.

``torch.optim`` and ``mlx.optimizers`` agree on what follows but for defaults, bias correction (MLX leaves it out unless
it is told) and weight decay, which PyTorch adds to the gradient in every optimizer but AdamW.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import mlx.core as mx
import mlx.optimizers as optim

from ..config import build, lookup

# Ways to compute the same in PyTorch; they mean nothing here.
IMPLEMENTATION = ("foreach", "fused", "capturable", "differentiable")


def with_decay(kind: Any, decay: float) -> Any:
    """``kind`` with PyTorch's weight decay: ``decay * parameter`` is added to each gradient."""
    if not decay:
        return kind

    class Decaying(kind):
        def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict) -> mx.array:
            return super().apply_single(gradient + decay * parameter, parameter, state)

    return Decaying


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What all optimizers have; ``lr`` is multiplied by the scheduler."""

    lr: float
    weight_decay: float = 0.0
    amsgrad: bool = False
    maximize: bool = False

    IGNORED: ClassVar[tuple[str, ...]] = IMPLEMENTATION

    def __post_init__(self):
        if self.amsgrad or self.maximize:
            raise ValueError("amsgrad and maximize are not supported")
        if not (self.lr >= 0 and self.weight_decay >= 0):
            raise ValueError(f"lr {self.lr} and weight_decay {self.weight_decay} must not be negative")


@dataclass(frozen=True, kw_only=True)
class Adam(Settings):
    lr: float = 1e-3
    betas: tuple[float, ...] = (0.9, 0.999)
    eps: float = 1e-8

    def __post_init__(self):
        super().__post_init__()
        if len(self.betas) != 2 or not all(0 <= b < 1 for b in self.betas):
            raise ValueError(f"betas {list(self.betas)} must be two numbers from 0 up to, but not including, 1")

    def create(self) -> optim.Optimizer:
        return with_decay(optim.Adam, self.weight_decay)(self.lr, list(self.betas), self.eps, bias_correction=True)


@dataclass(frozen=True, kw_only=True)
class AdamW(Adam):
    weight_decay: float = 0.01

    def create(self) -> optim.Optimizer:
        return optim.AdamW(self.lr, list(self.betas), self.eps, self.weight_decay, bias_correction=True)


@dataclass(frozen=True, kw_only=True)
class FusedAdam(AdamW):
    """DeepSpeed's: AdamW, unless ``adam_w_mode`` is off."""

    weight_decay: float = 0.0
    adam_w_mode: bool = True
    bias_correction: bool = True

    IGNORED: ClassVar = (*IMPLEMENTATION, "set_grad_none")

    def create(self) -> optim.Optimizer:
        if not self.bias_correction:
            return optim.AdamW(self.lr, list(self.betas), self.eps, self.weight_decay)
        return super().create() if self.adam_w_mode else Adam.create(self)


@dataclass(frozen=True, kw_only=True)
class SGD(Settings):
    lr: float = 1e-3
    momentum: float = 0.0
    nesterov: bool = False

    def __post_init__(self):
        super().__post_init__()
        if self.nesterov and self.momentum <= 0:
            raise ValueError("nesterov needs a momentum")

    def create(self) -> optim.Optimizer:
        return optim.SGD(self.lr, self.momentum, self.weight_decay, nesterov=self.nesterov)


@dataclass(frozen=True, kw_only=True)
class RMSprop(Settings):
    lr: float = 1e-2
    alpha: float = 0.99
    eps: float = 1e-8
    momentum: float = 0.0
    centered: bool = False

    def __post_init__(self):
        super().__post_init__()
        if self.momentum or self.centered:
            raise ValueError("momentum and centered are not supported")

    def create(self) -> optim.Optimizer:
        return with_decay(optim.RMSprop, self.weight_decay)(self.lr, self.alpha, self.eps)


@dataclass(frozen=True, kw_only=True)
class Adagrad(Settings):
    lr: float = 1e-2
    eps: float = 1e-10

    def create(self) -> optim.Optimizer:
        return with_decay(optim.Adagrad, self.weight_decay)(self.lr, self.eps)


@dataclass(frozen=True, kw_only=True)
class Adadelta(Settings):
    lr: float = 1.0
    rho: float = 0.9
    eps: float = 1e-6

    def create(self) -> optim.Optimizer:
        return with_decay(optim.AdaDelta, self.weight_decay)(self.lr, self.rho, self.eps)


OPTIMIZERS: dict[str, Any] = {
    "Adam": Adam,
    "AdamW": AdamW,
    "FusedAdam": FusedAdam,
    "SGD": SGD,
    "RMSprop": RMSprop,
    "Adagrad": Adagrad,
    "Adadelta": Adadelta,
}


def optimizer_settings(section: dict[str, Any], path: str) -> Any:
    """Settings of an ``optimizer`` section, {type, config}; ConfigError with its JSON path."""
    return build(lookup(OPTIMIZERS, section, path), section.get("config", {}), f"{path}.config")
