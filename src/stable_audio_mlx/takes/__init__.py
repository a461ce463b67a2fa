"""Takes: what is asked for one sound, from the words of a command line, a line of a prompt file, a record or a request.

Only the standard library is imported here, as in ``options``.
"""

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from os import PathLike
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_type_hints

from ..errors import OptionError
from ..options import FinishOptions, GenerateOptions, as_list, drawn_seed
from . import names

# What people type elsewhere -> what it is called here.
ALIASES = {
    "text": "prompt",
    "negative": "negative_prompt",
    "duration": "seconds",
    "cfg": "cfg_scale",
    "guidance": "cfg_scale",
    "guidance_scale": "cfg_scale",
    "apg": "apg_scale",
    "num_inference_steps": "steps",
    "loras": "lora",
    "condition": "conditions",
    "filename": "name",
    "output": "name",
    "seeds": "seed",
    "auto_seeds": "variations",
}
SOUNDS = ("init_audio", "inpaint_audio")  # files in a mapping, arrays in options
ARRAYS = {"noise", "step_noise", "return_latents", "batch_size"}  # of Python alone
# What one of these says, the others of a base say no longer.
RIVALS = ({"seconds", "bars", "continue_to", "extend_by"}, {"strength", "init_noise_level"})
DEPTH = 4  # of lists in an option, and one more
ONE_EACH = ("prompt", "negative_prompt", "seconds", "seed")


@dataclass(frozen=True)
class Take:
    """What is asked for one sound: options of a run of one clip, what is done to the clip, its name, its model.

    ``name`` is a template (``names.fill``); ``model`` None is the caller's.  A sound to start from is a file that is
    not yet read: ``(path, 0)`` in place of (array, rate) until ``with_sounds``.  OptionError for what cannot be.
    """

    options: GenerateOptions = GenerateOptions()
    finish: FinishOptions = FinishOptions()
    name: str = names.TEMPLATE
    model: str | None = None

    def __post_init__(self) -> None:
        for key in ONE_EACH:
            if isinstance(value := getattr(self.options, key), list | tuple):
                raise OptionError(f"{key}: {value!r} must be one value; a take is one sound")
        if self.options.loop:
            self.finish.check_loop()
        if self.model is not None and (not isinstance(self.model, str) or not self.model):
            raise OptionError(f"model: {self.model!r} must be a name or a folder")
        names.check_template(self.name, {*OWN_FIELDS, *simple_options()})


OWN_FIELDS = ("slug", "seed", "index", "model", "date", "time")


@cache
def kinds() -> dict[str, str]:
    """Key of a mapping -> "number", "whole", "flag", "text" or, for everything else, its own name."""
    words = {bool: "flag", int: "whole", float: "number", str: "text"}
    found: dict[str, str] = {}
    for options in (GenerateOptions, FinishOptions):
        for key, hint in get_type_hints(options).items():
            if key not in ARRAYS:
                choices = get_args(hint) if isinstance(hint, UnionType) else (hint,)
                basic = words.keys() & {choice for choice in choices if isinstance(choice, type)}
                found[key] = words[basic.pop()] if len(basic) == 1 else key
    return {**found, "name": "text", "model": "text", "variations": "whole"}


def simple_options() -> list[str]:
    """Options that can be part of a name."""
    named = ("name", "model", "variations")
    return [key for key, kind in kinds().items() if (kind != key or key == "loop") and key not in named]


def take_from_mapping(mapping: Mapping[str, Any], base: Take | None = None, folder: str | Path = "") -> Take:
    """``base`` with what the mapping says: fields of GenerateOptions and FinishOptions, ``name`` and ``model``.

    Values are those of JSON; None says nothing.  Sounds and LoRAs are files, relative to ``folder``; a LoRA is "FILE",
    "FILE:STRENGTH" or [file, strength].  OptionError for an unknown key, with the nearest one, and for bad values.
    """
    takes = takes_from_mapping(mapping, base, folder)
    if len(takes) > 1 or "variations" in map(canonical, mapping):
        raise OptionError("seed and variations: one take has one seed")
    return takes[0]


