"""A sound that knows how it was made: what the pipeline hands out, finished, saved and played."""

import base64
import dataclasses
import html
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..audio import Written, check, loudness, match_channels, write
from ..audio.encoding import encode
from ..audio.finishing import faded, heard, levelled, levelled_loop
from ..audio.player import play
from ..errors import SanityError
from ..files import SIDECAR, check_output, written_whole
from ..formats import check_format, gain_for
from ..options import FinishOptions
from .metadata import chunks, texts

SILENCE = 1e-4  # RMS of a clip: -80 dB below full scale


@dataclass(frozen=True, eq=False)
class Sound:
    """``audio``: NumPy (channels, samples), float32; ``record``: all that made it, JSON-able; ``notes``: for the user.

    ``bit_depth`` is what it is saved in, None for the best of the format.  AudioError for what cannot be sound.
    """

    audio: np.ndarray
    sample_rate: int
    record: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    bit_depth: str | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "audio", check(self.audio, self.sample_rate))

    @property
    def seconds(self) -> float:
        return self.audio.shape[1] / self.sample_rate

    @cached_property
    def levels(self) -> loudness.Levels:
        """Integrated loudness, sample peak and true peak (ITU-R BS.1770-4)."""
        return loudness.measure(self.audio, self.sample_rate)

    def save(self, path: str | Path, overwrite: bool = False, metadata: bool = False) -> Written:
        """Write the sound in the format of the extension, with ``metadata`` also its record into ``<stem>.json``.

        OptionError for what the format cannot hold and for a file that exists, unless ``overwrite``.
        """
        path = check_output(path, overwrite)
        sidecar = check_output(path.with_suffix(SIDECAR), overwrite, (SIDECAR,)) if metadata else None
        form = check_format(path, self.bit_depth, len(self.audio))
        gain = gain_for(float(np.abs(self.audio).max()), self.bit_depth or form.best)
        levels, suffix = self.levels.turned(loudness.to_db(gain)), path.suffix.lower()
        beside = chunks(self.record, self.sample_rate, self.audio.shape[1], levels) if suffix == ".wav" else []
        said = texts(self.record, suffix)
        written = write(path, self.audio, self.sample_rate, overwrite, self.bit_depth, said, beside)
        if sidecar:
            record = {"path": path.name, **self.record, **self.levels.turned(loudness.to_db(written.gain)).facts()}
            with written_whole(sidecar) as part:
                part.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return written

    def play(self) -> None:
        """Play the sound and wait for its end; ``PlayError`` where nothing can play it."""
        play(self.wav16())

    def wav16(self) -> bytes:
        """A 16-bit WAV file for players and pages, turned down where it would clip."""
        peak = float(np.abs(self.audio).max())
        return encode(self.audio * np.float32(gain_for(peak, "16")), self.sample_rate, ".wav", "16", {}, ())

    def _repr_html_(self) -> str:
        """A player for notebooks."""
        data = base64.b64encode(self.wav16()).decode()
        seed = f", seed {self.record['seed']}" if "seed" in self.record else ""
        title = html.escape(f"{self.record.get('prompt', '')}{seed}, {self.seconds:.4g} s")
        player = f'<audio controls src="data:audio/wav;base64,{data}"></audio>'
        return f"<figure><figcaption>{title}</figcaption>{player}</figure>"


def finish(sound: Sound, options: FinishOptions) -> Sound:
    """``sound`` with everything done to it that ``options`` ask, which its record then holds.

    OptionError for what would break a loop, SanityError where nothing is left to hear.
    """
    given = {f.name: v for f in dataclasses.fields(options) if (v := getattr(options, f.name)) != f.default}
    if not given:
        return sound
    if sound.record.get("loop"):
        options.check_loop()
    samples, rate, notes = sound.audio, sound.sample_rate, list(sound.notes)
    if options.mono:
        samples = match_channels(samples, 1)
        if silent(samples):
            raise SanityError("the channels cancel each other out, their mean is silent; leave mono out")
    facts: dict[str, Any] = {}
    if options.trim_silence:
        start, stop = heard(samples, rate)
        samples, facts["trimmed"] = samples[:, start:stop], [start / rate, stop / rate]
    if options.fade_in or options.fade_out:
        longest = samples.shape[1] / rate
        if max(options.fade_in, options.fade_out) > longest:
            notes.append(f"a fade is longer than the sound; it takes all of its {longest:.3g} s")
        samples = faded(samples, rate, options.fade_in, options.fade_out)
    around = sound.record.get("loop") and options.limit is not None
    samples, gain, limited = (levelled_loop if around else levelled)(samples, rate, options.target, options.limit)
    if gain:
        facts["gain_db"] = round(gain, 3)
    if limited:
        notes.append(f"limited by up to {limited:.1f} dB to {options.limit:g} dBTP")
    notes += missed(samples, rate, options)
    record = {**sound.record, **given, **facts}
    return replace(
        sound, audio=samples, record=record, bit_depth=options.bit_depth or sound.bit_depth, notes=tuple(notes)
    )


def missed(samples: np.ndarray, rate: int, options: FinishOptions) -> list[str]:
    """What to say where a loudness was asked for that is not reached."""
    if options.target is None or options.target[0] != "lufs":
        return []
    level, wanted = loudness.integrated(samples, rate), options.target[1]
    if not np.isfinite(level):
        return [f"too quiet for its loudness to be measured; not brought to {wanted:g} LUFS"]
    if abs(level - wanted) <= 0.1:
        return []
    why = "its peaks reach full scale; --limit takes them down, so that it can be louder"
    why = why if options.limit is None else "its peaks would have to be limited too much"
    return [f"{level:.1f} LUFS instead of {wanted:g}: {why}"]


def check_sound(clip: np.ndarray, samples: int) -> None:
    """SanityError for what must not be handed out as a success: not finite, silent or of the wrong length."""
    if clip.shape[1] != samples:
        raise SanityError(f"the model made {clip.shape[1]} samples instead of {samples}; its config does not fit it")
    if not np.isfinite(clip).all():
        raise SanityError("the sound is not finite: try --dtype float32 or convert the model again")
    if silent(clip):
        raise SanityError(
            "the sound is silent: try another seed or prompt, a lower cfg scale or the model's own sampler"
        )


def silent(clip: np.ndarray) -> bool:
    return bool(np.sqrt(np.mean(np.square(clip, dtype=np.float64))) < SILENCE)
