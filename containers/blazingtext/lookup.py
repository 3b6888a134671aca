"""Features of a model's file to the mean of their vectors."""

from __future__ import annotations

import numpy as np

from common.batches import Float32
from containers.blazingtext import classifier_kernels
from containers.blazingtext.examples import Examples, Grammar
from containers.blazingtext.fasttext_file import FastText
from containers.blazingtext.text_kernels import Int32


class Lookup:
    """The input rows of a model, by words and buckets."""

    def __init__(self, model: FastText) -> None:
        places, words = model.inputs.places(), model.vocabulary.words
        self._table = model.inputs.values
        self._words = places[:words]
        self._labels = np.arange(-words, model.vocabulary.labels, dtype=np.int32)
        self._buckets = _buckets(model, places[words:])

    def means(self, settled: Examples) -> Float32:
        """The mean vector of each settled example, (n, dim); zeros for one without features."""
        hidden = np.empty((len(settled), self._table.shape[1]), np.float32)
        classifier_kernels.means(self._table, settled.features, settled.bounds, hidden)
        return hidden

    def settled(self, examples: Examples) -> Examples:
        """The same examples with rows of the table; n-grams that a quantised model dropped are left out."""
        return examples.settled(self._words, self._buckets, self._labels)


def _buckets(model: FastText, places: Int32) -> Int32:
    """The place of each bucket's row, -1 for none."""
    if not model.arguments.hashes:
        return np.empty(0, np.int32)
    if model.pruning is None:
        return places[: model.arguments.bucket]
    found = np.full(model.arguments.bucket, -1, np.int32)
    found[model.pruning.buckets] = places[model.pruning.rows]
    return found


def grammar(model: FastText) -> Grammar:
    """How the model's features are made of tokens."""
    arguments = model.arguments
    if not arguments.hashes:
        return Grammar(1, 0, model.vocabulary.words, keep_all=True)
    return Grammar(
        arguments.word_ngrams,
        arguments.bucket,
        model.vocabulary.words,
        True,
        arguments.min_char,
        arguments.max_char,
    )
