"""fastText's vocabulary: words, and labels behind them, by falling count, found by hash."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from common.batches import Int64
from containers.blazingtext import text_kernels
from containers.blazingtext.text_kernels import Bytes, Hashes, Int32
from containers.blazingtext.tokens import Tokens

LABEL_PREFIX = b"__label__"
_FEWEST = 1 << 10


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Entries with their counts: ``words`` words come first, then labels.

    An entry's number is its row in a model's matrices; a label's is counted from ``words`` on.
    """

    text: Bytes  # all entries, one behind the other
    offsets: Int64  # (n + 1,) where each begins
    counts: Int64  # (n,) occurrences
    words: int
    tokens: int  # occurrences of everything, also of what was left out
    codes: Hashes  # (n,) uint32, each entry's hash
    table: Int32  # hash to entry, -1 where there is none

    def __len__(self) -> int:
        return len(self.counts)

    def __iter__(self) -> Iterator[bytes]:
        """The entries themselves."""
        text, offsets = self.text.tobytes(), self.offsets.tolist()
        for start, stop in itertools.pairwise(offsets):
            yield text[start:stop]

    @property
    def labels(self) -> int:
        """How many of the entries are labels."""
        return len(self) - self.words

    def ids(self, tokens: Tokens) -> Int32:
        """Each token's entry, (n,) int32; -1 for what is none."""
        found = np.empty(len(tokens), np.int32)
        text_kernels.find(
            tokens.data,
            tokens.starts,
            tokens.stops,
            tokens.hashes,
            self.table,
            self.text,
            self.offsets,
            self.codes,
            found,
        )
        return found


def of_entries(entries: Iterable[bytes], counts: Int64, words: int, tokens: int) -> Vocabulary:
    """The vocabulary of entries that are all different, in the order of a fastText file."""
    listed = list(entries)
    offsets = np.zeros(len(listed) + 1, np.int64)
    np.cumsum([len(entry) for entry in listed], out=offsets[1:])
    text = np.frombuffer(bytearray(b"".join(listed)), np.uint8)
    return of_text(text, offsets, np.ascontiguousarray(counts, np.int64), words, tokens)


def of_text(text: Bytes, offsets: Int64, counts: Int64, words: int, tokens: int) -> Vocabulary:
    """The same of entries that stand one behind the other in ``text``; of equal ones the first is found."""
    codes = np.empty(len(counts), np.uint32)
    text_kernels.hash_each(text, offsets, codes)
    return _indexed(text, offsets, counts, words, tokens, codes)


def _indexed(
    text: Bytes, offsets: Int64, counts: Int64, words: int, tokens: int, codes: Hashes
) -> Vocabulary:
    table = np.full(_table_size(len(counts)), -1, np.int32)
    text_kernels.fill_table(codes, table)
    return Vocabulary(text, offsets, counts, words, tokens, codes, table)


def _table_size(entries: int) -> int:
    """A power of two of which at most half is used."""
    return 1 << (2 * max(entries, _FEWEST) - 1).bit_length()


class Counter:
    """Counts tokens until a vocabulary is made of them.

    With ``labelled`` tokens that begin with LABEL_PREFIX are labels, else they are words as others.
    """

    def __init__(self, labelled: bool) -> None:
        self.tokens = 0
        self._labelled = labelled
        self._size = 0
        self._text: Bytes = np.empty(0, np.uint8)
        self._offsets: Int64 = np.zeros(1, np.int64)
        self._counts: Int64 = np.empty(0, np.int64)
        self._codes: Hashes = np.empty(0, np.uint32)
        self._table: Int32 = np.full(_table_size(0), -1, np.int32)

    def add(self, tokens: Tokens) -> Int32:
        """Counts tokens; the number of each in the order in which they first came, (n,) int32."""
        self._make_room(tokens)
        found = np.empty(len(tokens), np.int32)
        self._size = text_kernels.count(
            tokens.data,
            tokens.starts,
            tokens.stops,
            tokens.hashes,
            self._table,
            self._text,
            self._offsets,
            self._codes,
            self._counts,
            self._size,
            found,
        )
        self.tokens += len(tokens)
        return found

    def vocabulary(self, min_count: int, min_count_label: int = 0) -> tuple[Vocabulary, Int32]:
        """What came up at least ``min_count`` times, and each number that `add` gave as its entry or -1.

        Entries that came up equally often are in the order of their first coming.
        """
        counts, codes = self._counts[: self._size], self._codes[: self._size]
        is_label = self._labels()
        enough = counts >= np.where(is_label, min_count_label, min_count)
        order = np.lexsort((-counts, is_label))
        order = np.ascontiguousarray(order[enough[order]])
        entries = np.full(self._size, -1, np.int32)
        entries[order] = np.arange(len(order), dtype=np.int32)
        lengths = np.diff(self._offsets[: self._size + 1])
        text, offsets = np.empty(lengths[order].sum(), np.uint8), np.empty(len(order) + 1, np.int64)
        text_kernels.gather(self._text, self._offsets, order, text, offsets)
        words = int(len(order) - is_label[order].sum())
        return _indexed(text, offsets, counts[order], words, self.tokens, codes[order]), entries

    def _labels(self) -> np.ndarray:
        """Whether each entry is a label."""
        if not self._labelled:
            return np.zeros(self._size, bool)
        starts, size = self._offsets[: self._size], len(LABEL_PREFIX)
        is_label = np.diff(self._offsets[: self._size + 1]) >= size
        candidates = np.flatnonzero(is_label)
        letters = self._text[starts[candidates, None] + np.arange(size)]
        is_label[candidates] = (letters == np.frombuffer(LABEL_PREFIX, np.uint8)).all(1)
        return is_label

    def _make_room(self, tokens: Tokens) -> None:
        entries = self._size + len(tokens)
        if entries > len(self._counts):
            room = max(entries, len(self._counts) * 3 // 2)
            self._counts = _grown(self._counts, room)
            self._codes = _grown(self._codes, room)
            self._offsets = _grown(self._offsets, room + 1)
        letters = int(self._offsets[self._size]) + len(tokens.data) * 4
        if letters > len(self._text):
            self._text = _grown(self._text, max(letters, len(self._text) * 3 // 2))
        if 2 * entries > len(self._table):
            self._table = np.full(_table_size(entries), -1, np.int32)
            text_kernels.fill_table(self._codes[: self._size], self._table)


def _grown(array: np.ndarray, size: int) -> np.ndarray:
    grown = np.empty(size, array.dtype)
    grown[: len(array)] = array
    return grown
