"""What ``generate`` will make: arguments and prompt files to takes, each with the path that its sound gets."""

import argparse
import sys
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import names
from ..errors import OptionError
from ..files import SIDECAR, check_output
from ..formats import check_format
from ..options import GenerateOptions
from ..prompt_file import Line, read_prompts
from ..ranks import Team
from ..takes import Take, canonical, kinds, take_from_mapping, takes_from_mapping, values_of
from .common import OUTPUT, complain, is_folder

if TYPE_CHECKING:
    from ..replay import Replay


@dataclass(frozen=True)
class Job:
    """A take, the path its sound gets, and the line it comes from (FILE:NUMBER, or nothing)."""

    take: Take
    path: Path
    where: str = ""


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
    plan, found = Plan(), []
    flags = {k: v for k in kinds() if (v := getattr(arguments, k, None)) is not None}
    plan.replay = replayed(arguments, flags)
    recorded = {} if plan.replay is None else plan.replay.mapping
    base = take_from_mapping({**recorded, **{k: v for k, v in flags.items() if k not in OWN}})
    folder = Path(arguments.prompt_file).parent if arguments.prompt_file else ""
    lines = list(lines_of(arguments))
    count = batch_alone(arguments, lines) if arguments.variations is None else arguments.variations
    choice = (arguments.seed or (), count, team.drawer())
    for line in lines:
        try:
            if line.error:
                raise line.error
            if "prompt" not in map(canonical, line.mapping):
                raise OptionError('prompt is missing; "" stands for none')
            found += [(take, line.where) for take in takes_from_mapping(line.mapping, base, folder, *choice)]
        except OptionError as error:
            if not line.where:
                raise
            complain(f"{line.where}: {error}")
            plan.failed.append(error.exit_code)
    paths = paths_of([take for take, _ in found], arguments)
    for (take, _), path in zip(found, paths, strict=True):
        check_format(path, take.finish.bit_depth)
    if not arguments.dry_run:
        paths = [check_output(path, True) for path in paths]
        if arguments.metadata:
            for path in paths:
                check_output(path.with_suffix(SIDECAR), arguments.overwrite, (SIDECAR,))
    plan.jobs = [Job(take, path, where) for (take, where), path in zip(found, paths, strict=True)]
    return plan


def replayed(arguments: argparse.Namespace, flags: Collection[str]) -> "Replay | None":
    """The record that is to be made again; what it says of the whole command is put where nothing was given."""
    if arguments.config_from_metadata is None:
        return None
    from ..replay import read_replay

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


def paths_of(takes: list[Take], arguments: argparse.Namespace) -> list[Path]:
    """One path per take, none twice; OptionError where a named file exists or would be written twice."""
    now = time.localtime()
    common = {"date": time.strftime("%Y-%m-%d", now), "time": time.strftime("%H-%M-%S", now)}

    models = {model: model_name(model) for model in {take.model for take in takes}}

    def values(take: Take, index: int) -> dict[str, Any]:
        return values_of(take, index, model=models[take.model], **common)

    if is_folder(arguments.output):
        filled = (names.fill(take.name, values(take, index)) for index, take in enumerate(takes, 1))
        return names.free_paths(arguments.output or OUTPUT, filled, arguments.overwrite)
    path = Path(arguments.output)
    if any(take.name != names.TEMPLATE for take in takes):
        raise OptionError(f"name: --output {path} is a file already; give a folder, ending in /")
    if len(takes) == 1:
        return [path if arguments.dry_run else check_output(path, arguments.overwrite)]
    several = len({take.options.prompt for take in takes}) > 1
    ending = names.TEMPLATE if several else "{seed}"
    paths = []
    for index, take in enumerate(takes, 1):
        name = names.fill(ending + path.suffix, values(take, index))
        one = path.with_name(f"{path.stem}-{name}")
        if one in paths:
            raise OptionError(f"seed: {one} would be written twice, since a seed is given twice; leave one out")
        paths.append(one if arguments.dry_run else check_output(one, arguments.overwrite))
    return paths


def model_name(model: str | None) -> str:
    if model is None:
        from ..weights import hub

        found = hub.best_local_model()
        return found.name if found else "model"
    return Path(model).name
