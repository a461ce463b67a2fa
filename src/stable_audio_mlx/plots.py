"""Pictures of sounds; matplotlib is an extra that only they need."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .errors import OptionError
from .files import check_output, written_whole
from .metrics import decibels

PICTURES = (".png",)
RANGE = 90  # dB below the loudest point


def check_plot(path: str | Path, overwrite: bool = False) -> Path:
    """``path`` if a picture can be drawn there; OptionError otherwise, above all without matplotlib."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise OptionError(f"{path}: drawing needs matplotlib; pip install matplotlib") from None
    return check_output(path, overwrite, PICTURES)


def draw_spectrograms(path: str | Path, sounds: Mapping[str, np.ndarray], rate: int, overwrite: bool = False) -> Path:
    """Spectrograms of sounds (C, L) by title, one above the other on one colour scale: dB over time and frequency."""
    path = check_plot(path, overwrite)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 1 + 2.6 * len(sounds)), layout="constrained")
    images = {title: decibels(sound) for title, sound in sounds.items()}
    top = max(float(image.max()) for image in images.values())
    axes = figure.subplots(len(sounds), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (title, image) in zip(axes, images.items(), strict=True):
        extent = (0, sounds[title].shape[1] / rate, 0, rate / 2000)
        drawn = axis.imshow(
            image, origin="lower", aspect="auto", extent=extent, vmin=top - RANGE, vmax=top, cmap="magma"
        )
        axis.set_title(title)
        axis.set_ylabel("kHz")
    axes[-1].set_xlabel("seconds")
    figure.colorbar(drawn, ax=list(axes), label="dB")
    with written_whole(path) as part:
        figure.savefig(part, dpi=120)
    return path
