"""Is this converted model what it should be?  Hashes, counts, simple statistics of every tensor."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import WeightsError
from . import hub, registry
from .arrays import Entry
from .folder import sha256
from .hub import MANIFEST
from .layout import Tensor, published_tensors
from .quantize import GROUP, QuantizedTensor, quantized
from .safetensors import read_header
from .source import ConvertedModel, open_converted

Progress = Callable[[str, int, int], None]
Stored = Entry | Tensor


@dataclass
class Row:
    """One file: what it holds, whether its hash is the manifest's, mean and deviation over all its numbers."""

    file: str
    bytes: int
    same_hash: bool
    tensors: int = 0
    parameters: int = 0
    mean: float = 0.0
    deviation: float = 0.0


@dataclass
class Report:
    """What was looked at and everything that is wrong; ``notes`` are facts worth a line."""

    name: str
    folder: Path
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def verify_model(name_or_path: str | Path, progress: Progress | None = None) -> Report:
    """Check a converted model thoroughly: every byte is read.

    WeightsError when there is no such model or it cannot be opened at all; everything else lands in ``problems``.
    """
    folder = hub.find_model(name_or_path, download=False)
    if not (folder / MANIFEST).is_file():
        raise WeightsError(f"{folder}: is not converted; python convert.py {folder} makes a model of it")
    model = open_converted(folder)
    report = Report(model.name, folder)
    built = model.create()
    parts: dict[str, dict[str, Stored]] = {f"{p}.npz": dict(model.tensors(p, built[p])) for p in model.parts}
    assert model.manifest is not None
    for name, item in model.manifest["files"].items():
        row = Row(name, item["bytes"], sha256(folder / name, progress) == item.get("sha256"))
        if not row.same_hash:
            report.problems.append(f"{name}: its SHA-256 is not the manifest's; the file was changed or is damaged")
        weigh(row, parts.get(name) or stored(folder / name), report)
        report.rows.append(row)
    compare(model, published_tensors(built), report)
    return report


def stored(path: Path) -> dict[str, Stored]:
    """The tensors of a .safetensors file, quantised ones as one each; nothing for other files."""
    entries = read_header(path) if path.suffix == ".safetensors" else {}
    out: dict[str, Stored] = dict(entries)
    for key, item in entries.items():
        if key.endswith(".scales"):
            name = key.removesuffix("scales") + "weight"
            found = quantized(entries, name, (item.shape[0], item.shape[-1] * GROUP))
            if isinstance(found, QuantizedTensor):
                out = {k: v for k, v in out.items() if k not in found.names(name)} | {name: found}
    return out


def weigh(row: Row, tensors: dict[str, Stored], report: Report) -> None:
    """Count a file's tensors and look at their numbers: all finite, no matrix that is zero throughout."""
    total = squares = 0.0
    for name, tensor in tensors.items():
        values = tensor.read().reshape(-1)
        row.tensors, row.parameters = row.tensors + 1, row.parameters + values.size
        what = f"{row.file}: {name} of shape {tensor.shape}"
        one, two = float(values.sum(dtype=np.float64)), float(np.einsum("i,i->", values, values, dtype=np.float64))
        total, squares = total + one, squares + two
        if not math.isfinite(two):
            report.problems.append(f"{what} has values that are not finite")
        elif two == 0 and len(tensor.shape) > 1 and values.size:
            report.problems.append(f"{what} is zero throughout")
    if row.parameters:
        row.mean = total / row.parameters
        row.deviation = math.sqrt(max(0.0, squares / row.parameters - row.mean**2))


def compare(model: ConvertedModel, tensors: dict[str, tuple[tuple[int, ...], bool]], report: Report) -> None:
    """Hold the model against what is recorded of the published one."""
    assert model.manifest is not None
    source = model.manifest.get("source")
    source = source if isinstance(source, dict) else {}
    known = registry.find(str(source.get("repo", ""))) or registry.find(model.name)
    parameters = sum(math.prod(shape) for shape, buffer in tensors.values() if not buffer)
    report.notes.append(f"as a checkpoint: {len(tensors)} tensors, {parameters:,} parameters")
    if known is None:
        report.notes.append("not one of the known models, so there are no published counts to compare with")
        return
    report.problems.extend(differences(known, len(tensors), parameters))
    if not known.sha256:
        report.notes.append(f"no hash of the published {known.name} is recorded, the source file was not compared")
    elif source.get("sha256") == known.sha256:
        report.notes.append(f"made from the published file of {known.repo} (SHA-256 equal)")
    else:
        report.problems.append(f"made from a file that is not the published one of {known.repo} (SHA-256 differs)")


def differences(known: registry.Known, tensors: int, parameters: int) -> Iterator[str]:
    for what, found, wanted in (("tensors", tensors, known.tensors), ("parameters", parameters, known.parameters)):
        if wanted and found != wanted:
            yield f"its config has {found:,} {what}, the published {known.name} has {wanted:,}"
