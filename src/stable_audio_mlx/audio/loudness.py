"""How loud a sound is: ITU-R BS.1770-4 integrated loudness and true peak (https://www.itu.int/rec/R-REC-BS.1770).

Arrays are NumPy (channels, samples); everything is summed in float64, piece by piece, so that memory stays flat.
"""

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

BLOCK, HOP = 0.4, 0.1  # seconds: gating blocks overlap by three quarters
ABSOLUTE_GATE, RELATIVE_GATE = -70.0, -10.0  # LUFS; LU below what the absolute gate leaves
OFFSET = -0.691  # dB: a 997 Hz sine at 0 dBFS in one front channel measures -3.01 LUFS
SURROUND = 1.41  # weight of the side and rear channels of 5.0 and 5.1 (L R C [LFE] Ls Rs)
RING = 0.2  # seconds after which the response of the weighting filter is below 1e-16 of what it was
PIECE = 1 << 17  # samples that are filtered at once

# BS.1770-4 annex 2, table: the four phases of a filter that quadruples the rate; the last two are the first mirrored.
_PHASES = np.array(
    [
        (0.001708984375, 0.010986328125, -0.0196533203125, 0.033203125, -0.0594482421875, 0.1373291015625)
        + (0.97216796875, -0.102294921875, 0.047607421875, -0.026611328125, 0.014892578125, -0.00830078125),
        (-0.029174804688, 0.029296875, -0.0517578125, 0.089111328125, -0.16650390625, 0.465087890625)
        + (0.77978515625, -0.2003173828125, 0.1015625, -0.0582275390625, 0.0330810546875, -0.0189208984375),
    ]
)
PHASES = np.concatenate([_PHASES, _PHASES[::-1, ::-1]])


@dataclass(frozen=True)
class Levels:
    """``lufs``: integrated loudness, None for silence; ``peak_dbfs``, ``true_peak_dbtp``: -inf for digital silence."""

    lufs: float | None
    peak_dbfs: float
    true_peak_dbtp: float

    def __str__(self) -> str:
        loud = "too quiet to measure" if self.lufs is None else f"{self.lufs:.1f} LUFS"
        return f"{loud}, true peak {self.true_peak_dbtp:.1f} dBTP"

    def facts(self) -> dict[str, float | None]:
        """By name, for JSON, which knows no infinity: None for digital silence."""
        return {name: None if value in (None, -math.inf) else value for name, value in vars(self).items()}

    def turned(self, gain: float) -> "Levels":
        """Of the same sound by ``gain`` dB."""
        lufs = None if self.lufs is None else self.lufs + gain
        return Levels(lufs, self.peak_dbfs + gain, self.true_peak_dbtp + gain)


def measure(audio: np.ndarray, rate: int) -> Levels:
    """All levels of a sound (C, L)."""
    lufs = integrated(audio, rate)
    return Levels(None if math.isinf(lufs) else lufs, to_db(np.abs(audio).max()), to_db(true_peak(audio)))


def to_db(amplitude: float) -> float:
    return 20 * math.log10(amplitude) if amplitude > 0 else -math.inf


def from_db(level: float) -> float:
    return 10 ** (level / 20)


def integrated(audio: np.ndarray, rate: int) -> float:
    """Gated loudness in LUFS, -inf for what lies below the gates.

    A sound shorter than one block of 0.4 s is measured as a block that ends in silence.
    """
    powers = block_powers(audio, rate) @ channel_weights(len(audio))
    loud = powers[powers > _power(ABSOLUTE_GATE)]
    if not len(loud):
        return -math.inf
    loud = loud[loud > loud.mean() * 10 ** (RELATIVE_GATE / 10)]
    return OFFSET + 10 * math.log10(loud.mean())


def _power(lufs: float) -> float:
    return 10 ** ((lufs - OFFSET) / 10)


def channel_weights(channels: int) -> np.ndarray:
    """1 for each channel, but for the rear ones of 5.0 and 5.1; the LFE does not count."""
    if channels == 5:
        return np.array([1, 1, 1, SURROUND, SURROUND])
    if channels == 6:
        return np.array([1, 1, 1, 0, SURROUND, SURROUND])
    return np.ones(channels)


