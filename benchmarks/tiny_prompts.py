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
    ("boomy 808, please", S("sub kick")),
    ("somebody hits the deep tom-tom", S("low tom")),
    ("a rack tom, bright", S("high tom")),
    ("orchestral cymbals", S("crash")),
    ("more cow bell", S("cowbell")),
    ("side-stick on the rim", S("rimshot")),
    # Notes.
    ("electric bass guitar playing a low E", S("bass", "E", 2)),
    ("deep bass tone, G#", S("bass", "G#", 2)),
    ("lead synthesizer holding A4", S("synth", "A", 4)),
    ("buzzy sawtooth wave, D3", S("synth", "D", 3)),
    ("nylon guitar string, C4", S("pluck", "C", 4)),
    ("one E on a high harp", S("pluck", "E", 5)),
    ("grand piano, B flat 3", S("piano", "A#", 3)),
    ("somebody strikes F sharp 4 on the keyboard", S("piano", "F#", 4)),
    # Chords and lines.
    ("lush warm pad in A minor", S("pad", "A minor")),
    ("strings holding an F major chord", S("pad", "F major")),
    ("happy chord in Eb, ambient", S("pad", "D# major")),
    ("sad chord in D on a grand piano", S("piano chord", "D minor")),
    ("a cadence in G major", S("progression", "G major")),
    ("groovy bass riff in F at 100 beats per minute", S("bass line", "F", bpm=100)),
    ("arpeggiated E minor on an acoustic guitar, 120", S("arpeggio", "E minor", bpm=120)),
    # Beats.
    ("four-on-the-floor house groove, 120 bpm", S("beat", style="house", bpm=120)),
    ("techno at 150 beats per minute", S("beat", style="house", bpm=150)),
    ("straight rock groove, 100 beats per minute", S("beat", style="rock", bpm=100)),
    ("indie drums @ 86 BPM", S("beat", style="rock", bpm=86)),
    ("funky rhythm, 120 bpm", S("beat", style="disco", bpm=120)),
    ("lo-fi boom bap drums at 86", S("beat", style="hip hop", bpm=86)),
    ("jungle break at 150 beats a minute", S("beat", style="drum and bass", bpm=150)),
    ("phonk drums, 75 BPM", S("beat", style="trap", bpm=75)),
    ("dembow rhythm, 100 bpm", S("beat", style="latin", bpm=100)),
    # Textures and effects.
    ("a riser made of noise", S("sweep", style="up")),
    ("whoosh going down", S("sweep", style="down")),
    ("gentle rainfall on a roof", S("rain", style="light")),
    ("it is a real downpour outside", S("rain", style="heavy")),
    ("air-raid siren, slowly wailing", S("siren", style="slow")),
    ("police sirens", S("siren", style="fast")),
    ("a calm breeze", S("wind", style="light")),
    ("howling gale in the mountains", S("wind", style="heavy")),
    ("surf on a beach", S("waves")),
    ("lightning and thunder", S("thunder")),
    ("cinematic braam", S("impact")),
    ("radio hiss between two stations", S("static")),
    ("notification, bright", S("bleep", style="high")),
    ("a deep little blip", S("bleep", style="low")),
    ("smoke detector", S("beeping")),
    ("sci-fi blasters", S("laser")),
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
    ("low tom", "high tom"),
    ("thunder", "wind"),
    ("waves", "static"),
)
LONGER = (
    ("closed hat", "open hat"),
    ("open hat", "crash"),
    ("kick", "sub kick"),
    ("kick", "bass"),
    ("snare", "pluck"),
    ("clap", "synth"),
    ("pluck", "synth"),
    ("bleep", "beeping"),
)
