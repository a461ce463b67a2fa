"""The parts of a model in memory: each is read when it is needed and given back after its phase."""

from collections.abc import Collection
from typing import Any

import mlx.core as mx

from .source import ModelSource, target_dtype
from .text import TextEncoder

# What has to be read of an autoencoder to encode, and to decode.
ENCODER = ("encoder", "bottleneck", "pretransform")
DECODER = ("decoder", "bottleneck", "pretransform")


class Parts:
    """``get`` reads a part, ``release`` gives its memory back, unless ``keep``."""

    def __init__(self, source: ModelSource, dtype: str = "auto", keep: bool = False):
        target_dtype("", dtype)  # refused now, not after the first phase
        self._source, self._dtype, self._keep = source, dtype, keep
        self._loaded: dict[tuple, Any] = {}
        self._size: object = None

    def get(self, part: str, only: tuple[str, ...] | None = None) -> Any:
        """The part ("dit", "autoencoder", "conditioner"), or only its children ``only``; None if there is none."""
        key = (part, only)
        if key not in self._loaded:
            module = getattr(self._source.create(), part)
            self._loaded[key] = module and self._source.load(part, module, only, self._dtype)
        return self._loaded[key]

    def take(self, part: str) -> tuple[Any, bool]:
        """The part, and whether it is the caller's alone, who may take it apart: it is unless ``keep``."""
        module = self.get(part)
        if not self._keep:
            self._loaded = {key: value for key, value in self._loaded.items() if key[0] != part}
        return module, not self._keep

    def reread(self, part: str, names: Collection[str]) -> None:
        """Read these parameters again where the part is in memory: what ``source.adapt`` makes of them has changed."""
        for (loaded, *only), module in self._loaded.items():
            if loaded == part and module is not None:
                mine = [n for n in names if only == [None] or n.partition(".")[0] in only[0]]
                self._source.reload(part, module, mine, self._dtype)

    def text(self) -> TextEncoder | None:
        """The text encoder; it reads its weights at the first prompt.  None for a model without one."""
        if ("text",) not in self._loaded:
            files = self._source.text_files()
            encoder = files and TextEncoder.from_files(files.config, files.weights, files.tokenizer)
            self._loaded[("text",)] = encoder
        return self._loaded[("text",)]

    def sized(self, size: object) -> None:
        """Work of this size begins; memory that was freed by another size would not fit it and pile up beside it."""
        if size != self._size:
            mx.clear_cache()
        self._size = size

    def release(self, *parts: str) -> None:
        """The caller holds these parts no longer."""
        if not self._keep:
            self._loaded = {key: value for key, value in self._loaded.items() if key[0] not in parts}
            mx.clear_cache()
