"""A SentencePiece model file as a ``tokenizers.Tokenizer``, without the sentencepiece package.

The file is one protocol buffer (sentencepiece_model.proto); the few fields that decide how text is cut are read here.
"""

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from ..errors import WeightsError

UNKNOWN, CONTROL, USER_DEFINED, BYTE = 2, 3, 4, 6  # kinds of pieces
UNIGRAM, BPE = 1, 2  # model types
SPACE = "\u2581"
MAX_PIECES = 1 << 20


class Piece(NamedTuple):
    text: str
    score: float
    kind: int


def load(raw: bytes, where: str) -> Any:
    """The tokenizer of a model's bytes: special and user-defined pieces are matched first, as tokenizer.json has it.

    Its post-processor appends the end mark.  WeightsError for bytes that are no model, or one that is no Unigram or
    BPE model.
    """
    try:
        message = group(raw)
        pieces = [piece(group(item)) for item in message.get(1, [])]
        return build(pieces, group(message[2][-1]), group(message[3][-1]))
    except KeyError:
        raise WeightsError(f"{where}: not a usable SentencePiece model (it ends early); download it again") from None
    except (ValueError, IndexError, struct.error, TypeError, AttributeError) as error:
        raise WeightsError(f"{where}: not a usable SentencePiece model ({error}); download it again") from None


def build(pieces: list[Piece], trainer: dict[int, list], rules: dict[int, list]) -> Any:
    """``trainer`` and ``rules`` are the model's TrainerSpec and NormalizerSpec."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, processors

    ids = {p.text: i for i, p in enumerate(pieces)}
    unknown = next((i for i, p in enumerate(pieces) if p.kind == UNKNOWN), None)
    if unknown is None or not len(ids) == len(pieces) <= MAX_PIECES:
        raise ValueError(f"{len(pieces)} pieces, {len(ids)} different, unknown piece: {unknown}")
    fallback = any(p.kind == BYTE for p in pieces)
    kind = last(trainer, 3, UNIGRAM)
    model: Any
    if kind == BPE:
        unk = pieces[unknown].text
        model = models.BPE(ids, merges(pieces, ids), unk_token=unk, fuse_unk=True, byte_fallback=fallback)
    elif kind == UNIGRAM:
        model = models.Unigram([(p.text, p.score) for p in pieces], unk_id=unknown, byte_fallback=fallback)
    else:
        raise ValueError(f"model type {kind} is neither Unigram nor BPE")
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizer(rules)
    special = (UNKNOWN, CONTROL)
    marked = [p for p in pieces if p.kind in (*special, USER_DEFINED)]
    tokenizer.add_tokens([AddedToken(p.text, normalized=False, special=p.kind in special) for p in marked])
    parts = [decoders.Replace(SPACE, " "), *([decoders.ByteFallback()] if fallback else []), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence(parts)
    end = signed(last(trainer, 42, 2))
    if 0 <= end < len(pieces) and pieces[end].kind == CONTROL:
        mark = pieces[end].text
        tokenizer.post_processor = processors.TemplateProcessing(single=["$A", mark], special_tokens=[(mark, end)])
    return tokenizer


def merges(pieces: list[Piece], ids: dict[str, int]) -> list[tuple[str, str]]:
    """Every way to make a piece of two others, best first.

    SentencePiece joins the neighbours whose union scores highest; between ways to make the same piece, the longer left
    part goes first.
    """
    joined = {p.text for p in pieces if p.kind not in (UNKNOWN, CONTROL, BYTE)}
    found = [
        (p.score, cut, p.text)
        for p in pieces
        if p.text in joined
        for cut in range(1, len(p.text))
        if p.text[:cut] in joined and p.text[cut:] in joined
    ]
    found.sort(key=lambda item: (-item[0], ids[item[2]], -item[1]))
    return [(text[:cut], text[cut:]) for _, cut, text in found]


def normalizer(rules: dict[int, list]) -> Any:
    """Character map, runs of spaces, a space in front, spaces made visible: each only where the model says so."""
    from tokenizers import Regex, normalizers

    steps: list[Any] = []
    if table := last(rules, 2, b""):
        steps.append(normalizers.Precompiled(table))
    if last(rules, 4, 1):
        steps += [normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")]
    if last(rules, 3, 1):
        steps.append(normalizers.Prepend(SPACE))
    if last(rules, 5, 1):
        steps.append(normalizers.Replace(" ", SPACE))
    return normalizers.Sequence(steps)


def piece(message: dict[int, list]) -> Piece:
    score = struct.unpack("<f", last(message, 2, bytes(4)))[0]
    return Piece(last(message, 1, b"").decode("utf-8"), score, last(message, 3, 1))


def last(message: dict[int, list], number: int, default: Any) -> Any:
    """A field's value; the last one counts where it is repeated."""
    return message[number][-1] if number in message else default


def signed(value: int) -> int:
    """Negative numbers are written as 64-bit two's complement."""
    return value - (1 << 64) if value >> 63 else value


def group(raw: bytes) -> dict[int, list]:
    """Field number -> values of a protocol buffer message."""
    out: dict[int, list] = {}
    for number, value in fields(raw):
        out.setdefault(number, []).append(value)
    return out


def fields(raw: bytes) -> Iterator[tuple[int, Any]]:
    """(number, value): whole numbers as int, everything else as bytes (https://protobuf.dev/programming-guides/encoding)."""
    at = 0
    while at < len(raw):
        tag, at = varint(raw, at)
        if tag & 7 == 0:
            value: Any
            value, at = varint(raw, at)
        elif tag & 7 in (1, 2, 5):
            size, at = varint(raw, at) if tag & 7 == 2 else ({1: 8, 5: 4}[tag & 7], at)
            value, at = raw[at : at + size], at + size
            if at > len(raw):
                raise ValueError("it ends early")
        else:
            raise ValueError(f"wire type {tag & 7}")
        yield tag >> 3, value


def varint(raw: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = raw[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number of more than 64 bits")
