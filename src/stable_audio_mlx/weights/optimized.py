"""The official optimised NPZ files of Stable Audio 3 as a checkpoint: their names turned back into the published ones.

A model is spread over one file for the transformer and its conditioners, two for the autoencoder, one for the text
encoder.  A ``model_config.json`` beside them is read; the folder as published has none, see ``published``.
"""

import re
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import WeightsError
from .arrays import Entry
from .checkpoint import DIFFUSION_PARTS, is_autoencoder, read_json
from .hub import CONFIG
from .published import published_config
from .registry import CODEC_FILES, CODEC_PAIRS, DIT_FILES, OPTIMIZED_REPO
from .store import read_npz

Rule = tuple[str, str]
DIT_RULES: list[Rule] = [
    (r"^cond\.padding_embedding$", "conditioner.conditioners.prompt.padding_embedding"),
    (r"^cond\.seconds_total_(weight|bias)$", r"conditioner.conditioners.seconds_total.embedder.embedding.1.\1"),
    (r"\.to_local_embed\.seq\.", ".to_local_embed."),
    (r"^(?!conditioner\.)", DIFFUSION_PARTS["dit"]),
]
BLOCK_RULES: list[Rule] = [
    (r"^blocks\.(\d+)\.attn\.", r"transformers.\1.self_attn."),
    (r"^blocks\.(\d+)\.ff\.glu_proj\.", r"transformers.\1.ff.ff.0.proj."),
    (r"^blocks\.(\d+)\.ff\.proj_out\.", r"transformers.\1.ff.ff.2."),
    (r"^blocks\.", "transformers."),
]
# Half of the autoencoder -> rules of its file; both files hold the bottleneck's deviation.
CODEC_RULES: dict[str, list[Rule]] = {
    "encoder": [
        *BLOCK_RULES,
        (r"^project_out\.", "encoder.layers.2."),
        (r"^(running_std|scaling_factor|bias)$", r"bottleneck.\1"),
        (r"^(mapping|new_tokens|transformers)\b", r"encoder.layers.0.\1"),
    ],
    "decoder": [
        *BLOCK_RULES,
        (r"^project_in\.", "decoder.layers.1."),
        (r"^running_std$", "bottleneck.running_std"),
        (r"^(mapping|new_tokens|transformers)\b", r"decoder.layers.3.\1"),
    ],
}


class Optimized(NamedTuple):
    """A model of the folder: its known name, config, the files it is made of, its tensors by their published keys."""

    name: str
    folder: Path
    config: dict[str, Any]
    files: tuple[Path, ...]
    entries: dict[str, Entry]
    repo: str = OPTIMIZED_REPO


def find_optimized(path: Path) -> Path | None:
    """The file that stands for a model of this kind: ``path`` itself, or the only one in a folder (or its ``MLX/``).

    None for anything else.  WeightsError for a folder that holds several.
    """
    if path.is_file():
        return path if path.name in DIT_FILES or path.name in CODEC_FILES else None
    if (path / "model.safetensors").is_file():
        return None
    for folder in (path, path / "MLX"):
        for names in (DIT_FILES, [decoder for _, decoder in CODEC_PAIRS.values()]):
            found = [folder / name for name in names if (folder / name).is_file()]
            if len(found) == 1:
                return found[0]
            if found:
                raise WeightsError(f"{folder}: holds several models; name the one to use: {', '.join(map(str, found))}")
    return None


def read_optimized(path: Path) -> Optimized:
    """The model that the file ``path`` belongs to; only headers are read.  WeightsError names what is missing."""
    name, codec = DIT_FILES.get(path.name, (CODEC_FILES.get(path.name, ""),) * 2)
    folder = path.parent
    beside = read_json(folder / CONFIG) if (folder / CONFIG).is_file() else None
    config = beside or published_config(name)
    assert config is not None, f"{name} has no published config"
    halves = tuple(folder / file for file in CODEC_PAIRS[codec])
    alone = is_autoencoder(config)
    files = halves if alone else (path, *halves)
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise WeightsError(f"{folder}: {', '.join(missing)} of {name} is missing; download it from {OPTIMIZED_REPO}")
    entries = {} if alone else renamed(read_npz(path), DIT_RULES)
    prefix = "" if alone else DIFFUSION_PARTS["autoencoder"]
    for half, file in zip(CODEC_RULES, halves, strict=True):
        entries |= {prefix + key: entry for key, entry in renamed(read_npz(file), CODEC_RULES[half]).items()}
    return Optimized(name, folder, config, files, entries)


def renamed(entries: dict[str, Entry], rules: list[Rule]) -> dict[str, Entry]:
    out = {}
    for key, entry in entries.items():
        for pattern, replacement in rules:
            key = re.sub(pattern, replacement, key)
        out[key] = entry
    return out
