"""``open_model``: one interface to a model's config and weights, whether converted or still in PyTorch's layout."""

from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from ..errors import OptionError, WeightsError
from ..models.conditioners import checkpoint_sizes
from ..models.factory import AudioModel, create_model
from . import hub
from .arrays import FLOATS, Entry
from .checkpoint import (
    CONFIG,
    TextFiles,
    find_source,
    find_text,
    is_autoencoder,
    part_prefixes,
    present,
    read_entries,
    read_json,
    split_parts,
    text_conditioner,
    unwrap,
)
from .layout import Tensor, check, parameters, plan
from .store import read_npz

MANIFEST = "manifest.json"
FORMAT = 1
DTYPES = {"float32": mx.float32, "float16": mx.float16, "bfloat16": mx.bfloat16}


class ModelSource:
    """Config, file headers and lazily read weights of one model.

    ``parts`` names what the config has of "dit", "autoencoder", "conditioner"; ``manifest`` is None for a folder that
    is not converted.  Nothing but JSON and headers is read before ``load``.
    """

    def __init__(
        self, name: str, folder: Path, config: dict[str, Any], entries: dict[str, dict[str, Entry]], where: Path
    ):
        self.name, self.folder, self.config = name, folder, config
        self.manifest: dict[str, Any] | None = None
        self.entries, self.where = entries, where

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(self.entries)

    @property
    def sizes(self) -> dict[str, int]:
        """What the config leaves to the files (``models.conditioners.checkpoint_sizes``)."""
        return checkpoint_sizes({key: e.shape for key, e in self.entries.get("conditioner", {}).items()})

    def create(self) -> AudioModel:
        """The model that the config describes, with untrained weights that take no memory yet."""
        return create_model(self.config, self.sizes)

    def tensors(self, part: str, module: nn.Module) -> dict[str, Tensor]:
        """Parameter name -> Tensor for every parameter of ``module``; strict, see ``layout.plan``."""
        return plan(module, self.entries[part], f"{self.where} ({part})")

    def load(self, part: str, module: nn.Module, only: tuple[str, ...] | None = None, dtype: str = "auto") -> nn.Module:
        """Read a part's weights into ``module``, which is returned.

        All names and shapes are checked; with ``only``, just the children of these names are read.  ``dtype``: "auto"
        is float32 on the CPU, whatever the file holds, and the file's own elsewhere; or "float32", "float16",
        "bfloat16".  Peak memory is one tensor above the result.  WeightsError for what does not fit or is damaged.
        """
        target = self._target(dtype)
        tensors = self.tensors(part, module) if part in self.entries else {}
        chosen = {n: t for n, t in tensors.items() if only is None or n.partition(".")[0] in only}
        module.load_weights([(name, tensor.load(target)) for name, tensor in chosen.items()], strict=False)
        return module

    @staticmethod
    def _target(dtype: str) -> mx.Dtype | None:
        if dtype == "auto":
            return mx.float32 if mx.default_device() == mx.cpu else None
        if dtype not in DTYPES:
            raise OptionError(f"dtype {dtype!r} is not one of auto, {', '.join(DTYPES)}")
        return DTYPES[dtype]

    def text_files(self, download: bool = True) -> TextFiles | None:
        """The text encoder's files, if need be from the public repository that the config names.

        None for a model without text.  WeightsError when they are nowhere.
        """
        item = text_conditioner(self.config)
        if item is None:
            return None
        files = find_text(self.folder)
        if files.tokenizer is None and files.config is None and item["type"] != "lut":
            return find_text(hub.text_folder(item, self.folder, download))
        return files


class ConvertedModel(ModelSource):
    """A folder that ``convert.py`` or training wrote: NPZ parts, parameter names, a manifest."""

    def tensors(self, part: str, module: nn.Module) -> dict[str, Tensor]:
        entries, wanted = self.entries[part], parameters(module)
        wrong = [
            f"{name} is {entries[name].dtype} {entries[name].shape}, expected {value.shape}"
            for name, value in wanted.items()
            if name in entries and (entries[name].shape != value.shape or entries[name].dtype not in FLOATS)
        ]
        check(f"{self.folder / part}.npz", wanted.keys() - entries.keys(), entries.keys() - wanted.keys(), wrong)
        return {name: Tensor((entries[name],), value.shape, None) for name, value in wanted.items()}

    def text_files(self, download: bool = True) -> TextFiles | None:
        if text_conditioner(self.config) is None:
            return None
        names = ("text_encoder.json", "text_encoder.safetensors", "tokenizer.json")
        return TextFiles(*(present(self.folder / name) for name in names))


def open_model(name_or_path: str | Path, download: bool = True) -> ModelSource:
    """Open a known name, a Hugging Face id ``owner/name``, a converted folder, or a source folder (or weights file).

    Looked for in this order: the path itself, ``model/``, the local Hugging Face cache, and (with ``download``) the
    network.  Raises WeightsError with what to do when nothing is found, ConfigError for a broken config.
    """
    path = hub.find_model(name_or_path, download)
    return open_path(path)


def open_path(path: Path, allow_pickle: bool = False) -> ModelSource:
    """Open a folder (or a weights file) that exists."""
    if (path / MANIFEST).is_file():
        return open_converted(path)
    source = find_source(path)
    entries = unwrap(read_entries(source.weights, allow_pickle), is_autoencoder(source.config))
    name = path.stem if path.is_file() else path.resolve().name
    return ModelSource(
        name, source.folder, source.config, split_parts(entries, source.config, source.weights), source.weights
    )


def open_converted(folder: Path) -> ConvertedModel:
    """Open a converted folder; sizes in the manifest are checked before any file is opened."""
    manifest, config = check_manifest(folder), read_json(folder / CONFIG)
    entries = {part: read_npz(folder / f"{part}.npz") for part in part_prefixes(config)}
    model = ConvertedModel(str(manifest.get("name") or folder.resolve().name), folder, config, entries, folder)
    model.manifest = manifest
    return model


def check_manifest(folder: Path) -> dict[str, Any]:
    """The manifest, after its format version and the size of every file it lists were found right."""
    path = folder / MANIFEST
    manifest = read_json(path)
    if manifest.get("format") != FORMAT:
        raise WeightsError(
            f"{path}: format {manifest.get('format')!r}, this version reads {FORMAT}; convert the model again, "
            "or update stable-audio-mlx"
        )
    files = manifest.get("files")
    if not isinstance(files, dict) or not all(isinstance(f, dict) and Path(n).name == n for n, f in files.items()):
        raise WeightsError(f"{path}: lists no files; convert the model again with --overwrite")
    for name, item in files.items():
        if not (folder / name).is_file():
            raise WeightsError(f"{folder}: {name} is missing; convert the model again with --overwrite")
        size = (folder / name).stat().st_size
        if size != item.get("bytes"):
            raise WeightsError(
                f"{folder / name}: {size} bytes, the manifest says {item.get('bytes')}; truncated or changed, "
                "convert the model again with --overwrite"
            )
    return manifest
