"""Groups of pairs of like lengths, and batches of them.

Buckets are those of Sockeye 1 (data_io.define_parallel_buckets): both sides grow in steps, the shorter side's
scaled by how much shorter it is. A batch is padded to the longest of its pairs, not to its bucket: padding
changes no result.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from containers.seq2seq.config import BOS, EOS, PAD
from containers.seq2seq.pairs import Int64, Pairs, Sequences

_SHORTEST = 2


@dataclass(frozen=True, slots=True)
class Lengths:
    """Mean and standard deviation of target length / source length over pairs."""

    mean: float
    deviation: float

    @classmethod
    def of(cls, pairs: Pairs) -> Lengths:
        """Those of at least one pair."""
        ratios = pairs.target.lengths / pairs.source.lengths
        return cls(float(ratios.mean()), float(ratios.std()))


def buckets(most: tuple[int, int], width: int, ratio: float) -> list[tuple[int, int]]:
    """Greatest lengths of source and target in each bucket, rising, up to ``most``.

    ``ratio`` is the mean of target length / source length. The longer side steps by ``width``.
    """
    steps = (max(1, round(width / ratio)), width) if ratio >= 1 else (width, max(1, round(width * ratio)))
    sides = [_bounds(longest, step) for longest, step in zip(most, steps, strict=True)]
    pairs = itertools.zip_longest(*sides)
    filled = [
        tuple(
            max(_SHORTEST, side[-1] if bound is None else bound)
            for side, bound in zip(sides, pair, strict=True)
        )
        for pair in pairs
    ]
    return sorted(set(filled))  # type: ignore[arg-type]


def _bounds(longest: int, step: int) -> list[int]:
    return [min(step * (number + 1), longest) for number in range(math.ceil(longest / step))]


def assigned(pairs: Pairs, bounds: Sequence[tuple[int, int]]) -> Int64:
    """(pairs,) the number of the first bucket that each pair fits in."""
    limits = np.array(bounds)
    by_source = np.searchsorted(limits[:, 0], pairs.source.lengths)
    by_target = np.searchsorted(limits[:, 1], pairs.target.lengths + 1)  # with the symbol of the beginning
    return np.maximum(by_source, by_target)


@dataclass(frozen=True, slots=True)
class Batch:
    """Some pairs, padded: what the network takes, and what it should say."""

    source: Tensor  # (B, S) int64
    lengths: Tensor  # (B,) int64, of sources
    inputs: Tensor  # (B, T) int64: the symbol of the beginning, then the target
    labels: Tensor  # (B, T) int64: the target, then the symbol of the end, then padding
    tokens: int  # labels that are no padding

    def __len__(self) -> int:
        return len(self.source)

    def to(self, device: str) -> Batch:
        """The same on a device."""
        parts = (self.source, self.lengths, self.inputs, self.labels)
        source, lengths, inputs, labels = (part.to(device, non_blocking=True) for part in parts)
        return Batch(source, lengths, inputs, labels, self.tokens)

    def split(self, count: int) -> list[Batch]:
        """At most ``count`` parts of nearly equally many pairs, none empty."""
        if count == 1:
            return [self]
        bounds = [len(self) * part // count for part in range(count + 1)]
        return [self._rows(slice(*part)) for part in itertools.pairwise(bounds) if part[0] < part[1]]

    def _rows(self, rows: slice) -> Batch:
        labels = self.labels[rows]
        return Batch(self.source[rows], self.lengths[rows], self.inputs[rows], labels, _tokens(labels))


class Bucketed:
    """Pairs in buckets, each padded to its longest pair: batches are cut out of them."""

    def __init__(self, pairs: Pairs, bounds: Sequence[tuple[int, int]], batch_size: int) -> None:
        self.batch_size = batch_size
        numbers = assigned(pairs, bounds)
        self._parts = [_Part.of(pairs, numbers == number) for number in np.unique(numbers)]

    def __len__(self) -> int:
        """How many batches an epoch has."""
        return sum(-(-len(part.lengths) // self.batch_size) for part in self._parts)

    def epoch(self, random: np.random.Generator | None = None) -> Iterator[Batch]:
        """All pairs in batches; ``random`` shuffles pairs within buckets, and batches."""
        batches = []
        for part in self._parts:
            rows = np.arange(len(part.lengths)) if random is None else random.permutation(len(part.lengths))
            batches += [
                (part, rows[start : start + self.batch_size])
                for start in range(0, len(rows), self.batch_size)
            ]
        order = range(len(batches)) if random is None else random.permutation(len(batches)).tolist()
        for number in order:
            part, rows = batches[number]
            yield part.batch(rows)


@dataclass(frozen=True, slots=True)
class _Part:
    """The pairs of one bucket, padded: int32, half as large as what the network takes."""

    source: np.ndarray  # (pairs, S)
    target: np.ndarray  # (pairs, T): beginning, target, end, padding
    lengths: Int64
    targets: Int64  # lengths of targets

    @classmethod
    def of(cls, pairs: Pairs, chosen: NDArray[np.bool_]) -> _Part:
        lengths, targets = pairs.source.lengths[chosen], pairs.target.lengths[chosen]
        source = np.full((len(lengths), lengths.max()), PAD, np.int32)
        _fill(source, pairs.source, chosen)
        target = np.full((len(lengths), targets.max() + 2), PAD, np.int32)
        target[:, 0] = BOS
        _fill(target[:, 1:], pairs.target, chosen)
        target[np.arange(len(lengths)), targets + 1] = EOS
        return cls(source, target, lengths, targets)

    def batch(self, rows: Int64) -> Batch:
        lengths, targets = self.lengths[rows], self.targets[rows]
        source = self.source[rows, : lengths.max()].astype(np.int64)
        target = torch.from_numpy(self.target[rows, : targets.max() + 2].astype(np.int64))
        labels = target[:, 1:].contiguous()
        # Behind a target's end stands the end again, as an input that nothing is learned from.
        inputs = target[:, :-1].contiguous()
        return Batch(torch.from_numpy(source), torch.from_numpy(lengths), inputs, labels, _tokens(labels))


def _tokens(labels: Tensor) -> int:
    return int((labels != PAD).sum())


def _fill(grid: np.ndarray, sequences: Sequences, chosen: NDArray[np.bool_]) -> None:
    """Writes the chosen sequences, in their order, into the left of a grid with a row for each."""
    lengths = sequences.lengths
    ids = sequences.ids[sequences.starts[0] : sequences.starts[-1]]
    grid[np.arange(grid.shape[1]) < lengths[chosen, None]] = ids[np.repeat(chosen, lengths)]
