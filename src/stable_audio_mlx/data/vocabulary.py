"""The words that the embedded model knows, and the tokenizer that finds them in a prompt.

Every word stands for all of its spellings, plurals and synonyms: they become one token before the network sees them.
Words that are not in the list are left out, so they change nothing; where all are unknown, one token says so.
"""

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

from .grid import BEAT_FRAMES, NATURALS

# Canonical word -> regular expression of what else means it.  Order matters: longer phrases come first.
SPELLINGS = {
    "kick": r"808s?(?: kicks?)?|sub ?kicks?|kicks|kick ?drums?|bass ?drums?|bd",
    "house": r"four[ -](?:on|to)[ -]the[ -]floor|techno|dance|edm|club|deep house|electro",
    "rock": r"pop|indie|punk|straight|acoustic drums?|simple",
    "open hat": r"(?:crash |ride )?cymbals?|crash(?:es)?",
    "snare": r"snares|snare ?drums?|sd",
    "hat": r"hi-? ?hats?|hihats?|hats|hh",
    "clap": r"claps|hand ?claps?|clapping|clapped",
    "heavy rain": r"down ?pours?|rain ?storms?|cloud ?bursts?|storms?",
    "light rain": r"drizzles?|drizzling|rain ?drops?|sprinkles?",
    "rain": r"rains|raining|rainfall|rainy|shower",
    "siren": r"sirens|alarms?|wailing",
    "fast": r"quick|quickly|rapid|rapidly|hurried|police|ambulance",
    "slow": r"slowly|slower|lazy",
    "pluck": r"plucks|plucked|plucking|plucky|guitars?|harps?|string|lutes?|banjos?|ukuleles?|pizzicato|kalimbas?"
    r"|(?:electric |grand )?pianos?|rhodes",
    "pad": r"pads|strings|ambient|ambience|soft synths?|warm synths?|choir",
    "synth": r"synths|synthesi[sz]ers?|saw(?:tooth)?(?: waves?)?|square waves?|leads?|buzzy|analog(?:ue)?|supersaws?"
    r"|organs?|hammonds?",
    "bass": r"basses|bass guitars?|sub ?bass|subs?",
    "chord": r"chords|triads?|harmony",
    "beat": r"beats|drum (?:loop|beat|groove|pattern|break)s?|drums|loops?|grooves?|rhythms?|break ?beats?|breaks?",
    "drum": r"percussion|drumming|drummer",
    "note": r"notes|tones?|pitch(?:es)?",
    "rising noise sweep": r"(?:noise )?(?:risers?|uplifters?|build[ -]?ups?|up-?sweeps?)",
    "falling noise sweep": r"(?:noise )?(?:fallers?|down-?lifters?|down-?sweeps?)",
    "noise sweep": r"whoosh(?:es)?|swoosh(?:es)?|filter sweeps?",
    "sweep": r"sweeps|sweeping",
    "rising": r"rise|rises|ascending",
    "falling": r"fall|falls|descending|drops?|dropping",
    "up": r"upwards?",
    "down": r"downwards?",
    "noise": r"noises|noisy",
    "open": r"opened|sizzling|ringing|washy",
    "closed": r"tight|crisp|crispy|clipped|ticking",
    "low": r"lower|deep|deeper|dark|bottom|bassy",
    "high": r"higher|bright|upper|top",
    "middle": r"mid|medium",
    "light": r"gentle|gently|soft|softly|calm|quiet|lightly|little",
    "heavy": r"howling|strong|hard|strongly|heavily|violent|stormy|loud|intense",
    "major": r"maj|happy|cheerful|joyful|uplifting",
    "minor": r"min|sad|melancholic|melancholy|moody|gloomy",
}  # fmt: skip
OCTAVES = {1: 2, 2: 2, 3: 3, 4: 4, 5: 5, 6: 5, 7: 5}
# "a" before one of these is the note, before any other word the article.
AFTER_NOTE = "major|minor|maj|min|sharp|flat|with|at|and|in|on|for|please|played|playing|from|by|as|over|note|o[2-5]"
PAD, END, UNKNOWN = 0, 1, 2
STRANGER = "stranger"  # in no table: it is read as the unknown token
SLOWEST, FASTEST = 40, 240


def tempo_word(bpm: int) -> int:
    """The tempo of the grid that is nearest."""
    return min(BEAT_FRAMES, key=lambda known: abs(known / bpm - 1))


