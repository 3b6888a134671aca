"""A classifier that answers: sentences to their likeliest labels, as fastText's predict has them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from common.batches import Float32
from containers.blazingtext import lookup
from containers.blazingtext.codec import Answers, Request
from containers.blazingtext.examples import Examples
from containers.blazingtext.fasttext_file import FastText
from containers.blazingtext.lookup import Lookup
from containers.blazingtext.losses import likelihood
from containers.blazingtext.tokens import END_OF_SENTENCE, split

_PART = 1 << 22  # probabilities that are computed at once


class Labeller:
    """A model of fastText's kind ``supervised``."""

    feature_dim: int | None = None

    def __init__(self, model: FastText) -> None:
        self._vocabulary = model.vocabulary
        self._grammar, self._lookup = lookup.grammar(model), Lookup(model)
        words = self._vocabulary.words
        self._likelihood = likelihood(model.arguments.loss, model.outputs, self._vocabulary.counts[words:])
        names = itertools.islice(self._vocabulary, words, None)
        self._labels = [name.decode("utf-8", "replace") for name in names]

    def predict(self, request: Request, options: Mapping[str, Any]) -> Answers:
        """``label`` and ``prob`` of each sentence, best first; empty ones for one without features."""
        examples = self._lookup.settled(self._examples(request.texts))
        hidden = self._lookup.means(examples)
        sizes = np.diff(examples.bounds)
        step, answers = max(1, _PART // len(self._labels)), []
        for start in range(0, len(hidden), step):
            part = slice(start, start + step)
            found = zip(self._likelihood(hidden[part]), request.counts[part], sizes[part], strict=True)
            answers += [self._answer(row, count if size else 0) for row, count, size in found]
        return answers

    def _answer(self, probabilities: Float32, count: int) -> dict[str, Any]:
        # Of two equally likely labels fastText has the later one first.
        last = len(probabilities) - 1
        best = last - np.argsort(-probabilities[::-1], kind="stable")[:count]
        return {"label": [self._labels[label] for label in best.tolist()], "prob": probabilities[best]}

    def _examples(self, texts: Sequence[str]) -> Examples:
        """One of each text, which ends as a line does."""
        lines = [text.encode("utf-8", "replace").replace(b"\n", b" ") + b"\n" for text in texts]
        found = self._of(b"".join(lines))
        if len(found) == len(texts):
            return found
        # Some text holds the end-of-sentence token: as in fastText, what is behind that doesn't count.
        return self._of(b"".join([_cut(line) for line in lines]))

    def _of(self, text: bytes) -> Examples:
        tokens = split(text)
        return self._grammar.sentences(tokens, self._vocabulary.ids(tokens))


def _cut(line: bytes) -> bytes:
    """A line up to its first end-of-sentence token, which is its last token at the latest."""
    tokens = itertools.takewhile(lambda token: token != END_OF_SENTENCE, split(line))
    return b" ".join(tokens) + b"\n"
