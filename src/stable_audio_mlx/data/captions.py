"""Captions of the sounds of ``synth``: many ways to ask for each.

What is left out has a usual value: octave 4, note C, a C major chord, 120 beats a minute, a rock beat.
"""

import numpy as np

from .synth import Sound
from .voices import HITS

OCTAVE_WORDS = {2: ("low", "deep"), 3: ("low", "deep"), 4: ("middle", "mid"), 5: ("high", "bright")}
WHOLE = {
    "kick": ("kick drum", "kick", "bass drum", "kick drum hit", "punchy kick", "drum kick"),
    "snare": ("snare drum", "snare", "snare hit", "snappy snare drum", "drum snare"),
    "closed hat": ("hi-hat", "closed hi-hat", "tight hi-hat", "hihat", "closed hat", "hat closed", "short crisp hat"),
    "open hat": ("open hi-hat", "open hat", "long open hi-hat", "hat open", "washy open hat"),
    "clap": ("clap", "hand clap", "drum clap", "clap hit"),
    "sweep up": ("noise sweep up", "rising noise sweep", "noise riser", "upward whoosh", "noise sweep", "riser"),
    "sweep down": ("noise sweep down", "falling noise sweep", "downward whoosh", "noise faller", "downlifter"),
    "rain light": ("light rain", "rain", "rain falling", "gentle rain", "soft rain falling", "slow light rain"),
    "rain heavy": ("heavy rain", "heavy rain falling", "strong rain", "rain storm", "downpour", "rain, heavy"),
    "siren slow": ("slow siren", "siren", "slow alarm siren", "siren wailing slowly", "siren, slow"),
    "siren fast": ("fast siren", "fast alarm siren", "police siren", "siren wailing fast", "siren, fast"),
}  # fmt: skip
BEATS = {
    "house": (
        "house beat",
        "four on the floor beat",
        "techno beat",
        "dance beat",
        "house drum loop",
        "house",
        "techno",
    ),
    "rock": ("rock beat", "drum beat", "rock drum loop", "drum loop", "beat", "rock", "simple pop beat", "drums"),
}
NOTE_TEMPLATES = ("{p} {w}", "{w} note {p}", "{w} playing {p}", "{w} in {p}", "{w}, {p}", "{p} on {w}", "{p}, {w}")
NOTE_WORDS = {
    "bass": ("bass", "bass guitar", "synth bass", "deep bass", "low bass", "bass note"),
    "synth": ("synth", "saw synth", "sawtooth synth", "synth lead", "buzzy synth"),
    "pluck": ("pluck", "plucked string", "guitar", "plucked guitar", "harp", "guitar string"),
}
UNNAMED = {"bass": "bass note", "synth": "{o} synth note", "pluck": "{o} plucked string"}
PADS = ("{c} chord", "{c} pad", "pad, {c}", "{c} chord pad", "slow ambient pad in {c}", "soft pad chord in {c}")
FRAMES = ("{}", "{}", "a {}", "the sound of a {}", "a single {}", "one {} please", "{}, clean", "{} with a drum")
PLAIN_FRAMES = ("{}", "{}", "{}, clean", "{} sound")
IN_TIME = ("{} at {b} bpm", "{b} bpm {}", "{}, {b} bpm", "{b} {}")


def caption(sound: Sound, rng: np.random.Generator) -> str:
    """One of the ways to ask for ``sound``."""
    text = _core(sound, rng)
    if sound.kind in HITS:
        text = _pick(rng, FRAMES[: len(FRAMES) - 1] if rng.random() < 0.5 else ("{}",)).format(text)
        if rng.random() < 0.12:  # a tempo or a key does not make a beat of it
            text = _at(text, int(rng.integers(60, 180)), rng)
        elif rng.random() < 0.05:
            text = f"{text} in {_pick(rng, ('c', 'f#', 'e minor', 'a'))}"
    elif not sound.bpm and rng.random() < 0.06:
        text = _at(text, int(rng.integers(60, 180)), rng)
    elif not sound.note and rng.random() < 0.3:
        text = _pick(rng, FRAMES[:7]).format(text)
    return text


def _at(text: str, bpm: int, rng: np.random.Generator) -> str:
    return _pick(rng, IN_TIME).format(text, b=bpm)


def _core(sound: Sound, rng: np.random.Generator) -> str:
    if sound.kind == "beat":
        words = _pick(rng, BEATS[sound.style])
        return words if sound.bpm == 120 and rng.random() < 0.25 else _at(words, sound.bpm, rng)
    if sound.kind == "pad":
        return _chord(sound, rng)
    if sound.kind in NOTE_WORDS:
        return _note(sound, rng)
    return _pick(rng, WHOLE[f"{sound.kind} {sound.style}".strip()])


def _chord(sound: Sound, rng: np.random.Generator) -> str:
    root, mode = sound.note.split()
    if root == "C" and rng.random() < 0.3:
        return _pick(rng, (f"{mode} chord", f"{mode} pad", *(("chord", "pad") * (mode == "major"))))
    # "a chord" is any chord, not one on A.
    short = mode == "major" and root != "A" and rng.random() < 0.15
    return _pick(rng, PADS).format(c=root if short else f"{root} {mode}")


def _note(sound: Sound, rng: np.random.Generator) -> str:
    words, octave = _pick(rng, NOTE_WORDS[sound.kind]), _pick(rng, OCTAVE_WORDS[sound.octave])
    if sound.note == "C" and rng.random() < 0.3:
        text = UNNAMED[sound.kind].format(o=octave)
        return text if sound.octave != 4 or rng.random() < 0.5 else text.replace(octave, "").strip()
    pitch, way = sound.note, rng.random()
    if sound.kind == "bass" or (sound.octave == 4 and way < 0.3):
        pitch = pitch if rng.random() < 0.7 else f"{pitch}{sound.octave}"
    elif way < 0.7:
        pitch = f"{pitch}{sound.octave}"
    else:
        words = f"{octave} {words}"
    # "a bass" is any bass, not one that plays A.
    return _pick(rng, NOTE_TEMPLATES[pitch == "A" :]).format(w=words, p=pitch)


def _pick(rng: np.random.Generator, items: tuple[str, ...]) -> str:
    return items[rng.integers(len(items))]
