"""A golden case: config, tensor names and shapes, runs, and what the PyTorch reference answered.

Neither weights nor inputs are stored: both sides draw them from NumPy's legacy generator, seeded by the tensor's name
(its stream is guaranteed never to change), so that a case is a few kilobytes.
"""

import json
import math
import re
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / "golden"

# (pattern of the key, mean, standard deviation); first match wins, none: 0 and 1 / sqrt(fan in).
SPREAD = (
    (r"(timestep_features\.weight|embedding\.0\.weights|memory_tokens)$", 0.0, 1.0),
    (
        r"(shared|embedder|embed_tokens|codebook|relative_attention_bias)\.weight$|_codebook\.(embed|embed_avg)$",
        0.0,
        1.0,
    ),
    (r"\.weight_g$", 0.6, 0.1),
    (r"(\.|_)(gamma|running_std|scaling_factor)$|norm\.weight$|_scale\.scale$", 1.0, 0.1),
    (r"pos_emb\.(scale|emb\.weight)$", 0.5, 0.2),
    (r"project_out\.weight$", 0.0, 0.05),
    (r"(to_scale_shift_gate|\.lambda_dc|\.lambda_hf)$", 0.0, 0.3),
    (r"(\.bias|\.beta|\.alpha|padding_embedding)$", 0.0, 0.2),
)


@dataclass
class Case:
    """One model with its runs; ``arrays``: outputs ``<run>/<array>``, and ``weights/<key>`` that cannot be drawn."""

    name: str
    config: dict
    runs: list[dict]
    tensors: dict[str, list[int]] = field(default_factory=dict)
    zeros: dict[str, list[int]] = field(default_factory=dict)
    text: dict | None = None  # {"config": Hugging Face config, "vocabulary": [...], "tensors": {...}}
    reference: str = ""
    faded: list[str] = field(default_factory=list)  # ends of keys whose high Fourier columns are made small
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    def weights(self) -> dict[str, np.ndarray]:
        """Every tensor of model.safetensors in PyTorch's layout."""
        drawn = {key: draw(self.name, key, shape) for key, shape in self.tensors.items()}
        for key in drawn:
            if key.endswith(tuple(self.faded)):
                drawn[key] *= fade(drawn[key].shape[-1])
        drawn |= {key: np.zeros(shape, np.float32) for key, shape in self.zeros.items()}
        return drawn | {k.removeprefix("weights/"): v for k, v in self.arrays.items() if k.startswith("weights/")}

    def text_weights(self) -> dict[str, np.ndarray]:
        """Every tensor of the text encoder's model.safetensors."""
        return {key: draw(self.name, key, shape) for key, shape in self.text["tensors"].items()}

    def arguments(self, run: dict) -> dict:
        """The run's arguments with every ``{"normal": shape}`` or ``{"integers": shape, "high": n}`` drawn."""
        return {key: self.draw_input(f"{run['name']}/{key}", value) for key, value in run["args"].items()}

    def draw_input(self, name: str, value):
        if isinstance(value, list) and value and is_drawn(value[0]):
            return [self.draw_input(f"{name}{i}", v) for i, v in enumerate(value)]
        if not is_drawn(value):
            return value
        random = generator(f"{self.name}/{name}")
        if "integers" in value:
            return random.randint(0, value["high"], size=value["integers"]).astype(np.int32)
        return (random.standard_normal(value["normal"]) * value.get("scale", 1.0)).astype(np.float32)

    def expected(self, run: dict) -> dict[str, np.ndarray]:
        """Array name -> the reference's answer."""
        prefix = run["name"] + "/"
        return {k.removeprefix(prefix): v for k, v in self.arrays.items() if k.startswith(prefix)}


def is_drawn(value) -> bool:
    return isinstance(value, dict) and ("normal" in value or "integers" in value)


def generator(name: str) -> np.random.RandomState:
    return np.random.RandomState(zlib.crc32(name.encode()))


def draw(salt: str, key: str, shape: list[int]) -> np.ndarray:
    """The tensor called ``key``: normal numbers, spread so that no part of the network is idle or saturated."""
    mean, deviation = 0.0, 1.0 / math.sqrt(max(1, math.prod(shape[1:])))
    for pattern, *values in SPREAD:
        if re.search(pattern, key):
            mean, deviation = values
            break
    if key.endswith(".alpha") and (len(shape) == 3 or shape == [1]):  # DAC's snake and the dynamic tanh: linear scale
        mean = 1.0
    return (mean + deviation * generator(f"{salt}/{key}").standard_normal(shape)).astype(np.float32)


def fade(width: int) -> np.ndarray:
    """Columns of [cos, sin] features, fast ones small: their phases in float32 depend on the order of operations."""
    return np.tile(np.exp(-12 * np.arange(width // 2) / (width // 2)), 2).astype(np.float32)


def nest(shapes: dict[str, list[int]]) -> dict:
    """``{"a.b": shape}`` as ``{"a": {"b": shape}}``: a third of the bytes."""
    tree: dict = {}
    for key, shape in shapes.items():
        *path, leaf = key.split(".")
        node = tree
        for name in path:
            node = node.setdefault(name, {})
        node[leaf] = shape
    return tree


def flatten(tree: dict, prefix: str = "") -> dict[str, list[int]]:
    flat: dict = {}
    for name, value in tree.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def save(case: Case, folder: Path = FOLDER) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    head = {k: getattr(case, k) for k in ("name", "reference", "config", "runs", "text", "faded")}
    head |= {"tensors": nest(case.tensors), "zeros": nest(case.zeros)}
    (folder / f"{case.name}.json").write_text(json.dumps(head, separators=(",", ":"), ensure_ascii=False) + "\n")
    np.savez_compressed(folder / f"{case.name}.npz", **case.arrays)


def load(name: str, folder: Path = FOLDER) -> Case:
    head = json.loads((folder / f"{name}.json").read_text())
    head |= {"tensors": flatten(head["tensors"]), "zeros": flatten(head["zeros"])}
    with np.load(folder / f"{name}.npz") as arrays:
        return Case(**head, arrays=dict(arrays))


def names(folder: Path = FOLDER) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.json"))
