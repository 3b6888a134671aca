"""Labelled sentences as a classifier learns from them: rows of its input table, and labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from common.batches import Int64
from containers.blazingtext import example_kernels
from containers.blazingtext.example_kernels import UInt8
from containers.blazingtext.subwords import subwords
from containers.blazingtext.text_kernels import Int32
from containers.blazingtext.tokens import Tokens
from containers.blazingtext.vocabulary import LABEL_PREFIX

_PREFIX = np.frombuffer(bytearray(LABEL_PREFIX), np.uint8)
_UNCOUNTED = -1
_NO_SUBWORDS = np.empty(0, np.int32), np.empty(0, np.int64)

Numbering = Callable[[Tokens], Int32]
"""The number of each token, -1 for none."""


@dataclass(frozen=True, slots=True)
class Examples:
    """Some examples: features ``features[bounds[i]:bounds[i + 1]]``, and labels alike.

    Features are table rows once they are settled; before, words' numbers and ``~bucket`` of n-grams. Labels
    are numbers from 0, or -1 for one that training did not see. ``tokens`` is how many the text has.
    """

    features: Int32
    bounds: Int64  # (n + 1,)
    labels: Int32
    label_bounds: Int64  # (n + 1,)
    tokens: int

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @property
    def nbytes(self) -> int:
        """How much memory they take."""
        return sum(part.nbytes for part in (self.features, self.bounds, self.labels, self.label_bounds))

    def __getitem__(self, rows: slice) -> Examples:
        start, stop, _ = rows.indices(len(self))
        bounds, label_bounds = self.bounds[start : stop + 1], self.label_bounds[start : stop + 1]
        return Examples(
            self.features[bounds[0] : bounds[-1]],
            bounds - bounds[0],
            self.labels[label_bounds[0] : label_bounds[-1]],
            label_bounds - label_bounds[0],
            self.tokens * (stop - start) // max(len(self), 1),
        )

    def settled(self, word_rows: Int32, bucket_rows: Int32, label_numbers: Int32) -> Examples:
        """The same with table rows for features; -1 in ``word_rows`` leaves a word out.

        ``label_numbers``: what each label's number becomes, (n,) int32.
        """
        features, bounds = np.empty(len(self.features), np.int32), np.empty(len(self.bounds), np.int64)
        example_kernels.settle(self.features, self.bounds, word_rows, bucket_rows, features, bounds)
        labels = np.where(self.labels < 0, self.labels, label_numbers[self.labels])
        return Examples(features[: bounds[-1]], bounds, labels, self.label_bounds, self.tokens)


@dataclass(frozen=True, slots=True)
class Grammar:
    """How examples are made of tokens.

    ``buckets`` is what n-grams are hashed to. Tokens with a number from ``words`` on are labels; with
    ``words`` -1 those are that begin with LABEL_PREFIX. With ``keep_all`` unlabelled sentences are examples.
    With ``max_char`` subwords of ``min_char`` to ``max_char`` characters are features too.
    """

    word_ngrams: int
    buckets: int
    words: int = _UNCOUNTED
    keep_all: bool = False
    min_char: int = 0
    max_char: int = 0

    def examples(self, blocks: Iterable[Tokens], numbering: Numbering) -> Iterator[Examples]:
        """The examples of a text's blocks of tokens; one may go over several blocks."""
        parts: list[_Part] = []
        for tokens in blocks:
            part = self._part(tokens, numbering(tokens))
            ends = np.flatnonzero(part.kinds == example_kernels.END)
            cut = int(ends[-1]) + 1 if len(ends) else 0
            if cut:
                parts.append(part[:cut])
                yield self._examples(_joined(parts))
                parts = []
            if cut < len(part.kinds):
                parts.append(part[cut:])
        if parts:
            yield self._examples(_joined(parts))

    def sentences(self, tokens: Tokens, numbers: Int32) -> Examples:
        """The examples of a text that is there as a whole, with subwords."""
        return self._examples(self._part(tokens, numbers), self._subwords(tokens))

    def each(self, tokens: Tokens, numbers: Int32) -> Examples:
        """An example of each token, with subwords."""
        kinds = np.full(len(tokens), example_kernels.END, np.uint8)
        return self._examples(_Part(numbers, tokens.hashes, kinds), self._subwords(tokens))

    def _subwords(self, tokens: Tokens) -> tuple[Int32, Int64]:
        if not self.max_char:
            return _NO_SUBWORDS
        words = list(tokens)
        offsets = np.zeros(len(words) + 1, np.int64)
        np.cumsum([len(word) for word in words], out=offsets[1:])
        text = np.frombuffer(bytearray(b"".join(words)), np.uint8)
        return subwords(text, offsets, self.min_char, self.max_char, self.buckets)

    def _part(self, tokens: Tokens, numbers: Int32) -> _Part:
        kinds = np.empty(len(tokens), np.uint8)
        example_kernels.tell_kinds(
            tokens.data, tokens.starts, tokens.stops, numbers, self.words, _PREFIX, kinds
        )
        return _Part(numbers, tokens.hashes, kinds)

    def _examples(self, part: _Part, pieces: tuple[Int32, Int64] = _NO_SUBWORDS) -> Examples:
        kinds = part.kinds
        size = example_kernels.count_features(kinds, part.numbers, self.word_ngrams) + len(pieces[0])
        most = int(np.count_nonzero(kinds == example_kernels.END)) + 2
        features, bounds = np.empty(size, np.int32), np.empty(most, np.int64)
        labels = np.empty(int(np.count_nonzero(kinds == example_kernels.LABEL)), np.int32)
        label_bounds = np.empty(most, np.int64)
        count = example_kernels.to_examples(
            part.numbers,
            part.hashes,
            kinds,
            *pieces,
            self.word_ngrams,
            self.buckets,
            self.keep_all,
            features,
            bounds,
            labels,
            label_bounds,
        )
        bounds, label_bounds = bounds[: count + 1], label_bounds[: count + 1]
        return Examples(features[: bounds[-1]], bounds, labels[: label_bounds[-1]], label_bounds, len(kinds))


@dataclass(frozen=True, slots=True)
class _Part:
    """A stretch of tokens."""

    numbers: Int32
    hashes: np.ndarray
    kinds: UInt8

    def __getitem__(self, rows: slice) -> _Part:
        return _Part(self.numbers[rows], self.hashes[rows], self.kinds[rows])


def _joined(parts: list[_Part]) -> _Part:
    if len(parts) == 1:
        return parts[0]
    return _Part(
        np.concatenate([part.numbers for part in parts]),
        np.concatenate([part.hashes for part in parts]),
        np.concatenate([part.kinds for part in parts]),
    )
