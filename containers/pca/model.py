"""Principal components of a stream of rows, in one pass.

Exact: the moments of the rows (count, mean, scatter), then eigenvectors. Approximate: a random sketch
``B = sum_t H_t X_t`` of few rows that keeps, on average, all inner products of columns; N. Halko,
P.-G. Martinsson, J. Tropp, "Finding Structure with Randomness", SIAM Review 53(2), 2011.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.batches import CSR, Features, Float32
from containers.pca.products import TILE, Products

Float64 = NDArray[np.float64]

# Of sparse rows with a larger share of nonzero entries, dense blocks are faster.
_SPARSE = 0.2
# Bytes of a block of rows in 64 bits.
_BLOCK = 1 << 26


@dataclass(frozen=True, slots=True)
class Components:
    """What PCA finds, in the order of AWS's artifact: the strongest component comes last.

    ``mean`` is (1, d); ``v`` (d, m) has orthonormal columns, each with its largest entry positive; ``s``
    (m,) are the singular values of the centered rows, ascending: the square of one, divided by the number of
    rows, is the variance along its column. ``explained`` is the share of all variance in these components.
    """

    mean: Float32
    v: Float32
    s: Float32
    explained: float


class Moments:
    """Count, sum and scatter of all rows added so far: memory d^2, whatever the number of rows.

    Dense rows are taken relative to the first block's mean: far from 0, the scatter would be a small
    difference of large numbers. ``densify`` lets sparse rows be added as dense blocks where that is faster.
    """

    def __init__(self, features: int, products: Products, *, densify: bool = True) -> None:
        self.count = 0
        self._origin = np.zeros(features)
        self._sums = np.zeros(features)  # relative to the origin
        self._gram = np.zeros((features, features))  # likewise; below the diagonal anything
        self._products = products
        self._densify = densify

    def add(self, rows: Features) -> None:
        """Adds (n, d) rows, dense or sparse."""
        if isinstance(rows, CSR) and not self._origin.any() and not _dense_is_faster(rows, self._densify):
            from containers.pca.kernels import add_products

            add_products(rows.values, rows.indices, rows.indptr, self._gram, self._sums)
            self.count += len(rows)
            return
        for block in _blocks(rows):
            if not self.count and not isinstance(rows, CSR):
                self._origin = block.mean(axis=0, dtype=np.float64)
            self._sums += self._products.add_gram(block, self._origin, self._gram)
            self.count += len(block)

    @property
    def total(self) -> Float64:
        """The sum of all rows: (d,) float64."""
        return self._sums + self.count * self._origin

    def scatter(self, center: Float64) -> Float64:
        """The sum of ``(x - center)^T (x - center)`` over all rows: (d, d) float64. Ends the adding."""
        gram = self._gram
        self._products.collect(gram)
        mean = self._sums / max(self.count, 1)
        step = self._origin + mean - center
        # By bands, so that the one large matrix stays the only one.
        for start in range(0, len(gram), TILE):
            band = slice(start, start + TILE)
            upper = np.outer(step[band], step[start:]) - np.outer(mean[band], mean[start:])
            gram[band, start:] += self.count * upper
            corner = gram[band, band]
            gram[band, band] = np.triu(corner) + np.triu(corner, 1).T
            gram[start + TILE :, band] = gram[band, start + TILE :].T
        return gram


class Sketch:
    """The random sketch: ``size`` rows that stand for all rows added; memory d * size.

    Each row gets fresh random signs from ``generator``, which must differ among hosts.
    """

    def __init__(
        self,
        features: int,
        size: int,
        generator: np.random.Generator,
        products: Products,
        *,
        densify: bool = True,
    ) -> None:
        self.count = 0
        self._origin = np.zeros(features, np.float32)
        self._sums = np.zeros(features)  # relative to the origin
        self._sketch = np.zeros((features, size))  # likewise, and transposed
        self._heights = np.zeros(size)  # the sums of the signs of each of the sketch's rows
        self._generator = generator
        self._products = products
        self._densify = densify

    def add(self, rows: Features) -> None:
        """Adds (n, d) rows, dense or sparse."""
        sparse = (
            isinstance(rows, CSR) and not self._origin.any() and not _dense_is_faster(rows, self._densify)
        )
        step = max(1, _BLOCK // (8 * max(len(self._heights), 0 if sparse else rows.shape[1])))
        for start in range(0, len(rows), step):
            block = rows[start : start + step]
            signs = self._signs(len(block))
            if isinstance(block, CSR) and sparse:
                from containers.pca.kernels import add_sketch

                add_sketch(block.values, block.indices, block.indptr, signs, self._sketch, self._sums)
            else:
                self._add_dense(block, signs)
            self._heights += signs.sum(axis=0, dtype=np.float64)
            self.count += len(block)

    def _add_dense(self, rows: Features, signs: Float32) -> None:
        block = rows.dense() if isinstance(rows, CSR) else rows
        if not self.count and not isinstance(rows, CSR):
            self._origin = block.mean(axis=0, dtype=np.float64).astype(np.float32)
        product, sums = self._products.sketch(block, self._origin, signs)
        self._sketch += product
        self._sums += sums

    def _signs(self, rows: int) -> Float32:
        count = rows * len(self._heights)
        drawn = np.frombuffer(self._generator.bytes(-(-count // 8)), np.uint8)
        signs = np.unpackbits(drawn, count=count).astype(np.float32)
        signs *= 2
        signs -= 1
        return signs.reshape(rows, -1)

    @property
    def total(self) -> Float64:
        """The sum of all rows: (d,) float64."""
        return self._sums + self.count * self._origin.astype(np.float64)

    def about(self, center: Float64) -> Float64:
        """The sketch of the rows less ``center``, transposed: (d, size) float64."""
        return self._sketch + np.outer(self._origin - center, self._heights)


def decompose(scatter: Float64, mean: Float64, components: int) -> Components:
    """The strongest ``components`` of a (d, d) scatter matrix about the (d,) ``mean``; at most d."""
    values, vectors = np.linalg.eigh(scatter)
    # Rounding can make the smallest a little less than nothing.
    squares = np.maximum(values, 0)
    return _components(mean, vectors[:, -components:], squares[-components:], float(squares.sum()))


def approximate(sketch: Float64, mean: Float64, components: int) -> Components:
    """The strongest ``components`` of a (d, size) sketch about the (d,) ``mean``; at most d or size."""
    vectors, values, _ = np.linalg.svd(sketch, full_matrices=False)
    # Signs make each inner product ``size`` times as large on average.
    squares = (values**2 / sketch.shape[1])[::-1]
    return _components(mean, vectors[:, :components][:, ::-1], squares[-components:], float(squares.sum()))


def _components(mean: Float64, vectors: Float64, squares: Float64, everything: float) -> Components:
    # A vector and its negative are as good: the entry that is largest without its sign is made positive.
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=0)[None, :], axis=0)
    return Components(
        mean.reshape(1, -1).astype(np.float32),
        np.ascontiguousarray(vectors * np.where(largest < 0, -1, 1), np.float32),
        np.ascontiguousarray(np.sqrt(squares), np.float32),
        float(squares.sum()) / everything if everything else 0.0,
    )


def reconstruction(rows: Features, mean: Float32, v: Float32) -> float:
    """The sum of squares of what (n, d) rows lose when they are projected on ``v`` and reconstructed."""
    lost = 0.0
    for block in _blocks(rows):
        centered = block - mean.astype(np.float64)
        centered -= (centered @ v) @ v.T
        lost += float(np.einsum("ij,ij->", centered, centered))
    return lost


def _dense_is_faster(rows: CSR, densify: bool) -> bool:
    return densify and len(rows.values) > _SPARSE * len(rows) * rows.shape[1]


def _blocks(rows: Features) -> Iterator[Float32]:
    """Dense rows, few enough at a time for their 64-bit copy."""
    step = max(1, _BLOCK // (8 * max(1, rows.shape[1])))
    for start in range(0, len(rows), step):
        block = rows[start : start + step]
        yield block.dense() if isinstance(block, CSR) else block
