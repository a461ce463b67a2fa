"""``generate.py --prompt TEXT``: a sound file from words."""

import argparse
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..errors import OptionError
from ..files import SOUNDS, check_output
from ..options import GenerateOptions, batch_length
from ..options import seeds as choose_seeds
from .common import DTYPES, Parser, default_model, free_paths, is_folder, note, progress, run, save, show
from .lora import file_and_strength

if TYPE_CHECKING:
    from ..events import Event

SLUG_LENGTH = 60
EPILOG = """\
The path of the sound is the only thing on stdout; the seed, progress and notes go to stderr.
Exit codes: 0 ok, 1 failure, 2 usage, 3 weights, 4 input audio, 5 the result is silent or broken, 130 interrupted."""


def parser() -> argparse.ArgumentParser:
    p = Parser(
        "generate.py",
        description="Text in, sound out. What is not given is the model's own.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = p.add_argument
    add("-p", "--prompt", metavar="TEXT", help="what to hear")
    add("--negative-prompt", metavar="TEXT", help="what not to hear; needs a cfg scale other than 1")
    add("-m", "--model", metavar="NAME|DIR", help="default: the best model in model/")
    length = "length; default: as long as a given sound, else the model's own"
    add("-s", "--seconds", "--duration", type=float, metavar="S", help=length)
    add("--steps", type=int, metavar="N")
    add("--cfg-scale", "--cfg", type=float, metavar="G", help="how strictly to follow the prompt; 1 turns guidance off")
    add("--sampler", metavar="NAME", help="a name that does not fit the model lists those that do")
    add("--seed", type=int, nargs="+", metavar="N", help="the same seed gives the same sound; several make a batch")
    add("-n", "--batch-size", type=int, metavar="N", help="so many sounds, with the seeds that follow")
    add("--lora", action="append", metavar="FILE[:STRENGTH]", help="a LoRA on top of the model; repeatable")
    add("-o", "--output", "--out", metavar="FILE", help=f"{', '.join(SOUNDS)}; default output/PROMPT-SEED.wav")
    add("--overwrite", action="store_true", help="replace an existing file")
    more = p.add_argument_group("other sounds as a start")
    add = more.add_argument
    add("--init-audio", metavar="FILE", help="a sound to vary")
    add("--init-noise-level", type=float, metavar="X", help="how much: 0 to 1 (flow models), sigma (v models)")
    add("--inpaint", type=float, nargs=2, action="append", metavar=("START", "END"), help="seconds to make anew")
    add("--inpaint-audio", metavar="FILE", help="the sound to repair; default: --init-audio")
    fine = p.add_argument_group("fine control")
    add = fine.add_argument
    add("--cfg-rescale", type=float, metavar="X", help="0 to 1: tame the loudness of strong guidance")
    add("--cfg-interval", type=float, nargs=2, metavar=("LOW", "HIGH"), help="guide only at these noise levels")
    add("--apg-scale", "--apg", type=float, metavar="X", help="0 plain guidance, 1 projected")
    add("--sigma-min", type=float, metavar="X", help="v models")
    add("--sigma-max", type=float, metavar="X")
    add("--headroom-seconds", type=float, metavar="S", help="made beyond the end and cut off (Stable Audio 3)")
    add("--condition", action="append", metavar="NAME=VALUE", help="what else the model's config asks for")
    add("--dtype", choices=("auto", *DTYPES), default="auto", help="of the weights in memory")
    add("--keep-models", action="store_true", help="do not free each part of the model after its phase")
    add("--low-memory", action="store_true", help="smaller pieces at a time: the same sound in less memory")
    add("-v", "--verbose", action="store_true", help="time of each phase and peak memory")
    add("--json", action="store_true", help="one line of JSON for each sound instead of its path")
    add("-V", "--version", action="version", version=f"stable-audio-mlx {__version__}")
    return p


def main(argv: list[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    return run(lambda: generate(arguments))


def generate(arguments: argparse.Namespace) -> int:
    """Check all that is cheap, load, sample, write."""
    options = options_from(arguments)
    seeds = choose_seeds(options.seed, batch_length(options))
    outputs = output_paths(arguments, seeds)
    options = replace(
        options,
        seed=seeds,
        init_audio=options.init_audio and read(arguments.init_audio),
        inpaint_audio=options.inpaint_audio and read(arguments.inpaint_audio),
    )
    from ..pipeline import StableAudioPipeline

    pipeline = StableAudioPipeline.from_pretrained(
        arguments.model or default_model(), arguments.dtype, arguments.keep_models, arguments.low_memory
    )
    if pipeline.facts.takes_text and arguments.prompt is None:
        raise OptionError('--prompt is missing; try --prompt "warm arpeggio, 120 BPM"')
    note("seed " + " ".join(map(str, seeds)))
    result = watch(pipeline.steps(options), arguments.verbose)
    assert result.options
    for clip, seconds, seed, path in zip(result.value, result.options.seconds, seeds, outputs, strict=True):
        samples = int(seconds * pipeline.sample_rate)
        written = save(path, clip[:, :samples], pipeline.sample_rate, arguments.overwrite)
        record = {"path": str(written), "seed": seed, "seconds": seconds, "model": pipeline.name}
        record |= {"lora": options.lora} if options.lora else {}
        show(record, written, arguments.json)
    return 0


def options_from(arguments: argparse.Namespace) -> GenerateOptions:
    """The options that were given; the rest stays at the dataclass's defaults."""
    names = GenerateOptions.__dataclass_fields__
    given: dict[str, Any] = {k: v for k, v in vars(arguments).items() if k in names and v is not None}
    if arguments.cfg_interval:
        given["cfg_interval"] = tuple(arguments.cfg_interval)
    for name in ("init_audio", "inpaint_audio"):
        if name in given:
            given[name] = (given[name], 0)  # read once everything else is known to be right
    if arguments.lora:
        given["lora"] = [file_and_strength(text) for text in arguments.lora]
    if arguments.condition:
        given["conditions"] = dict(map(condition, arguments.condition))
    return GenerateOptions(**given)


def condition(text: str) -> tuple[str, float | str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise OptionError(f"--condition {text!r}: expected NAME=VALUE")
    try:
        return name, float(value)
    except ValueError:
        return name, value


def output_paths(arguments: argparse.Namespace, seeds: list[int]) -> list[Path]:
    """One path per clip that can be written to, for a batch with the seed in its name."""
    given = arguments.output
    if is_folder(given):
        stem = slug(arguments.prompt or "sound")
        return free_paths(given, [f"{stem}-{seed}.wav" for seed in seeds])
    path = Path(given)
    if len(set(seeds)) < len(seeds):
        raise OptionError(f"seed: {given} would be written twice, since a seed is given twice; leave one out")
    paths = [path] if len(seeds) == 1 else [path.with_name(f"{path.stem}-{seed}{path.suffix}") for seed in seeds]
    return [check_output(p, arguments.overwrite) for p in paths]


def slug(text: str) -> str:
    """Letters and digits of ``text`` joined by hyphens: a name for every file system."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    words = "".join(c if c.isalnum() else " " for c in plain).split()
    return "-".join(words)[:SLUG_LENGTH].strip("-") or "sound"


def read(path: str) -> tuple[Any, int]:
    from ..audio import read as read_audio

    return read_audio(path)


def watch(events: "Iterator[Event]", verbose: bool) -> "Event":
    """Show a run on stderr; returns its result."""
    bar = None
    try:
        for event in events:
            if event.kind == "note":
                note(event.message)
            elif event.kind == "step":
                bar = bar or progress(event.total, "step", leave=verbose)
                bar.update()
            elif (o := event.options) and event.kind == "options" and verbose:
                note(f"{o.sampler}, {o.steps} steps, cfg scale {o.cfg_scale:g}, {max(o.seconds):g} seconds")
            elif event.kind == "decode" and bar:
                bar.close()
    finally:
        if bar:
            bar.close()
    if verbose:
        phases = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in event.seconds.items())
        note(f"{phases}; peak memory {event.peak_memory / 1e9:.2f} GB")
    return event
