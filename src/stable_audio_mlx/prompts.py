"""What a prompt may say beside its words: weights of phrases, and several prompts mixed or one after the other.

``warm (vinyl crackle:1.4) pad``  a phrase counts more, or less below 1; weights of nested ones multiply.
``piano (reverb:-1)``             a negative weight moves the phrase to the negative prompt.
``rain || thunder:0.5``           two prompts at once, the second half as strong as the first.
``rain || thunder @8 || birds @12-16``   one after the other: at 8 s, and gradually from 12 to 16 s.

Parentheses without ``:number`` and those without a partner are text, as is ``\\(`` and ``\\)``.  A prompt with none of
these is left exactly as it is.  Only the standard library is imported here, as in ``options``.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .errors import OptionError
from .music import Tempo, range_in_seconds, seconds_at

HEAVIEST = 10.0
NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)"
WEIGHT = re.compile(rf":\s*({NUMBER})\s*$")
TIME = re.compile(r"@\s*([\d.:,\s–-]+)$")


@dataclass(frozen=True)
class Phrase:
    """Words, and ``weights``: (first character, behind the last one, weight) where it is not 1."""

    text: str
    weights: tuple[tuple[int, int, float], ...] = ()

    def weight_of(self, start: int, end: int) -> float:
        """The weight of the characters ``start`` to ``end``: that of the last one which is no space."""
        place = start + max(len(self.text[start:end].rstrip()), 1) - 1
        return next((weight for first, behind, weight in self.weights if first <= place < behind), 1.0)


@dataclass(frozen=True)
class Part:
    """A prompt among others: its weight in a mixture, or when it takes over (from, completely at) in seconds."""

    phrase: Phrase
    weight: float = 1.0
    takes_over: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Prompt:
    """``parts`` of one prompt (usually one); ``negative`` are the phrases with a negative weight."""

    parts: tuple[Part, ...]
    negative: Phrase

    @property
    def phrases(self) -> list[Phrase]:
        """Each once."""
        return list(dict.fromkeys(part.phrase for part in self.parts))

    def shares(self, times: Sequence[float]) -> list[list[float]]:
        """Of each of ``phrases`` at each time in seconds; at any time they sum to 1."""
        rows = {phrase: [0.0] * len(times) for phrase in self.phrases}
        total = sum(part.weight for part in self.parts)
        for i, time in enumerate(times):
            left = 1.0
            for part in reversed(self.parts):
                share = part.weight / total if self.mixed else left * _reached(part.takes_over, time)
                rows[part.phrase][i] += share
                left -= share
        return list(rows.values())

    @property
    def mixed(self) -> bool:
        """Whether all parts are heard at all times."""
        return all(part.takes_over == (0.0, 0.0) for part in self.parts)


def _reached(span: tuple[float, float], time: float) -> float:
    start, end = span
    if time >= end:
        return 1.0
    return 0.0 if time <= start else (time - start) / (end - start)


def parse(text: str, tempo: Tempo | None = None) -> Prompt:
    """OptionError for weights beyond ±10 and for several prompts that are neither mixed nor in order."""
    if "||" not in text:
        phrase, negative = weighted(text)
        return Prompt((Part(phrase),), join(negative))
    parts, away = [], []
    for place, piece in enumerate(text.split("||")):
        words, weight, span = _suffix(piece.strip(), tempo)
        phrase, negative = weighted(words)
        if not phrase.text:
            raise OptionError(f"prompt: nothing stands {'before' if place == 0 else 'behind'} a || in {text!r}")
        parts.append(Part(phrase, weight, span))
        away += negative
    spans = [part.takes_over for part in parts]
    if any(end > 0 for _, end in spans):
        if any(part.weight != 1 for part in parts) or spans[0] != (0.0, 0.0):
            raise OptionError(
                f"prompt: {text!r} mixes weights with times; the first prompt begins, the others say @when"
            )
        if any(later[0] < sooner[1] or later[1] == 0 for sooner, later in zip(spans, spans[1:], strict=False)):
            raise OptionError(f"prompt: the times behind || must be given and rise, in {text!r}")
    return Prompt(tuple(parts), join(away))


def _suffix(piece: str, tempo: Tempo | None) -> tuple[str, float, tuple[float, float]]:
    """(words, weight, when it takes over) of one of several prompts."""
    if found := TIME.search(piece):
        when = found[1].strip()
        between = re.search(r"[-–,]", when) is not None
        span = range_in_seconds(when, tempo) if between else (seconds_at(when, tempo),) * 2
        if span[0] > span[1] or span[1] == 0:
            raise OptionError(f"prompt: @{when} must lie behind the beginning, from sooner to later")
        return piece[: found.start()].rstrip(), 1.0, (span[0], span[1])
    if found := WEIGHT.search(piece):
        weight = float(found[1])
        if not 0 < weight <= HEAVIEST:
            raise OptionError(f"prompt: a mixture's weights lie above 0 and up to {HEAVIEST:g}, not {weight:g}")
        return piece[: found.start()].rstrip(), weight, (0.0, 0.0)
    return piece, 1.0, (0.0, 0.0)


def weighted(text: str) -> tuple[Phrase, list[Phrase]]:
    """The words of a prompt with their weights, and those that have a negative one."""
    out: list[str] = []
    weights: list[tuple[int, int, float]] = []
    away: list[Phrase] = []
    for run, weight in _runs(text):
        if weight < 0:
            away.append(Phrase(run.strip(), ((0, len(run.strip()), -weight),) if weight != -1 else ()))
            continue
        start = sum(map(len, out))
        out.append(run)
        if weight != 1:
            weights.append((start, start + len(run), weight))
    words = "".join(out)
    if away:
        words = words.rstrip(" ,")
        weights = [(start, min(end, len(words)), weight) for start, end, weight in weights if start < len(words)]
    return Phrase(words, tuple(weights)), [phrase for phrase in away if phrase.text]


def _runs(text: str) -> Iterator[tuple[str, float]]:
    """Stretches of one weight in order, without the marks."""
    opened, closed = _marks(text)
    stack, run, i = [1.0], "", 0
    while i < len(text):
        if i in opened or i in closed:
            if run:
                yield run, stack[-1]
            run = ""
        if i in opened:
            weight = stack[-1] * opened[i]
            if abs(weight) > HEAVIEST:
                raise OptionError(
                    f"prompt: weight {weight:g} in {text!r} is beyond ±{HEAVIEST:g}; \\( is a parenthesis"
                )
            stack.append(weight)
            i += 1
        elif i in closed:
            stack.pop()
            i = closed[i]
        else:
            i += text[i] == "\\" and text[i + 1 : i + 2] in ("(", ")")
            run += text[i]
            i += 1
    if run:
        yield run, stack[-1]


def _marks(text: str) -> tuple[dict[int, float], dict[int, int]]:
    """Where weighted phrases open (place -> weight) and where they close (place of the colon -> behind the mark)."""
    opened, closed, stack, i = {}, {}, [], 0
    while i < len(text):
        if text[i] == "\\" and text[i + 1 : i + 2] in ("(", ")"):
            i += 1
        elif text[i] == "(":
            stack.append(i)
        elif text[i] == ")" and stack:
            start = stack.pop()
            found = WEIGHT.search(text, start + 1, i)
            if found:
                opened[start], closed[found.start()] = float(found[1]), i + 1
        i += 1
    return opened, closed


def join(phrases: Sequence[Phrase]) -> Phrase:
    """Phrases as one, with commas between them."""
    text, weights = "", []
    for phrase in phrases:
        if phrase.text:
            text += ", " if text else ""
            weights += [(a + len(text), b + len(text), weight) for a, b, weight in phrase.weights]
            text += phrase.text
    return Phrase(text, tuple(weights))