def block_powers(audio: np.ndarray, rate: int) -> np.ndarray:
    """Mean squares of the weighted sound in blocks of 0.4 s every 0.1 s.  (C, L) -> (blocks, C)"""
    block, length = round(BLOCK * rate), audio.shape[1]
    count = max(math.floor((length / rate - BLOCK) / HOP + 1e-6), 0) + 1
    starts = np.rint(np.arange(count) * HOP * rate).astype(int)
    edges = np.unique(np.concatenate([starts, starts + block]).clip(0, length))
    sums = np.zeros((len(audio), len(edges)))  # of squares before each edge
    done, total = 0, np.zeros((len(audio), 1))
    for part in weighted(audio, rate):
        running = np.cumsum(np.square(part), axis=1) + total
        inside = (edges > done) & (edges <= done + part.shape[1])
        sums[:, inside] = running[:, edges[inside] - done - 1]
        done, total = done + part.shape[1], running[:, -1:]
    first, last = np.searchsorted(edges, starts), np.searchsorted(edges, (starts + block).clip(0, length))
    return ((sums[:, last] - sums[:, first]) / block).T


def weighted(audio: np.ndarray, rate: int) -> Iterator[np.ndarray]:
    """The K-weighted sound (C, n), piece by piece, by fast convolution (overlap-save).

    The filter is applied as its exact frequency response, so that no recursion is needed; what wraps around in the
    transform has rung out and is dropped.
    """
    ring = math.ceil(RING * rate)
    size = 1 << (PIECE + ring - 1).bit_length()
    response, hop = _response(rate, size), size - ring
    for start in range(0, audio.shape[1], hop):
        before = min(start, ring)
        piece = audio[:, start - before : start + hop].astype(np.float64)
        filtered = np.fft.irfft(np.fft.rfft(piece, size) * response, size)
        yield filtered[:, before : piece.shape[1]]


@functools.lru_cache(maxsize=4)
def _response(rate: int, size: int) -> np.ndarray:
    """Of the K-weighting at the frequencies of a transform of ``size``."""
    z = np.exp(-2j * np.pi * np.arange(size // 2 + 1) / size)
    response = np.ones(len(z), dtype=complex)
    for b, a in k_weighting(rate):
        response *= np.polyval(b[::-1], z) / np.polyval(a[::-1], z)
    return response


def k_weighting(rate: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(b, a) of the two second-order filters of BS.1770-4 annex 1: a high shelf, then a high pass.

    The recommendation has numbers for 48 kHz only; these are the analogue prototypes that give them by the bilinear
    transform (Mansbridge, Finn, Reiss 2012, as in libebur128), so any rate gets the same curve.
    """
    k, q, gain = math.tan(math.pi * 1681.974450955533 / rate), 0.7071752369554196, 10 ** (3.999843853973347 / 20)
    middle, a0 = gain**0.4996667741545416, 1 + k / q + k * k
    shelf = (
        np.array([gain + middle * k / q + k * k, 2 * (k * k - gain), gain - middle * k / q + k * k]) / a0,
        np.array([a0, 2 * (k * k - 1), 1 - k / q + k * k]) / a0,
    )
    k, q = math.tan(math.pi * 38.13547087602444 / rate), 0.5003270373238773
    a0 = 1 + k / q + k * k
    return [shelf, (np.array([1.0, -2.0, 1.0]), np.array([a0, 2 * (k * k - 1), 1 - k / q + k * k]) / a0)]


def true_peak(audio: np.ndarray) -> float:
    """The largest magnitude of the sound (C, L) at four times its rate (annex 2)."""
    return max((float(part.max()) for part in oversampled_peaks(audio)), default=0.0)


def oversampled_peaks(audio: np.ndarray) -> Iterator[np.ndarray]:
    """For every sample the largest magnitude of any channel there and up to the next one, piece by piece: (n,)

    Values of the interpolation lie between taps 6 and 7 of its filter.
    """
    taps = PHASES.shape[1]
    half, samples = taps // 2, audio.shape[1]
    for start in range(0, samples, PIECE):
        stop = min(start + PIECE, samples)
        first, last = start - half + 1, stop + half
        piece = audio[:, max(first, 0) : min(last, samples)].astype(np.float64)
        piece = np.pad(piece, ((0, 0), (max(-first, 0), max(last - samples, 0))))
        peaks = np.abs(audio[:, start:stop]).max(axis=0).astype(np.float64)
        for channel in piece:
            windows = np.lib.stride_tricks.sliding_window_view(channel, taps)[: stop - start]
            peaks = np.maximum(peaks, np.abs(windows @ PHASES.T[::-1]).max(axis=1))
        yield peaks
