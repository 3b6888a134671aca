"""A channel's mini-batches, checked."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from common import finite
from common.batches import Batch
from common.failures import ClientError
from common.training import Run


def epoch(run: Run, name: str, *, share: bool = False) -> Iterator[Batch]:
    """One pass over a channel's rows, each with one label.

    Raises ClientError that names channel and row of what can't be learned from.
    """
    values = run.hyperparameters
    batches = run.channels[name].epoch(
        values["mini_batch_size"], feature_dim=values["feature_dim"], share=share
    )
    row = 0
    for batch in batches:
        assert batch.labels is not None
        _check_labels(batch.labels, values["predictor_type"], name, row)
        finite.check(batch.features, name, row)
        row += len(batch)
        yield batch


def _check_labels(labels: NDArray[np.float32], predictor_type: str, name: str, before: int) -> None:
    if predictor_type == "regressor":
        wrong, accepted = ~(np.abs(labels) <= finite.LARGEST), f"numbers of at most {finite.LARGEST:g}"
    else:
        wrong, accepted = (labels != 0) & (labels != 1), "0 and 1 for a binary_classifier"
    if wrong.any():
        at = int(wrong.argmax())
        raise ClientError(
            f"channel {name}, row {before + at + 1}: label {labels[at]:g} is not accepted; "
            f"accepted: {accepted}"
        )
