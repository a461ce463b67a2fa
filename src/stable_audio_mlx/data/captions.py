"""Words for the sounds of ``synth``: several ways to ask for each, and the tokenizer that reads them."""

import json
import re
from functools import cache

import numpy as np

from .synth import Sound, vocabulary

OCTAVE_WORDS = {2: ("low", "deep"), 3: ("low", "deep"), 4: ("middle", "mid"), 5: ("high", "bright")}
WHOLE = {
    "kick": ("kick drum", "kick", "bass drum", "deep kick drum", "kick drum hit"),
    "snare": ("snare drum", "snare", "snare hit", "snappy snare drum"),
    "closed hat": ("hi-hat", "closed hi-hat", "tight hi-hat", "hihat", "closed hat"),
    "open hat": ("open hi-hat", "open hat", "open hihat", "long open hi-hat"),
    "clap": ("clap", "hand clap", "hand claps", "handclap"),
    "sweep up": ("noise sweep up", "rising noise sweep", "noise riser", "upward whoosh", "noise sweep", "riser"),
    "sweep down": ("noise sweep down", "falling noise sweep", "downward whoosh", "noise faller", "downlifter"),
    "rain light": ("light rain", "rain", "rain falling", "gentle rain", "soft rain falling"),
    "rain heavy": ("heavy rain", "heavy rain falling", "strong rain", "rain storm", "downpour"),
    "siren slow": ("slow siren", "siren", "slow alarm siren", "siren wailing slowly"),
    "siren fast": ("fast siren", "fast alarm siren", "police siren", "alarm", "siren wailing fast"),
}
BEATS = {
    "house": ("house beat", "four on the floor beat", "techno beat", "dance beat", "house drum loop"),
    "rock": ("rock beat", "drum beat", "rock drum loop", "drum loop", "beat"),
}
NOTE_TEMPLATES = ("{p} {w}", "{w} note {p}", "{w} playing {p}", "{w} in {p}", "{w}, {p}")
NOTE_WORDS = {
    "bass": ("bass", "bass guitar", "synth bass", "deep bass", "low bass"),
    "synth": ("synth", "saw synth", "sawtooth synth", "synth lead", "buzzy synth"),
    "pluck": ("pluck", "plucked string", "guitar", "plucked guitar", "harp"),
}
UNNAMED = {"bass": "bass note", "synth": "{o} synth note", "pluck": "{o} plucked string"}
PADS = ("{r} {m} chord", "{r} {m} pad", "warm pad, {r} {m}", "{r} {m} chord pad", "slow ambient pad in {r} {m}")
FRAMES = ("{}", "{}", "a {}", "the sound of a {}", "a single {}", "{} sound", "one {}", "{}, please", "{}, clean")
BARE_FRAMES = ("{}", "{} sound", "one {}", "{}, please", "{}, clean")
STRANGERS = ("xylograph", "quux", "vorpal")  # words outside the vocabulary: they must not matter
WORD = "[a-z]+|[0-9]+"
PAD, END, UNKNOWN = 0, 1, 2


def caption(sound: Sound, rng: np.random.Generator) -> str:
    """One of the ways to ask for ``sound``.

    What is left out has a usual value: octave 4, note C, a major chord on C, 120 beats a minute.
    """
    text = _core(sound, rng)
    # "a minor chord" is A minor: a chord without a root takes no article.
    article = sound.kind != "pad" or text[:2] not in ("ma", "mi")
    if rng.random() < 0.5:
        text = _pick(rng, FRAMES if article else BARE_FRAMES).format(text)
    if rng.random() < 0.15:
        text = f"{_pick(rng, STRANGERS)} {text}" if rng.random() < 0.5 else f"{text} {_pick(rng, STRANGERS)}"
    return text


def _core(sound: Sound, rng: np.random.Generator) -> str:
    if sound.kind == "beat":
        words = _pick(rng, BEATS[sound.style])
        if sound.bpm == 120 and rng.random() < 0.3:
            return words
        return _pick(rng, ("{w} at {b} bpm", "{b} bpm {w}", "{w}, {b} bpm")).format(w=words, b=sound.bpm)
    if sound.kind == "pad":
        root, mode = sound.note.split()
        if root == "C" and rng.random() < 0.3:
            return _pick(rng, (f"{mode} chord", f"{mode} chord pad", *(("chord pad", "warm pad") * (mode == "major"))))
        return _pick(rng, PADS).format(r=root.lower(), m=mode)
    if sound.kind in NOTE_WORDS:
        return _note(sound, rng)
    return _pick(rng, WHOLE[f"{sound.kind} {sound.style}".strip()])


def _note(sound: Sound, rng: np.random.Generator) -> str:
    words, octave = _pick(rng, NOTE_WORDS[sound.kind]), _pick(rng, OCTAVE_WORDS[sound.octave])
    if sound.note == "C" and rng.random() < 0.3:
        return UNNAMED[sound.kind].format(o=octave)
    pitch, way = sound.note.lower(), rng.random()
    if sound.kind == "bass" or (sound.octave == 4 and way < 0.3):
        pitch = pitch if rng.random() < 0.7 else f"{pitch}{sound.octave}"
    elif way < 0.7:
        pitch = f"{pitch}{sound.octave}"
    else:
        words = f"{octave} {words}"
    # "a bass" is any bass, not one that plays A.
    return _pick(rng, NOTE_TEMPLATES[pitch == "a" :]).format(w=words, p=pitch)


def _pick(rng: np.random.Generator, items: tuple[str, ...]) -> str:
    return items[rng.integers(len(items))]


@cache
def words() -> tuple[str, ...]:
    """Every word that a caption can hold, but for the strangers."""
    rng = np.random.default_rng(0)
    found = {w for s in vocabulary() for _ in range(300) for w in split(caption(s, rng))}
    return tuple(sorted(found - set(STRANGERS)))


def split(text: str) -> list[str]:
    """Runs of letters and runs of digits, in lower case."""
    return re.findall(WORD, text.lower())


@cache
def token_table() -> dict[str, int]:
    """Word -> token id, the three special tokens first."""
    return {"<pad>": PAD, "</s>": END, "<unk>": UNKNOWN, **{word: i for i, word in enumerate(words(), 3)}}


def token_ids(text: str) -> list[int]:
    """What the tokenizer gives for a text, without its end mark."""
    return [token_table().get(word, UNKNOWN) for word in split(text)]


def tokenizer_json() -> str:
    """A word tokenizer with T5's conventions (0 pads, 1 ends, 2 stands for the unknown) as a tokenizer.json."""
    table = token_table()
    return json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [
                {"id": i, "content": token, "special": True}
                | dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
                for token, i in list(table.items())[:3]
            ],
            "normalizer": {"type": "Lowercase"},
            "pre_tokenizer": {
                "type": "Split",
                "pattern": {"Regex": WORD},
                "behavior": "Removed",
                "invert": True,
            },
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}],
                "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}],
                "special_tokens": {"</s>": {"id": "</s>", "ids": [END], "tokens": ["</s>"]}},
            },
            "decoder": None,
            "model": {"type": "WordLevel", "vocab": table, "unk_token": "<unk>"},
        },
        indent=1,
    )
