"""Work shared out among the processes that ``mlx.launch`` starts."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import StableAudioError
from ..options import drawn_seed

# What the backends of mlx.launch, or mpirun, tell each process they start.
LAUNCHED = ("MLX_RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK")


@dataclass(frozen=True)
class Team:
    """This process's number among ``size``; alone it is 0 of 1."""

    rank: int = 0
    size: int = 1
    group: Any = None  # mx.distributed.Group

    def mine(self, index: int) -> bool:
        """Whether piece ``index`` of the common list is this process's."""
        return index % self.size == self.rank

    def together(self, number: int = 0) -> int:
        """The first process's ``number`` (below 2**31), once all have come here."""
        if self.size == 1:
            return number
        import mlx.core as mx

        mine = mx.array(number if self.rank == 0 else 0, mx.int32)
        try:
            total: Any = mx.distributed.all_sum(mine, group=self.group, stream=mx.cpu).item()
        except RuntimeError:
            raise StableAudioError("another of the processes that were launched has stopped; it says why") from None
        return int(total)

    def drawer(self) -> Callable[[], int]:
        """Draws 32-bit numbers that nobody can foresee, the same ones in every process."""
        if self.size == 1:
            return drawn_seed
        import random

        common = random.Random(self.together(drawn_seed() >> 1))
        return lambda: common.getrandbits(32)


def join() -> Team:
    """The processes that were launched together; all of them call this."""
    if not any(name in os.environ for name in LAUNCHED):
        return Team()
    import mlx.core as mx

    group = mx.distributed.init()
    return Team(group.rank(), group.size(), group)
