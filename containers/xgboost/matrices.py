"""Rows as the library takes them: gathered batches, checked labels, quantised or plain matrices."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.batches import CSR, Batch, Features, Float32, Int64, stack, to_csr
from common.failures import ClientError
from containers.xgboost.library import xgb

BATCH = 1 << 17  # rows; equal batches in every input mode make equal models
WIDEST = 1 << 25
"""Features to learn from: histograms take some 360 bytes for each, whether a row has it or not."""


@dataclass(slots=True)
class Table:
    """A channel's rows. The features are a list of parts, one below the other, all sparse or all dense."""

    parts: list[Features]
    labels: Float32  # (rows,)
    weights: Float32 | None = None  # (rows,)
    groups: Int64 | None = None  # sizes of the runs of rows that are ranked together
    one_based: bool = False  # sparse, and no row has a feature 0: libsvm that counts from 1

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def sparse(self) -> bool:
        """Whether entries that are not there are missing ones."""
        return bool(self.parts) and isinstance(self.parts[0], CSR)

    @property
    def width(self) -> int:
        """Features of the widest row."""
        return max((part.shape[1] for part in self.parts), default=0)


def gather(batches: Iterable[Batch]) -> Table:
    """Reads a channel to its end. One sparse batch makes all sparse, as AWS's image does."""
    parts: list[Features] = []
    labels: list[Float32] = []
    weights: list[Float32] = []
    for batch in batches:
        parts.append(batch.features)
        labels.append(np.empty(0, np.float32) if batch.labels is None else batch.labels.reshape(len(batch)))
        if batch.weights is not None:
            weights.append(batch.weights)
    sparse = any(isinstance(part, CSR) for part in parts)
    if sparse:
        parts = [part if isinstance(part, CSR) else to_csr(part) for part in parts]
    return Table(
        parts,
        np.concatenate(labels) if labels else np.empty(0, np.float32),
        np.concatenate(weights) if weights else None,
        one_based=sparse and all(part.indices.min(initial=1) > 0 for part in parts if isinstance(part, CSR)),
    )


def check_features(table: Table, channel: str) -> None:
    """Raises ClientError for the first infinite feature, and for an index that is too large to learn from."""
    before = 0
    for part in table.parts:
        if isinstance(part, CSR) and part.shape[1] > WIDEST:
            beyond = np.flatnonzero(part.indices >= WIDEST)
            where = f"row {before + _row(part, int(beyond[0])) + 1} has " if len(beyond) else ""
            index = int(part.indices[beyond[0]]) if len(beyond) else part.shape[1] - 1
            raise ClientError(
                f"channel {channel}: {where}the feature index {index}; accepted: up to {WIDEST - 1}, "
                "since each takes memory, whether rows have it or not"
            )
        values = (part.values if isinstance(part, CSR) else part).reshape(-1)
        # NaN is a missing value. The two extremes pass it over, and take no memory.
        if len(values) and np.isinf([np.fmin.reduce(values), np.fmax.reduce(values)]).any():
            first = int(np.flatnonzero(np.isinf(values))[0])
            column = int(part.indices[first]) if isinstance(part, CSR) else first % part.shape[1]
            raise ClientError(
                f"channel {channel}: feature {column} (counted from 0) of row "
                f"{before + _row(part, first) + 1} is {values[first]}; accepted: finite numbers, "
                "and nothing or NaN for a missing one"
            )
        before += len(part)


def _row(part: Features, place: int) -> int:
    """The row of a part's value."""
    if isinstance(part, CSR):
        return int(np.searchsorted(part.indptr, place, "right")) - 1
    return place // part.shape[1]


def check_labels(table: Table, objective: str, classes: int | None, channel: str) -> None:
    """Raises ClientError for the first label that the objective can't learn."""
    for accepted, wrong in _wrong_labels(table.labels, objective, classes):
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise ClientError(
                f"channel {channel}: the label of row {row + 1} is {table.labels[row]:g}; "
                f"accepted by {objective}: {accepted}"
            )
    if table.weights is not None and not (table.weights >= 0).all():
        row = int(np.flatnonzero(~(table.weights >= 0))[0])
        raise ClientError(
            f"channel {channel}: the weight of row {row + 1} is {table.weights[row]:g}; accepted: at least 0"
        )


