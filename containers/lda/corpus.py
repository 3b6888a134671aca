"""Documents in memory: counts by document and by word, and products with either."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import finite
from common.batches import CSR, Features, Float32, Int64, to_csr
from common.cores import Cores
from common.failures import ClientError
from containers.lda import kernels
from containers.lda.kernels import Float64, Int32

# Counts up to this are exact in 32 bits.
LARGEST = float(1 << 24)


@dataclass(frozen=True, slots=True)
class Counts:
    """Sparse rows of counts: indices of a row rise, and no count is 0."""

    counts: Float32  # (entries,) float32
    indices: Int32  # (entries,) int32
    indptr: Int64  # (rows + 1,) int64

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def rows(self) -> Int64:
        """(entries,) int64: the row of each entry."""
        return np.repeat(np.arange(len(self)), np.diff(self.indptr))

    def sums(self) -> Float64:
        """(rows,) float64: a document's length, or how often a word occurs."""
        return np.bincount(self.rows(), self.counts, len(self)).astype(np.float64)

    def each(self, cores: Cores | None, kernel: Callable[..., None], *arguments: Any) -> None:
        """Runs a kernel on all rows, in parts on all ``cores`` if there are any."""

        def part(rows: tuple[int, int]) -> None:
            kernel(self.counts, self.indices, self.indptr, *arguments, *rows)

        if cores is None or cores.threads == 1:
            part((0, len(self)))
        else:
            cores.map(part, self._parts(4 * cores.threads))

    def _parts(self, count: int) -> list[tuple[int, int]]:
        """First rows and ends of ``count`` parts with about as many entries each."""
        cuts = np.searchsorted(self.indptr, np.linspace(0, self.indptr[-1], count + 1))
        cuts[0], cuts[-1] = 0, len(self)
        return list(itertools.pairwise(cuts.tolist()))

    def times(self, matrix: Float64, cores: Cores) -> Float64:
        """The product with a (columns, m) matrix: (rows, m)."""
        out = np.empty((len(self), matrix.shape[1]))
        self.each(cores, kernels.products, np.ascontiguousarray(matrix), out)
        return out


def tidy(features: Features) -> Counts:
    """Rows as they come, dense or sparse, in arrays of their own: indices sorted, equal ones added up."""
    rows = features if isinstance(features, CSR) else to_csr(features)
    numbers = np.repeat(np.arange(len(rows)), np.diff(rows.indptr))
    keys = numbers * rows.shape[1] + rows.indices
    values: NDArray[Any] = rows.values
    if (keys[1:] <= keys[:-1]).any():
        keys, inverse = np.unique(keys, return_inverse=True)
        values = np.bincount(inverse, values)
    keys, values = keys[values != 0], values[values != 0]
    numbers, indices = np.divmod(keys, max(rows.shape[1], 1))
    indptr = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(np.bincount(numbers, minlength=len(rows)), out=indptr[1:])
    return Counts(values.astype(np.float32), indices.astype(np.int32), indptr)


class Corpus:
    """All documents of a job: ``documents`` has them by row, ``words`` the same entries by word."""

    def __init__(self, documents: Counts, vocabulary: int) -> None:
        self.documents = documents
        indptr = np.zeros(vocabulary + 1, np.int64)
        np.cumsum(np.bincount(documents.indices, minlength=vocabulary), out=indptr[1:])
        self.words = Counts(np.empty_like(documents.counts), np.empty_like(documents.indices), indptr)
        kernels.transpose(
            documents.counts,
            documents.indices,
            documents.indptr,
            indptr[:-1].copy(),
            self.words.counts,
            self.words.indices,
        )


def join(parts: Sequence[Counts]) -> Counts:
    """Rows one below the other; of no parts, no rows."""
    if not parts:
        return Counts(np.empty(0, np.float32), np.empty(0, np.int32), np.zeros(1, np.int64))
    offsets = np.cumsum([0, *(part.indptr[-1] for part in parts)])
    return Counts(
        np.concatenate([part.counts for part in parts]),
        np.concatenate([part.indices for part in parts]),
        np.concatenate(
            [parts[0].indptr[:1], *(p.indptr[1:] + offset for p, offset in zip(parts, offsets, strict=False))]
        ),
    )


def check(features: Features, channel: str, before: int = 0) -> None:
    """Raises ClientError that names the first value which is no count: a whole number from 0 to 2^24.

    ``before`` is how many rows of the channel came before these.
    """
    finite.check(features, channel, before, LARGEST)
    values = features.values if isinstance(features, CSR) else features.reshape(-1)
    wrong = np.flatnonzero((values < 0) | (values != np.floor(values)))
    if not len(wrong):
        return
    first = int(wrong[0])
    raise ClientError(
        f"channel {channel}: {finite.place(features, first, before)} is {values[first]}; "
        "accepted: word counts, which are whole numbers from 0"
    )
