"""The file from which a training goes on: arrays by name, and as text what else there is to know."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten, tree_map_with_path

from ..errors import OptionError, WeightsError
from ..files import written_whole

FORMAT = 1


def save_state(path: Path, trees: Mapping[str, Any], facts: dict[str, Any], signature: Mapping[str, Any]) -> None:
    """Write trees of arrays by name; the file is replaced only when the new one is complete.

    ``facts`` is what ``load_state`` gives back beside the arrays, ``signature`` what must not change in between.
    """
    arrays: dict[str, mx.array] = {}
    for name, tree in trees.items():
        arrays |= {f"{name}.{key}": value for key, value in dict(tree_flatten(tree)).items()}
    record = {"format": FORMAT, "facts": facts, "signature": dict(signature)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as part:
        mx.save_safetensors(str(part), arrays, {"training": json.dumps(record)})


def load_state(
    path: Path, trees: Mapping[str, Any], signature: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The stored arrays in the shape of ``trees``, also where a part of them is empty, and the facts.

    OptionError for a run that was begun differently, WeightsError for a file that is damaged or does not fit.
    """
    try:
        loaded: Any = mx.load(str(path), return_metadata=True)
        arrays, metadata = loaded
        record = json.loads(metadata["training"])
        facts, before = dict(record["facts"]), dict(record["signature"])
    except (RuntimeError, ValueError, KeyError, TypeError):
        raise WeightsError(f"{path}: no training state that can be read; move it away to begin anew") from None
    if record.get("format") != FORMAT:
        raise WeightsError(f"{path}: was written by another version; move it away to begin anew")
    for key in sorted({*before, *signature}):
        if before.get(key) != signature.get(key):
            raise OptionError(
                f"{path}: was begun with {key} {before.get(key)}, not {signature.get(key)}; give the same, "
                "or another --output to begin anew"
            )

    def stored(name: str, tree: Any) -> Any:
        def one(key: str, like: mx.array) -> mx.array:
            found = arrays.get(f"{name}.{key}")
            if found is None or found.shape != like.shape:
                raise WeightsError(f"{path}: {name}.{key} is missing or of another shape; it is another model's")
            return found

        return tree_map_with_path(one, tree)

    return {name: stored(name, tree) for name, tree in trees.items()}, facts
