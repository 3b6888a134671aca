"""The loops over sparse rows: scores, gradients and the optimizer's steps. None meets a dense matrix.

Sparse rows are a CSR matrix's arrays: values (nnz,) float32, indices (nnz,) int64, indptr (rows + 1,) int64.
A machine is its linear weights (d, 1) and its factors (d, k), float32. The columns that a mini-batch touches
are laid out as a CSC matrix of those alone: ``columns[p]`` has entries ``starts[p]`` to ``starts[p + 1]``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.batches import Float32, Int64
from common.compiled import compiled
from common.prefetching import prefetch_row

Float64 = NDArray[np.float64]

_MEAN_SHARE, _SQUARE_SHARE = np.float32(0.9), np.float32(0.999)
_MEAN_REST, _SQUARE_REST = np.float32(1 - 0.9), np.float32(1 - 0.999)
_HALF = np.float32(0.5)
_ZERO = np.float32(0)

# How many entries or columns ahead memory is asked for.
_ENTRIES_AHEAD = 8
_COLUMNS_AHEAD = 4


@compiled
def ascending(indices: Int64, indptr: Int64) -> bool:
    """Whether each row's columns rise, so that none is repeated."""
    for row in range(indptr.shape[0] - 1):
        for entry in range(indptr[row] + 1, indptr[row + 1]):
            if indices[entry - 1] >= indices[entry]:
                return False
    return True


@compiled
def merge(
    values: Float32, indices: Int64, indptr: Int64, to_values: Float32, to_indices: Int64, to_indptr: Int64
) -> None:
    """Copies rows with their columns in order, and the values of repeated columns added up."""
    at = 0
    to_indptr[0] = 0
    for row in range(indptr.shape[0] - 1):
        first, last = indptr[row], indptr[row + 1]
        order = np.argsort(indices[first:last], kind="mergesort")
        start = at
        for place in order:
            column, value = indices[first + place], values[first + place]
            if at > start and to_indices[at - 1] == column:
                to_values[at - 1] += value
            else:
                to_indices[at], to_values[at] = column, value
                at += 1
        to_indptr[row + 1] = at


@compiled
def score(
    values: Float32,
    indices: Int64,
    indptr: Int64,
    bias: Float32,
    linear: Float32,
    factors: Float32,
    sums: Float32,
    scores: Float32,
) -> None:
    """Each row's score into (rows,) ``scores``, and its ``x @ factors`` into (rows, k) ``sums``.

    Columns of a row are unique.
    """
    width = factors.shape[1]
    squares = np.empty(width, np.float32)
    for row in range(indptr.shape[0] - 1):
        total = bias[0]
        for f in range(width):
            sums[row, f] = _ZERO
            squares[f] = _ZERO
        for entry in range(indptr[row], indptr[row + 1]):
            if entry + _ENTRIES_AHEAD < indices.shape[0]:
                prefetch_row(linear, indices[entry + _ENTRIES_AHEAD])
                prefetch_row(factors, indices[entry + _ENTRIES_AHEAD])
            value, column = values[entry], indices[entry]
            total += value * linear[column, 0]
            for f in range(width):
                product = value * factors[column, f]
                sums[row, f] += product
                squares[f] += product * product
        for f in range(width):
            squares[f] = sums[row, f] * sums[row, f] - squares[f]
        scores[row] = total + _HALF * _total(squares)


@compiled
def _total(values: Float32) -> Any:
    """The sum of ``values``, which are overwritten: halves are added, so that the loop is vectorised."""
    count = values.shape[0]
    while count > 1:
        half = (count + 1) >> 1
        for place in range(count - half):
            values[place] += values[place + half]
        count = half
    return values[0]


@compiled
def regress(scores: Float32, labels: Float32, slopes: Float32, sums: Float64) -> None:
    """The squared loss: its (rows,) slopes by score, and `measures.REGRESSION` of the rows."""
    sums[:] = 0
    sums[0] = scores.shape[0]
    for row in range(scores.shape[0]):
        error = scores[row] - labels[row]
        slopes[row] = error
        sums[1] += np.float64(error) * np.float64(error)
        sums[2] += abs(np.float64(error))


@compiled
def classify(scores: Float32, labels: Float32, slopes: Float32, sums: Float64) -> None:
    """The log loss: its (rows,) slopes by score, and `measures.CLASSIFICATION` of the rows."""
    sums[:] = 0
    sums[0] = scores.shape[0]
    for row in range(scores.shape[0]):
        small = math.exp(-abs(np.float64(scores[row])))
        probability = np.float32((1.0 if scores[row] >= 0 else small) / (1.0 + small))
        slopes[row] = probability - labels[row]
        called, positive = probability >= _HALF, labels[row] > 0
        sums[1] += math.log1p(small) + max(scores[row], _ZERO) - scores[row] * labels[row]
        sums[2] += called == positive
        sums[3] += called and positive
        sums[4] += called
        sums[5] += positive