def _wrong_labels(labels: Float32, objective: str, classes: int | None) -> Iterable[tuple[str, Any]]:
    yield "a finite number", ~np.isfinite(labels)
    if objective in ("binary:logistic", "binary:logitraw", "reg:logistic"):
        yield "label must be in [0,1] for logistic regression", (labels < 0) | (labels > 1)
    elif objective == "binary:hinge":
        yield "0 or 1", (labels != 0) & (labels != 1)
    elif objective.startswith("multi:"):
        outside = (labels < 0) | (labels >= (classes or 0)) | (labels != np.floor(labels))
        yield f"label must be in [0, num_class), whole numbers from 0 to {(classes or 0) - 1}", outside
    elif objective in ("count:poisson", "reg:tweedie"):
        yield "label must be nonnegative", labels < 0
    elif objective == "reg:gamma":
        yield "above 0", labels <= 0
    elif objective == "reg:squaredlogerror":
        yield "above -1", labels <= -1
    elif objective in ("survival:cox", "survival:aft"):
        yield "a time, negative for a row that was censored then; not 0", labels == 0
    elif objective == "rank:map":
        yield "0 or 1", (labels != 0) & (labels != 1)
    elif objective.startswith("rank:"):
        yield "a whole number from 0 to 31", (labels < 0) | (labels > 31) | (labels != np.floor(labels))


def plain(table: Table, width: int, *, threads: int, censored: bool = False) -> xgb.DMatrix:
    """The library's matrix of the values themselves, ``width`` features wide."""
    features = stack(table.parts) if table.parts else np.empty((0, width), np.float32)
    matrix = xgb.DMatrix(
        _taken(features, width),
        label=table.labels,
        missing=np.nan,
        nthread=threads,
        **_times(table, censored),
    )
    if table.groups is not None:
        matrix.set_info(group=table.groups)
        if table.weights is not None:
            # A group has one weight: its first row's.
            starts = np.cumsum(table.groups) - table.groups
            matrix.set_info(weight=table.weights[starts])
    elif table.weights is not None:
        matrix.set_info(weight=table.weights)
    return matrix


def binned(
    table: Table, width: int, *, threads: int, max_bin: int, censored: bool = False
) -> xgb.QuantileDMatrix:
    """The library's matrix of histogram bins: a byte or two a value, in place of eight.

    The table's parts are let go as they are read for the last time.
    """
    return xgb.QuantileDMatrix(
        _Parts(table, width, censored), max_bin=max_bin, nthread=threads, missing=np.nan
    )


class _Parts(xgb.DataIter):
    """Hands a table to the library part by part, as often as it asks."""

    def __init__(self, table: Table, width: int, censored: bool) -> None:
        super().__init__()
        self._table = table
        self._width = width
        self._times = _times(table, censored)
        self._part = self._row = 0

    def next(self, input_data: Callable[..., None]) -> bool:
        table = self._table
        if self._part == len(table.parts):
            return False
        part = table.parts[self._part]
        rows = slice(self._row, self._row + len(part))
        self._part += 1
        self._row = rows.stop
        input_data(
            data=_taken(part, self._width),
            label=table.labels[rows],
            weight=None if table.weights is None else table.weights[rows],
            **{name: values[rows] for name, values in self._times.items()},
        )
        return True

    def reset(self) -> None:
        self._part = self._row = 0


def _times(table: Table, censored: bool) -> dict[str, Float32]:
    """Bounds of survival times: a negative label means that the row was censored then."""
    if not censored:
        return {}
    lower = np.abs(table.labels)
    upper = np.where(table.labels < 0, np.float32(np.inf), lower)
    return {"label_lower_bound": lower, "label_upper_bound": upper}


def _taken(features: Features, width: int) -> Any:
    if not isinstance(features, CSR):
        return features
    import scipy.sparse

    matrix = scipy.sparse.csr_matrix(
        (features.values, features.indices, features.indptr), shape=(len(features), width)
    )
    # The library looks values up by binary search, so the columns of a row must be in order.
    matrix.sum_duplicates()
    return matrix
