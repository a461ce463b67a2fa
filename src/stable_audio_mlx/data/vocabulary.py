"""The words that the embedded model knows, and the tokenizer that finds them in a prompt.

Every word stands for all of its spellings, plurals and synonyms: they become one token before the network sees them.
Words that are not in the list are left out, so they change nothing; where all are unknown, one token says so.
"""

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

from .grid import EIGHTHS, NOTES

# Canonical word -> regular expression of what else means it.  Order matters: longer phrases come first.
SPELLINGS = {
    "808": r"808s|sub ?kicks?|sub ?bass drums?|boomy kicks?|long kicks?",
    "kick": r"kicks|kick ?drums?|bass ?drums?|bd",
    "progression": r"progressions|chord (?:sequence|changes|loop)s?|cadences?",
    "drum and bass": r"drum ?(?:and|'?n'?|&|[+]) ?bass|d ?n ?b|d&b|jungle|liquid",
    "hip hop": r"hip-?hop|boom[ -]?bap|rap|lo-?fi|lo fi",
    "house": r"four[ -](?:on|to)[ -]the[ -]floor|techno|dance|edm|club|deep house|electro",
    "latin": r"reggaeton|dembow|salsa|tresillo|cumbia|tropical",
    "disco": r"funk|funky|nu-?disco",
    "rock": r"pop|indie|punk|straight|acoustic drums?|simple",
    "trap": r"drill|phonk",
    "static": r"white ?noise|hiss|hissing|radio noise",
    "bassline": r"bass(?: guitar)?[ -]lines?|basslines|bass[ -](?:riff|groove|pattern|loop)s?",
    "arpeggio": r"arpeggios|arpeggiated|arpeggiator|arps?|broken chords?",
    "snare": r"snares|snare ?drums?|sd",
    "rimshot": r"rim ?shots?|rim ?clicks?|rims?|side[ -]?sticks?|cross[ -]?sticks?|wood ?blocks?",
    "cowbell": r"cow ?bells?",
    "crash": r"crashes|crash cymbals?|(?:ride )?cymbals?|splash(?:es)?|cymbal crash(?:es)?|gongs?",
    "hat": r"hi-? ?hats?|hihats?|hats|hh",
    "clap": r"claps|hand ?claps?|clapping|clapped",
    "tom": r"toms|tom-? ?toms?|floor toms?|congas?|bongos?|timpani",
    "waves": r"wave|oceans?|sea|surf|beach|shore|sea ?side",
    "thunder": r"thunder ?storms?|thunder ?claps?|lightning|thunders",
    "heavy rain": r"down ?pours?|rain ?storms?|cloud ?bursts?|storms?",
    "light rain": r"drizzles?|drizzling|rain ?drops?|sprinkles?",
    "light wind": r"breezes?|breezy",
    "heavy wind": r"gales?|howling winds?|gusts?|hurricanes?|blizzards?",
    "rain": r"rains|raining|rainfall|rainy|shower",
    "wind": r"winds|windy|blowing",
    "impact": r"impacts|booms?|explosions?|explosive|slams?|braams?|thuds?|cinematic hits?",
    "beeping": r"alarm ?clocks?|beeps|beep beep|digital alarms?|smoke detectors?",
    "bleep": r"bleeps|beep|blips?|pings?|ui sounds?|notifications?|coins?",
    "laser": r"lasers|lazers?|zaps?|pew|blasters?|ray ?guns?",
    "siren": r"sirens|alarms?|wailing",
    "fast": r"quick|quickly|rapid|rapidly|hurried|police|ambulance",
    "slow": r"slowly|slower|lazy",
    "piano": r"pianos|electric pianos?|e-?pianos?|rhodes|keys|keyboards?|grand pianos?"
    r"|bells?|chimes?|glockenspiels?|vibraphones?|celestas?|music ?box(?:es)?|marimbas?",
    "pluck": r"plucks|plucked|plucking|plucky|guitars?|harps?|string|lutes?|banjos?|ukuleles?|pizzicato|kalimbas?",
    "pad": r"pads|strings|ambient|ambience|soft synths?|warm synths?|choir",
    "synth": r"synths|synthesi[sz]ers?|saw(?:tooth)?(?: waves?)?|square waves?|leads?|buzzy|analog(?:ue)?|supersaws?"
    r"|organs?|hammonds?|trumpets?|brass|violins?",
    "bass": r"basses|bass guitars?|sub ?bass|subs?",
    "chord": r"chords|triads?|harmony",
    "beat": r"beats|drum (?:loop|beat|groove|pattern|break)s?|drums|loops?|grooves?|rhythms?|break ?beats?|breaks?",
    "drum": r"percussion|drumming|drummer",
    "note": r"notes|tones?|pitch(?:es)?",
    "rising noise sweep": r"(?:noise )?(?:risers?|uplifters?|build[ -]?ups?|up-?sweeps?)",
    "falling noise sweep": r"(?:noise )?(?:fallers?|down-?lifters?|down-?sweeps?)",
    "noise sweep": r"whoosh(?:es)?|swoosh(?:es)?|filter sweeps?",
    "sweep": r"sweeps|sweeping",
    "rising": r"rise|rises|ascending|up|upwards?",
    "falling": r"fall|falls|descending|drops?|dropping|down|downwards?",
    "noise": r"noises|noisy",
    "open": r"opened|sizzling|ringing|washy|long",
    "closed": r"tight|crisp|crispy|clipped|ticking|short",
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
PHRASES = ("drum and bass", "hip hop")  # one token each
FLATS = {"d": "c#", "e": "d#", "g": "f#", "a": "g#", "b": "a#"}
AFTER_NOTE = "major|minor|maj|min|sharp|flat|with|at|and|in|on|for|please|played|playing|from|by|as|over|note|o[2-5]"
PAD, END, UNKNOWN = 0, 1, 2
STRANGER = "stranger"  # in no table: it is read as the unknown token
SLOWEST, FASTEST = 40, 240


def tempo_word(bpm: int) -> int:
    """The tempo of the grid that is nearest."""
    return min(EIGHTHS, key=lambda known: abs(known / bpm - 1))


@cache
def words() -> tuple[str, ...]:
    """Every token but the special ones."""
    parts = {part for word in SPELLINGS for part in ((word,) if word in PHRASES else word.split())}
    return (
        *sorted(parts),
        *(note.lower() for note in NOTES),
        *(f"o{octave}" for octave in sorted(set(OCTAVES.values()))),
        *(f"t{bpm}" for bpm in EIGHTHS),
    )


@cache
def token_table() -> dict[str, int]:
    """Token -> id, the three special ones first."""
    return {"<pad>": PAD, "</s>": END, "<unk>": UNKNOWN, **{word: i for i, word in enumerate(words(), 3)}}


def replacements() -> list[tuple[str, str]]:
    """(regular expression, what it becomes), in order: accidentals, octaves, modes, tempi, article, spellings."""
    letter = r"(?:(?<=\b[a-g])|(?<=\b[a-g]#))"
    out = [(r"[‐‑‒–—_]", "-"), (r"\bkey of\b", "in"), (r"\b(?:beats? (?:per|a) minute|bpm)\b", " ")]
    out += [(r"(?<=\b[a-g])(?:♯| ?-?sharp\b)", "#"), (r"♭", "b"), (r"(?<=\b[a-g]) ?-?flat\b", "b")]
    out += [(rf"\b{flat}b(?=(?:[1-8]|m|maj|min)?\b)(?!/)", sharp) for flat, sharp in FLATS.items()]
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
    out.append((rf"(?<!note )\ba(?=[ -]+(?!(?:{AFTER_NOTE})\b)[a-z0-9])", " "))
    out += [(rf"(?<![a-z0-9#])(?:{pattern})(?![a-z0-9#])", word) for word, pattern in SPELLINGS.items()]
    # Of synonyms in a row one is enough.
    out.append((r"(?<![a-z0-9#])([a-z0-9#]+)(?=[^a-z0-9#]+\1(?![a-z0-9#]))", " "))
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
