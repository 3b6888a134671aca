"""A uniform sample of a stream whose length nobody knows.

Algorithm R (Waterman; Vitter, "Random sampling with a reservoir", 1985), a batch at a time: row t of the
stream, counted from 0, takes a random place of t + 1, and is kept if that place is in the reservoir.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from common.batches import CSR, Features, Float32, Int64, dense

Reduce = Callable[[Float32], Float32]
_FIRST_ROWS = 1 << 12


class Reservoir:
    """Keeps ``size`` rows of all that were added, each with equal probability; all when they are fewer.

    Which rows are kept depends on ``seed`` and on the order of rows, not on how they are cut into batches.
    ``reduce`` is applied to the rows that enter, so that a sample of reduced rows is all that is held; it may
    be set until the first rows come.
    """

    def __init__(self, size: int, seed: int | Sequence[int], reduce: Reduce | None = None) -> None:
        self.size = size
        self.seen = 0
        self._random = np.random.Generator(np.random.PCG64(seed))
        self.reduce = reduce
        self._rows = np.empty((0, 0), np.float32)
        self._labels = np.empty(0, np.float32)

    def __len__(self) -> int:
        return min(self.seen, self.size)

    @property
    def rows(self) -> Float32:
        """The rows kept, (len, dimension) float32; a view."""
        return self._rows[: len(self)]

    @property
    def labels(self) -> Float32:
        """Their labels, (len,) float32; a view."""
        return self._labels[: len(self)]

    def add(self, rows: Features, labels: Float32 | None = None) -> None:
        """Shows the sampler (n, width) float32 rows with their (n,) float32 labels, 0 without any.

        Of sparse rows only those that enter the reservoir become dense.
        """
        if labels is None:
            labels = np.zeros(len(rows), np.float32)
        free = self.size - len(self)
        if free:
            self._fill(rows[:free], labels[:free])
            rows, labels = rows[free:], labels[free:]
        if len(rows):
            self._replace(rows, labels)

    def _fill(self, entering: Features, labels: Float32) -> None:
        rows = self._reduced(dense(entering))
        start, stop = len(self), len(self) + len(rows)
        if stop > len(self._labels):
            self._grow(stop, rows.shape[1])
        self._rows[start:stop] = rows
        self._labels[start:stop] = labels
        self.seen += len(rows)

    def _replace(self, rows: Features, labels: Float32) -> None:
        count = np.arange(self.seen + 1, self.seen + len(rows) + 1, dtype=np.float64)
        places = (self._random.random(len(rows)) * count).astype(np.int64)
        self.seen += len(rows)
        kept = np.flatnonzero(places < self.size)
        # A place that several rows took belongs to the last of them, as if they had come one by one.
        places, last = np.unique(places[kept][::-1], return_index=True)
        kept = kept[::-1][last]
        if len(kept):
            self._rows[places] = self._reduced(_taken(rows, kept))
            self._labels[places] = labels[kept]

    def _reduced(self, rows: Float32) -> Float32:
        return rows if self.reduce is None else self.reduce(rows)

    def _grow(self, needed: int, width: int) -> None:
        # By doubling: a sample_size beyond the data costs nothing.
        capacity = min(self.size, max(needed, 2 * len(self._labels), _FIRST_ROWS))
        old_rows, old_labels = self.rows, self.labels
        self._rows = np.empty((capacity, width), np.float32)
        self._labels = np.empty(capacity, np.float32)
        if len(old_rows):
            self._rows[: len(old_rows)] = old_rows
            self._labels[: len(old_labels)] = old_labels


def _taken(rows: Features, numbers: Int64) -> Float32:
    return rows.take(numbers).dense() if isinstance(rows, CSR) else rows[numbers]
