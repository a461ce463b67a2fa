"""What ``generate`` will make: arguments and prompt files to takes, each with the path that its sound gets."""

import argparse
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import AudioError, OptionError
from ..files import SIDECAR, check_output
from ..formats import check_format
from ..options import GenerateOptions
from ..takes import Take, canonical, kinds, names, take_from_mapping, takes_from_mapping, values_of
from ..takes.prompt_file import Line, read_prompts
from ..takes.ranks import Team
from .common import OUTPUT, complain, is_folder, note

if TYPE_CHECKING:
    from ..sound.replay import Replay


@dataclass(frozen=True)
class Job:
    """A take, the path its sound gets, the line it is from (FILE:NUMBER, or nothing), whether it is there already."""

    take: Take
    path: Path
    where: str = ""
    done: bool = False


@dataclass
class Plan:
    """Everything that is to be made, in order; ``failed`` are the exit codes of lines that cannot be."""

    jobs: list[Job] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    replay: "Replay | None" = None


def make_plan(arguments: argparse.Namespace, team: Team) -> Plan:
    """Check all that can be checked without a model.  OptionError; in a prompt file only what spoils all of it."""
    if team.size > 1 and "-" in (arguments.prompt_file, *(arguments.prompt or ())):
        raise OptionError("standard input cannot be shared among processes; write the prompts to a file")
    GenerateOptions(batch_size=arguments.batch_size)  # refuses what is no size
    plan = Plan()
    flags = {k: v for k in kinds() if (v := getattr(arguments, k, None)) is not None}
    plan.replay = replayed(arguments, flags)
    recorded = {} if plan.replay is None else plan.replay.mapping
    base = take_from_mapping({**recorded, **{k: v for k, v in flags.items() if k not in OWN}})
    lines = list(lines_of(arguments))
    count = batch_alone(arguments, lines) if arguments.variations is None else arguments.variations
    wishes: list[Wish] = []
    namer, choice = Namer(), (arguments.seed or (), count, team.drawer())
    for line in lines:
        try:
            wishes += read_line(line, base, choice, namer, len(wishes))
        except (OptionError, AudioError) as error:
            if not line.where:
                raise
            complain(f"{line.where}: {error}")
            plan.failed.append(error.exit_code)
    skip = arguments.skip_existing
    for wish, path in zip(wishes, paths_of(wishes, arguments), strict=True):
        plan.jobs.append(Job(wish.take, path, wish.where, skip and path.exists()))
        if not plan.jobs[-1].done and not arguments.dry_run:
            check_output(path, True)
            if arguments.metadata:
                check_output(path.with_suffix(SIDECAR), arguments.overwrite, (SIDECAR,))
    if done := sum(job.done for job in plan.jobs):
        note(f"{done} of {len(plan.jobs)} sounds are there already")
    return plan


def read_line(
    line: Line, base: Take, choice: tuple[Sequence[int], int | None, Any], namer: "Namer", before: int
) -> list["Wish"]:
    """The takes of a line, with their names; OptionError and AudioError for what is wrong with it."""
    if line.error:
        raise line.error
    if "prompt" not in map(canonical, line.mapping):
        raise OptionError('prompt is missing; "" stands for none')
    wishes: list[Wish] = []
    for take in takes_from_mapping(line.mapping, base, line.folder, *choice):
        for sound in filter(None, (take.options.init_audio, take.options.inpaint_audio)):
            if sound[1] == 0 and not Path(sound[0]).is_file():
                raise AudioError(f"{sound[0]}: no such audio file")
        name = namer.name(take, before + len(wishes) + 1)
        check_format(Path(name), take.finish.bit_depth)
        wishes.append(Wish(take, line.where, name))
    return wishes


@dataclass(frozen=True)
class Wish:
    """A take, where it was asked for, and the name that it would have in a folder of its own."""

    take: Take
    where: str
    name: str


class Namer:
    """Fills templates; date and time are those of the beginning."""

    def __init__(self) -> None:
        now = time.localtime()
        self._now = {"date": time.strftime("%Y-%m-%d", now), "time": time.strftime("%H-%M-%S", now)}
        self._models: dict[str | None, str] = {}

    def name(self, take: Take, index: int, template: str | None = None) -> str:
        if take.model not in self._models:
            self._models[take.model] = model_name(take.model)
        values = values_of(take, index, model=self._models[take.model], **self._now)
        return names.fill(take.name if template is None else template, values)


def replayed(arguments: argparse.Namespace, flags: Collection[str]) -> "Replay | None":
    """The record that is to be made again; what it says of the whole command is put where nothing was given."""
    if arguments.config_from_metadata is None:
        return None
    from ..sound.replay import read_replay

    replay = read_replay(arguments.config_from_metadata, flags)
    arguments.model = arguments.model or replay.model
    arguments.dtype = replay.dtype if arguments.dtype == "auto" else arguments.dtype
    if arguments.prompt is None and not arguments.prompt_file:
        arguments.prompt = [replay.mapping.get("prompt", "")]
    return replay


OWN = ("prompt", "seed", "variations")  # of the plan, not of the take that all others start from


def batch_alone(arguments: argparse.Namespace, lines: list[Line]) -> int | None:
    """``--batch-size`` by itself says how many sounds, too."""
    alone = len(lines) == 1 and len(arguments.seed or ()) < 2 and not arguments.prompt_file
    return arguments.batch_size if alone else None


def lines_of(arguments: argparse.Namespace) -> Iterator[Line]:
    """Prompts of the command line (one without words if there is none), or the lines of the file."""
    if not arguments.prompt_file:
        for prompt in arguments.prompt or [""]:
            yield Line("", {"prompt": from_stdin() if prompt == "-" else prompt})
        return
    lines = list(read_prompts(arguments.prompt_file))
    if not lines:
        name = "standard input" if arguments.prompt_file == "-" else arguments.prompt_file
        raise OptionError(f"{name}: has no prompts")
    yield from lines


def from_stdin() -> str:
    try:
        text = " ".join(sys.stdin.read().split()) if sys.stdin else ""
    except UnicodeDecodeError:
        raise OptionError("standard input is not text") from None
    if not text:
        raise OptionError("--prompt -: standard input is empty")
    return text


def paths_of(wishes: list[Wish], arguments: argparse.Namespace) -> list[Path]:
    """One path per take, none twice; OptionError where a named file exists or would be written twice."""
    replace = arguments.overwrite or arguments.skip_existing
    if is_folder(arguments.output):
        beside = SIDECAR if arguments.metadata else ""
        return names.free_paths(arguments.output or OUTPUT, [w.name for w in wishes], replace, beside)
    path = Path(arguments.output)
    if any(w.take.name != names.TEMPLATE for w in wishes):
        raise OptionError(f"name: --output {path} is a file already; give a folder, ending in /")
    paths = [path]
    if len(wishes) != 1:
        several = len({w.take.options.prompt for w in wishes}) > 1
        template = (names.TEMPLATE if several else "{seed}") + path.suffix
        namer = Namer()
        paths = [path.with_name(f"{path.stem}-{namer.name(w.take, k, template)}") for k, w in enumerate(wishes, 1)]
    for wish, one in zip(wishes, paths, strict=True):
        check_format(one, wish.take.finish.bit_depth)
        if paths.count(one) > 1:
            raise OptionError(f"seed: {one} would be written twice, since a seed is given twice; leave one out")
        if not arguments.dry_run:
            check_output(one, replace)
    return paths


def model_name(model: str | None) -> str:
    if model is None:
        from ..weights import hub

        found = hub.best_local_model()
        return found.name if found else "model"
    return Path(model).name
