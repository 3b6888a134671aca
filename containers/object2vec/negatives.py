"""Pairs that were not observed, made of those that were."""

from __future__ import annotations

import numpy as np

from common.batches import Int64
from containers.object2vec.pairs import Matches, Pairs, Ragged

# How often a pair that was observed after all is drawn again.
_TRIES = 8
_MIX = np.uint64(0x9E3779B97F4A7C15)


class Negatives:
    """Draws pairs of label 0: one side of an observed pair, and the other side of another.

    Which side is kept is drawn too. Objects, that is different sequences, come up as often as in the data. A
    pair that was observed is no negative; one for which none is found in several draws is left out.
    """

    def __init__(self, pairs: Pairs, rate: int) -> None:
        self._rate = rate
        self._objects = [_objects(side) for side in pairs.sides]
        self._width = int(self._objects[1].max()) + 1
        self._observed = np.unique(self._keys(*[np.arange(len(pairs))] * 2))

    @property
    def exist(self) -> bool:
        """Whether there is any pair that was not observed."""
        first, second = (len(np.unique(numbers)) for numbers in self._objects)
        return len(self._observed) < first * second

    def matches(self, generator: np.random.Generator) -> Matches:
        """All observed pairs, and ``rate`` negatives for each."""
        observed = np.arange(len(self._objects[0]))
        kept = np.repeat(observed, self._rate)
        second_kept = generator.integers(0, 2, len(kept)) == 1
        first, second = kept.copy(), kept.copy()
        left = np.arange(len(kept))
        for _ in range(_TRIES):
            others = generator.integers(0, len(observed), len(left))
            first[left] = np.where(second_kept[left], others, kept[left])
            second[left] = np.where(second_kept[left], kept[left], others)
            left = left[self._seen(first[left], second[left])]
            if not len(left):
                break
        found = np.ones(len(kept), bool)
        found[left] = False
        labels = np.zeros(len(observed) + int(found.sum()), np.float32)
        labels[: len(observed)] = 1
        return Matches(
            np.concatenate([observed, first[found]]), np.concatenate([observed, second[found]]), labels
        )

    def _keys(self, first: Int64, second: Int64) -> Int64:
        return self._objects[0][first] * self._width + self._objects[1][second]

    def _seen(self, first: Int64, second: Int64) -> np.ndarray:
        keys = self._keys(first, second)
        places = np.searchsorted(self._observed, keys)
        return self._observed[np.minimum(places, len(self._observed) - 1)] == keys


def _objects(side: Ragged) -> Int64:
    """A number for each sequence, the same for equal ones: (sequences,)."""
    lengths = side.lengths
    places = np.arange(len(side.tokens)) - np.repeat(side.starts[:-1], lengths)
    mixed = _mixed(side.tokens.astype(np.uint64) + _mixed(places.astype(np.uint64) + np.uint64(1)))
    hashes = np.add.reduceat(mixed, side.starts[:-1])
    return np.unique(hashes, return_inverse=True)[1].astype(np.int64)


def _mixed(values: np.ndarray) -> np.ndarray:
    """Steele, Lea and Flood's 64-bit mixer (SplitMix, 2014)."""
    values = values * _MIX
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = values ^ (values >> np.uint64(31))
    return mixed
