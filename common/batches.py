"""Rows as arrays: what decoders yield, models learn from and predictors answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class CSR:
    """A sparse matrix in compressed rows, the layout scipy and torch share (no import of either here).

    Row ``i`` holds ``values[indptr[i]:indptr[i + 1]]`` at columns ``indices[indptr[i]:indptr[i + 1]]``.
    Columns of a row are neither sorted nor unique; repeated columns add up, as in scipy.
    """

    values: Float32  # (nnz,) float32
    indices: Int64  # (nnz,) int64
    indptr: Int64  # (rows + 1,) int64, starts at 0
    shape: tuple[int, int]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> CSR:
        """A view; a copy where ``rows`` has a step. Raises ValueError for a step below 1."""
        start, stop, step = rows.indices(len(self))
        if step < 1:
            raise ValueError("sparse rows are sliced forwards")
        stop = max(stop, start)
        if step > 1:
            return self.take(np.arange(start, stop, step))
        first, last = self.indptr[start], self.indptr[stop]
        return CSR(
            self.values[first:last],
            self.indices[first:last],
            self.indptr[start : stop + 1] - first,
            (stop - start, self.shape[1]),
        )

    def take(self, rows: NDArray[np.integer]) -> CSR:
        """A copy of the rows with these numbers, in their order."""
        starts, counts = self.indptr[rows], np.diff(self.indptr)[rows]
        indptr = np.zeros(len(counts) + 1, np.int64)
        np.cumsum(counts, out=indptr[1:])
        chosen = np.repeat(starts - indptr[:-1], counts) + np.arange(indptr[-1])
        return CSR(self.values[chosen], self.indices[chosen], indptr, (len(counts), self.shape[1]))

    def dense(self) -> Float32:
        """The same rows as a dense (rows, columns) float32 matrix."""
        matrix = np.zeros(self.shape, np.float32)
        rows = np.repeat(np.arange(len(self)), np.diff(self.indptr))
        np.add.at(matrix, (rows, self.indices), self.values)
        return matrix


Features = Float32 | CSR


def dense(features: Features) -> Float32:
    """``features`` as a dense (rows, columns) float32 matrix; no copy when they are dense already."""
    return features.dense() if isinstance(features, CSR) else features


def to_csr(matrix: Float32) -> CSR:
    """The nonzero entries of a dense (rows, columns) matrix."""
    rows, columns = np.nonzero(matrix)
    indptr = np.zeros(len(matrix) + 1, np.int64)
    np.cumsum(np.bincount(rows, minlength=len(matrix)), out=indptr[1:])
    return CSR(
        np.ascontiguousarray(matrix[rows, columns], np.float32),
        columns.astype(np.int64),
        indptr,
        (len(matrix), matrix.shape[1]),
    )


def stack(parts: Sequence[Features]) -> Features:
    """Rows one below the other; sparse if any part is, as wide as the widest sparse part.

    Raises ValueError when dense parts differ in width.
    """
    if len(parts) == 1:
        return parts[0]
    if not any(isinstance(part, CSR) for part in parts):
        return np.concatenate(parts)  # type: ignore[arg-type]
    sparse = [part if isinstance(part, CSR) else to_csr(part) for part in parts]
    offsets = np.cumsum([0] + [len(part.values) for part in sparse])
    return CSR(
        np.concatenate([part.values for part in sparse]),
        np.concatenate([part.indices for part in sparse]),
        np.concatenate(
            [sparse[0].indptr[:1]]
            + [part.indptr[1:] + offset for part, offset in zip(sparse, offsets[:-1], strict=True)]
        ),
        (sum(len(part) for part in sparse), max(part.shape[1] for part in sparse)),
    )


class Rows(Protocol):
    """Some rows of a channel, whatever a row is: as many as its ``len``, cut by slices.

    A slice without a step is a view, one with a step a copy, which doesn't keep the rows left out in memory.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> Self: ...


AnyRows = TypeVar("AnyRows", bound=Rows)


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows of a channel or of a request."""

    features: Features  # (rows, columns) float32
    labels: Float32 | None = None  # (rows,) float32, or (rows, label_size) when label_size > 1
    weights: Float32 | None = None  # (rows,) float32

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, rows: slice) -> Batch:
        return Batch(
            self.features[rows] if isinstance(self.features, CSR) else cut(self.features, rows),
            None if self.labels is None else cut(self.labels, rows),
            None if self.weights is None else cut(self.weights, rows),
        )

    @property
    def width(self) -> int:
        """How many features a row has."""
        return self.features.shape[1]


def cut(array: NDArray[Any], rows: slice) -> NDArray[Any]:
    """``array[rows]`` as `Rows` has it: a view, or with a step a copy."""
    return array[rows] if rows.step in (None, 1) else array[rows].copy()


def join(batches: Sequence[Batch]) -> Batch:
    """Batches of one channel as one. Raises ValueError when dense widths differ, or only some have labels.

    Where only some have weights (one file of a channel may), the others' rows weigh 1.
    """
    if len(batches) == 1:
        return batches[0]
    labels = [batch.labels for batch in batches if batch.labels is not None]
    if len(labels) not in (0, len(batches)):
        raise ValueError("some rows have labels and others don't")
    weights = None
    if any(batch.weights is not None for batch in batches):
        weights = np.concatenate(
            [np.ones(len(batch), np.float32) if batch.weights is None else batch.weights for batch in batches]
        )
    return Batch(
        stack([batch.features for batch in batches]), np.concatenate(labels) if labels else None, weights
    )


def recut(
    batches: Iterable[AnyRows], size: int, join: Callable[[Sequence[AnyRows]], AnyRows]
) -> Iterator[AnyRows]:
    """The same rows in the same order, in batches of exactly ``size`` rows but for the last.

    The one place where decoders' blocks become an algorithm's mini-batches; a block that is cut
    is viewed, not copied. ``join`` makes one of several in a row.
    """
    pending: list[AnyRows] = []
    rows = 0
    for batch in batches:
        start = 0
        while rows + len(batch) - start >= size:
            stop = start + size - rows
            pending.append(batch[start:stop])
            yield join(pending)
            pending, rows, start = [], 0, stop
        if start < len(batch):
            pending.append(batch[start:])
            rows += len(batch) - start
    if pending:
        yield join(pending)
