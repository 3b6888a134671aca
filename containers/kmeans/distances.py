"""Which center is nearest: the one computation that k-means consists of, blocked so that it stays in cache.

``|x - c|^2 = |x|^2 - 2 x.c + |c|^2``, and ``|x|^2`` is the same for all centers, so the nearest center is the
smallest entry of a matrix product. Points and centers are taken relative to the mean of the centers first:
far from the origin the product's float32 digits would cancel. Sparse points stay as they are, and
``(x - o).(c - o) = x.(c - o) - o.(c - o)``, of which the last belongs to the center as ``|c - o|^2`` does.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from common.batches import CSR, Features, Float32, Int64

# Floats of a block's largest matrix: 1 MB, which an L2 cache holds.
_BLOCK = 1 << 18
_FEWEST_ROWS, _MOST_ROWS = 64, 1024
# Of sparse points with a larger share of nonzero values, dense blocks are faster.
_SPARSE = 0.2


class Prepared:
    """Centers made ready to be compared with points. ``centers`` is (K, d), K and d at least 1.

    With ``sparse`` points are CSR matrices; otherwise they may be, and become dense. ``origin`` is (d,), if
    not the centers' mean.
    """

    def __init__(
        self, centers: NDArray[np.floating], *, sparse: bool = False, origin: Float32 | None = None
    ) -> None:
        self.sparse = sparse
        self.origin: Float32 = centers.mean(axis=0).astype(np.float32) if origin is None else origin
        self.shifted: Float32 = (centers - self.origin).astype(np.float32)
        squares = np.einsum("ij,ij->i", self.shifted, self.shifted, dtype=np.float64)
        if sparse:
            squares += 2 * np.einsum("ij,j->i", self.shifted, self.origin, dtype=np.float64)
        # One more row for |c|^2, to be met by a column of ones in the points: the product is then whole.
        self.product: Float32 = np.empty((centers.shape[1] + 1, len(centers)), np.float32)
        np.multiply(self.shifted.T, -2, out=self.product[:-1])
        self.product[-1] = squares

    @property
    def block_rows(self) -> int:
        """How many points to compare at a time."""
        return min(_MOST_ROWS, max(_FEWEST_ROWS, _BLOCK // max(self.product.shape)))

    def relative(self, points: Features, out: Float32 | None = None) -> Float32:
        """Points relative to the origin and a column of ones: (n, d + 1), into ``out`` when it is given."""
        rows = np.empty((len(points), self.product.shape[0]), np.float32) if out is None else out
        if isinstance(points, CSR):
            from containers.kmeans.kernels import spread

            rows[:, :-1] = -self.origin
            spread(points.values, points.indices, points.indptr, rows)
        else:
            np.subtract(points, self.origin, out=rows[:, :-1])
        rows[:, -1] = 1
        return rows

    def labels(self, relative: Float32, out: Float32 | None = None) -> Int64:
        """The nearest center of each of the (n, d + 1) rows that `relative` gave; ``out`` is (n, K) room."""
        return np.matmul(relative, self.product, out=out).argmin(axis=1)

    def squared(self, relative: Float32, labels: Int64) -> Float32:
        """The squared distance of each point to its center, from the difference itself and so exact."""
        difference = relative[:, :-1] - self.shifted[labels]
        return np.einsum("ij,ij->i", difference, difference)

    def sparse_products(self, points: CSR) -> Float32:
        """What the nearest center has the smallest of, ``|c|^2 - 2 x.c`` about the origin: (n, K)."""
        from containers.kmeans.kernels import multiply

        products = np.repeat(self.product[-1:], len(points), axis=0)
        multiply(points.values, points.indices, points.indptr, self.product, products)
        return products


def nearest(points: Features, prepared: Prepared) -> tuple[Int64, Float32]:
    """The nearest center of each point and the squared distance to it: (n,) int64 and (n,) float32.

    Ties go to the first center. Memory is that of a block, however many points there are.
    """
    rows = prepared.block_rows
    if len(points) <= rows:
        return _nearest(points, prepared)
    found = [_nearest(points[start : start + rows], prepared) for start in range(0, len(points), rows)]
    return np.concatenate([labels for labels, _ in found]), np.concatenate([squared for _, squared in found])


def _nearest(points: Features, prepared: Prepared) -> tuple[Int64, Float32]:
    if prepared.sparse and isinstance(points, CSR):
        products = prepared.sparse_products(points)
        least = products.min(axis=1) + squares(points, prepared.origin)
        return products.argmin(axis=1), np.maximum(least, 0)
    relative = prepared.relative(points)
    labels = prepared.labels(relative)
    return labels, prepared.squared(relative, labels)


def squares(points: CSR, origin: Float32) -> Float32:
    """Squared distances of (n, d) sparse points, whose columns are unique, to (d,) ``origin``: (n,)."""
    rows = np.repeat(np.arange(len(points)), np.diff(points.indptr))
    wide = origin.astype(np.float64)
    present = wide[points.indices]
    more = np.bincount(rows, (points.values - present) ** 2 - present**2, len(points))
    return np.maximum(more + wide @ wide, 0).astype(np.float32)


def stays_sparse(points: Features, densify: bool) -> bool:
    """Whether points are better compared as they are than as dense blocks, or ``densify`` rules those out."""
    return isinstance(points, CSR) and (
        not densify or len(points.values) <= _SPARSE * len(points) * points.shape[1]
    )
