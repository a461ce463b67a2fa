"""Muon for the matrices inside a network and AdamW for everything else, as one optimizer."""

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.optimizers as optim
from mlx.utils import tree_flatten


class MuonAdamW(optim.AdamW):
    """Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/) where ``hidden(name, parameter)`` holds.

    Each update of a hidden matrix has nearly equal singular values, so that what is rare in the data is learned as fast
    as what is frequent.  Its learning rate is ``ratio`` times that of AdamW.
    """

    def __init__(
        self, learning_rate: float, hidden: Callable[[str, mx.array], bool], ratio: float = 20.0, **adamw: Any
    ):
        super().__init__(learning_rate, bias_correction=True, **adamw)
        self.hidden, self.ratio = hidden, ratio
        self._muon = optim.Muon(0.0, weight_decay=0.0)

    def init(self, parameters: dict) -> None:
        """Two averages of the gradients for each parameter, as in Adam; one for a hidden matrix."""
        super().init(parameters)
        for name, parameter in tree_flatten(parameters):
            if self.hidden(name, parameter):
                own: Any = self.state
                for key in name.split("."):
                    own = own[int(key)] if isinstance(own, list) else own[key]
                del own["m"]

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict) -> mx.array:
        """One parameter: Muon keeps one average of its gradients, AdamW two."""
        if "m" in state:
            return super().apply_single(gradient, parameter, state)
        self._muon.state["learning_rate"] = self.ratio * self.learning_rate
        return self._muon.apply_single(gradient, parameter, state)
