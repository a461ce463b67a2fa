"""Prompts -> embeddings: tokenizer.json, a Hugging Face config.json and the few embedding rows that a prompt needs."""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten

from ..config import lookup
from ..errors import ConfigError, OptionError, WeightsError
from ..models.t5 import T5Encoder
from ..models.t5gemma import T5GemmaEncoder
from ..models.text_conditioners import EncodedText, Tokens
from . import sentencepiece
from .arrays import FLOATS, Entry
from .checkpoint import find_text, read_entries, read_json, summary
from .layout import Tensor
from .quantize import QuantizedTensor, load_into, quantized
from .store import read_npz

# ``model_type`` of a Hugging Face config.json.
ENCODERS: dict[str, Any] = {"t5": T5Encoder, "t5gemma": T5GemmaEncoder, "t5_gemma_module": T5GemmaEncoder}
# Where check_entries puts the embedding table, which is no part of the network.
EMBEDDING = "embedding"
SENTENCEPIECE = ("spiece.model", "tokenizer.model")
# Arrays of bytes in an NPZ file that holds a whole text encoder: its config as JSON, its SentencePiece model.
META, TOKENIZER_MODEL = "META", "TOKENIZER_MODEL"


class TextEncoder:
    """A tokenizer and, where the model has one, a text encoder that is read on first use and can be released.

    Everything is computed in float32, whatever the file holds: 16-bit text embeddings alone move a clip by 1e-3.
    """

    def __init__(
        self, tokenizer: Any, kind: Any = None, cfg: Any = None, entries: Mapping[str, Entry | Tensor] | None = None
    ):
        """``kind`` and ``cfg``: class and config of the encoder; ``entries``: its tensors, from ``check_entries``."""
        self._tokenizers: dict[tuple[str, ...], Any] = {(): tokenizer}
        self._kind, self._cfg, self._entries = kind, cfg, entries or {}
        self._network: nn.Module | None = None

    @classmethod
    def from_files(cls, config: Path | None, weights: Path | None, tokenizer: Path | None) -> "TextEncoder":
        """Files of an encoder, or only a tokenizer (``config`` and ``weights`` None, for token tables).

        ``weights`` is a .safetensors file or the index of a sharded one; one .npz file may be all three.  Only headers
        are read here.  WeightsError for missing or damaged files, ConfigError for an encoder that this project does
        not know.
        """
        words = load_tokenizer(tokenizer, config)
        if config is None and weights is None:
            return cls(words)
        if config is None:
            raise WeightsError(f"{weights}: the text encoder's config.json is missing; put it beside its weights")
        if weights is None:
            raise WeightsError(f"{config}: the text encoder's model.safetensors is missing; put it beside its config")
        kind, cfg = read_encoder(config)
        return cls(words, kind, cfg, check_entries(kind(cfg), read_entries(weights), weights))

    @classmethod
    def from_folder(cls, folder: Path) -> "TextEncoder":
        """A checkpoint folder with ``text_encoder/`` and ``tokenizer/``, or with ``t5gemma-b-b-ul2/``."""
        files = find_text(folder)
        return cls.from_files(files.config, files.weights, files.tokenizer)

    def tokenize(self, prompts: Sequence[str], max_length: int, special_tokens: Sequence[str] = ()) -> Tokens:
        """Prompts as tokens, (B, max_length), padded on the right."""
        return self._padded(self._encodings(prompts, max_length, special_tokens), prompts, max_length)

    def encode(self, prompts: Sequence[str], max_length: int) -> EncodedText:
        """-> embeddings (B, max_length, D), float32, zero where there is no token.

        Each prompt is encoded at its true length, which gives exactly what padding and masking would.
        """
        if self._cfg is None:
            raise WeightsError("this model has a tokenizer, but no text encoder; its files are incomplete")
        encodings = self._encodings(prompts, max_length)
        lists = [e.ids for e in encodings]
        unique = [tokens for tokens in dict.fromkeys(map(tuple, lists)) if tokens]
        x = mx.zeros((len(unique) + 1, max_length, self._cfg.width))
        if unique:
            found = self._run(unique)
            x[:-1, : found.shape[1]] = found
        # A prompt without any token (T5Gemma adds no end mark) is the last row, all zero.
        x = x[mx.array([unique.index(tuple(tokens)) if tokens else len(unique) for tokens in lists])]
        mx.eval(x)
        return EncodedText(x, self._padded(encodings, prompts, max_length))

    def release(self) -> None:
        """Give the encoder's memory back; the next ``encode`` reads it again."""
        self._network = None

    def _encodings(self, prompts: Sequence[str], max_length: int, special_tokens: Sequence[str] = ()) -> list:
        """The tokens of each prompt, at most ``max_length``; the end mark stays last in a prompt that is cut."""
        marks = getattr(self._kind, "END_MARK", True)
        tokenizer = self._tokenizer(tuple(special_tokens))
        if max_length <= tokenizer.num_special_tokens_to_add(False) * marks:
            raise OptionError(f"max_length {max_length} leaves no room for a token")
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_length)
        return tokenizer.encode_batch(list(prompts), add_special_tokens=marks)

    def _tokenizer(self, special_tokens: tuple[str, ...]) -> Any:
        """A token table's own special tokens must not become known to the other conditioners of a model."""
        if special_tokens not in self._tokenizers:
            copy = type(self._tokenizers[()]).from_str(self._tokenizers[()].to_str())
            copy.add_special_tokens(list(special_tokens))
            self._tokenizers[special_tokens] = copy
        return self._tokenizers[special_tokens]

    def _padded(self, encodings: Sequence[Any], prompts: Sequence[str], max_length: int) -> Tokens:
        pad = self._cfg.pad_token_id if self._cfg else self._tokenizers[()].token_to_id("<pad>") or 0
        ids = mx.array([[*e.ids, *[pad] * (max_length - len(e.ids))] for e in encodings], mx.int32)
        mask = mx.arange(max_length)[None] < mx.array([len(e.ids) for e in encodings])[:, None]
        spans = [e.offsets for e in encodings]
        ends = [max((end for _, end in places), default=0) for places in spans]
        cut = [p[end:].strip() if e.overflowing else "" for e, p, end in zip(encodings, prompts, ends, strict=True)]
        return Tokens(ids, mask, cut, spans)

    def _run(self, lists: Sequence[Sequence[int]]) -> mx.array:
        """Non-empty token lists -> (B, longest, D), zero behind each prompt's end."""
        network = self._network or self._load()
        rows = sorted({token for tokens in lists for token in tokens})
        table = self._embedding_rows(rows)
        longest = max(map(len, lists))
        place = {row: i for i, row in enumerate(rows)}
        x = table[mx.array([[*(place[t] for t in tokens), *[0] * (longest - len(tokens))] for tokens in lists])]
        lengths = mx.array([len(tokens) for tokens in lists])
        mask = mx.arange(longest)[None] < lengths[:, None]
        ragged = any(len(tokens) != longest for tokens in lists)
        x = mx.where(mask[..., None], network(x, mask if ragged else None), 0.0)
        if not mx.isfinite(x).all().item():
            raise WeightsError(
                "the text encoder gives values that are not finite; its weights are damaged, fetch them again"
            )
        return x

    def _load(self) -> nn.Module:
        network = self._kind(self._cfg)
        names = dict(tree_flatten(network.parameters()))
        load_into(network, {name: self._entries[name] for name in names}, mx.float32)
        self._network = network
        return network

    def _embedding_rows(self, rows: Iterable[int]) -> mx.array:
        """-> (R, D), float32, read one by one: T5Gemma's whole table would be 70 % of all bytes."""
        entry = self._entries[EMBEDDING]
        assert isinstance(entry, Entry)  # tables are never quantised
        row_bytes = entry.nbytes // entry.shape[0]
        out = []
        for row in rows:
            if row >= entry.shape[0]:
                raise WeightsError(
                    f"{entry.file}: has {entry.shape[0]} embeddings, but the tokenizer gives {row}; "
                    "tokenizer and text encoder do not belong together"
                )
            part = dataclasses.replace(entry, shape=entry.shape[1:], offset=entry.offset + row * row_bytes)
            out.append(part.read().astype(np.float32))
        return mx.array(np.stack(out))


