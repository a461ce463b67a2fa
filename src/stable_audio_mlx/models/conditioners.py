"""All conditioners of a model, and how their tensors are joined for the transformer."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import mlx.nn as nn

from ..config import build, describe, lookup
from ..errors import ConfigError, OptionError
from .dit import nearest
from .text_conditioners import T5Conditioner, T5GemmaConditioner, TableConditioner, TextConditioner, TextSource
from .value_conditioners import Condition, IntConditioner, ListConditioner, NumberConditioner

if TYPE_CHECKING:
    from .factory import AudioModel

MAX_WIDTH = 1 << 16

CONDITIONERS: dict[str, Any] = {
    "t5": T5Conditioner,
    "t5gemma": T5GemmaConditioner,
    "number": NumberConditioner,
    "int": IntConditioner,
    "list": ListConditioner,
    "lut": TableConditioner,
}
# These read words: they are given a text source and may need a size that only the checkpoint tells.
TEXT_CONDITIONERS = (TextConditioner, TableConditioner)


@dataclass(frozen=True)
class ItemSection:
    id: str
    type: str
    config: dict


@dataclass(frozen=True)
class ConditioningSection:
    cond_dim: int
    configs: tuple[ItemSection, ...]
    default_keys: dict = field(default_factory=dict)
    pre_encoded_keys: tuple[str, ...] = ()

    def __post_init__(self):
        if self.pre_encoded_keys:
            raise ValueError("pre_encoded_keys is not supported: conditions are made from words and numbers here")


class Conditioner(nn.Module):
    """All conditioners of a config by id, called on one metadata dict per clip.

    A value that is a list of one element stands for that element; an id that a clip lacks is read under its
    ``default_keys`` name.
    """

    def __init__(self, conditioners: dict[str, nn.Module], default_keys: Mapping[str, str]):
        super().__init__()
        self.conditioners = conditioners
        self._default_keys = dict(default_keys)

    @classmethod
    def from_section(cls, section: dict, path: str, sizes: Mapping[str, int] | None = None) -> "Conditioner":
        """Build from a ``conditioning`` object; raises ConfigError with the JSON path.

        ``sizes`` gives, by id, what a config cannot say (``checkpoint_sizes``): without it a text encoder that stable-
        audio-tools does not know by name is taken to be as wide as its conditioner, so nothing is projected.
        """
        settings = build(ConditioningSection, section, path)
        conditioners: dict[str, nn.Module] = {}
        for i, item in enumerate(settings.configs):
            here = f"{path}.configs[{i}]"
            kind = lookup(CONDITIONERS, section["configs"][i], here)
            if item.id in conditioners or "." in item.id or not item.id:
                raise ConfigError(f"{here}.id: {item.id!r} is empty, has a dot or is used twice")
            cfg = build(kind.Config, {"output_dim": settings.cond_dim, **item.config}, f"{here}.config")
            if not 1 <= cfg.output_dim <= MAX_WIDTH:
                raise ConfigError(f"{here}.config: output_dim {cfg.output_dim} is out of range, 1 to {MAX_WIDTH}")
            size = (sizes or {}).get(item.id)
            try:
                conditioners[item.id] = kind(cfg, size) if issubclass(kind, TEXT_CONDITIONERS) else kind(cfg)
            except ValueError as error:
                raise ConfigError(f"{here}: {error}") from None
        for name, other in settings.default_keys.items():
            if name not in conditioners or not isinstance(other, str):
                raise ConfigError(f"{path}.default_keys: {name!r} is no conditioner, or {describe(other)} no key")
        return cls(conditioners, settings.default_keys)

    @property
    def ids(self) -> list[str]:
        return list(self.conditioners)

    @property
    def text_ids(self) -> list[str]:
        """The ids that need a text source: an encoder (t5, t5gemma) or a tokenizer (lut)."""
        return [name for name, c in self.conditioners.items() if isinstance(c, TEXT_CONDITIONERS)]

    @property
    def keys_of_a_clip(self) -> list[str]:
        """What a clip's metadata may hold: the ids, and the names that stand in for them."""
        return list(dict.fromkeys([*self.conditioners, *self._default_keys.values()]))

    def width(self, name: str) -> int:
        return self.conditioners[name].cfg.output_dim

    def __call__(
        self, metadata: Sequence[Mapping[str, Any]], sources: Mapping[str, TextSource]
    ) -> dict[str, Condition]:
        """metadata: one dict per clip; sources: by id -> Condition by id.  OptionError for a missing value."""
        return self.embed(self.inputs(metadata, sources))

    def inputs(
        self, metadata: Sequence[Mapping[str, Any]], sources: Mapping[str, TextSource]
    ) -> dict[str, tuple[Any, ...]]:
        """What is read of the clips, as arrays by id: all that does not depend on the conditioners' weights."""
        out = {}
        for name, conditioner in self.conditioners.items():
            values = [self._value(name, clip) for clip in metadata]
            source = (sources.get(name),) if name in self.text_ids else ()
            out[name] = tuple(conditioner.inputs(values, *source))
        return out

    def embed(self, inputs: Mapping[str, tuple[Any, ...]]) -> dict[str, Condition]:
        """Condition by id of what ``inputs`` gave."""
        return {name: self.conditioners[name](*arrays) for name, arrays in inputs.items()}

    def _value(self, name: str, clip: Mapping[str, Any]) -> Any:
        key = name if name in clip else self._default_keys.get(name, name)
        if key not in clip:
            close = difflib.get_close_matches(name, clip, 1)
            raise OptionError(f"the model needs {name!r}" + (f", given is {close[0]!r}" if close else ""))
        value = clip[key]
        return value[0] if isinstance(value, list | tuple) and len(value) == 1 else value


