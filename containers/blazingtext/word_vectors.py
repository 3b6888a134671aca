"""Word vectors that answer: words to their vectors, as fastText's print-word-vectors has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from containers.blazingtext import lookup, text_kernels
from containers.blazingtext.codec import Answers, Request
from containers.blazingtext.fasttext_file import FastText
from containers.blazingtext.lookup import Lookup
from containers.blazingtext.tokens import END_OF_SENTENCE, Tokens


class WordVectors:
    """A model of fastText's kinds ``skipgram`` and ``cbow``."""

    feature_dim: int | None = None

    def __init__(self, model: FastText) -> None:
        self._vocabulary = model.vocabulary
        self._grammar, self._lookup = lookup.grammar(model), Lookup(model)

    def predict(self, request: Request, options: Mapping[str, Any]) -> Answers:
        """``vector`` and ``word`` of each word: of unknown ones what its subwords give, or zeros."""
        # What can't be written as UTF-8 can't be a word either.
        words = [text.encode("utf-8", "replace") for text in request.texts]
        tokens = _tokens(words)
        examples = self._grammar.each(tokens, self._vocabulary.ids(tokens))
        vectors = self._lookup.means(self._lookup.settled(examples))
        return [
            {"vector": vector, "word": word.decode()} for vector, word in zip(vectors, words, strict=True)
        ]


def _tokens(words: Sequence[bytes]) -> Tokens:
    """Words as they are, blanks within them included."""
    data = np.frombuffer(bytearray(END_OF_SENTENCE + b"".join(words)), np.uint8)
    offsets = np.cumsum([len(END_OF_SENTENCE), *map(len, words)], dtype=np.int64)
    hashes = np.empty(len(words), np.uint32)
    text_kernels.hash_each(data, offsets, hashes)
    bounds = offsets.astype(np.int32)
    return Tokens(data, bounds[:-1], bounds[1:], hashes)
