"""Words as a sequence of tokens: the conditioner types ``t5``, ``t5gemma`` and ``lut``."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

import mlx.core as mx
import mlx.nn as nn

from ..config import describe
from ..errors import ConfigError, OptionError
from ..layers.positions import LearnedPositions
from ..prompts import Phrase
from .value_conditioners import Condition

# Width of the encoders that a config may name, as stable-audio-tools lists them.
T5_WIDTHS = {
    "t5-small": 512,
    "t5-base": 768,
    "t5-large": 1024,
    "t5-3b": 1024,
    "t5-11b": 1024,
    "google/t5-v1_1-xl": 2048,
    "google/t5-v1_1-xxl": 4096,
    "google/flan-t5-small": 512,
    "google/flan-t5-base": 768,
    "google/flan-t5-large": 1024,
    "google/flan-t5-xl": 2048,
    "google/flan-t5-xxl": 4096,
}
T5GEMMA_WIDTHS = {"google/t5gemma-b-b-ul2": 768}
T5_VOCABULARY = 32100
MAX_LENGTH = 1 << 16


class Tokens(NamedTuple):
    """A batch of prompts: ids and mask (B, S), the end of each prompt that was cut off, characters of each token."""

    ids: mx.array
    mask: mx.array
    unread: list[str]
    spans: list[list[tuple[int, int]]]


class EncodedText(NamedTuple):
    """A batch of prompts: embeddings (B, S, D), zero where the tokens' mask is False."""

    embeddings: mx.array
    tokens: Tokens


class TextSource(Protocol):
    """What text conditioners need from outside (``weights.text.TextEncoder``): models read no files."""

    def encode(self, prompts: Sequence[str], max_length: int) -> EncodedText: ...

    def tokenize(self, prompts: Sequence[str], max_length: int, special_tokens: Sequence[str] = ()) -> Tokens: ...


@dataclass(frozen=True)
class T5ConditionerConfig:
    """An encoder that ``t5_model_name`` does not tell the width of is taken to be ``output_dim`` wide."""

    output_dim: int
    t5_model_name: str = "t5-base"
    max_length: int = 128
    enable_grad: bool = False
    project_out: bool = False

    padding_mode: ClassVar = "zero"

    def __post_init__(self):
        check_text(self)

    @property
    def text_width(self) -> int:
        return T5_WIDTHS.get(self.t5_model_name, self.output_dim)


@dataclass(frozen=True)
class T5GemmaConditionerConfig:
    output_dim: int
    model_name: str | None = None
    model_path: str | None = None
    repo_id: str | None = None
    subfolder: str | None = None
    max_length: int = 128
    enable_grad: bool = False
    project_out: bool = False
    padding_mode: str = "zero"

    def __post_init__(self):
        check_text(self)
        if self.padding_mode not in ("zero", "learned"):
            raise ValueError(f"padding_mode {self.padding_mode!r} is not supported, known: zero, learned")

    @property
    def text_width(self) -> int:
        return T5GEMMA_WIDTHS.get(self.model_name or "", self.output_dim)


def check_text(cfg: T5ConditionerConfig | T5GemmaConditionerConfig) -> None:
    if cfg.enable_grad:
        raise ValueError("enable_grad is not supported: the text encoder must be the public, frozen one")
    check_length(cfg.max_length)


def check_length(max_length: int) -> None:
    if not 1 <= max_length <= MAX_LENGTH:
        raise ValueError(f"max_length {max_length} is out of range, 1 to {MAX_LENGTH}")


class TextConditioner(nn.Module):
    """Prompt embeddings, projected only where widths differ; padding rows are zero or one learned vector.

    ``text_width`` is the width of the encoder where the checkpoint tells it; the config only names a model.
    """

    def __init__(self, cfg: T5ConditionerConfig | T5GemmaConditionerConfig, text_width: int | None = None):
        super().__init__()
        self.cfg = cfg
        self.text_width = text_width or cfg.text_width
        if cfg.project_out or self.text_width != cfg.output_dim:
            self.proj_out = nn.Linear(self.text_width, cfg.output_dim)
        if cfg.padding_mode == "learned":
            self.padding_embedding = mx.random.normal((cfg.output_dim,)) * 0.02

    def inputs(self, values: Sequence[Any], source: TextSource | None = None) -> tuple[Any, ...]:
        """values: B prompts, str or Phrase -> what the frozen text encoder makes of them: arguments of the call"""
        phrases = phrases_of(values)
        x, tokens = required(source).encode([p.text for p in phrases], self.cfg.max_length)
        if x.shape[-1] != self.text_width:
            raise ConfigError(
                f"the text encoder is {x.shape[-1]} wide, but the model's conditioner expects {self.text_width}; "
                "these two do not belong together"
            )
        return x, tokens.mask, tokens.ids, tokens.unread, weights_of(phrases, tokens)

    def __call__(
        self,
        x: mx.array,
        mask: mx.array,
        ids: mx.array | None = None,
        unread: Sequence[str] = (),
        weights: mx.array | None = None,
    ) -> Condition:
        """x: (B, max_length, text width); mask, ids, weights: (B, max_length) -> tokens (B, max_length, D)"""
        if "proj_out" in self:
            x = self.proj_out(x.astype(self.proj_out.weight.dtype))
        padding = self.padding_embedding if "padding_embedding" in self else mx.zeros((1,), x.dtype)
        return Condition(mx.where(mask[..., None], weighed(x, padding, weights), padding), mask, ids, unread)


