"""What the commands that train share: options, the sounds, progress on stderr."""

import argparse
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, OptionError
from .common import Parser, note, run, show
from .pre_encode import encode_all, hyphens

if TYPE_CHECKING:
    from ..training.job import Job
    from ..training.loop import Report
    from ..training.pre_encode import Outcome
    from ..training.runner import Runner

WINDOWS = 64  # of the model: more of one sound is not trained on
EPILOG = """\
The same command again goes on where it was interrupted, with the same numbers as if it had not been; more --steps
train on.  Ctrl-C saves first.  The path of what was made goes to stdout, progress and notes go to stderr.
Exit codes: 0 ok, 1 failure, 2 usage, 3 weights or config, 4 no usable sounds, 5 not finite, 130 interrupted."""


def command(p: Parser, argv: list[str] | None, train: Callable[[argparse.Namespace], int]) -> int:
    """Parse the words of a command, which may have underscores in its options, and run it."""
    arguments = p.parse_args([hyphens(word) for word in (sys.argv[1:] if argv is None else argv)])
    return run(lambda: train(arguments))


def parser(command: str, description: str) -> Parser:
    return Parser(
        f"stable-audio-mlx {command}",
        description=description,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_options(p: argparse.ArgumentParser, name: str) -> None:
    add = p.add_argument_group("sounds").add_argument
    add(
        "--data-dir",
        metavar="DIR",
        help="sounds with captions, as for pre-encode; encoded once, into the output folder",
    )
    add("--manifest", metavar="FILE", help=".jsonl or .csv of sounds and captions, as for pre-encode")
    add("--encoded-dir", metavar="DIR", help="latents that pre-encode made")
    add = p.add_argument_group("training").add_argument
    add("--steps", type=int, default=10_000, metavar="N", help="(%(default)s)")
    add("--batch-size", type=int, default=1, metavar="N", help="clips of a step, on each process (%(default)s)")
    add("--accum-batches", type=int, default=1, metavar="N", help="compute the batch in N parts, for less memory")
    add("--duration", type=float, metavar="S", help="seconds of a clip; default: the model's window")
    add("--lr", type=float, metavar="X", help="learning rate, instead of the training section's")
    add("--training", type=Path, metavar="FILE", help='JSON with a "training" section, or only what is in one')
    add("--gradient-checkpointing", action="store_true", help="a third slower, much less memory; the same numbers")
    add("--seed", type=int, default=42, metavar="N", help="of everything that is drawn (%(default)s)")
    add = p.add_argument_group("output").add_argument
    add("-o", "--output", "--save-dir", type=Path, required=True, metavar="DIR", help="folder for all that is written")
    add("--name", default=name, help="of the run, its files begin with it (%(default)s)")
    add("--checkpoint-every", type=int, default=500, metavar="N", help="steps between two saves (%(default)s)")
    add("--log-every", type=int, default=10, metavar="N", help="steps between two rows of the table (%(default)s)")
    add(
        "--demo-every",
        type=int,
        metavar="N",
        help="steps between two demos, 0 for none; default: the section's, or 500",
    )
    add(
        "--demo-prompt", action="append", default=[], metavar="TEXT", help="of the demos; default: captions; repeatable"
    )
    add("--quiet", action="store_true", help="no progress on stderr")
    add("--json", action="store_true", help="one line of JSON about what was made")


def job_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The arguments of ``Job`` that all trainings have; OptionError for what cannot be meant."""
    given = [o for o in ("data_dir", "manifest", "encoded_dir") if getattr(arguments, o)]
    if not given:
        raise OptionError("--data-dir, --manifest or --encoded-dir is needed: which sounds?")
    if "encoded_dir" in given and len(given) > 1:
        raise OptionError("--encoded-dir has sounds that are encoded already; give it alone")
    if arguments.name != Path(arguments.name).name or arguments.name.startswith("."):
        raise OptionError(f"--name {arguments.name!r} must be a name, not a path")
    return {
        "output": arguments.output,
        "latents": Path(arguments.encoded_dir or arguments.output / "latents"),
        "training": read_training(arguments.training),
        "name": arguments.name,
        "lr": arguments.lr,
        "steps": arguments.steps,
        "batch_size": arguments.batch_size,
        "accumulate": arguments.accum_batches,
        "duration": arguments.duration,
        "seed": arguments.seed,
        "checkpoint_every": arguments.checkpoint_every,
        "log_every": arguments.log_every,
        "demo_every": arguments.demo_every,
        "demo_prompts": tuple(arguments.demo_prompt),
        "recompute": arguments.gradient_checkpointing,
    }


def read_training(path: Path | None) -> dict[str, Any] | None:
    """The training section in a file: of a whole config, or alone."""
    if path is None:
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OptionError(f"--training {path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise ConfigError(f"{path}: not JSON ({error})") from None
    if not isinstance(found, dict) or not isinstance(found.get("training", {}), dict):
        raise ConfigError(f"{path}: expected an object with the training section")
    return found.get("training", found)


def encode(arguments: argparse.Namespace, job: "Job") -> None:
    """Encode the sounds that are to be trained on, those that are not yet; sounds that cannot be used are told of."""
    if arguments.encoded_dir:
        return
    from ..codec import AutoencoderModel
    from ..training.live import Opened
    from ..training.pre_encode import PreEncoding, Settings
    from .pre_encode import find

    arguments.output_path = job.latents
    opened = Opened(job.model, job.pretransform)
    longest = min(Settings().sample_size, WINDOWS * opened.source.create().sample_size)
    work = PreEncoding(AutoencoderModel(opened.codec_source), find(arguments), job.latents, Settings(longest))
    _, bad = encode_all(work, tell)
    work.wait()
    if bad:
        note(f"{bad} of {len(work.mine)} sounds are not trained on")


def tell(outcome: "Outcome") -> bool:
    if outcome.problem:
        note(outcome.problem)
    elif outcome.left:
        note(f"{outcome.item.path}: its last {outcome.left:.1f} s are not trained on")
    return bool(outcome.problem)


def work(arguments: argparse.Namespace, job: "Job") -> int:
    """Encode, train, say what came of it."""
    from ..training.job import Training

    tell_notes()
    encode(arguments, job)
    return train(arguments, Training(job))


def tell_notes() -> None:
    """What a training logs goes to stderr."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger("stable_audio_mlx").setLevel(logging.INFO)


def train(arguments: argparse.Namespace, training: "Runner") -> int:
    """Train, say what came of it."""
    try:
        made = training.run(None if arguments.quiet else told(arguments.steps))
    except KeyboardInterrupt:
        note(f"saved at step {training.trainer.step}; the same command goes on from here")
        raise
    if training.first:
        show({"path": str(made), "steps": training.trainer.step}, made, arguments.json)
    return 0


def told(steps: int) -> "Any":
    """Writes a line for each report."""

    def tell(report: "Report") -> None:
        loss, rate = report.values.get("loss"), report.values.get("lr")
        parts = [f"step {report.step}/{steps}", f"loss {loss:.4f}" if loss is not None else ""]
        parts += [
            f"lr {rate:.2g}" if rate is not None else "",
            f"{report.pace:.2f} s a step",
            f"{duration(report.left)} left",
        ]
        note("  ".join(filter(None, parts)))

    return tell


def duration(seconds: float) -> str:
    """Seconds for people: 40 s, 12 min, 3 h 20 min."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