def takes_from_mapping(
    mapping: Mapping[str, Any],
    base: Take | None = None,
    folder: str | Path = "",
    seeds: Sequence[int] = (),
    variations: int | None = None,
    draw: Callable[[], int] | None = None,
) -> list[Take]:
    """As ``take_from_mapping``, but "seed" may be a list and "variations" a number: one take each.

    ``seeds`` and ``variations`` hold where the mapping does not say otherwise; with a ``draw`` missing seeds are drawn.
    """
    base, given = base or Take(), given_values(mapping, Path(folder))
    if "seed" in given:
        seeds = as_list(given.pop("seed"))
        variations = None if len(seeds) > 1 else variations
    elif not seeds:
        seeds = as_list(base.options.seed)
    variations = given.pop("variations", variations)
    own = {key: given.pop(key) for key in ("name", "model") if key in given}
    of_finish = {key: given.pop(key) for key in FinishOptions.__dataclass_fields__ if key in given}
    unsaid: dict[str, Any] = {key: None for rivals in RIVALS if given.keys() & rivals for key in rivals - given.keys()}
    take = replace(
        base, options=replace(base.options, **unsaid, **given), finish=replace(base.finish, **of_finish), **own
    )
    return [replace(take, options=replace(take.options, seed=seed)) for seed in counted_seeds(seeds, variations, draw)]


def counted_seeds(
    seeds: Sequence[int], variations: int | None, draw: Callable[[], int] | None = None
) -> Sequence[int | None]:
    """The seeds as they are, or so many from the one on; -1 and a missing one are drawn (None without ``draw``)."""
    if variations is not None:
        if isinstance(variations, bool) or not isinstance(variations, int) or not 1 <= variations <= 100_000:
            raise OptionError(f"variations: {variations!r} must be a whole number from 1 to 100000")
        if len(seeds) > 1:
            raise OptionError(f"variations: {variations}, but {len(seeds)} seeds are given; give one, or no variations")
    GenerateOptions(seed=list(seeds) or None)  # refuses what is no seed
    chosen: list[int | None] = [draw() if s == -1 and draw else s for s in seeds]
    chosen = chosen or [draw() if draw else None]
    if variations is None:
        return chosen
    first = drawn_seed() if chosen[0] is None or chosen[0] == -1 else chosen[0]
    return [first + k for k in range(variations)]


def given_values(mapping: Mapping[str, Any], folder: Path = Path()) -> dict[str, Any]:
    """Keys by their own names, values as the option classes have them."""
    given: dict[str, Any] = {}
    for word, value in mapping.items():
        key = canonical(word)
        if key in given:
            raise OptionError(f"{word}: is given twice, as {key} too")
        if value is not None:
            given[key] = CONVERTERS.get(key, plain)(key, value, folder)
    return given


def canonical(word: Any) -> str:
    """The key that a word stands for; OptionError with the nearest one for what is none."""
    key = str(word).strip().lower().replace("-", "_").replace(" ", "_")
    key = ALIASES.get(key, key)
    if key in kinds():
        return key
    known = [*kinds(), *ALIASES]
    close = difflib.get_close_matches(key, known, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(kinds())}"
    raise OptionError(f"{word}: unknown option, {hint}")


def plain(key: str, value: Any, folder: Path, depth: int = 0) -> Any:
    """Lists become tuples, so that equal options are equal."""
    if depth > DEPTH:
        raise OptionError(f"{key}: lists in lists in lists ..., which no option has")
    return tuple(plain(key, one, folder, depth + 1) for one in value) if isinstance(value, list | tuple) else value


def sound_file(key: str, value: Any, folder: Path) -> tuple[str, int]:
    if not isinstance(value, str | PathLike) or not str(value):
        raise OptionError(f"{key}: {value!r} must be an audio file")
    return str(folder / Path(value).expanduser()), 0