def checkpoint_sizes(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """What a config leaves to the files beside it, read from a checkpoint's conditioner tensors (key -> shape).

    By conditioner id: the text encoder's width where there is a projection, the vocabulary of a token table.
    Keys may carry a prefix before ``conditioners.``.
    """
    sizes = {}
    for key, shape in shapes.items():
        *_, tail = key.rpartition("conditioners.")
        name, _, rest = tail.partition(".")
        if rest == "token_embedder.weight" or (rest == "proj_out.weight" and name not in sizes):
            sizes[name] = shape[0] if rest == "token_embedder.weight" else shape[1]
    return sizes


@dataclass(frozen=True)
class Conditioning:
    """What the transformer reads, channels last: cross (B, S, C), global_cond (B, G), local and input_concat (B, T, I).

    ``cross_mask`` (B, S) says which tokens carry meaning; released models attend to all of them.
    """

    cross: mx.array | None = None
    cross_mask: mx.array | None = None
    global_cond: mx.array | None = None
    local: mx.array | None = None
    input_concat: mx.array | None = None
    prepend: mx.array | None = None

    def unconditional(self, negative: "Conditioning | None" = None) -> "Conditioning":
        """The other half of guidance: the negative prompt's tokens, else zeros in every row, also the numbers'.

        Everything that does not enter as tokens stays: global, local and input_concat.
        """
        tokens = self.cross if negative is None else negative.cross
        zeros = None if self.prepend is None else mx.zeros_like(self.prepend)
        if negative is None and tokens is not None:
            tokens = mx.zeros_like(tokens)
        return replace(self, cross=tokens, cross_mask=(negative or self).cross_mask, prepend=zeros)


def assemble(
    model: "AudioModel", conditions: Mapping[str, Condition], length: int, negative: bool = False
) -> Conditioning:
    """Join conditions in the order of the config's ids.

    ``model`` names the ids; sequences for ``input_concat`` and ``local`` are resized to
    ``length`` latent frames by nearest neighbour.  ``negative``: rows without a token become zero, also learned ones.
    """
    cross = tokens_of(model.cross_ids, conditions)
    masks = [m for m in (conditions[i].mask for i in model.cross_ids) if m is not None]
    cross_mask = mx.concatenate(masks, axis=1) if masks else None
    if negative and cross is not None and cross_mask is not None:
        cross = mx.where(cross_mask[..., None], cross, mx.zeros((1,), cross.dtype))
    return Conditioning(
        cross=cross,
        cross_mask=cross_mask,
        global_cond=channels_of([conditions[i].tokens[:, 0] for i in model.global_ids]),
        local=frames_of(model.local_ids, conditions, length),
        input_concat=frames_of(model.input_concat_ids, conditions, length),
        prepend=tokens_of(model.prepend_ids, conditions),
    )


def tokens_of(ids: Sequence[str], conditions: Mapping[str, Condition]) -> mx.array | None:
    return mx.concatenate([conditions[i].tokens for i in ids], axis=1) if ids else None


def channels_of(parts: list[mx.array]) -> mx.array | None:
    return mx.concatenate(parts, axis=-1) if parts else None


def frames_of(ids: Sequence[str], conditions: Mapping[str, Condition], length: int) -> mx.array | None:
    """-> (B, length, C), or (B, 1, C) where nothing changes with time."""
    parts = [conditions[i].tokens for i in ids]
    moving = any(x.shape[1] > 1 for x in parts)
    return channels_of([nearest(x, length) if moving else x for x in parts])


def inpaint_conditions(
    batch: int, channels: int, mask: mx.array | None = None, latents: mx.array | None = None
) -> dict[str, Condition]:
    """What inpainting models read beside the prompt: mask (B, T, 1), 1 where ``latents`` (B, T, C) are kept.

    Without a mask nothing is kept: zeros, the same at all times.
    """
    if mask is None or latents is None:
        mask, latents = mx.zeros((batch, 1, 1)), mx.zeros((batch, 1, channels))
    return {"inpaint_mask": Condition(mask, None), "inpaint_masked_input": Condition(latents * mask, None)}
