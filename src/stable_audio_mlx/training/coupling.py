"""Which noise goes with which sound: pairs that are near each other make straighter paths.

Optimal transport within a batch (MelodyFlow, Lan et al. 2024, section 2.5.2), by Sinkhorn's iterations and, of what
they find, the best free partner of each in turn, as Stable Audio 3 trains.
"""

import numpy as np

ITERATIONS = 20


def coupled(noise: np.ndarray, latents: np.ndarray) -> np.ndarray:
    """noise, latents: (B, T, C) -> the noise in another order of its first axis"""
    data, flat = (a.reshape(len(a), -1).astype(np.float64) for a in (latents, noise))
    cost = (data**2).sum(1)[:, None] + (flat**2).sum(1) - 2 * data @ flat.T
    plan = -cost / cost.mean()
    for _ in range(ITERATIONS):
        plan = (
            plan - np.log(np.exp(plan - plan.max(1, keepdims=True)).sum(1, keepdims=True)) - plan.max(1, keepdims=True)
        )
        plan = plan - np.log(np.exp(plan - plan.max(0)).sum(0)) - plan.max(0)
    order: list[int] = []
    for row in plan:
        row[order] = -np.inf
        order.append(int(row.argmax()))
    return noise[order]