def text_config(path: Path) -> dict[str, Any]:
    """A text encoder's Hugging Face config, from JSON or from the official NPZ file, which only T5Gemma has."""
    if path.suffix != ".npz":
        return read_json(path)
    try:
        section = json.loads(embedded(path, META))
    except ValueError as error:
        raise ConfigError(f"{path}: its {META} is not valid JSON ({str(error)[:80]})") from None
    if not isinstance(section, dict):
        raise ConfigError(f"{path}: its {META} is not a JSON object")
    return {"model_type": "t5gemma", **section}


def embedded(path: Path, name: str) -> bytes:
    """An array of bytes in an NPZ file."""
    entry = read_npz(path).get(name)
    if entry is None or entry.dtype not in ("uint8", "int8"):
        raise WeightsError(f"{path}: has no {name}, so it is no text encoder's file; download it again")
    return bytes(entry.bits())


def read_encoder(path: Path) -> tuple[Any, Any]:
    """Class and config of the encoder that a config file describes."""
    section = text_config(path)
    kind = lookup(ENCODERS, section, str(path), key="model_type")
    return kind, kind.Config.from_hugging_face(section, str(path))


def check_entries(network: Any, entries: dict[str, Entry], path: Path) -> dict[str, Entry | Tensor]:
    """What the encoder needs, by the network's own names.  WeightsError lists what is missing or misshapen.

    A file may hold more (a decoder, an output head): checkpoints carry the whole text model.
    """
    wanted = {name: tuple(value.shape) for name, value in dict(tree_flatten(network.parameters())).items()}
    prefix = max(network.PREFIXES, key=lambda p: sum(p + name in entries for name in wanted))
    found: dict[str, Entry | Tensor] = {}
    wrong = []
    for name, shape in wanted.items():
        packed = quantized(entries, prefix + name, shape)
        if isinstance(packed, str):
            wrong.append(f"{name} {packed}")
        item = packed if isinstance(packed, QuantizedTensor) else entries.get(prefix + name)
        if item is not None:
            found[name] = item
    wanted[EMBEDDING] = (network.cfg.vocab_size, network.cfg.width)
    table = next((entries[key] for key in network.EMBEDDINGS if key in entries), None)
    if table is not None:
        found[EMBEDDING] = table
        # Vocabularies are padded differently from one copy of a model to the next.
        wanted[EMBEDDING] = (table.shape[0] if table.shape else 0, network.cfg.width)
    missing = [name for name in wanted if name not in found]
    wrong += [f"{n} {found[n].shape}, wanted {wanted[n]}" for n in found if found[n].shape != wanted[n]]
    wrong += [f"{n} is {e.dtype}" for n, e in found.items() if isinstance(e, Entry) and e.dtype not in FLOATS]
    if missing or wrong:
        parts = [f"{len(missing)} tensors missing: {summary(missing)}"] if missing else []
        parts += [f"{len(wrong)} do not fit: {summary(wrong)}"] if wrong else []
        raise WeightsError(f"{path}: not this text encoder's weights, {'; '.join(parts)}")
    return found


