"""Choosing layers by name: the include and exclude patterns of LoRA training, meaning what its documentation says.

``transformer.layers`` stands for every name that contains it; ``layers[0-11]`` for exactly the layers 0 to 11.
"""

import re
from collections.abc import Iterable, Sequence

from ..errors import OptionError

RANGE = re.compile(r"\[(\d{1,6})-(\d{1,6})\]")


def matches(name: str, pattern: str) -> bool:
    """Whether a layer's name contains ``pattern``.

    ``[a-b]`` is any whole number from a to b, with or without a dot before it; a dot in front of the pattern is also
    the beginning of the name.
    """
    pattern = pattern.strip()
    if not pattern:
        raise OptionError("an empty layer pattern; try transformer.layers or layers[0-11]")
    pieces = RANGE.split(pattern)
    expression = literal(pieces[0], True)
    for text in pieces[3::3]:
        joint = "" if expression.endswith(r"\.") else r"\.?"
        expression += rf"{joint}(?<!\d)(\d+)(?!\d){literal(text)}"
    limits = [sorted((int(a), int(b))) for a, b in zip(pieces[1::3], pieces[2::3], strict=True)]
    # Overlapping places are all looked at: a number that is out of range must not hide a later one.
    places = re.finditer(f"(?={expression})", name)
    return any(
        all(low <= int(number) <= high for number, (low, high) in zip(m.groups(), limits, strict=True)) for m in places
    )


def literal(text: str, first: bool = False) -> str:
    """Text as a regular expression; a first dot may also be the beginning of the name."""
    if first and text.startswith("."):
        return r"(?:^|\.)" + re.escape(text[1:])
    return re.escape(text)


def chosen(names: Iterable[str], include: Sequence[str] = (), exclude: Sequence[str] = ()) -> list[str]:
    """The names that match one of ``include`` (all, if there is none) and none of ``exclude``."""
    return [
        name
        for name in names
        if (not include or any(matches(name, p) for p in include)) and not any(matches(name, p) for p in exclude)
    ]
