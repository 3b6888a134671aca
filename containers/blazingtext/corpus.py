"""A channel of labelled sentences, and the table rows of what comes up in the one that is learnt from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common import instances
from common.batches import Int64
from common.channels import Channel
from common.channels.streams import Stream
from common.content_types import JSON_LINES
from common.failures import ClientError
from containers.blazingtext import augmented, example_kernels, tokens
from containers.blazingtext.examples import Examples, Grammar, Numbering
from containers.blazingtext.text_kernels import Int32
from containers.blazingtext.tokens import Tokens
from containers.blazingtext.vocabulary import Counter, Vocabulary

_SHARE = 4  # a quarter of the memory that is free may hold a channel
_MOST_ROWS = (1 << 31) - 1  # fastText numbers them by 32 bits


@dataclass(frozen=True, slots=True)
class Rows:
    """Which rows of the input table words and n-grams have: the vocabulary's words, then buckets in use.

    ``buckets`` are those that an n-gram of the training text has, ascending. All others share the row
    ``count``, behind the last, which stays zero.
    """

    vocabulary: Vocabulary
    buckets: Int64
    bucket_rows: Int32  # (buckets,)
    counted: Meaning  # of numbers that `Counter.add` gave
    known: Meaning  # of the vocabulary's entries

    @property
    def count(self) -> int:
        """How many rows can be learnt."""
        return self.vocabulary.words + len(self.buckets)

    def settled(self, examples: Examples, meaning: Meaning) -> Examples:
        """Examples with table rows for features, and labels counted from 0."""
        return examples.settled(meaning.words, self.bucket_rows, meaning.labels)


@dataclass(frozen=True, slots=True)
class Meaning:
    """What numbers of tokens stand for, (n,) int32 each: rows, -1 for words that are left out, and labels."""

    words: Int32
    labels: Int32

    @classmethod
    def of(cls, entries: Int32, vocabulary: Vocabulary) -> Meaning:
        """Numbers that stand for ``entries``."""
        words = np.int32(vocabulary.words)
        return cls(np.where(entries < words, entries, np.int32(-1)), entries - words)


def rows_of(vocabulary: Vocabulary, entries: Int32, seen: NDArray[np.uint8]) -> Rows:
    """The rows. ``seen`` (buckets,) tells the n-grams' buckets; ``entries`` are `Counter.vocabulary`'s."""
    buckets = np.flatnonzero(seen)
    bucket_rows = np.full(len(seen), vocabulary.words + len(buckets), np.int32)
    bucket_rows[buckets] = vocabulary.words + np.arange(len(buckets), dtype=np.int32)
    known = Meaning.of(np.arange(len(vocabulary), dtype=np.int32), vocabulary)
    return Rows(vocabulary, buckets, bucket_rows, Meaning.of(entries, vocabulary), known)


class _Kept:
    """Blocks of a pass that need not be read again: all of them, or none where they take too much memory."""

    def __init__(self, piped: bool) -> None:
        self._room = 0 if piped else instances.available_memory() // _SHARE
        self.blocks: list[Examples] | None = [] if self._room else None

    def add(self, examples: Examples) -> None:
        """Keeps one more."""
        self._room -= examples.nbytes
        if self._room < 0:
            self.blocks = None
        if self.blocks is not None:
            self.blocks.append(examples)


class Corpus:
    """A channel's examples, pass by pass.

    Data from files are read once and kept, 4 bytes a feature, where they take at most a quarter of the memory
    that is free. Else, and always from a pipe, each pass reads them anew, in constant memory.
    """

    def __init__(self, channel: Channel, word_ngrams: int, buckets: int) -> None:
        self.name = channel.name
        self._channel = channel
        self._word_ngrams = word_ngrams
        self._buckets = buckets
        self._kept: list[Examples] | None = None

    def count(self, min_count: int) -> Rows:
        """Reads the text for its vocabulary: one pass. Raises ClientError for too many rows."""
        counter = Counter(labelled=True)
        seen = np.zeros(self._buckets, np.uint8)
        kept = _Kept(self._channel.piped)
        for examples in self._read(Grammar(self._word_ngrams, self._buckets), counter.add):
            example_kernels.mark(examples.features, seen)
            kept.add(examples)
        vocabulary, entries = counter.vocabulary(min_count)
        if vocabulary.words + self._buckets > _MOST_ROWS:
            raise ClientError(
                f"there are {self._buckets} buckets, {vocabulary.words} words; accepted: {_MOST_ROWS} in all"
            )
        rows = rows_of(vocabulary, entries, seen)
        self._kept = kept.blocks
        for number, examples in enumerate(blocks := self._kept or []):
            blocks[number] = rows.settled(examples, rows.counted)
        return rows

    def examples(self, rows: Rows) -> Iterator[Examples]:
        """All examples, settled, in the text's order."""
        if self._kept is not None:
            yield from self._kept
            return
        vocabulary = rows.vocabulary
        grammar = Grammar(self._word_ngrams, self._buckets, vocabulary.words)
        kept = _Kept(self._channel.piped)
        for examples in self._read(grammar, vocabulary.ids):
            settled = rows.settled(examples, rows.known)
            kept.add(settled)
            yield settled
        self._kept = kept.blocks

    def _read(self, grammar: Grammar, numbering: Numbering) -> Iterator[Examples]:
        def decode(stream: Stream, name: str) -> Iterator[Examples]:
            return grammar.examples(self._tokens(stream, name), numbering)

        return self._channel.read(decode, _alone, None, unwrap=not self._attributes)

    def _tokens(self, stream: Stream, name: str) -> Iterator[Tokens]:
        media_type = self._channel.media_type
        if self._attributes:
            return augmented.read_records(stream, name)
        if media_type.name == JSON_LINES:
            return augmented.read_objects(stream, name, media_type)
        return tokens.read(stream, name, media_type)

    @property
    def _attributes(self) -> bool:
        """Whether an augmented manifest's attributes come, a record each."""
        channel = self._channel
        return channel.piped and channel.wrapped and channel.media_type.name == JSON_LINES


def _alone(blocks: Sequence[Examples]) -> Examples:
    """Blocks are never joined: none is cut."""
    raise NotImplementedError
