"""Random projections that keep L2 distances and inner products, approximately.

Both are rebuilt from a seed wherever they are needed, so the artifact holds the seed alone. Their random bits
are the bare output of PCG64, which numpy promises never to change.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Protocol

import numpy as np

from common.batches import Float32, Int64

_BLOCK = 64  # Hadamard matrices of this order are small enough to stay in cache, large enough for BLAS
_CHUNK = 1 << 22  # floats transformed at once
LARGEST_MATRIX = 1 << 30
"""The most values that a projection's matrix may have: 4 GiB."""


class Projection(Protocol):
    """A linear map from ``input_dim`` to ``target_dim`` features."""

    kind: str
    seed: int
    input_dim: int
    target_dim: int

    def __call__(self, rows: Float32) -> Float32:
        """Maps (n, input_dim) float32 to (n, target_dim) float32."""
        ...


class Sign:
    """Multiplies by a matrix of random signs over sqrt(target_dim), in O(n input_dim target_dim).

    Achlioptas, "Database-friendly random projections", 2003.
    """

    kind = "sign"

    def __init__(self, input_dim: int, target_dim: int, seed: int) -> None:
        self.input_dim = input_dim
        self.target_dim = target_dim
        self.seed = seed

    @cached_property
    def _matrix(self) -> Float32:
        signs = _signs(np.random.PCG64(self.seed), self.input_dim * self.target_dim)
        signs *= np.float32(1 / np.sqrt(self.target_dim))
        return signs.reshape(self.input_dim, self.target_dim)

    def __call__(self, rows: Float32) -> Float32:
        return rows @ self._matrix


class FJLT:
    """Fast Johnson-Lindenstrauss transform: random signs, Walsh-Hadamard, random columns; O(n d log d).

    Ailon and Chazelle, "The fast Johnson-Lindenstrauss transform", 2009, in the subsampled form of Tropp,
    "Improved analysis of the subsampled randomized Hadamard transform", 2011.
    """

    kind = "fjlt"

    def __init__(self, input_dim: int, target_dim: int, seed: int) -> None:
        self.input_dim = input_dim
        self.target_dim = target_dim
        self.seed = seed
        self._padded = 1 << (max(input_dim, target_dim) - 1).bit_length()

    @cached_property
    def _drawn(self) -> tuple[Float32, Int64]:
        source = np.random.PCG64(self.seed)
        signs = _signs(source, self.input_dim)
        signs *= np.float32(1 / np.sqrt(self.target_dim))
        order = np.argsort(np.asarray(source.random_raw(self._padded)), kind="stable")
        return signs, np.sort(order[: self.target_dim])

    def __call__(self, rows: Float32) -> Float32:
        signs, columns = self._drawn
        reduced = np.empty((len(rows), self.target_dim), np.float32)
        step = max(1, _CHUNK // self._padded)
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            flipped = np.zeros((len(part), self._padded), np.float32)
            np.multiply(part, signs, out=flipped[:, : self.input_dim])
            np.take(walsh_hadamard(flipped), columns, axis=1, out=reduced[start : start + step])
        return reduced


KINDS: dict[str, type[Sign] | type[FJLT]] = {"sign": Sign, "fjlt": FJLT}


def walsh_hadamard(rows: Float32) -> Float32:
    """The unnormalised Walsh-Hadamard transform of each of (n, 2**p) float32 rows, in natural order.

    A Hadamard matrix is a Kronecker product of smaller ones. So a transform is a few products with matrices
    of at most 64 columns, which BLAS does several times faster than numpy can do its butterflies.
    """
    count, width = rows.shape
    right = min(width, _BLOCK)
    result = rows.reshape(-1, right) @ _hadamard(right)
    while right < width:
        order = min(width // right, _BLOCK)
        result = np.matmul(_hadamard(order), result.reshape(-1, order, right))
        right *= order
    return result.reshape(count, width)


@lru_cache
def _hadamard(order: int) -> Float32:
    matrix = np.ones((1, 1), np.float32)
    while len(matrix) < order:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix


def _signs(source: np.random.PCG64, count: int) -> Float32:
    words = np.asarray(source.random_raw(-(-count // 64)), "<u8")
    bits = np.unpackbits(words.view(np.uint8), count=count, bitorder="little")
    signs = bits.astype(np.float32)
    signs *= 2
    signs -= 1
    return signs
