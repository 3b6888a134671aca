"""The loops over sparse rows, which see their entries alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from common.batches import Float32, Int64
from common.compiled import compiled

Float64 = NDArray[np.float64]


@compiled
def add_products(values: Float32, indices: Int64, indptr: Int64, gram: Float64, sums: Float64) -> None:
    """Adds each row's x^T x to the (d, d) ``gram``, on and above its diagonal, and x to the (d,) ``sums``."""
    for row in range(indptr.shape[0] - 1):
        for first in range(indptr[row], indptr[row + 1]):
            column, value = indices[first], np.float64(values[first])
            sums[column] += value
            gram[column, column] += value * value
            for second in range(first + 1, indptr[row + 1]):
                other, product = indices[second], value * values[second]
                if other > column:
                    gram[column, other] += product
                elif other < column:
                    gram[other, column] += product
                else:
                    # A column that appears twice stands for the sum of both: (a + b)^2 has 2ab.
                    gram[column, column] += 2 * product


@compiled
def add_sketch(
    values: Float32, indices: Int64, indptr: Int64, signs: Float32, sketch: Float64, sums: Float64
) -> None:
    """Adds each row's entry of column j times the row's (l,) ``signs`` to row j of the (d, l) ``sketch``."""
    for row in range(indptr.shape[0] - 1):
        for entry in range(indptr[row], indptr[row + 1]):
            value, column = values[entry], indices[entry]
            sums[column] += value
            for place in range(signs.shape[1]):
                sketch[column, place] += value * signs[row, place]
