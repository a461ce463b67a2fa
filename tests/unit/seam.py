"""How far a sound jumps at a place, against how it jumps elsewhere in itself."""

import numpy as np

BLOCK = 1024


def jumps(sound: np.ndarray, places) -> np.ndarray:
    """sound: (C, L) -> for each place (level, spectrum, step).

    Level: dB between the RMS of the blocks before and behind; spectrum: mean dB between their smoothed spectra, level
    taken out; step: the change of the slope from one sample to the next over the RMS around.
    """
    mono = sound.mean(axis=0, dtype=np.float64)
    window, out = np.hanning(BLOCK), []
    for place in places:
        before, behind = mono[place - BLOCK : place], mono[place : place + BLOCK]
        a, b = (10 * np.log10(np.mean(x**2) + 1e-9) for x in (before, behind))
        bands = [np.log10(bands_of(np.abs(np.fft.rfft(x * window)) ** 2) + 1e-6) * 10 for x in (before, behind)]
        spectra = [s - s.mean() for s in bands]
        bend = np.abs(np.diff(mono[place - 2 : place + 2], 2)).max()
        rms = np.sqrt(np.mean(mono[place - BLOCK : place + BLOCK] ** 2)) + 1e-4
        out.append((abs(a - b), np.mean(np.abs(spectra[0] - spectra[1])), bend / rms))
    return np.array(out)


def bands_of(power: np.ndarray) -> np.ndarray:
    """Power in thirds of octaves, as it were: 16 bands that double in width."""
    edges = np.unique(np.geomspace(1, len(power), 17).astype(int))
    return np.add.reduceat(power, edges[:-1]) / np.diff(edges)


def elsewhere(sound: np.ndarray, places, step: int = 331) -> np.ndarray:
    """``jumps`` all over the sound but near ``places``."""
    others = np.arange(BLOCK, sound.shape[1] - BLOCK, step)
    far = np.all([np.abs(others - place) > 2 * BLOCK for place in places], axis=0)
    return jumps(sound, others[far])
