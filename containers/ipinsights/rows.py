"""Which rows of a table of up to 250,000,000 were ever used: memory grows with those alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from common.batches import Int64
from containers.ipinsights import kernels

Int32 = NDArray[np.int32]
_FEWEST = 1 << 10


class Rows:
    """Gives the rows of a table that come up slots from 0 on, in the order of their coming.

    ``len`` is how many have come up.
    """

    def __init__(self) -> None:
        self._count = 0
        self._keys: Int32 = np.full(2 * _FEWEST, -1, np.int32)
        self._slots: Int32 = np.zeros(2 * _FEWEST, np.int32)
        self._seen: Int32 = np.full(_FEWEST, -1, np.int32)
        self._rows = np.empty(0, np.int64)

    def __len__(self) -> int:
        return self._count

    def slots(self, rows: Int64) -> Int32:
        """The slot of each of (n,) int64 ``rows``; those that are new get one. Rows are below 2**31."""
        self._make_room(self._count + len(rows))
        found = np.empty(len(rows), np.int32)
        self._count = kernels.find_rows(rows, self._keys, self._slots, self._rows, self._count, found)
        return found

    def distinct(self, rows: Int64) -> tuple[Int32, Int32]:
        """The slots of (n,) ``rows`` without repetition, and each row's place among them."""
        slots = self.slots(rows)
        if len(self._seen) < self._count:
            self._seen = np.full(2 * self._count, -1, np.int32)
        places, unique = np.empty_like(slots), np.empty_like(slots)
        count = kernels.distinct(slots, self._seen, places, unique)
        return unique[:count], places

    def rows(self, slots: Int32) -> Int64:
        """The rows that have these slots."""
        return self._rows[slots]

    def all(self) -> Int64:
        """The rows by slot, (len,) int64; a view, until more come up."""
        return self._rows[: self._count]

    def _make_room(self, most: int) -> None:
        """At most half of the hash table may be full."""
        if len(self._rows) < most:
            self._rows.resize(max(most, len(self._rows) * 5 // 4), refcheck=False)
        size = len(self._keys)
        if 2 * most <= size:
            return
        while size < 2 * most:
            size *= 2
        rows = self._rows[: self._count].copy()
        self._keys, self._slots = np.full(size, -1, np.int32), np.zeros(size, np.int32)
        found = np.empty(len(rows), np.int32)
        kernels.find_rows(rows, self._keys, self._slots, self._rows, 0, found)
