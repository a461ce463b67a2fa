"""A model in training behind the interface of a model's files: what makes demos, and what is written in the end."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from ..errors import OptionError, WeightsError
from ..models.factory import AudioModel
from ..weights.checkpoint import TextFiles, read_json
from ..weights.convert import write_model_folder
from ..weights.hub import CONFIG
from ..weights.source import ModelSource, open_model

TRAINED = ("dit", "conditioner")
Weights = Callable[[], dict[str, mx.array]]


class LiveSource(ModelSource):
    """``trained``: by part, what gives its parameters now; all else comes from ``base`` and, the codec, ``codec``."""

    def __init__(self, base: ModelSource, codec: ModelSource | None, trained: Mapping[str, Weights]):
        super().__init__(base.name, base.folder, base.config, base.entries, base.where)
        self.manifest = base.manifest
        self._base, self._codec, self.trained = base, codec or base, trained

    @property
    def sizes(self) -> dict[str, int]:
        return self._base.sizes

    def load(self, part: str, module: nn.Module, only: tuple[str, ...] | None = None, dtype: str = "auto") -> nn.Module:
        if part in self.trained:
            module.load_weights(list(self.trained[part]().items()), strict=True)
            return module
        return (self._codec if part == "autoencoder" else self._base).load(part, module, only, dtype)

    def text_files(self, download: bool = True) -> TextFiles | None:
        return self._base.text_files(download)


def parameters_of(module: nn.Module) -> dict[str, mx.array]:
    """Every parameter of a module by its dotted name."""
    return dict(tree_flatten(module.parameters()))


class Opened:
    """A model to train: its ``source``, where its autoencoder comes from, and whether it has weights to begin with.

    ``name``: a known name or a folder, or a model_config.json alone (or its folder), which begins with random weights
    and needs ``codec``, a model whose autoencoder is the one that the config describes, unless it ``is_codec`` itself.
    """

    def __init__(self, name: str | Path, codec: str | Path | None = None):
        path = Path(name).expanduser()
        path = path / CONFIG if path.is_dir() and bare(path) else path
        self.has_weights = path.name != CONFIG and path.suffix != ".json"
        if self.has_weights:
            self.source: ModelSource = open_model(name)
        else:
            config = read_json(path)
            self.source = ModelSource(path.parent.resolve().name, path.parent, config, {}, path)
            self.source.config_text = json.dumps(config, indent=1).encode()
        self.codec = open_model(codec) if codec is not None else None
        self.is_codec = self.source.config.get("model_type") == "autoencoder"
        if not (self.has_weights or self.is_codec) and self.codec is None:
            raise OptionError(
                f"{path}: has no weights, so its autoencoder must come from elsewhere; give --pretransform NAME|DIR"
            )

    @property
    def codec_source(self) -> ModelSource:
        return self.codec or self.source

    def load(self, dtype: str) -> AudioModel:
        """The model with transformer and conditioners in memory; those without weights are as they were drawn."""
        built = self.source.create()
        if built.dit is None:
            raise OptionError(f"{self.source.name}: is an autoencoder, which is trained by its own objective")
        modules = {part: getattr(built, part) for part in TRAINED if getattr(built, part) is not None}
        for part, module in modules.items():
            if self.has_weights:
                self.source.load(part, module, dtype=dtype if part == "dit" else "float32")
        if not self.has_weights:
            begin(built)
        mx.eval([module.parameters() for module in modules.values()])
        return built


def bare(folder: Path) -> bool:
    """Whether a folder has a config, but no weights."""
    return (folder / CONFIG).is_file() and not any(folder.glob("*.safetensors*")) and not any(folder.glob("*.npz"))


def begin(built: AudioModel) -> None:
    """Set to zero what stable-audio-tools does: the last layer of each branch, and the convolutions at both ends."""
    dit: Any = built.dit
    for conv in (dit.preprocess_conv, dit.postprocess_conv):
        conv.weight = mx.zeros_like(conv.weight)
    for block in dit.blocks:
        last = block.ff.ff.layers[-1]
        layers = [block.self_attn.to_out, last, *([block.cross_attn.to_out] if "cross_attn" in block else [])]
        for layer in layers:
            layer.update({key: mx.zeros_like(value) for key, value in layer.parameters().items()})


def write_model(opened: Opened, trained: Mapping[str, Weights], output: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """Write a trained model as a converted folder, with the autoencoder and text encoder that it was trained beside.

    Replaces what the same run wrote before; returns its manifest.  ``facts``: how it was made.
    """
    source, manifest = opened.source, opened.source.manifest or {}
    parts = {part: weights() for part, weights in trained.items()}
    codec = source.create().autoencoder
    if codec is not None:
        other = opened.codec_source
        own = other.create().autoencoder
        if own is None:
            raise WeightsError(f"{other.name}: has no autoencoder")
        parts["autoencoder"] = parameters_of(other.load("autoencoder", own, dtype="float32"))
        codec.load_weights(list(parts["autoencoder"].items()), strict=True)
    return write_model_folder(
        output,
        source.config,
        parts,
        source.text_files(),
        name=output.name,
        dtype=manifest.get("dtype", "float32"),
        license=manifest.get("license", "that of the model it was made from"),
        source={"trained_from": source.name, **facts},
        defaults=manifest.get("defaults"),
        overwrite=True,
    )
