"""Batches as the arrays that a sampler and a search take."""

from __future__ import annotations

import numpy as np

from common.batches import Batch, Float32, dense
from common.failures import ClientError


def arrays(batch: Batch, channel: str, before: int, width: int | None) -> tuple[Float32, Float32]:
    """A batch's dense rows and labels. Raises ClientError for values that no distance has."""
    rows, labels = batch.features, batch.labels
    assert labels is not None  # the manifest requires them
    if labels.ndim > 1 and labels.shape[1] != 1:
        raise ClientError(f"channel {channel}: rows have {labels.shape[1]} labels; accepted: label_size=1")
    if width is not None and batch.width != width:
        raise ClientError(
            f"channel {channel}: rows from {before + 1} on have {batch.width} features, those before "
            f"{width}; accepted: the same number in every row"
        )
    matrix = dense(rows)
    _check(matrix, channel, before, "feature {column} (counted from 0)")
    _check(labels.reshape(-1, 1), channel, before, "the label")
    return matrix, labels.reshape(-1)


def _check(matrix: Float32, channel: str, before: int, what: str) -> None:
    finite = np.isfinite(matrix)
    if finite.all():
        return
    row, column = divmod(int(np.flatnonzero(~finite)[0]), matrix.shape[1])
    raise ClientError(
        f"channel {channel}: {what.format(column=column)} of row {before + row + 1} is "
        f"{matrix[row, column]}; accepted: finite numbers that fit in 32 bits"
    )
