"""What ``benchmarks.tiny`` asks for: prompts in wordings that no training caption has, and what they mean."""

from stable_audio_mlx.data.synth import Sound

S = Sound
PROMPTS: tuple[tuple[str, Sound], ...] = (
    # Drums.
    ("Kick drum, 120 BPM", S("kick")),
    ("give me one really punchy kick", S("kick")),
    ("acoustic snare drums, dry", S("snare")),
    ("my favourite snare!", S("snare")),
    ("crispy closed hi-hats", S("closed hat")),
    ("a hihat that is tight", S("closed hat")),
    ("an open hi hat, washing out", S("open hat")),
    ("people clapping hands: handclaps", S("clap")),
    # Notes.
    ("electric bass guitar playing a low E", S("bass", "E", 2)),
    ("deep bass tone, G", S("bass", "G", 2)),
    ("lead synthesizer holding A4", S("synth", "A", 4)),
    ("buzzy sawtooth wave, D3", S("synth", "D", 3)),
    ("nylon guitar string, C4", S("pluck", "C", 4)),
    ("one E on a high harp", S("pluck", "E", 5)),
    # Chords.
    ("lush warm pad in A minor", S("pad", "A minor")),
    ("strings holding an F major chord", S("pad", "F major")),
    ("happy chord in G, ambient", S("pad", "G major")),
    # Beats.
    ("four-on-the-floor house groove, 120 bpm", S("beat", style="house", bpm=120)),
    ("straight rock groove, 100 beats per minute", S("beat", style="rock", bpm=100)),
    ("indie drums @ 150 BPM", S("beat", style="rock", bpm=150)),
    ("techno at 150 beats per minute", S("beat", style="house", bpm=150)),
    # Textures and effects.
    ("a riser made of noise", S("sweep", style="up")),
    ("whoosh going down", S("sweep", style="down")),
    ("gentle rainfall on a roof", S("rain", style="light")),
    ("it is a real downpour outside", S("rain", style="heavy")),
    ("air-raid siren, slowly wailing", S("siren", style="slow")),
    ("police sirens", S("siren", style="fast")),
)
# (lower, higher): whose spectrum lies lower; (shorter, longer): which dies away sooner.
BRIGHTER = (
    ("kick", "snare"),
    ("snare", "closed hat"),
    ("clap", "open hat"),
    ("bass", "synth"),
    ("bass", "pluck"),
    ("kick", "beat"),
    ("pad", "rain"),
)
LONGER = (
    ("closed hat", "open hat"),
    ("kick", "bass"),
    ("snare", "pluck"),
    ("clap", "synth"),
    ("pluck", "synth"),
    ("pluck", "pad"),
)