@compiled
def transpose(
    values: Float32,
    indices: Int64,
    indptr: Int64,
    place: NDArray[np.int32],
    columns: Int64,
    starts: Int64,
    rows: Int64,
    entries: Float32,
) -> int:
    """Fills ``columns``, ``starts``, ``rows`` and ``entries`` with rows by column; returns how many columns.

    ``place`` is (d,) and zero before and after. ``columns``, ``rows`` and ``entries`` have room for all
    entries, ``starts`` for two more. Entries of a column are in the order of rows.
    """
    count = 0
    starts[0] = starts[1] = 0
    for entry in range(indptr[0], indptr[-1]):
        column = indices[entry]
        number = place[column]
        if number == 0:
            columns[count] = column
            count += 1
            number = count
            place[column] = number
            starts[number + 1] = 0
        starts[number + 1] += 1
    for number in range(2, count + 2):
        starts[number] += starts[number - 1]
    for row in range(indptr.shape[0] - 1):
        for entry in range(indptr[row], indptr[row + 1]):
            number = place[indices[entry]]
            at = starts[number]
            rows[at], entries[at] = row, values[entry]
            starts[number] = at + 1
    for number in range(count):
        place[columns[number]] = 0
    return count


@compiled
def _gradient(
    start: int,
    stop: int,
    rows: Int64,
    entries: Float32,
    slopes: Float32,
    sums: Float32,
    factors: Float32,
    gradient: Float32,
) -> Any:
    """One column's gradient: of its (k,) ``factors`` into ``gradient``, and of its linear weight returned.

    The derivative of a score by a factor is ``x * (sum - x * factor)``.
    """
    width = gradient.shape[0]
    linear = squares = _ZERO
    for f in range(width):
        gradient[f] = _ZERO
    for entry in range(start, stop):
        row, value = rows[entry], entries[entry]
        slope = slopes[row] * value
        linear += slope
        squares += slope * value
        for f in range(width):
            gradient[f] += slope * sums[row, f]
    for f in range(width):
        gradient[f] -= squares * factors[f]
    return linear


@compiled
def _adam(weights: Float32, means: Float32, squares: Float32, gradient: Float32, settings: Float32) -> None:
    """One step of Adam on equally long vectors; ``settings`` as `adam.Adam` lays them out."""
    rescale, decay, clip, rate, epsilon = settings[0], settings[1], settings[2], settings[3], settings[4]
    for f in range(weights.shape[0]):
        slope = gradient[f] * rescale + decay * weights[f]
        slope = max(min(slope, clip), -clip)
        mean = _MEAN_SHARE * means[f] + _MEAN_REST * slope
        square = _SQUARE_SHARE * squares[f] + _SQUARE_REST * slope * slope
        means[f] = mean
        squares[f] = square
        weights[f] -= rate * mean / (np.sqrt(square) + epsilon)


@compiled
def _prefetch_state(factors: Float32, moments: Float32, column: int) -> None:
    prefetch_row(factors, column)
    prefetch_row(moments[0], column)
    prefetch_row(moments[1], column)


@compiled
def descend(
    columns: Int64,
    starts: Int64,
    rows: Int64,
    entries: Float32,
    slopes: Float32,
    sums: Float32,
    linear: Float32,
    linear_moments: Float32,
    linear_settings: Float32,
    factors: Float32,
    factor_moments: Float32,
    factor_settings: Float32,
) -> None:
    """Gradient and step of each of some columns, while what it touches is in the cache.

    Moments are (2, d, 1) and (2, d, k): means of slopes and of their squares.
    """
    gradient = np.empty(factors.shape[1], np.float32)
    single = np.empty(1, np.float32)
    for number in range(columns.shape[0]):
        if number + _COLUMNS_AHEAD < columns.shape[0]:
            _prefetch_state(linear, linear_moments, columns[number + _COLUMNS_AHEAD])
            _prefetch_state(factors, factor_moments, columns[number + _COLUMNS_AHEAD])
        column = columns[number]
        single[0] = _gradient(
            starts[number], starts[number + 1], rows, entries, slopes, sums, factors[column], gradient
        )
        means, squares = factor_moments[0, column], factor_moments[1, column]
        _adam(factors[column], means, squares, gradient, factor_settings)
        _adam(linear[column], linear_moments[0, column], linear_moments[1, column], single, linear_settings)


@compiled
def gradients(
    columns: Int64,
    starts: Int64,
    rows: Int64,
    entries: Float32,
    slopes: Float32,
    sums: Float32,
    factors: Float32,
    found: Float32,
) -> None:
    """Each column's gradient into a row of (columns, k + 1) ``found``, the linear weight's last."""
    width = factors.shape[1]
    for number in range(columns.shape[0]):
        found[number, width] = _gradient(
            starts[number],
            starts[number + 1],
            rows,
            entries,
            slopes,
            sums,
            factors[columns[number]],
            found[number, :width],
        )


@compiled
def update(
    columns: Int64,
    found: Float32,
    linear: Float32,
    linear_moments: Float32,
    linear_settings: Float32,
    factors: Float32,
    factor_moments: Float32,
    factor_settings: Float32,
) -> None:
    """Steps of some columns by gradients as `gradients` leaves them."""
    width = factors.shape[1]
    for number in range(columns.shape[0]):
        if number + _COLUMNS_AHEAD < columns.shape[0]:
            _prefetch_state(linear, linear_moments, columns[number + _COLUMNS_AHEAD])
            _prefetch_state(factors, factor_moments, columns[number + _COLUMNS_AHEAD])
        column = columns[number]
        _adam(
            factors[column],
            factor_moments[0, column],
            factor_moments[1, column],
            found[number, :width],
            factor_settings,
        )
        _adam(
            linear[column],
            linear_moments[0, column],
            linear_moments[1, column],
            found[number, width:],
            linear_settings,
        )


@compiled
def step(weights: Float32, moments: Float32, gradient: Float32, settings: Float32) -> None:
    """One step of Adam on (n,) weights with (2, n) moments."""
    _adam(weights, moments[0], moments[1], gradient, settings)