def load_tokenizer(path: Path | None, config: Path | None = None) -> Any:
    """A ``tokenizers.Tokenizer`` from tokenizer.json, a SentencePiece model, or the NPZ file that holds one.

    Without ``path``, a SentencePiece model is looked for beside the encoder's ``config`` and in ``tokenizer/``.
    """
    if path is not None and path.suffix == ".npz":
        return sentencepiece.load(embedded(path, TOKENIZER_MODEL), str(path))
    if path is not None and path.suffix == ".json":
        from tokenizers import Tokenizer

        text = path.read_bytes() if path.is_file() else b""
        try:
            return Tokenizer.from_str(text.decode("utf-8"))
        except Exception as error:  # noqa: BLE001  tokenizers raises nothing narrower
            raise WeightsError(f"{path}: not a usable tokenizer.json ({str(error)[:80]}); download it again") from None
    places = [path, *([config.parent, config.parent.parent / "tokenizer"] if config else [])]
    models = (place / name for place in places if place for name in SENTENCEPIECE)
    found = next((model for model in models if model.is_file()), None)
    if found is None:
        where = f"{config.parent}: " if config else ""
        raise WeightsError(f"{where}the text encoder's tokenizer.json is missing; put it beside the text encoder")
    return sentencepiece.load(found.read_bytes(), str(found))
