"""The loops that numpy can't express: rows added to the sums of their centers, and those over sparse rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from common.batches import Float32, Int64
from common.compiled import compiled


@compiled
def add_rows(rows: Float32, labels: Int64, sums: NDArray[np.float64]) -> None:
    """Adds each of (n, w) ``rows`` to the row of (K, w) ``sums`` that its label names."""
    for row in range(rows.shape[0]):
        label = labels[row]
        for column in range(rows.shape[1]):
            sums[label, column] += rows[row, column]


@compiled
def spread(values: Float32, indices: Int64, indptr: Int64, rows: Float32) -> None:
    """Adds sparse rows (a CSR matrix's arrays) to the dense (n, >= columns) ``rows``."""
    for row in range(indptr.shape[0] - 1):
        for entry in range(indptr[row], indptr[row + 1]):
            rows[row, indices[entry]] += values[entry]


@compiled
def multiply(values: Float32, indices: Int64, indptr: Int64, matrix: Float32, products: Float32) -> None:
    """Adds sparse (n, d) rows times a (>= d, m) ``matrix`` to (n, m) ``products``."""
    for row in range(indptr.shape[0] - 1):
        for entry in range(indptr[row], indptr[row + 1]):
            value, column = values[entry], indices[entry]
            for place in range(matrix.shape[1]):
                products[row, place] += value * matrix[column, place]


@compiled
def add_sparse_rows(
    values: Float32, indices: Int64, indptr: Int64, labels: Int64, sums: NDArray[np.float64]
) -> None:
    """Adds each sparse row to the row of (K, d + 1) ``sums`` of its label, and 1 to the last place."""
    for row in range(indptr.shape[0] - 1):
        label = labels[row]
        sums[label, sums.shape[1] - 1] += 1
        for entry in range(indptr[row], indptr[row + 1]):
            sums[label, indices[entry]] += values[entry]
