"""``generate.py --prompt TEXT``: sound files from words."""

import argparse
import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import OptionError, StableAudioError
from ..options import FinishOptions, GenerateOptions
from ..takes import Take, merged, together, with_sounds
from ..takes.names import free_paths
from ..takes.ranks import Team, join
from .arguments import parser
from .common import complain, default_model, note, note_level, progress, run, show
from .plan import Job, Plan, make_plan

if TYPE_CHECKING:
    from ..events import Event
    from ..pipeline import StableAudioPipeline
    from ..sound import Sound

SEEDS_SHOWN = 8


def main(argv: list[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    return run(lambda: generate(arguments), arguments.quiet)


def generate(arguments: argparse.Namespace) -> int:
    """Plan, then make what is this process's share of it."""
    team = join()
    plan = make_plan(arguments, team)
    team.together()  # nobody writes before all have chosen names
    if arguments.dry_run:
        if team.rank == 0:
            for job in plan.jobs:
                if not job.done:
                    show_job(job, arguments.json)
        return next(iter(plan.failed), 0)
    return Session(arguments, plan, team).run()


def show_job(job: Job, as_json: bool) -> None:
    """A sound that would be made: its path and what is asked for."""
    asked = asked_for(job.take)
    words = " ".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in asked.items())
    show({"path": str(job.path), **asked}, f"{job.path}  {words}", as_json)


def asked_for(take: Take) -> dict[str, Any]:
    """The options of a take that are not the model's own or the default."""
    plain = {**vars(GenerateOptions()), **vars(FinishOptions())}
    given = {k: v for k, v in {**vars(take.options), **vars(take.finish)}.items() if v != plain[k]}
    given |= {key: given[key][0] for key in ("init_audio", "inpaint_audio") if key in given}
    return ({"model": take.model} if take.model else {}) | given


class Session:
    """Makes jobs one after the other, with one model in memory; what fails is told and the rest goes on."""

    def __init__(self, arguments: argparse.Namespace, plan: Plan, team: Team):
        self.arguments, self.team, self.failed, self.replay = arguments, team, list(plan.failed), plan.replay
        takes = [job.take for job in plan.jobs]
        groups = list(together(takes, arguments.batch_size or 1))
        mine = [[plan.jobs[i] for i in group] for n, group in enumerate(groups) if team.mine(n)]
        self.groups = [todo for group in mine if (todo := [job for job in group if not job.done])]
        self.total, self.done = sum(map(len, self.groups)), 0
        self.alone = len(plan.jobs) == 1 and not plan.failed and team.size == 1 and not plan.jobs[0].where
        self._pipeline: tuple[str | None, StableAudioPipeline] | None = None

    def run(self) -> int:
        """-> the exit code of the first failure, 0 if there was none."""
        seeds = [str(job.take.options.seed) for group in self.groups for job in group]
        more = f" ... ({len(seeds)} sounds)" if len(seeds) > SEEDS_SHOWN else ""
        try:
            if any(group[0].take.model == self.arguments.model for group in self.groups):
                self.open(self.arguments.model)  # what is wrong with it is wrong with all
            if seeds:
                note("seed " + " ".join(seeds[:SEEDS_SHOWN]) + more)
            for group in self.groups:
                self.attempt(group)
        except KeyboardInterrupt:
            if not self.alone:
                note(f"{self.done} of {self.total} sounds are finished")
            raise
        self.team.together()
        if self.failed:
            note(f"{self.done} of {self.done + len(self.failed)} sounds were made")
        return next(iter(self.failed), 0)

    def attempt(self, group: Sequence[Job]) -> None:
        """Make a group; what fails together is tried one by one."""
        try:
            self.make(group)
        except StableAudioError as error:
            if self.alone:
                raise
            if len(group) > 1:
                for job in group:
                    self.attempt([job])
                return
            complain(f"{group[0].where or group[0].path.name}: {error}")
            self.failed.append(error.exit_code)

    def make(self, group: Sequence[Job]) -> None:
        from ..audio import read
        from ..audio.loudness import to_db
        from ..sound import finish

        options = with_sounds(merged([job.take for job in group]), read)
        pipeline = self.open(group[0].take.model)
        label = "" if self.total == 1 else f"{self.done + 1}/{self.total}"
        result = watch(pipeline.steps(options), self.arguments.verbose, label)
        for sound, job in zip(pipeline.sounds(result), group, strict=True):
            sound = finish(sound, job.take.finish)
            path = job.path
            if path.exists() and not self.arguments.overwrite:  # somebody else's, since the name was chosen
                [path] = free_paths(path.parent, [path.name])
            written = sound.save(path, self.arguments.overwrite, self.arguments.metadata)
            self.done += 1
            for told in (*sound.notes, *(self.replay.differences(sound.record) if self.replay else ())):
                note(f"{path.name}: {told}")
            note_level(written)
            levels = sound.levels.turned(to_db(written.gain))
            note(f"{path.name}: {sound.seconds:.4g} s, {levels}")
            facts = {"seconds": sound.seconds, **levels.facts()}
            show({"path": str(written.path), **sound.record, **facts}, written.path, self.arguments.json)
            if self.arguments.play:
                play(sound)

    def open(self, model: str | None) -> "StableAudioPipeline":
        """The model of a take; one is in memory at a time."""
        if self._pipeline is None or self._pipeline[0] != model:
            from ..pipeline import StableAudioPipeline

            a = self.arguments
            self._pipeline = None
            keep = True if a.keep_models else None if len(self.groups) > 1 else False
            opened = StableAudioPipeline.from_pretrained(model or self.default, a.dtype, keep, a.low_memory)
            self._pipeline = model, opened
            if self._pipeline[1].facts.takes_text and a.prompt is None and not a.prompt_file:
                raise OptionError('--prompt is missing; try --prompt "warm arpeggio, 120 BPM"')
        return self._pipeline[1]

    @cached_property
    def default(self) -> Path:
        return default_model()


def play(sound: "Sound") -> None:
    """Play it; what stands in the way is told and nothing more."""
    from ..audio.player import PlayError

    try:
        sound.play()
    except PlayError as error:
        note(str(error))


def watch(events: "Iterator[Event]", verbose: bool, label: str = "") -> "Event":
    """Show a run on stderr; returns its result."""
    bar = None
    try:
        for event in events:
            if event.kind == "note":
                note(event.message)
            elif event.kind == "step":
                bar = bar or progress(event.total, "step", leave=verbose, label=label or None)
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
