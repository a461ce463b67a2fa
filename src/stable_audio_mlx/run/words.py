"""What a model is told: the phrases of its prompts, seconds, tempo and whatever else it has conditions for."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import mlx.core as mx

from ..completion import Completed
from ..errors import OptionError
from ..models.conditioners import Condition, Conditioner
from ..music import other_tempo, spoken
from ..presets import ModelFacts
from ..prompts import Phrase, Prompt, join, parse
from ..weights.text import TextEncoder

Conditions = dict[str, Condition]


@dataclass(frozen=True)
class Words:
    """The prompts of a batch: the phrases of each clip, with tempo and key, and what not to hear (None: nothing said).

    All clips have equally many phrases; those that one has too few are not heard in it.
    """

    prompts: Sequence[Prompt]
    phrases: Sequence[Sequence[Phrase]]  # (N, B)
    negative: Sequence[Phrase] | None

    @property
    def copies(self) -> int:
        """How many velocities of each clip are mixed."""
        return len(self.phrases)

    def mixture(self, start: int, frames: int, frame: float) -> mx.array | None:
        """Shares of the phrases at each frame, ``frame`` seconds long, of a window: (N, B, T, 1); None for one."""
        if self.copies == 1:
            return None
        times = [(start + i) * frame for i in range(frames)]
        rows = [p.shares(times) for p in self.prompts]
        nothing = [0.0] * frames
        shares = [[(row + [nothing] * self.copies)[n] for row in rows] for n in range(self.copies)]
        return mx.array(shares)[..., None]


@dataclass(frozen=True)
class Told:
    """Conditions by id of the clips of a window, (copies * B, ...), and of the negative prompts; see ``Words``."""

    conditions: Conditions
    negative: Conditions | None = None
    copies: int = 1
    mixture: mx.array | None = None


def words_of(options: Completed, takes_text: bool = True) -> Words:
    """The prompts as they are read.  OptionError for several ones where the model takes no text."""
    prompts = [parse(text, options.tempo) for text in options.prompt]
    copies = max(len(p.phrases) for p in prompts)
    if copies > 1 and not takes_text:
        raise OptionError("prompt: this model takes no text, so there is nothing to mix; leave || out")

    def said(phrase: Phrase) -> Phrase:
        return replace(phrase, text=spoken(phrase.text, options.bpm, options.key))

    phrases = [[said((p.phrases * copies)[n]) for p in prompts] for n in range(copies)]
    given = [parse(text).parts[0].phrase for text in options.negative_prompt or [""] * len(prompts)]
    negative = [join([a, b.negative]) for a, b in zip(given, prompts, strict=True)]
    anything = options.negative_prompt is not None or any(phrase.text for phrase in negative)
    return Words(prompts, phrases, negative if anything and options.cfg_scale != 1 else None)


def word_notes(options: Completed, words: Words, facts: ModelFacts) -> Iterator[str]:
    """What a user should know about prompts, before they are read."""
    if not facts.takes_text:
        if any(options.prompt):
            yield "this model takes no text; the prompt is ignored"
        return
    if options.cfg_scale == 1 and any(p.negative.text for p in words.prompts):
        yield "negative weights have no effect at cfg scale 1, where nothing is guided"
    if options.bpm is not None or options.key is not None:
        for text in dict.fromkeys(phrase.text for clips in words.phrases for phrase in clips):
            yield f"the model reads: {text}"
            if (other := other_tempo(text, options.bpm)) is not None:
                yield f"the prompt says {other:g} BPM, but bpm is {options.bpm:g}"
    if words.copies > 1:
        yield f"{words.copies} prompts are mixed: each step takes {words.copies} evaluations"


def told(
    conditioner: Conditioner | None,
    encoder: TextEncoder | None,
    phrases: Sequence[Phrase],
    seconds: Sequence[tuple[float, float]],
    options: Completed | None = None,
) -> Conditions:
    """Conditions by id, (B, ...), of clips that each have words, a beginning and a length in seconds."""
    if conditioner is None:
        return {}
    ids = conditioner.text_ids
    more = other_conditions(options, conditioner) if options else {}
    clips = [
        {**dict.fromkeys(ids, phrase), "seconds_start": start, "seconds_total": total, **more}
        for phrase, (start, total) in zip(phrases, seconds, strict=True)
    ]
    conditions = conditioner(clips, dict.fromkeys(ids, encoder))  # type: ignore[arg-type]  # without ids, no encoder
    mx.eval(list(conditions.values()))
    return conditions


def other_conditions(options: Completed, conditioner: Conditioner) -> dict[str, Any]:
    """What the options say, and the tempo and key for a model that has conditions of these names."""
    known = conditioner.keys_of_a_clip
    musical = {name: getattr(options, name) for name in ("bpm", "key", "bars") if name in known}
    return {**{k: v for k, v in musical.items() if v is not None}, **(options.conditions or {})}


def rows_of(conditions: Mapping[str, Condition], first: int, behind: int) -> Conditions:
    """Of clips ``first`` to ``behind``."""
    return {
        name: Condition(c.tokens[first:behind], c.mask if c.mask is None else c.mask[first:behind])
        for name, c in conditions.items()
    }


def unread(conditions: Mapping[str, Condition]) -> Iterator[str]:
    """What to say of prompts that were too long."""
    for condition in conditions.values():
        for rest in dict.fromkeys(filter(None, condition.unread)):
            yield f"a prompt is longer than {condition.tokens.shape[1]} tokens; its end is not read: {rest!r}"
