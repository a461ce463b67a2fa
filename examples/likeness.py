"""How far sounds are from the sounds of a folder: the distance of each to the one that it is most like, in dB.

python examples/likeness.py glasses plain.wav with_lora.wav

A sound's spectrum is its mean level in third-octave bands, below that of the loudest; 40 dB lower is silence.
"""

import sys
from pathlib import Path

import numpy as np

from stable_audio_mlx import audio

BANDS = 100 * 2 ** (np.arange(24) / 3)  # Hz, lower edges: 100 Hz to 20 kHz
DEPTH = 40.0


def spectrum(path: Path) -> np.ndarray:
    samples, rate = audio.read(path)
    power = np.abs(np.fft.rfft(samples.mean(axis=0))) ** 2
    frequencies = np.fft.rfftfreq(samples.shape[1], 1 / rate)
    levels = [power[(frequencies >= low) & (frequencies < 2 ** (1 / 3) * low)].sum() for low in BANDS]
    decibels = 10 * np.log10(np.array(levels) + 1e-20)
    return np.maximum(decibels - decibels.max(), -DEPTH)


def main(folder: str, *files: str) -> None:
    clips = [spectrum(path) for path in sorted(Path(folder).glob("*.wav"))]
    for file in files:
        distance = min(np.abs(spectrum(Path(file)) - clip).mean() for clip in clips)
        print(f"{file}: {distance:.1f} dB")


if __name__ == "__main__":
    main(*sys.argv[1:])
