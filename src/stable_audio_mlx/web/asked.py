"""From a request's JSON to takes: names and ids of the studio become files, everything else is ``takes``'."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import OptionError
from ..takes import SOUNDS, Take, canonical, names, takes_from_mapping
from .replies import Refused

if TYPE_CHECKING:
    from .studio import Studio

MOST_TAKES = 16
OWN = ("model", "seed", "variations")  # said of each take apart from its request


@dataclass(frozen=True)
class Asked:
    """``request``: what was asked but for model and seeds, as the API says it, so that it can be asked again."""

    model: str
    takes: list[Take]
    request: dict[str, Any]

    @staticmethod
    def file_name(take: Take, seed: int) -> str:
        return names.safe(f"{names.slug(str(take.options.prompt) or 'sound')}-{seed}")

    @staticmethod
    def settings(record: Mapping[str, Any]) -> dict[str, Any]:
        """What made a sound, without the paths of this computer, which the request names by id."""
        return {key: value for key, value in record.items() if key not in (*SOUNDS, "lora")}


def read(body: Mapping[str, Any], studio: "Studio") -> Asked:
    """OptionError or Refused, one sentence, for what cannot be."""
    asked: dict[str, Any] = {}
    for word, value in body.items():
        key = "variations" if word == "n" else canonical(word)
        if key == "name":
            raise OptionError(f"{word}: the studio names its files itself")
        if key in asked:
            raise OptionError(f"{word}: is given twice, as {key} too")
        if value is not None:
            asked[key] = value
    model = studio.models.named(asked.get("model"))
    request = {key: value for key, value in asked.items() if key not in OWN}
    check_number(asked)
    mapping = {key: value for key, value in asked.items() if key != "model"}
    for key in SOUNDS:
        if key in mapping:
            mapping[key] = str(sound_file(key, mapping[key], studio))
    if "lora" in mapping:
        mapping["lora"], request["lora"] = loras(mapping["lora"], studio)
    return Asked(model, takes_from_mapping(mapping, draw=lambda: secrets.randbelow(2**32)), request)


def check_number(asked: Mapping[str, Any]) -> None:
    """No more takes than one request may have."""
    many, seeds = asked.get("variations"), asked.get("seed")
    for name, value in (("n", many), ("seed", len(seeds) if isinstance(seeds, list) else 1)):
        if isinstance(value, int) and value > MOST_TAKES:
            raise OptionError(f"{name}: {value} takes are too many for one request; the most is {MOST_TAKES}")


def sound_file(key: str, id: Any, studio: "Studio") -> Any:
    """The file of an upload or a take."""
    shelf = {"take": studio.takes, "upload": studio.uploads}.get(str(id).partition("-")[0])
    if not isinstance(id, str) or shelf is None:
        raise OptionError(f"{key}: must be the id of an upload or a take; send a file to /v1/uploads first")
    try:
        return shelf.get(id).sound
    except Refused as error:
        raise Refused(400, f"{key}: {error.message}") from None


def loras(given: Any, studio: "Studio") -> tuple[list[tuple[str, Any]], list[tuple[str, Any]]]:
    """([(file, strength)], [(name, strength)]) of "NAME", [name, strength] or {"name": ..., "strength": ...} each."""
    files, shown = [], []
    for item in given if isinstance(given, list) else [given]:
        if isinstance(item, Mapping) and "name" in item and set(item) <= {"name", "strength"}:
            name, strength = item["name"], item.get("strength", 1.0)
        elif isinstance(item, list) and len(item) == 2:
            name, strength = item
        else:
            name, strength = item, 1.0
        files.append((str(studio.loras.file(name)), strength))
        shown.append((name, strength))
    return files, shown
