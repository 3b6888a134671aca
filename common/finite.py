"""Rows with values that can't be computed with are the data's fault: found cheaply, told exactly."""

from __future__ import annotations

import math

import numpy as np

from common.batches import CSR, Features
from common.failures import ClientError

# The squares of a row's values below this, and their sums, fit in a 32-bit float.
LARGEST = 1e17


def check(features: Features, channel: str, before: int = 0, largest: float = LARGEST) -> None:
    """Raises ClientError that names the first value which is not finite or beyond ``largest``, and its row.

    ``before`` is how many rows of the channel came before these.
    """
    values = (features.values if isinstance(features, CSR) else features).reshape(-1)
    # One number tells that all is well: any NaN, infinity or large value shows in the sum of squares.
    with np.errstate(over="ignore", invalid="ignore"):
        squares = float(np.dot(values, values)) if len(values) else 0.0
    if math.isfinite(squares) and squares <= largest * largest:
        return
    wrong = np.flatnonzero(~(np.abs(values) <= largest))
    if not len(wrong):
        return
    first = int(wrong[0])
    raise ClientError(
        f"channel {channel}: {place(features, first, before)} is {values[first]}; "
        f"accepted: numbers from {-largest:g} to {largest:g}"
    )


def place(features: Features, index: int, before: int = 0) -> str:
    """Where in its channel the value is that ``index`` counts among all values, or all that are stored."""
    if isinstance(features, CSR):
        row = int(np.searchsorted(features.indptr, index, "right")) - 1
        column = int(features.indices[index])
    else:
        row, column = divmod(index, features.shape[1])
    return f"feature {column} (counted from 0) of row {before + row + 1}"
