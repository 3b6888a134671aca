"""Tables of vectors with what Adam remembers of each number."""

from __future__ import annotations

import numpy as np

from common.batches import Float32

_FEWEST = 1 << 10


class Table:
    """(t, d) float32 values and Adam's two moments of each, which grow."""

    def __init__(self, values: Float32) -> None:
        self._arrays = [values, np.zeros_like(values), np.zeros_like(values)]
        self._count = len(values)

    @property
    def values(self) -> Float32:
        """The values; a view, until more are appended."""
        return self._arrays[0][: self._count]

    @property
    def all(self) -> tuple[Float32, Float32, Float32]:
        """Values, means and squares; views, until more are appended."""
        values, means, squares = (array[: self._count] for array in self._arrays)
        return values, means, squares

    def append(self, values: Float32) -> None:
        """Adds rows with moments of 0. No view may be in use: memory grows where it is, if it can."""
        start, self._count = self._count, self._count + len(values)
        if self._count > len(self._arrays[0]):
            capacity = max(self._count, len(self._arrays[0]) * 5 // 4, _FEWEST)
            for array in self._arrays:
                array.resize((capacity, values.shape[1]), refcheck=False)
        self._arrays[0][start : self._count] = values
