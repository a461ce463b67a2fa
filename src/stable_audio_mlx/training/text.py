"""Captions are few and come again and again: their embeddings are kept, since the text encoder is frozen."""

from collections.abc import Sequence

import mlx.core as mx

from ..models.text_conditioners import EncodedText, TextSource, Tokens

LIMIT = 1 << 30  # bytes of embeddings that are kept


class CachedText:
    """A text source that encodes each prompt once, as long as there is room."""

    def __init__(self, source: TextSource, limit: int = LIMIT):
        self._source, self._limit = source, limit
        self._rows: dict[tuple[str, int], EncodedText] = {}
        self._bytes = 0

    def encode(self, prompts: Sequence[str], max_length: int) -> EncodedText:
        rows = [self._row(prompt, max_length) for prompt in prompts]
        tokens = [row.tokens for row in rows]
        return EncodedText(
            mx.concatenate([row.embeddings for row in rows]),
            Tokens(
                mx.concatenate([t.ids for t in tokens]),
                mx.concatenate([t.mask for t in tokens]),
                [text for t in tokens for text in t.unread],
                [places for t in tokens for places in t.spans],
            ),
        )

    def _row(self, prompt: str, max_length: int) -> EncodedText:
        if (prompt, max_length) in self._rows:
            return self._rows[prompt, max_length]
        if self._bytes > self._limit:
            self._rows, self._bytes = {}, 0
        found = self._source.encode([prompt], max_length)
        mx.eval(found.embeddings, found.tokens.ids, found.tokens.mask)
        self._rows[prompt, max_length] = found
        self._bytes += found.embeddings.nbytes
        return found

    def tokenize(self, prompts: Sequence[str], max_length: int, special_tokens: Sequence[str] = ()) -> Tokens:
        return self._source.tokenize(prompts, max_length, special_tokens)
