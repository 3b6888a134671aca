"""Batches as the arrays that a sampler and a search take."""

from __future__ import annotations

import numpy as np

from common import finite
from common.batches import Batch, Float32, dense
from common.failures import ClientError


def arrays(batch: Batch, channel: str, before: int, width: int | None) -> tuple[Float32, Float32]:
    """A batch's dense (n, width) rows and (n,) labels, ``before`` being how many rows came before it.

    Raises ClientError for values that no distance has, several labels a row, and another width.
    """
    labels = batch.labels
    assert labels is not None  # the manifest requires them
    if labels.ndim > 1 and labels.shape[1] != 1:
        raise ClientError(f"channel {channel}: rows have {labels.shape[1]} labels; accepted: label_size=1")
    if width is not None and batch.width != width:
        raise ClientError(
            f"channel {channel}: rows from {before + 1} on have {batch.width} features, those before "
            f"{width}; accepted: the same number in every row"
        )
    finite.check(batch.features, channel, before)
    labels = labels.reshape(-1)
    known = np.isfinite(labels)
    if not known.all():
        row = int(known.argmin())
        raise ClientError(
            f"channel {channel}: the label of row {before + row + 1} is {labels[row]}; "
            "accepted: finite numbers that fit in 32 bits"
        )
    return dense(batch.features), labels