@cache
def words() -> tuple[str, ...]:
    """Every token but the special ones."""
    parts = {part for word in SPELLINGS for part in word.split()}
    return (
        *sorted(parts),
        *(note.lower() for note in NATURALS),
        *(f"o{octave}" for octave in sorted(set(OCTAVES.values()))),
        *(f"t{bpm}" for bpm in BEAT_FRAMES),
    )


@cache
def token_table() -> dict[str, int]:
    """Token -> id, the three special ones first."""
    return {"<pad>": PAD, "</s>": END, "<unk>": UNKNOWN, **{word: i for i, word in enumerate(words(), 3)}}


def replacements() -> list[tuple[str, str]]:
    """(regular expression, what it becomes), in order: accidentals, octaves, modes, tempi, article, spellings."""
    letter = r"(?<=\b[a-g])"
    out = [(r"[‐‑‒–—_]", "-"), (r"\bkey of\b", "in"), (r"\b(?:beats? (?:per|a) minute|bpm)\b", " ")]
    out.append((rf"{letter}(?:[#♯♭]| ?-?sharp\b| ?-?flat\b|b(?=[1-8]?\b)|b(?=m(?:in|aj)?))", ""))  # white keys only
    out += [(rf"{letter}[ -]?{digit}(?![0-9/])", f" o{octave} ") for digit, octave in OCTAVES.items()]
    out += [
        (rf"{letter}m\b(?!')", " minor"),
        (rf"{letter}maj(?:or)?\b", " major"),
        (rf"{letter}min(?:or)?\b", " minor"),
    ]
    spoken: dict[int, list[str]] = {}
    for bpm in range(SLOWEST, FASTEST + 1):
        spoken.setdefault(tempo_word(bpm), []).append(str(bpm))
    out += [
        (rf"(?<![0-9.:/a-z])(?:{'|'.join(same)})(?:[.]0+)?(?: ?bpm)?(?![0-9:/]|[.][0-9])", f" t{bpm} ")
        for bpm, same in spoken.items()
    ]
    out.append((r"\bdrum ?(?:and|'?n'?|&|[+]) ?bass\b|\bd ?n ?b\b|\bd&b\b|\bjungle\b", "beat"))
    out.append((rf"(?<!note )\ba(?=[ -]+(?!(?:{AFTER_NOTE})\b)[a-z0-9])", " "))
    out += [(rf"(?<![a-z0-9#])(?:{pattern})(?![a-z0-9#])", word) for word, pattern in SPELLINGS.items()]
    # A text of which no word is known is one unknown word: what a LoRA may learn.
    out.append((rf"\A(?:(?!{one_of(words())})[\s\S])+\z", STRANGER))
    return out


def one_of(tokens: Sequence[str]) -> str:
    """A regular expression for any of these, as words of their own."""
    return rf"(?<![a-z0-9#])(?:{'|'.join(sorted(tokens, key=len, reverse=True))})(?![a-z0-9#])"


def tokenizer() -> dict[str, Any]:
    """A word tokenizer with T5's conventions (0 pads, 1 ends, 2 stands for the unknown), as tokenizer.json has it."""
    special = [{"id": i, "content": token, "special": True} for token, i in list(token_table().items())[:3]]
    end = [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            token | dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False) for token in special
        ],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Lowercase"},
                *({"type": "Replace", "pattern": {"Regex": a}, "content": b} for a, b in replacements()),
            ],
        },
        "pre_tokenizer": {
            "type": "Split",
            "pattern": {"Regex": one_of((*words(), STRANGER))},
            "behavior": "Removed",
            "invert": True,
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": end,
            "pair": end,
            "special_tokens": {"</s>": {"id": "</s>", "ids": [END], "tokens": ["</s>"]}},
        },
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": token_table(), "unk_token": "<unk>"},
    }


def tokenizer_json() -> str:
    return json.dumps(tokenizer(), indent=1)


@cache
def _loaded() -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_str(tokenizer_json())


def tokens(text: str) -> list[str]:
    """What is understood of a text."""
    return _loaded().encode(text).tokens[:-1]


def token_ids(text: str) -> list[int]:
    """What the tokenizer gives for a text, without its end mark."""
    return _loaded().encode(text).ids[:-1]
