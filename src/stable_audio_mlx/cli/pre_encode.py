"""``stable-audio-mlx pre-encode``: a folder of sounds with captions into latents to train on."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import AudioError, OptionError
from .common import Parser, default_model, note, progress, run, show

if TYPE_CHECKING:
    from ..data.folder import Item
    from ..training.pre_encode import Outcome, PreEncoding

EPILOG = """\
DIR holds sounds, in folders or not, each with a .txt file of the same stem, or a .json file with a "prompt" or tags.
The same command again goes on where it was interrupted, and takes in what has been added or changed.
Only the paths of new latents go to stdout; progress and notes go to stderr.
Exit codes: 0 ok, 1 failure, 2 usage, 3 weights, 4 some sounds are left out, 130 interrupted."""


def parser() -> argparse.ArgumentParser:
    p = Parser(
        "stable-audio-mlx pre-encode",
        description="A folder of sounds with captions into latents, as the trainer of Stable Audio 3 reads them.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = p.add_argument
    add("-m", "--model", metavar="NAME|DIR", help="the autoencoder, or a model with one; default: the best in model/")
    add("--data-dir", metavar="DIR", help="folder of sounds with captions; of a manifest's paths")
    add(
        "--manifest",
        metavar="FILE",
        help='.jsonl or .csv with "path", "prompt" and other fields: these sounds only',
    )
    add("-o", "--output-path", "--output", required=True, metavar="DIR", help="folder for .npy and .json files")
    add("--sample-size", type=int, default=12_582_912, metavar="N", help="samples to keep of a sound (%(default)s)")
    add("--pad", action="store_true", help="fill every sound up to the sample size; padding_mask says how far it goes")
    add("--batch-size", type=int, default=1, metavar="N", help="sounds of equal length encoded together (%(default)s)")
    add("--model-half", action="store_true", help="encode in float16 (not on a Linux CPU) and store float16")
    add("--json", action="store_true", help="one line of JSON for each sound")
    return p


def main(argv: list[str] | None = None) -> int:
    arguments = parser().parse_args([hyphens(word) for word in (sys.argv[1:] if argv is None else argv)])
    return run(lambda: pre_encode(arguments))


def hyphens(word: str) -> str:
    """--data_dir, as the reference has it, is --data-dir."""
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value if word.startswith("--") else word


def pre_encode(arguments: argparse.Namespace) -> int:
    items = find(arguments)
    from .. import cpu
    from ..codec import AutoencoderModel
    from ..training.pre_encode import PreEncoding, Settings

    settings = Settings(arguments.sample_size, arguments.batch_size, arguments.pad, arguments.model_half)
    dtype = "float16" if arguments.model_half and not cpu.on_linux_cpu() else "auto"  # there it only costs time
    model = AutoencoderModel.from_pretrained(arguments.model or default_model(), dtype)
    job = PreEncoding(model, items, Path(arguments.output_path), settings)
    return work(job, arguments.json)


def find(arguments: argparse.Namespace) -> "list[Item]":
    from ..data import folder

    if arguments.manifest:
        return folder.read_manifest(arguments.manifest, arguments.data_dir)
    if not arguments.data_dir:
        raise OptionError("--data-dir or --manifest is needed: which sounds?")
    if Path(arguments.data_dir).resolve() == Path(arguments.output_path).resolve():
        raise OptionError(f"{arguments.output_path}: is the folder of the sounds; choose another one for the latents")
    return folder.find(arguments.data_dir)


def work(job: "PreEncoding", as_json: bool) -> int:
    """Encode, and tell what happened."""
    new, bad = encode_all(job, lambda outcome: tell(outcome, as_json))
    note(summary(job, new, bad))
    if job.others:
        note(f"{job.output}: {job.others} more of sounds that are not among these; delete them if they are not wanted")
    if bad:
        raise AudioError(f"{bad} of {len(job.mine)} sounds left out, as listed above")
    return 0


def encode_all(job: "PreEncoding", tell: Callable[["Outcome"], bool]) -> tuple[int, int]:
    """Encode with bars on stderr; how many sounds are new and how many left out, which ``tell`` says of each."""
    new, bad = 0, 0
    try:
        with progress(len(job.mine), "file") as bar:
            for outcome in job.plan():
                bad += tell(outcome)
                bar.update()
        with progress(job.frames, "latent") as bar:
            bar.update(job.start())
            for outcome in job.run():
                bad += tell(outcome)
                new += outcome.path is not None
                bar.update(outcome.frames)
    except KeyboardInterrupt:
        note(f"{summary(job, new, bad)}; the same command goes on from here")
        raise
    return new, bad


def summary(job: "PreEncoding", new: int, bad: int) -> str:
    counts = {"encoded": new, "finished before": job.finished, "left out": bad}
    done = ", ".join(f"{count} {what}" for what, count in counts.items() if count or what == "encoded")
    return f"{job.output}: {done}"


def tell(outcome: "Outcome", as_json: bool) -> bool:
    """Report one sound; whether it is left out."""
    if outcome.problem:
        note(outcome.problem)
        return True
    if outcome.path is None:
        return False
    if outcome.left:
        note(f"{outcome.item.path}: the last {outcome.left:.1f} s are left out (--sample-size)")
    record = {"path": str(outcome.path), "input": str(outcome.item.path), "shape": list(outcome.shape)}
    show(record, outcome.path, as_json)
    return False
