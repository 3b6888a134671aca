"""Machine code for the CPU: what runs over tokens one after the other.

Sequences lie one after the other without padding: sequence ``i`` has the rows ``starts[i]`` to
``starts[i + 1]`` of a matrix. ``starts`` are int64, one more than there are sequences.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from common.batches import Float32, Int64
from common.compiled import compiled

Int32 = NDArray[np.int32]


@compiled
def windows(values: Float32, starts: Int64, width: int, out: Float32) -> None:
    """Puts the ``width`` rows round each row of ``values``, (rows, columns), side by side into ``out``.

    ``out`` is (rows, width x columns). What lies outside of a row's sequence is 0.
    """
    columns = values.shape[1]
    before = (width - 1) // 2
    for sequence in range(len(starts) - 1):
        first, stop = starts[sequence], starts[sequence + 1]
        for row in range(first, stop):
            for place in range(width):
                source, at = row + place - before, place * columns
                if first <= source < stop:
                    for column in range(columns):
                        out[row, at + column] = values[source, column]
                else:
                    for column in range(columns):
                        out[row, at + column] = 0


@compiled
def unwindow(slopes: Float32, starts: Int64, width: int, out: Float32) -> None:
    """Adds each of the parts of ``slopes``, (rows, width x columns), to the row of ``out`` it came from."""
    columns = out.shape[1]
    before = (width - 1) // 2
    for sequence in range(len(starts) - 1):
        first, stop = starts[sequence], starts[sequence + 1]
        for row in range(first, stop):
            for place in range(width):
                source, at = row + place - before, place * columns
                if first <= source < stop:
                    for column in range(columns):
                        out[source, column] += slopes[row, at + column]


@compiled
def peaks(values: Float32, starts: Int64, out: Float32, where: Int32) -> None:
    """The largest value of each column within each sequence, and the row that it is in.

    ``values`` is (rows, columns), ``out`` and ``where`` are (sequences, columns). Of equal ones the first.
    """
    for sequence in range(len(starts) - 1):
        first = starts[sequence]
        best, place = out[sequence], where[sequence]
        for column in range(values.shape[1]):
            best[column] = values[first, column]
            place[column] = first
        for row in range(first + 1, starts[sequence + 1]):
            for column in range(values.shape[1]):
                if values[row, column] > best[column]:
                    best[column] = values[row, column]
                    place[column] = row


@compiled
def unpeak(slopes: Float32, where: Int32, out: Float32) -> None:
    """Adds ``slopes``, (sequences, columns), to the rows of ``out`` that the peaks were in."""
    for sequence in range(len(slopes)):
        for column in range(slopes.shape[1]):
            out[where[sequence, column], column] += slopes[sequence, column]


@compiled
def gathered(table: Float32, rows: Int64, out: Float32) -> None:
    """``out[i] = table[rows[i]]``."""
    for at in range(len(rows)):
        row = rows[at]
        for column in range(table.shape[1]):
            out[at, column] = table[row, column]


@compiled
def scattered(values: Float32, rows: Int64, out: Float32) -> None:
    """``out[rows[i]] += values[i]``."""
    for at in range(len(rows)):
        row = rows[at]
        for column in range(values.shape[1]):
            out[row, column] += values[at, column]


@compiled
def numbered(tokens: Int32, slots: Int32, known: int, places: Int64, rows: Int64) -> int:
    """Numbers the different ``tokens`` in the order in which they come up, from ``known`` on.

    ``slots`` has each token's number, or -1, ``places`` gets those of ``tokens``, ``rows`` the tokens by
    number. Returns how many there are now.
    """
    for at in range(len(tokens)):
        token = tokens[at]
        if slots[token] < 0:
            slots[token] = known
            rows[known] = token
            known += 1
        places[at] = slots[token]
    return known


@compiled
def taken(tokens: Int32, starts: Int64, order: Int64, bounds: Int64, out: Int32) -> None:
    """The tokens of the sequences ``order``, one after the other into ``out``, where ``bounds`` say."""
    for at in range(len(order)):
        source = starts[order[at]]
        for place in range(bounds[at], bounds[at + 1]):
            out[place] = tokens[source + place - bounds[at]]