def loras(key: str, value: Any, folder: Path) -> tuple[Any, ...]:
    """One LoRA or several, each "FILE", "FILE:STRENGTH" or [file, strength]."""
    items = list(value) if isinstance(value, list | tuple) else [value]
    if len(items) == 2 and isinstance(items[0], str) and isinstance(items[1], int | float):
        items = [items]
    found = []
    for item in items:
        pair = file_and_strength(item, folder) if isinstance(item, str) else plain(key, item, folder)
        file, *strength = pair if isinstance(pair, tuple) and pair else (None,)
        if not isinstance(file, str | PathLike) or not str(file):
            raise OptionError(f"{key}: {item!r} must be FILE, FILE:STRENGTH or [file, strength]")
        found.append((str(folder / Path(file).expanduser()), *strength))
    return tuple(found)


def file_and_strength(text: str, folder: Path = Path()) -> tuple[str, float]:
    """FILE[:STRENGTH] -> file and strength (1 if not given); OptionError for a strength that is no number."""
    file, colon, number = text.rpartition(":")
    if not colon or not file or (folder / Path(text).expanduser()).exists():
        return text, 1.0
    try:
        return file, float(number)
    except ValueError:
        if (folder / Path(file).expanduser()).exists():
            raise OptionError(f"lora {text}: strength {number!r} must be a number, such as 0.8") from None
        return text, 1.0


def conditions(key: str, value: Any, folder: Path) -> dict[str, Any]:
    """{name: value}, or a list of "NAME=VALUE"."""
    if isinstance(value, Mapping):
        return dict(value)
    found: dict[str, Any] = {}
    for text in value if isinstance(value, list | tuple) else [value]:
        name, equals, number = str(text).partition("=")
        if not name or not equals:
            raise OptionError(f"condition {text!r}: expected NAME=VALUE")
        try:
            found[name] = float(number)
        except ValueError:
            found[name] = number
    return found


CONVERTERS: dict[str, Callable[[str, Any, Path], Any]] = {
    **dict.fromkeys(SOUNDS, sound_file),
    "lora": loras,
    "conditions": conditions,
}


def with_sounds(options: GenerateOptions, read: Callable[[str], tuple[Any, int]]) -> GenerateOptions:
    """The options with the files that they name read."""
    files = {key: value for key in SOUNDS if (value := getattr(options, key)) is not None and value[1] == 0}
    sounds: dict[str, Any] = {key: read(value[0]) for key, value in files.items()}
    return replace(options, **sounds)


def together(takes: Sequence[Take], size: int) -> Iterator[list[int]]:
    """Numbers of takes that follow each other and can be made in one run, up to ``size`` at once."""
    group: list[int] = []
    for number, take in enumerate(takes):
        if group and (len(group) == size or shared(take) != shared(takes[group[0]])):
            yield group
            group = []
        group.append(number)
    if group:
        yield group


def shared(take: Take) -> tuple[Any, ...]:
    """What takes of one run have in common."""
    one = take.options
    alike = replace(one, prompt="", negative_prompt=None, seconds=None, seed=None)
    return take.model, alike, one.negative_prompt is None, one.seconds is None


def merged(takes: Sequence[Take]) -> GenerateOptions:
    """One run of all these takes; a single one is as it is."""
    first = takes[0].options
    if len(takes) == 1:
        return first
    lists: dict[str, list] = {key: [getattr(take.options, key) for take in takes] for key in ONE_EACH}
    given: dict[str, Any] = {key: None if None in values else values for key, values in lists.items()}
    return replace(first, **given)


def values_of(take: Take, index: int, **more: Any) -> dict[str, Any]:
    """What the fields of a name stand for."""
    simple = {key: getattr(take.options, key, None) for key in simple_options()}
    simple |= {key: getattr(take.finish, key) for key in simple if key in FinishOptions.__dataclass_fields__}
    return {**simple, "slug": names.slug(take.options.prompt or "sound"), "index": index, **more}  # type: ignore
