"""SentencePiece models, written here field by field: pieces, merges, bytes to fall back on, damage."""

import struct

import pytest

from stable_audio_mlx.errors import WeightsError
from stable_audio_mlx.weights import sentencepiece

NORMAL, UNKNOWN, CONTROL, USER, BYTE = 1, 2, 3, 4, 6


def varint(n: int) -> bytes:
    n &= (1 << 64) - 1
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def field(number: int, value) -> bytes:
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    raw = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def model(pieces, kind, end=1, **rules) -> bytes:
    """``pieces``: (text, score, kind); ``rules``: NormalizerSpec, gemma's unless given."""
    spec = {"dummy_prefix": 0, "remove_extra": 0, "escape": 1} | rules
    normalizer = b"".join(field(3 + i, spec[name]) for i, name in enumerate(("dummy_prefix", "remove_extra", "escape")))
    trainer = field(3, kind) + field(42, end)
    body = b"".join(field(1, field(1, t) + field(2, float(s)) + field(3, k)) for t, s, k in pieces)
    return body + field(2, trainer) + field(3, normalizer) + field(99, b"a field of later versions")


SPECIAL = [("<pad>", 0, CONTROL), ("<eos>", 0, CONTROL), ("<unk>", 0, UNKNOWN)]
BYTES = [(f"<0x{i:02X}>", 0, BYTE) for i in range(256)]
WORDS = [("ab", -1, NORMAL), ("▁a", -2, NORMAL), ("abab", -3, NORMAL), ("▁ab", -4, NORMAL)]
LETTERS = [(letter, -10 - i, NORMAL) for i, letter in enumerate("▁ab")]
BPE = [*SPECIAL, *BYTES, ("[X]", 0, USER), *WORDS, *LETTERS]


def tokens(tokenizer, text: str) -> list[str]:
    return tokenizer.encode(text, add_special_tokens=False).tokens


def test_pairs_join_in_the_order_of_their_scores():
    tokenizer = sentencepiece.load(model(BPE, sentencepiece.BPE), "m")
    assert tokens(tokenizer, "abab") == ["abab"]
    assert tokens(tokenizer, " abab") == ["▁", "abab"], "ab before ▁a: the better score wins"
    assert tokens(tokenizer, "b a") == ["b", "▁a"]
    assert tokens(tokenizer, "a  b") == ["a", "▁", "▁", "b"]
    assert tokens(tokenizer, "") == []
    assert tokens(tokenizer, "aé[X]<pad>") == ["a", "<0xC3>", "<0xA9>", "[X]", "<pad>"]
    assert tokenizer.decode(tokenizer.encode("b aé").ids, skip_special_tokens=True) == "b aé"


def test_the_end_mark_is_appended_where_the_model_has_one():
    tokenizer = sentencepiece.load(model(BPE, sentencepiece.BPE), "m")
    assert tokenizer.encode("a").tokens == ["a", "<eos>"]
    assert sentencepiece.load(model(BPE, sentencepiece.BPE, end=-1), "m").encode("a").tokens == ["a"]


def test_unigram_takes_the_likeliest_cut():
    pieces = [*SPECIAL, ("▁a", -1.0, NORMAL), ("ab", -1.5, NORMAL), ("b", -3.0, NORMAL), ("▁", -2.0, NORMAL)]
    raw = model([*pieces, ("a", -3.0, NORMAL)], sentencepiece.UNIGRAM, dummy_prefix=1, remove_extra=1)
    tokenizer = sentencepiece.load(raw, "m")
    assert tokens(tokenizer, "ab") == ["▁", "ab"] and tokens(tokenizer, "a") == ["▁a"]
    assert tokens(tokenizer, "  a   b ") == ["▁a", "▁", "b"]
    assert tokens(tokenizer, "xyz") == ["▁", "xyz"] and tokenizer.encode("xyz", add_special_tokens=False).ids[1] == 2


@pytest.mark.parametrize("cut", range(0, 60, 3))
def test_a_cut_model_is_damaged(cut):
    whole = model(BPE, sentencepiece.BPE)
    with pytest.raises(WeightsError, match="m: not a usable SentencePiece model"):
        sentencepiece.load(whole[:cut], "m")


@pytest.mark.parametrize(
    "raw",
    [b"\xff" * 40, b"\x0f", model(BPE, 3), model([*BPE, ("ab", 0, NORMAL)], 2), model(WORDS, 2), field(1, field(1, 7))],
)
def test_what_is_no_model_of_these_kinds(raw):
    with pytest.raises(WeightsError, match="not a usable SentencePiece model"):
        sentencepiece.load(raw, "m")
