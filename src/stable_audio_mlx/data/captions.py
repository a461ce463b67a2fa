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
    "sub kick": ("808", "808 kick", "808 bass", "808 kick drum", "low 808", "sub kick", "808 drum"),
    "low tom": ("low tom", "floor tom low", "tom low", "deep tom drum", "low tom drum", "drum tom low"),
    "high tom": ("high tom", "tom high", "high tom drum", "bright tom", "drum tom high"),
    "crash": ("crash cymbal", "crash", "cymbal", "drum cymbal crash", "loud crash cymbal", "long crash"),
    "cowbell": ("cowbell", "cowbell hit", "high cowbell", "drum cowbell"),
    "rimshot": ("rimshot", "rimshot hit", "snare rimshot", "drum rim shot", "short rimshot", "tight rimshot"),
    "sweep up": ("noise sweep up", "rising noise sweep", "noise riser", "upward whoosh", "noise sweep", "riser"),
    "sweep down": ("noise sweep down", "falling noise sweep", "downward whoosh", "noise faller", "downlifter"),
    "rain light": ("light rain", "rain", "rain falling", "gentle rain", "soft rain falling", "slow light rain"),
    "rain heavy": ("heavy rain", "heavy rain falling", "strong rain", "rain storm", "downpour", "rain, heavy"),
    "siren slow": ("slow siren", "siren", "slow alarm siren", "siren wailing slowly", "siren, slow"),
    "siren fast": ("fast siren", "fast alarm siren", "police siren", "siren wailing fast", "siren, fast"),
    "wind light": ("light wind", "wind", "gentle wind", "breeze", "soft wind blowing", "low wind"),
    "wind heavy": ("heavy wind", "strong wind", "wind storm", "howling wind", "gale", "wind, heavy"),
    "waves": ("ocean waves", "waves", "sea waves", "waves rising and falling", "heavy surf", "gentle waves"),
    "thunder": ("thunder", "thunderstorm", "heavy thunder", "low thunder", "thunder and rain", "thunder boom"),
    "impact": ("impact", "deep impact", "boom", "low impact hit", "heavy boom", "explosion", "bass impact"),
    "static": ("white noise", "static", "static noise", "noise", "white noise hiss"),
    "bleep high": ("bleep", "high bleep", "beep", "short high beep", "bleep tone", "bright blip"),
    "bleep low": ("low bleep", "low beep", "deep blip", "short low beep", "low bleep tone"),
    "beeping": ("alarm clock", "beeps", "fast beeps", "alarm clock beeping", "beeping alarm", "high beeps"),
    "laser": ("laser", "laser zap", "falling laser", "zap", "synth laser", "short laser zap", "laser noise"),
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
    "disco": ("disco beat", "disco drum loop", "funky disco", "disco", "disco beat with open hats", "funk beat"),
    "hip hop": ("hip hop beat", "boom bap beat", "hip hop drum loop", "hip hop", "lo-fi hip hop beat", "rap beat"),
    "drum and bass": ("drum and bass", "drum and bass beat", "dnb drum loop", "fast jungle break", "jungle drums"),
    "trap": ("trap beat", "trap", "trap drum loop", "808 trap beat", "drill beat", "trap beat with 808"),
    "latin": ("latin beat", "reggaeton beat", "latin drum loop", "reggaeton", "latin beat with cowbell"),
}
NOTE_TEMPLATES = ("{p} {w}", "{w} note {p}", "{w} playing {p}", "{w} in {p}", "{w}, {p}", "{p} on {w}", "{p}, {w}")
NOTE_WORDS = {
    "bass": ("bass", "bass guitar", "synth bass", "deep bass", "low bass", "bass note"),
    "synth": ("synth", "saw synth", "sawtooth synth", "synth lead", "buzzy synth"),
    "pluck": ("pluck", "plucked string", "guitar", "plucked guitar", "harp", "guitar string"),
    "piano": ("piano", "electric piano", "piano key", "soft piano"),
}
UNNAMED = {"bass": "bass note", "synth": "{o} synth note", "pluck": "{o} plucked string"}
UNNAMED |= {"piano": "{o} piano note"}
CHORDS = {
    "pad": ("{c} chord", "{c} pad", "pad, {c}", "{c} chord pad", "slow ambient pad in {c}", "soft pad chord in {c}"),
    "piano chord": ("{c} piano chord", "piano chord in {c}", "piano, {c}", "piano chord, {c}", "{c} chord on piano"),
    "progression": ("chord progression in {c}", "{c} chord progression", "pad progression, {c}", "{c} progression"),
    "arpeggio": ("{c} arpeggio", "arpeggio in {c}", "plucked arpeggio in {c}", "arpeggio, {c}", "guitar arpeggio {c}"),
}
ROOTLESS = {"pad": ("{m} chord", "{m} pad"), "piano chord": ("{m} piano chord", "piano chord {m}")}
ROOTLESS |= {"progression": ("{m} chord progression",), "arpeggio": ("{m} arpeggio", "arpeggio {m}")}
BASS_LINES = ("bass line in {p}", "{p} bass line", "bass line, {p}", "bass guitar line in {p}", "deep bass line in {p}")
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
    if sound.kind in CHORDS:
        return _chord(sound, rng)
    if sound.kind == "bass line":
        text = _pick(rng, BASS_LINES if sound.note != "A" else BASS_LINES[:1] + BASS_LINES[2:]).format(p=sound.note)
        if sound.note == "C" and rng.random() < 0.3:
            text = "bass line"
        return text if sound.bpm == 120 and rng.random() < 0.3 else _at(text, sound.bpm, rng)
    if sound.kind in NOTE_WORDS:
        return _note(sound, rng)
    return _pick(rng, WHOLE[f"{sound.kind} {sound.style}".strip()])


def _chord(sound: Sound, rng: np.random.Generator) -> str:
    root, mode = sound.note.split()
    short = mode == "major" and root != "A" and sound.kind in ("pad", "arpeggio") and rng.random() < 0.15
    named = root if short else f"{root} {mode}"  # "a chord" is any chord
    if root == "C" and rng.random() < 0.3:
        text = _pick(rng, ROOTLESS[sound.kind]).format(m=mode if mode == "minor" or rng.random() < 0.5 else "").strip()
    else:
        text = _pick(rng, CHORDS[sound.kind]).format(c=named)
    if sound.kind == "arpeggio" and not (sound.bpm == 120 and rng.random() < 0.3):
        text = _at(text, sound.bpm, rng)
    return text


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
