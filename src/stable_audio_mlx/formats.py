"""The formats of sound files: what each can hold.

Only the standard library is imported here, as in ``options``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import OptionError

MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
OPUS_RATES = (8000, 12000, 16000, 24000, 48000)


@dataclass(frozen=True)
class Format:
    """``subtypes`` by bit depth, the best first (None: it has no bit depth); ``rates`` it can hold, any if empty.

    ``compression``: from 0, the best sound, to 1, as libsndfile counts; None where nothing is lost.
    """

    container: str
    subtypes: Mapping[str | None, str]
    rates: Sequence[int] = ()
    channels: int = 8
    highest: int = 655_350  # rate
    compression: float | None = None

    @property
    def best(self) -> str | None:
        return next(iter(self.subtypes))

    def rate_for(self, rate: int) -> int:
        """The rate of a file for a sound of ``rate``: the same, else the next higher one, else the highest."""
        if not self.rates or rate in self.rates:
            return min(rate, self.highest)
        return min((r for r in self.rates if r > rate), default=max(self.rates))


PCM: dict[str | None, str] = {"24": "PCM_24", "16": "PCM_16"}
FORMATS = {
    ".wav": Format("WAV", {"32f": "FLOAT", "24": "PCM_24", "16": "PCM_16"}),
    ".flac": Format("FLAC", PCM),
    ".aiff": Format("AIFF", PCM),
    ".aif": Format("AIFF", PCM),
    ".ogg": Format("OGG", {None: "VORBIS"}, highest=192_000, compression=0.3),
    ".opus": Format("OGG", {None: "OPUS"}, OPUS_RATES, compression=0.6),
    ".mp3": Format("MP3", {None: "MPEG_LAYER_III"}, MP3_RATES, channels=2, compression=0.0),
}


def check_format(path: Path, bit_depth: str | None = None, channels: int = 1) -> Format:
    """The format of the extension; OptionError for a bit depth or channels that it cannot hold."""
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise OptionError(f"{path}: unknown format {path.suffix!r}; use {', '.join(FORMATS)}")
    found = FORMATS[suffix]
    if bit_depth is not None and bit_depth not in found.subtypes:
        depths = [depth for depth in found.subtypes if depth]
        can = f"can have {' or '.join(depths)}" if depths else "has none"
        raise OptionError(f"bit_depth: {bit_depth}, but {suffix} {can}")
    if channels > found.channels:
        raise OptionError(f"{path}: {channels} channels, but {suffix} can have {found.channels}; use .wav or .flac")
    return found


def gain_for(peak: float, depth: str | None) -> float:
    """What a sound is turned down by so that nothing is clipped: 1 where it fits, and always for float."""
    if depth == "32f" or not peak:
        return 1.0
    steps = {"16": 2, "24": 1}.get(depth or "", 0)  # the topmost value, and dither
    return min(1.0, (1 - steps / 2 ** (int(depth or 1) - 1)) / peak)