class T5Conditioner(TextConditioner):
    Config = T5ConditionerConfig


class T5GemmaConditioner(TextConditioner):
    Config = T5GemmaConditionerConfig


@dataclass(frozen=True)
class TableConditionerConfig:
    output_dim: int
    tokenizer_name: str
    max_length: int = 1024
    use_abs_pos_emb: bool = False
    project_out: bool = False
    special_tokens: tuple[str, ...] = ()

    def __post_init__(self):
        check_length(self.max_length)


class TableConditioner(nn.Module):
    """A tokenizer and one learned vector per token (``lut``); padding rows hold nothing but their position.

    ``vocabulary`` is the number of tokens where the checkpoint tells it; the config only names a tokenizer.
    """

    Config = TableConditionerConfig

    def __init__(self, cfg: TableConditionerConfig, vocabulary: int | None = None):
        super().__init__()
        self.cfg = cfg
        if vocabulary is None and cfg.tokenizer_name not in T5_WIDTHS:
            raise ValueError(f"how many tokens {cfg.tokenizer_name!r} has is only known from a checkpoint; give one")
        vocabulary = vocabulary or T5_VOCABULARY + len(cfg.special_tokens)
        self.token_embedder = nn.Embedding(vocabulary, cfg.output_dim)
        if cfg.project_out:
            self.proj_out = nn.Linear(cfg.output_dim, cfg.output_dim)
        if cfg.use_abs_pos_emb:
            self.abs_pos_emb = LearnedPositions(cfg.output_dim, cfg.max_length)

    def inputs(self, values: Sequence[Any], source: TextSource | None = None) -> tuple[Any, ...]:
        """values: B prompts, str or Phrase -> arguments of the call"""
        phrases, cfg = phrases_of(values), self.cfg
        tokens = required(source).tokenize([p.text for p in phrases], cfg.max_length, cfg.special_tokens)
        size = self.token_embedder.weight.shape[0]
        if int(tokens.ids.max()) >= size:
            raise ConfigError(f"the tokenizer gives ids beyond the model's table of {size}; it is not this model's")
        return tokens.ids, tokens.mask, tokens.unread, weights_of(phrases, tokens)

    def __call__(
        self, ids: mx.array, mask: mx.array, unread: Sequence[str] = (), weights: mx.array | None = None
    ) -> Condition:
        """ids, mask, weights: (B, max_length) -> tokens (B, max_length, D)"""
        x = self.token_embedder(ids)
        if "proj_out" in self:
            x = self.proj_out(x)
        nothing = mx.zeros((1,), x.dtype)
        x = mx.where(mask[..., None], weighed(x, nothing, weights), nothing)
        if "abs_pos_emb" in self:
            x = x + self.abs_pos_emb(x.shape[1])
        return Condition(x, mask, ids, unread)


def phrases_of(values: Sequence[Any]) -> list[Phrase]:
    phrases = []
    for value in values:
        phrase = value if isinstance(value, Phrase) else Phrase(value)
        if not isinstance(phrase.text, str):
            raise OptionError(f"a prompt is text, got {describe(value)}")
        try:
            phrase.text.encode("utf-8")
        except UnicodeEncodeError:
            raise OptionError(f"a prompt must be valid Unicode text, got {describe(value)}") from None
        phrases.append(phrase)
    return phrases


def weights_of(phrases: Sequence[Phrase], tokens: Tokens) -> mx.array | None:
    """The weight of each token, (B, S); None where no phrase has one."""
    if not any(phrase.weights for phrase in phrases):
        return None
    rows = []
    for phrase, places in zip(phrases, tokens.spans, strict=True):
        row = [phrase.weight_of(start, end) if end > start else 1.0 for start, end in places]
        rows.append(row + [1.0] * (tokens.ids.shape[1] - len(row)))
    return mx.array(rows, mx.float32)


def weighed(x: mx.array, padding: mx.array, weights: mx.array | None) -> mx.array:
    """Tokens with their weights: ``padding + weight (x - padding)``; without weights as they are.

    x: (B, S, D), weights: (B, S).  At weight 0 a token is what the model reads where there is none, at 1 it is itself;
    the line between both goes on beyond 1.
    """
    if weights is None:
        return x
    weights = weights.astype(x.dtype)[..., None]
    return mx.where(weights == 1, x, padding + weights * (x - padding))


def required(source: TextSource | None) -> TextSource:
    if source is None:
        raise OptionError("this model reads text, but no text encoder was loaded")
    return source
