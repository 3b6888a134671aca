"""Factorization machines on arrays: what a machine is, how it starts and how it scores rows.

S. Rendle, "Factorization Machines", ICDM 2010. A row's score is ``bias + x @ linear`` plus, for each pair of
its features, the product of both and of their factors' dot product. The sum over pairs is half of the square
of ``x @ factors`` less the sum of squares, and so takes no longer than the row has features that aren't 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.batches import CSR, Features, Float32, Int64
from common.cores import Cores
from containers.factorization_machines import kernels

_CHUNK = 1 << 20  # values that one generator draws, whatever the number of threads
_BLOCK = 1 << 22  # floats of a block of dense rows
_ENTRIES = 1 << 16  # of a block of sparse rows


@dataclass(frozen=True, slots=True)
class Start:
    """How weights start: from ``[-scale, scale]``, normal with ``sigma`` around 0, or all ``value``."""

    method: str  # uniform, normal or constant
    scale: float = 0.0
    sigma: float = 0.0
    value: float = 0.0

    def draw(self, shape: tuple[int, int], seed: list[int], cores: Cores) -> Float32:
        """A float32 matrix; equal seeds give equal ones with any number of threads."""
        if self.method == "constant":
            return np.full(shape, self.value, np.float32) if self.value else np.zeros(shape, np.float32)
        weights = np.empty(shape, np.float32)
        flat = weights.reshape(-1)
        cores.map(
            lambda chunk: self._fill(flat[chunk * _CHUNK : (chunk + 1) * _CHUNK], [*seed, chunk]),
            range(-(-flat.size // _CHUNK)),
        )
        return weights

    def _fill(self, weights: Float32, seed: list[int]) -> None:
        generator = np.random.Generator(np.random.SFC64(seed))
        if self.method == "normal":
            generator.standard_normal(dtype=np.float32, out=weights)
            weights *= np.float32(self.sigma)
        else:
            generator.random(dtype=np.float32, out=weights)
            weights -= np.float32(0.5)
            weights *= np.float32(2 * self.scale)


NOTHING = Start("constant")


@dataclass(frozen=True, slots=True)
class Machine:
    """A factorization machine of d features and k factors; training changes its arrays in place."""

    bias: Float32  # (1,) float32
    linear: Float32  # (d, 1) float32
    factors: Float32  # (d, k) float32

    @classmethod
    def start(
        cls,
        feature_dim: int,
        num_factors: int,
        starts: tuple[Start, Start, Start],
        seed: int,
        cores: Cores,
    ) -> Machine:
        """A machine to train; ``starts`` are those of bias, linear weights and factors."""
        bias, linear, factors = starts
        return cls(
            bias.draw((1, 1), [seed, 0], cores)[0],
            linear.draw((feature_dim, 1), [seed, 1], cores),
            factors.draw((feature_dim, num_factors), [seed, 2], cores),
        )

    @property
    def shape(self) -> tuple[int, int]:
        """How many features and factors."""
        return self.factors.shape

    def finite(self) -> bool:
        """Whether all weights are finite numbers."""
        return all(np.isfinite(part.sum(dtype=np.float64)) for part in (self.bias, self.linear, self.factors))


@dataclass(frozen=True, slots=True)
class SparseRows:
    """Sparse rows as kernels take them: contiguous, writable, with unique columns in each row."""

    values: Float32
    indices: Int64
    indptr: Int64

    def __len__(self) -> int:
        return len(self.indptr) - 1


def unique(features: CSR) -> SparseRows:
    """The rows of ``features``, repeated columns of a row added up. Copies only what it must."""
    values, indices, indptr = plain(features.values), plain(features.indices), plain(features.indptr)
    if kernels.ascending(indices, indptr):
        return SparseRows(values, indices, indptr)
    merged, columns, bounds = np.empty_like(values), np.empty_like(indices), np.empty_like(indptr)
    kernels.merge(values, indices, indptr, merged, columns, bounds)
    return SparseRows(merged, columns, bounds)


def plain(array: NDArray[Any]) -> NDArray[Any]:
    """``array`` as kernels are compiled for: contiguous, aligned, writable. A copy only if it must."""
    return np.require(array, requirements=["C", "W", "A"])


def squares(factors: Float32) -> Float32:
    """The squared length of each feature's (d, k) factors: (d,)."""
    return np.einsum("ij,ij->i", factors, factors)


def scores(machine: Machine, features: Features, lengths: Float32 | None = None) -> Float32:
    """The scores of (rows, d) features: (rows,) float32.

    ``lengths`` are ``squares(machine.factors)`` where these are known; dense rows need them.
    """
    found = np.empty(len(features), np.float32)
    if isinstance(features, CSR):
        rows = unique(features)
        block = max(1, _ENTRIES * len(rows) // max(1, len(rows.values)))
        sums = np.empty((min(block, len(rows)), machine.shape[1]), np.float32)
        for start in range(0, len(rows), block):
            part = slice(start, min(start + block, len(rows)))
            sparse_scores(machine, rows, part, sums[: part.stop - part.start], found[part])
        return found
    lengths = squares(machine.factors) if lengths is None else lengths
    block = max(1, _BLOCK // machine.shape[0])
    for start in range(0, len(features), block):
        some = features[start : start + block]
        found[start : start + block] = dense_scores(machine, some, some @ machine.factors, lengths)
    return found


def sparse_scores(machine: Machine, rows: SparseRows, part: slice, sums: Float32, found: Float32) -> None:
    """The scores of some rows into ``found``, and their factors' sums into (rows, k) ``sums``."""
    kernels.score(
        rows.values,
        rows.indices,
        rows.indptr[part.start : part.stop + 1],
        machine.bias,
        machine.linear,
        machine.factors,
        sums,
        found,
    )


def dense_scores(machine: Machine, rows: Float32, sums: Float32, lengths: Float32) -> Float32:
    """The scores of dense (rows, d) rows, of which ``sums`` is ``rows @ machine.factors``: (rows,)."""
    pairs = np.einsum("ij,ij->i", sums, sums) - np.square(rows) @ lengths
    return machine.bias + rows @ machine.linear[:, 0] + np.float32(0.5) * pairs


def sigmoid(found: Float32) -> Float32:
    """``1 / (1 + e^-x)`` that doesn't overflow."""
    small = np.exp(-np.abs(found))
    return (np.where(found >= 0, np.float32(1), small) / (1 + small)).astype(np.float32, copy=False)
