"""What a clip of the data maker is, in natural language: many wordings for the same facts."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .clips import Facts

DRUM_WORDS = {
    "kick": ("kick drum", "kick", "bass drum", "punchy kick", "kick drum hit"),
    "808 kick": ("808 kick", "808", "long sub kick", "booming 808 bass drum"),
    "snare": ("snare drum", "snare", "snare hit", "crisp snare"),
    "closed hi-hat": ("closed hi-hat", "hi-hat", "tight hihat", "short hat"),
    "open hi-hat": ("open hi-hat", "open hat", "sizzling open hihat"),
    "crash cymbal": ("crash cymbal", "cymbal crash", "crash"),
    "ride cymbal": ("ride cymbal", "ride", "ride cymbal ping"),
    "clap": ("hand clap", "clap", "handclap"),
    "low tom": ("low tom", "floor tom", "deep tom drum"),
    "high tom": ("high tom", "rack tom", "high tom drum"),
    "rimshot": ("rimshot", "rim click", "side stick"),
    "low conga": ("conga", "low conga", "conga drum"),
    "bongo": ("bongo", "high bongo drum"),
    "click": ("click", "metronome click", "short click"),
}
INSTRUMENT_WORDS = {
    "guitar": ("acoustic guitar", "plucked guitar", "guitar"),
    "synth pluck": ("synth pluck", "plucky synth", "short plucked synthesizer"),
    "piano": ("piano", "acoustic piano", "grand piano"),
    "electric piano": ("electric piano", "rhodes", "e-piano"),
    "organ": ("organ", "drawbar organ", "church organ"),
    "bell": ("bell", "chime", "bell tone"),
    "violin": ("violin", "bowed violin", "solo violin"),
    "string section": ("strings", "string section", "bowed strings", "orchestral strings"),
    "flute": ("flute", "airy flute"),
    "brass": ("brass", "horn section", "synth brass"),
    "saw lead": ("saw synth", "sawtooth lead", "bright synth lead", "buzzy synthesizer"),
    "square lead": ("square wave synth", "chiptune lead", "hollow synth lead"),
    "sine synth": ("sine wave", "pure sine synth", "soft sine tone"),
    "synth pad": ("warm pad", "synth pad", "ambient pad", "soft analog pad"),
    "acid bass": ("acid bass", "squelchy 303 bass", "resonant synth bass"),
    "bass guitar": ("bass guitar", "electric bass", "plucked bass"),
    "sub bass": ("sub bass", "deep sub bass", "round low bass"),
    "reese bass": ("reese bass", "detuned bass", "growling synth bass"),
}
TEXTURE_WORDS = {
    "rain light": ("light rain", "gentle rain", "soft rainfall", "drizzle"),
    "rain heavy": ("heavy rain", "pouring rain", "downpour", "strong rain"),
    "wind light": ("light wind", "gentle breeze", "soft wind blowing"),
    "wind strong": ("strong wind", "howling wind", "stormy gusts of wind"),
    "ocean waves": ("ocean waves", "waves on a beach", "sea surf", "waves rolling in"),
    "thunder distant": ("distant thunder", "rolling thunder far away", "thunder rumbling"),
    "thunder close": ("close thunder", "thunder crack", "loud thunderclap"),
    "fire": ("crackling fire", "campfire", "fireplace"),
    "stream": ("babbling stream", "running water", "small creek", "water bubbling"),
    "crickets": ("crickets at night", "chirping crickets", "night insects"),
    "noise white": ("white noise", "static hiss", "steady white noise"),
    "noise pink": ("pink noise", "soft steady noise"),
    "noise brown": ("brown noise", "deep rumbling noise"),
    "vinyl crackle": ("vinyl crackle", "record crackle", "old record noise"),
    "noise sweep rising": ("rising noise sweep", "noise riser", "upward whoosh", "white noise uplifter"),
    "noise sweep falling": ("falling noise sweep", "downlifter", "downward whoosh"),
    "synth riser": ("synth riser", "rising synthesizer build-up", "tension riser"),
    "siren slow": ("slow siren", "siren wailing slowly", "air raid siren"),
    "siren fast": ("fast siren", "police siren", "fast wailing alarm"),
    "siren two-tone": ("two-tone siren", "european ambulance siren", "hi-lo siren"),
    "bleep high": ("high bleep", "short high beep", "bright blip"),
    "bleep low": ("low bleep", "low beep", "deep blip"),
    "alarm clock": ("alarm clock", "digital alarm beeping", "beeping alarm clock"),
    "laser": ("laser zap", "laser shot", "sci-fi blaster"),
    "impact": ("deep impact", "cinematic boom", "explosion", "heavy impact hit"),
    "engine idling": ("engine idling", "motor running", "idling car engine"),
    "engine revving": ("engine revving", "motor revving up and down"),
}
STYLE_WORDS = {
    "house": ("house", "four on the floor house", "deep house"),
    "techno": ("techno", "driving techno", "four on the floor techno"),
    "hip hop": ("hip hop", "hip-hop", "boom bap"),
    "lo-fi": ("lo-fi hip hop", "lofi", "chill lo-fi"),
    "drum and bass": ("drum and bass", "dnb", "fast drum and bass"),
    "breakbeat": ("breakbeat", "big beat", "broken beat"),
    "latin": ("latin percussion", "latin", "conga and bongo"),
    "march": ("marching band", "military march"),
}
MOODS = {
    "major": ("happy", "uplifting", "bright", "cheerful", "hopeful"),
    "minor": ("sad", "dark", "melancholic", "moody", "tense"),
}
OCTAVE_WORDS = {1: "very low", 2: "low", 3: "low", 5: "high", 6: "very high"}
ROOM_WORDS = {
    "room": ("in a small room", "with a little reverb", "with room reverb"),
    "hall": ("in a hall", "with hall reverb", "with reverb"),
    "cathedral": ("in a cathedral", "with a long reverb", "drenched in reverb"),
}
PLACE_WORDS = {
    "left": ("on the left", "panned left"),
    "right": ("on the right", "panned right"),
    "wide": ("wide stereo", "with stereo chorus"),
}
EFFECT_WORDS = {
    "echo": ("with echo", "with ping-pong delay"),
    "tremolo": ("with tremolo", "pulsing in volume"),
    "lo-fi": ("from an old tape", "with lo-fi tape wobble"),
}
FILTER_WORDS = {"muffled": ("muffled", "low-passed", "dull"), "thin": ("thin", "high-passed", "tinny")}
OPENINGS = ("", "", "", "", "a recording of ", "the sound of ", "sound of ")


def pick(rng: np.random.Generator, words: tuple[str, ...] | str) -> str:
    return words if isinstance(words, str) else words[rng.integers(len(words))]


def caption(facts: "Facts", rng: np.random.Generator) -> str:
    """One way to say what is heard; what matters most is always said, the rest sometimes."""
    text = CORES[facts.kind](facts, rng)
    more = []
    if facts.tempo and rng.random() < 0.9:
        more.append(
            pick(rng, (f"{facts.tempo:.0f} BPM", f"at {facts.tempo:.0f} bpm", f"{facts.tempo:.0f} beats per minute"))
        )
    if facts.key and rng.random() < 0.75:
        more.append(pick(rng, (f"in {facts.key}", f"key of {facts.key}", f"{facts.key}")))
    for words, fact in ((ROOM_WORDS, facts.room), (PLACE_WORDS, facts.place), (EFFECT_WORDS, facts.effect)):
        if fact in words and rng.random() < 0.7:
            more.append(pick(rng, words[fact]))
    if facts.filter and rng.random() < 0.8:
        text = f"{pick(rng, FILTER_WORDS[facts.filter])} {text}"
    if facts.key and rng.random() < 0.3:
        text = f"{pick(rng, MOODS[facts.key.split()[1]])} {text}"
    more = [more[i] for i in rng.permutation(len(more))]
    joint = ", " if rng.random() < 0.6 else " "
    text = joint.join([text, *more]) if rng.random() < 0.85 or not more else joint.join([*more, text])
    text = pick(rng, OPENINGS if facts.kind in ("texture", "drum", "note", "chord") else "") + text
    return text[0].upper() + text[1:] if rng.random() < 0.3 else text


def _drum(facts: "Facts", rng: np.random.Generator) -> str:
    words = pick(rng, DRUM_WORDS.get(facts.name, (facts.name, f"{facts.name} hit")))
    return pick(rng, ("{}", "{}", "single {}", "{} one-shot", "one {}")).format(words)


def _roll(facts: "Facts", rng: np.random.Generator) -> str:
    words = pick(rng, DRUM_WORDS[facts.name])
    return pick(rng, ("{} roll", "fast {} roll building up", "{} fill", "crescendo {} roll")).format(words)


def _note(facts: "Facts", rng: np.random.Generator) -> str:
    words = pick(rng, INSTRUMENT_WORDS.get(facts.name, facts.name))
    octave = facts.octave or 0
    register = OCTAVE_WORDS.get(octave)
    if register and rng.random() < 0.35:
        return pick(rng, ("{r} {w} note {n}", "{r} {w} playing {n}", "{r} {n} on {w}")).format(
            r=register, w=words, n=facts.note
        )
    pitch = f"{facts.note}{octave}"
    return pick(
        rng, ("{w} note {p}", "{w} playing {p}", "{p} {w}", "{w}, {p}", "{w} holding {p}", "{p} on {w}")
    ).format(w=words, p=pitch)


def _chord(facts: "Facts", rng: np.random.Generator) -> str:
    words = pick(rng, INSTRUMENT_WORDS.get(facts.name, facts.name))
    forms = ("{c} chord on {w}", "{w} chord, {c}", "{c} {w} chord", "{w} playing {c}", "{w}, {c} chord")
    return pick(rng, forms).format(c=facts.chord, w=words)


def _chords(facts: "Facts", rng: np.random.Generator) -> str:
    words = pick(rng, INSTRUMENT_WORDS.get(facts.name, facts.name))
    held = ("{w} chord progression", "slow {w} chords", "{w} chords", "chord progression on {w}")
    stabs = ("{w} chord stabs", "offbeat {w} chords", "rhythmic {w} chords")
    return pick(rng, held if facts.style == "held" else stabs).format(w=words)


def _bass_line(facts: "Facts", rng: np.random.Generator) -> str:
    words = pick(rng, INSTRUMENT_WORDS[facts.name])
    return pick(rng, ("{w} line", "{w} groove", "{w} riff", "bassline on {w}", "{w} pattern")).format(w=words)


def _arpeggio(facts: "Facts", rng: np.random.Generator) -> str:
    words = pick(rng, INSTRUMENT_WORDS.get(facts.name, facts.name))
    way = {"up": "rising ", "down": "falling ", "up and down": "", "broken": "broken "}[facts.style]
    return pick(rng, ("{y}{w} arpeggio", "{w} arpeggio", "{y}arpeggio on {w}", "arpeggiated {w}")).format(
        y=way, w=words
    )


def _melody(facts: "Facts", rng: np.random.Generator) -> str:
    words = pick(rng, INSTRUMENT_WORDS.get(facts.name, facts.name))
    return pick(rng, ("{w} melody", "simple {w} melody", "{w} tune", "{w} solo line")).format(w=words)


def _beat(facts: "Facts", rng: np.random.Generator) -> str:
    words = pick(rng, STYLE_WORDS.get(facts.name, facts.name))
    text = pick(rng, ("{} beat", "{} drum loop", "{} drums", "{} groove", "{} drum beat")).format(words)
    if rng.random() < 0.25:
        parts = list(rng.permutation([part.replace("closed ", "") for part in facts.parts])[:3])
        text += " with " + " and ".join([", ".join(parts[:-1]), parts[-1]])
    return text


def _groove(facts: "Facts", rng: np.random.Generator) -> str:
    words = pick(rng, STYLE_WORDS.get(facts.name, facts.name))
    text = pick(rng, ("{} loop", "{} track", "{} music", "{} groove", "instrumental {}")).format(words)
    heard = [pick(rng, INSTRUMENT_WORDS.get(part, part)) for part in facts.parts]
    if rng.random() < 0.75:
        text += " with " + ", ".join(heard[:-1]) + " and " + heard[-1]
    return text


def _texture(facts: "Facts", rng: np.random.Generator) -> str:
    return pick(rng, TEXTURE_WORDS[f"{facts.name} {facts.style}".strip()])


CORES = {
    "drum": _drum,
    "roll": _roll,
    "note": _note,
    "chord": _chord,
    "chords": _chords,
    "bass line": _bass_line,
    "arpeggio": _arpeggio,
    "melody": _melody,
    "beat": _beat,
    "groove": _groove,
    "texture": _texture,
}
