"""Labelled pairs of token sequences, held without padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.batches import Float32, Int64
from containers.object2vec import kernels

Int32 = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Ragged:
    """Sequences one after the other: sequence ``i`` is ``tokens[starts[i]:starts[i + 1]]``."""

    tokens: Int32  # (tokens,)
    starts: Int64  # (sequences + 1,)

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> Int64:
        """(sequences,)."""
        return np.diff(self.starts)

    def take(self, order: Int64) -> Ragged:
        """The sequences of those numbers, in that order."""
        lengths = self.starts[order + 1] - self.starts[order]
        bounds = np.zeros(len(order) + 1, np.int64)
        np.cumsum(lengths, out=bounds[1:])
        out = np.empty(bounds[-1], np.int32)
        kernels.taken(self.tokens, self.starts, order, bounds, out)
        return Ragged(out, bounds)

    @classmethod
    def of(cls, sequences: Sequence[Sequence[int]]) -> Ragged:
        """The same as lists."""
        starts = np.zeros(len(sequences) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, sequences), np.int64, len(sequences)), out=starts[1:])
        tokens = np.fromiter((token for one in sequences for token in one), np.int32, starts[-1])
        return cls(tokens, starts)


def joined(parts: Sequence[Ragged]) -> Ragged:
    """All of their sequences, one part after the other."""
    starts = np.zeros(sum(map(len, parts)) + 1, np.int64)
    np.cumsum(np.concatenate([part.lengths for part in parts]), out=starts[1:])
    return Ragged(np.concatenate([part.tokens for part in parts]), starts)


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of sequences, and their labels."""

    sides: tuple[Ragged, Ragged]
    labels: Float32

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: slice) -> Pairs:
        order = np.arange(len(self))[rows]
        first, second = (side.take(order) for side in self.sides)
        return Pairs((first, second), self.labels[rows])


def join(parts: Sequence[Pairs]) -> Pairs:
    """All of their pairs, one part after the other."""
    first, second = (joined([part.sides[side] for part in parts]) for side in (0, 1))
    return Pairs((first, second), np.concatenate([part.labels for part in parts]))


@dataclass(frozen=True, slots=True)
class Matches:
    """Which sequences of either side of some pairs make a pair, and its label: all (matches,)."""

    first: Int64
    second: Int64
    labels: Float32

    def __len__(self) -> int:
        return len(self.labels)


def as_they_are(pairs: Pairs) -> Matches:
    """Each pair once."""
    numbers = np.arange(len(pairs))
    return Matches(numbers, numbers, pairs.labels)


def batches(
    pairs: Pairs, matches: Matches, size: int, generator: np.random.Generator | None, bucket: int = 0
) -> Iterator[Pairs]:
    """Mini-batches of ``size`` matches, in an order drawn from ``generator``, or in theirs.

    With a ``bucket`` the lengths of a batch's sequences differ by less than that on each side, and what
    remains of each bucket makes a smaller batch.
    """
    order = np.arange(len(matches)) if generator is None else generator.permutation(len(matches))
    for chosen in _cut(pairs, matches, order, size, generator, bucket):
        first = pairs.sides[0].take(matches.first[chosen])
        second = pairs.sides[1].take(matches.second[chosen])
        yield Pairs((first, second), matches.labels[chosen])


def _cut(
    pairs: Pairs,
    matches: Matches,
    order: Int64,
    size: int,
    generator: np.random.Generator | None,
    bucket: int,
) -> Iterator[Int64]:
    if not bucket:
        yield from (order[start : start + size] for start in range(0, len(order), size))
        return
    keys = [
        (side.lengths[rows] - 1) // bucket
        for side, rows in zip(pairs.sides, (matches.first, matches.second), strict=True)
    ]
    kinds = keys[0] * (keys[1].max(initial=0) + 1) + keys[1]
    order = order[np.argsort(kinds[order], kind="stable")]
    ends = np.flatnonzero(np.diff(kinds[order])) + 1
    cuts = [
        (start, min(start + size, stop))
        for first, stop in zip([0, *ends], [*ends, len(order)], strict=True)
        for start in range(first, stop, size)
    ]
    if generator is not None:
        generator.shuffle(cuts)
    yield from (order[start:stop] for start, stop in cuts)
