"""The embedded model's beats: one bar of eighth notes again and again."""

from functools import cache

import numpy as np

from .grid import BEAT_FRAMES, FRAME, LENGTH, stereo
from .voices import HITS

TAIL = 16 * FRAME  # of a drum hit
# Hits of a bar, one character an eighth: x plays.
BEATS = {
    "house": {"kick": "x.x.x.x.", "clap": "..x...x.", "closed hat": ".x.x.x.x"},
    "rock": {"kick": "x...xx..", "snare": "..x...x.", "closed hat": "xxxxxxxx"},
}
LEVELS = {"kick": 0.9, "clap": 0.7, "snare": 0.7, "closed hat": 0.5}


@cache
def _hit(name: str) -> np.ndarray:
    return HITS[name](TAIL)


def beat(style: str, bpm: int) -> np.ndarray:
    """A drum pattern, (LENGTH, 2)."""
    step, x = BEAT_FRAMES[bpm] * FRAME, np.zeros(LENGTH + TAIL)
    for name, bar in BEATS[style].items():
        for i, at in enumerate(range(0, LENGTH, step)):
            if bar[i % 8] == "x":
                x[at : at + TAIL] += LEVELS[name] * _hit(name)
    return stereo(x[:LENGTH])
