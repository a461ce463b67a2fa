"""``open_model``: one interface to a model's config and weights, whether converted or still in PyTorch's layout."""

import json
import math
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from ..errors import OptionError, WeightsError
from ..models.conditioners import checkpoint_sizes
from ..models.factory import AudioModel, create_model
from . import hub, registry
from .arrays import FLOATS, Entry
from .checkpoint import (
    TextFiles,
    autoencoder_config,
    find_checkpoint,
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
from .hub import CONFIG, MANIFEST
from .layout import Tensor, check, owner, parameters, plan
from .optimized import find_optimized, read_optimized
from .quantize import QuantizedTensor, load_into, quantized, read_again
from .store import read_npz

FORMAT = 1
DTYPES = {"float32": mx.float32, "float16": mx.float16, "bfloat16": mx.bfloat16}


class ModelSource:
    """Config, file headers and lazily read weights of one model.

    ``parts`` names what the config has of "dit", "autoencoder", "conditioner"; ``manifest`` is None for a folder that
    is not converted, ``weights`` are the files of a checkpoint, ``repo`` the repository that they are known to come
    from, ``config_text`` is the config as bytes.  Nothing but JSON and headers is read before ``load``.
    """

    weights: tuple[Path, ...] = ()
    repo: str = ""
    config_text: bytes = b""
    # What is done to a part's tensors on their way into memory (part, module, tensors): how LoRAs are merged.
    adapt: Callable[[str, nn.Module, dict[str, Tensor]], dict[str, Tensor]] | None = None

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

    @property
    def weight_bytes(self) -> int:
        """What all the weights take in float32; the text encoder's as far as they are here."""
        numbers = sum(math.prod(e.shape) for entries in self.entries.values() for e in entries.values())
        text = list(self.folder.glob("text_encoder*.safetensors")) + list(self.folder.glob("*/model.safetensors"))
        return 4 * numbers + 2 * sum(file.stat().st_size for file in text)  # most are 16-bit

    def create(self) -> AudioModel:
        """The model that the config describes, with untrained weights that take no memory yet."""
        generator: Any = mx.random.state
        high, low = generator[0].tolist()
        model = create_model(self.config, self.sizes)
        # Weights will be read, not drawn; the generator's state would keep the graph of all that were ever asked for.
        mx.random.seed(high << 32 | low)
        return model

    def tensors(self, part: str, module: nn.Module) -> dict[str, Tensor]:
        """Parameter name -> Tensor for every parameter of ``module``; strict, see ``layout.plan``."""
        return plan(module, self.entries[part], f"{self.where} ({part})")

    def adapted(self, part: str, module: nn.Module) -> dict[str, Tensor]:
        """``tensors`` as ``adapt`` would have them now."""
        tensors = self.tensors(part, module)
        return self.adapt(part, module, tensors) if self.adapt else tensors

    def load(self, part: str, module: nn.Module, only: tuple[str, ...] | None = None, dtype: str = "auto") -> nn.Module:
        """Read a part's weights into ``module``, which is returned.

        All names and shapes are checked; with ``only``, just the children of these names are read.  ``dtype``: "auto"
        is float32 on the CPU, whatever the file holds, and elsewhere the file's own for the transformer; or "float32",
        "float16", "bfloat16".  Other parts are float32 unless they are asked for otherwise.  A quantised transformer
        stays so but on the CPU.  Peak memory is one tensor above the result.  WeightsError for what does not fit or is
        damaged.
        """
        target = target_dtype(part, dtype)
        tensors = self.adapted(part, module)
        load_into(module, {n: t for n, t in tensors.items() if only is None or n.partition(".")[0] in only}, target)
        return module

    def reload(self, part: str, module: nn.Module, names: Collection[str], dtype: str = "auto") -> None:
        """Read these parameters of a loaded module again, as ``adapt`` would have them now."""
        plain = getattr(self.create(), part)  # the loaded one may have quantised layers by now
        tensors = self.adapted(part, plain)
        read_again(module, {name: tensors[name] for name in names}, target_dtype(part, dtype))

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


def target_dtype(part: str, dtype: str) -> mx.Dtype | None:
    """What a part is computed in, None for the file's own; OptionError for a ``dtype`` that ``load`` does not know."""
    if dtype == "auto":
        return None if part == "dit" and mx.default_device() != mx.cpu else mx.float32
    if dtype not in DTYPES:
        raise OptionError(f"dtype {dtype!r} is not one of auto, {', '.join(DTYPES)}")
    return DTYPES[dtype]


class ConvertedModel(ModelSource):
    """A folder that ``convert.py`` or training wrote: NPZ parts, parameter names, a manifest."""

    def tensors(self, part: str, module: nn.Module) -> dict[str, Tensor]:
        return converted_tensors(self.entries[part], module, f"{self.folder / part}.npz")

    def text_files(self, download: bool = True) -> TextFiles | None:
        if text_conditioner(self.config) is None:
            return None
        names = ("text_encoder.json", "text_encoder.safetensors", "tokenizer.json")
        return TextFiles(*(present(self.folder / name) for name in names))


def converted_tensors(entries: dict[str, Entry], module: nn.Module, where: str) -> dict[str, Tensor]:
    """Parameter name -> Tensor from a converted file, strictly: whole parameters, or weight, scales and biases."""
    out: dict[str, Tensor] = {}
    missing, wrong, used = [], [], set()
    for name, value in parameters(module).items():
        found = quantized(entries, name, value.shape) if isinstance(owner(module, name), nn.Linear) else None
        item = entries.get(name)
        if found is None and item is not None and (item.shape != value.shape or item.dtype not in FLOATS):
            found = f"is {item.dtype} {item.shape}, expected {value.shape}"
        if isinstance(found, str):
            wrong.append(f"{name} {found}")
        if item is None:
            missing.append(name)
            continue
        used.add(name)
        if isinstance(found, QuantizedTensor):
            used |= set(found.names(name))
        out[name] = found if isinstance(found, QuantizedTensor) else Tensor((item,), value.shape, None)
    check(where, missing, entries.keys() - used, wrong)
    return out


def open_model(name_or_path: str | Path, download: bool = True) -> ModelSource:
    """Open a known name, a Hugging Face id ``owner/name``, a converted folder, or a source folder (or weights file).

    Looked for in this order: the path itself, ``model/``, the local Hugging Face cache, and (with ``download``) the
    network.  Raises WeightsError with what to do when nothing is found, ConfigError for a broken config.
    """
    path = hub.find_model(name_or_path, download)
    known = registry.find(str(name_or_path)) if not Path(name_or_path).expanduser().exists() else None
    return open_path(path, autoencoder=bool(known and known.inside))


def open_path(path: Path, allow_pickle: bool = False, autoencoder: bool = False) -> ModelSource:
    """Open a folder (or a weights file) that exists; with ``autoencoder``, only that part of a diffusion model."""
    if (path / MANIFEST).is_file():
        return open_converted(path)
    special = find_optimized(path)
    if special:
        found = read_optimized(special)
        name, folder, config, files, entries, repo = found
        where, text = special, b""
    else:
        source = find_checkpoint(path)
        name, repo = path.stem if path.is_file() else path.resolve().name, ""
        folder, config, where, files = source.folder, source.config, source.weights, (source.weights,)
        entries, text = read_entries(source.weights, allow_pickle), source.config_path.read_bytes()
    if autoencoder and not is_autoencoder(config):
        config, text = autoencoder_config(config), b""
    entries = unwrap(entries, is_autoencoder(config))
    model = ModelSource(name, folder, config, split_parts(entries, config, where), where)
    model.weights, model.repo = files, repo
    model.config_text = text or json.dumps(config, indent=1).encode()
    return model


def open_converted(folder: Path) -> ConvertedModel:
    """Open a converted folder; sizes in the manifest are checked before any file is opened."""
    manifest, config = check_manifest(folder), read_json(folder / CONFIG)
    entries = {part: read_npz(folder / f"{part}.npz") for part in part_prefixes(config)}
    model = ConvertedModel(str(manifest.get("name") or folder.resolve().name), folder, config, entries, folder)
    model.manifest, model.config_text = manifest, (folder / CONFIG).read_bytes()
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
