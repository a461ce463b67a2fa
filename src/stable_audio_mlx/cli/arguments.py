"""What ``generate`` can be asked for, one function for each group; a flag has the name of the option that it sets.

What has that name in ``GenerateOptions`` or ``FinishOptions`` reaches a take without more ado (``cli.plan``).
"""

import argparse

from .. import __version__
from ..files import SOUNDS
from ..options import BIT_DEPTHS, LOOPS
from ..takes import OWN_FIELDS
from ..takes.names import TEMPLATE
from .common import DTYPES, Parser

EPILOG = """\
The path of each sound is the only thing on stdout; seeds, progress and notes go to stderr.
Exit codes: 0 ok, 1 failure, 2 usage, 3 weights, 4 input audio, 5 the result is silent or broken, 130 interrupted."""


def parser() -> argparse.ArgumentParser:
    p = Parser(
        "generate.py",
        description="Text in, sound out. What is not given is the model's own.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for group in (words, takes, music, sources, fine, finishing, files, running):
        group(p)
    return p


def words(p: argparse.ArgumentParser) -> None:
    """What is to be heard."""
    prompts = p.add_mutually_exclusive_group()
    text = "what to hear; several make a sound each, - reads standard input"
    prompts.add_argument("-p", "--prompt", "--text", nargs="+", action="extend", metavar="TEXT", help=text)
    text = ".txt, .csv or .jsonl: a sound for each line, with options of its own"
    prompts.add_argument("--prompt-file", metavar="FILE", help=text)
    add = p.add_argument
    add("--negative-prompt", metavar="TEXT", help="what not to hear; needs a cfg scale other than 1")
    add("-m", "--model", metavar="NAME|DIR", help="default: the best model in model/")
    length = "length; default: as long as a given sound, else the model's own"
    add("-s", "--seconds", "--duration", type=float, metavar="S", help=length)
    add("--steps", type=int, metavar="N")
    add("--cfg-scale", "--cfg", type=float, metavar="G", help="how strictly to follow the prompt; 1 turns guidance off")
    add("--sampler", metavar="NAME", help="a name that does not fit the model lists those that do")
    add("--lora", action="append", metavar="FILE[:STRENGTH]", help="a LoRA on top of the model; repeatable")


def takes(p: argparse.ArgumentParser) -> None:
    """How many sounds."""
    add = p.add_argument_group("many sounds").add_argument
    add("--seed", type=int, nargs="+", metavar="N", help="a sound for each; the same seed gives the same sound")
    text = "so many of each prompt, with the seeds that follow"
    add("--variations", "--auto-seeds", type=int, metavar="N", help=text)
    text = "so many at once, if they differ in words, length and seed alone; by itself also how many"
    add("-n", "--batch-size", type=int, metavar="N", help=text)
    add("--dry-run", action="store_true", help="show what would be made; reads no model")


def music(p: argparse.ArgumentParser) -> None:
    """Length and key as musicians say them."""
    add = p.add_argument_group("bars, beats and loops").add_argument
    add("--bars", type=float, metavar="N", help="length, exact to the sample; needs --bpm")
    add("--bpm", type=float, metavar="B", help="beats a minute; the prompt says it too")
    add("--beats-per-bar", type=int, metavar="N", help="default 4")
    add("--key", metavar="KEY", help="A minor, F#, Bb major ...; the prompt says it too")
    text = "no seam from end to beginning: made anew around it (the default), or crossfaded"
    add("--loop", nargs="?", const=True, choices=LOOPS, metavar="|".join(LOOPS), help=text)
    add("--loop-seam", type=float, metavar="S", help="seconds of the seam made anew (1) or of the crossfade (0.05)")


def sources(p: argparse.ArgumentParser) -> None:
    """Sounds that a run starts from."""
    add = p.add_argument_group("other sounds as a start, and long ones").add_argument
    add("--init-audio", metavar="FILE", help="a sound to vary, or to edit in parts")
    add("--strength", type=float, metavar="X", help="how much it is varied, 0 to 1: the share of noise in it")
    add("--init-noise-level", type=float, metavar="X", help="the same as the model has it: 0 to 1, or sigma (v models)")
    text = "make this part anew: seconds, m:ss, or bar:beat with --bpm; also START END; repeatable"
    add("--inpaint", "--inpaint-range", action=Ranges, nargs="+", metavar="A-B", help=text)
    add("--inpaint-start", action=Ranges, dest="inpaint", metavar="A", help="in place of A-B; repeatable")
    add("--inpaint-end", action=Ranges, dest="inpaint", metavar="B")
    add("--inpaint-audio", metavar="FILE", help="the sound to edit in parts, continue or loop; default: --init-audio")
    add("--continue-to", type=float, metavar="S", help="go on where the sound ends, to this length")
    add("--extend-by", type=float, metavar="S", help="go on for so many seconds")
    text = "more seconds than the model makes at once, in windows that continue each other"
    add("--long", action="store_true", default=None, help=text)


class Ranges(argparse.Action):
    """Parts of a sound: A-B, A B, or a start and an end by two flags."""

    def __call__(self, parser, namespace, values, option_string=None):
        found = list(getattr(namespace, self.dest) or ())
        words = values if isinstance(values, list) else [values]
        if option_string == "--inpaint-start":
            found.append((values, None))
        elif option_string == "--inpaint-end":
            if not found or found[-1][1] is not None:
                parser.error("argument --inpaint-end: comes after its --inpaint-start")
            found[-1] = (found[-1][0], values)
        elif len(words) == 2 and not any(mark in word.lstrip("-") for word in words for mark in ("-", ",", "..")):
            found.append(tuple(words))
        else:
            found += words
        setattr(namespace, self.dest, found)


def fine(p: argparse.ArgumentParser) -> None:
    """What few need."""
    add = p.add_argument_group("fine control").add_argument
    add("--cfg-rescale", type=float, metavar="X", help="0 to 1: tame the loudness of strong guidance")
    add("--cfg-interval", type=float, nargs=2, metavar=("LOW", "HIGH"), help="guide only at these noise levels")
    add("--apg-scale", "--apg", type=float, metavar="X", help="0 plain guidance, 1 projected")
    add("--sigma-min", type=float, metavar="X", help="v models")
    add("--sigma-max", type=float, metavar="X")
    add("--headroom-seconds", type=float, metavar="S", help="made beyond the end and cut off (Stable Audio 3)")
    text = "what else the model's config asks for"
    add("--condition", action="append", dest="conditions", metavar="NAME=VALUE", help=text)


def finishing(p: argparse.ArgumentParser) -> None:
    """What is done to each sound after the model."""
    add = p.add_argument_group("finishing, in this order").add_argument
    add("--mono", action="store_true", default=None, help="one channel, the mean")
    text = "cut off both ends what is 60 dB below the peak"
    add("--trim-silence", action="store_true", default=None, help=text)
    add("--fade-in", type=float, metavar="S", help="seconds")
    add("--fade-out", type=float, metavar="S", help="seconds")
    add("--normalize", metavar="LEVEL", help="peak, peak:DBFS or lufs:LUFS (BS.1770-4), such as lufs:-14")
    text = "true-peak limiter; ceiling in dBTP, default -1"
    add("--limit", type=float, nargs="?", const=-1.0, metavar="DBTP", help=text)
    add("--bit-depth", choices=BIT_DEPTHS, help="of wav (default 32f), flac and aiff (24; 16 is dithered)")


def files(p: argparse.ArgumentParser) -> None:
    """Where the sounds go."""
    group = p.add_argument_group("files")
    add = group.add_argument
    text = f"a file ({', '.join(SOUNDS)}), or a folder; default output/"
    add("-o", "--output", "--out", metavar="FILE|DIR", help=text)
    text = f"names in the folder; default {TEMPLATE}; fields: {', '.join(OWN_FIELDS)}, bpm, steps ..."
    add("--name", metavar="TEMPLATE", help=text)
    there = group.add_mutually_exclusive_group()
    there.add_argument("--overwrite", action="store_true", help="replace an existing file")
    text = "leave out sounds whose file is there: go on where a run was interrupted"
    there.add_argument("--skip-existing", action="store_true", help=text)
    add("--metadata", action="store_true", help="also write all that made the sound, with hashes, into NAME.json")
    text = "make a sound again from what its file or .json says; other flags win"
    add("-C", "--config-from-metadata", metavar="FILE", help=text)
    add("--play", action="store_true", help="play each sound when it is there")


def running(p: argparse.ArgumentParser) -> None:
    """How it is done and told."""
    group = p.add_argument_group("running")
    add = group.add_argument
    add("--dtype", choices=("auto", *DTYPES), default="auto", help="of the weights in memory")
    add("--keep-models", action="store_true", help="do not free each part of the model after its phase")
    add("--low-memory", action="store_true", help="smaller pieces at a time: the same sound in less memory")
    add("--json", action="store_true", help="one line of JSON for each sound instead of its path")
    told = group.add_mutually_exclusive_group()
    told.add_argument("-v", "--verbose", action="store_true", help="time of each phase and peak memory")
    told.add_argument("-q", "--quiet", action="store_true", help="nothing but errors on stderr")
    add("-V", "--version", action="version", version=f"stable-audio-mlx {__version__}")
