"""Pictures of sounds; matplotlib is an extra that only they need."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .errors import OptionError
from .files import check_output, written_whole
from .metrics import decibels

PICTURES = (".png",)
COLUMNS = 1600
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
        drawn = spectrogram(axis, image, sounds[title].shape[1] / rate, rate, top)
        axis.set_title(title)
    axes[-1].set_xlabel("seconds")
    figure.colorbar(drawn, ax=list(axes), label="dB")
    return saved(figure, path)


def draw_sound(path: str | Path, title: str, sound: np.ndarray, rate: int, overwrite: bool = False) -> Path:
    """Waveform of each channel of a sound (C, L), and its spectrogram below."""
    path = check_plot(path, overwrite)
    from matplotlib.figure import Figure

    channels, seconds = len(sound), sound.shape[1] / rate
    figure = Figure(figsize=(10, 3.6 + 1.2 * channels), layout="constrained")
    axes = figure.subplots(channels + 1, 1, sharex=True, height_ratios=[1] * channels + [2.6])
    times, low, high = envelope(sound, rate)
    for axis, lowest, highest in zip(axes, low, high, strict=False):
        axis.fill_between(times, lowest, highest, step="post", linewidth=0.8)
        axis.set_ylim(-1.05 * max(1.0, np.abs(sound).max()), 1.05 * max(1.0, np.abs(sound).max()))
        axis.axhline(0, linewidth=0.3, color="black")
    image = decibels(sound)
    drawn = spectrogram(axes[-1], image, seconds, rate, float(image.max()))
    axes[0].set_title(title)
    axes[-1].set_xlim(0, seconds)
    axes[-1].set_xlabel("seconds")
    figure.colorbar(drawn, ax=axes[-1], label="dB")
    return saved(figure, path)


def envelope(sound: np.ndarray, rate: int, columns: int = COLUMNS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For the eye: where up to ``columns`` pieces of a sound (C, L) begin (seconds), their extremes (C, columns)."""
    cuts = np.unique(np.linspace(0, sound.shape[1], min(columns, sound.shape[1]), endpoint=False).astype(int))
    return cuts / rate, np.minimum.reduceat(sound, cuts, axis=1), np.maximum.reduceat(sound, cuts, axis=1)


def spectrogram(axis: Any, image: np.ndarray, seconds: float, rate: int, top: float) -> Any:
    """Draw ``decibels`` down to ``RANGE`` below ``top``."""
    axis.set_ylabel("kHz")
    extent, levels = (0, seconds, 0, rate / 2000), {"vmin": top - RANGE, "vmax": top}
    return axis.imshow(image, origin="lower", aspect="auto", extent=extent, cmap="magma", **levels)


def saved(figure: Any, path: Path) -> Path:
    with written_whole(path) as part:
        figure.savefig(part, dpi=120)
    return path
