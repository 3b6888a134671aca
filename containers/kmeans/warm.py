"""Compiles k-means' kernels, so that no job waits for that."""

from __future__ import annotations

import numpy as np

from containers.kmeans import kernels


def compile_all() -> None:
    """Calls each kernel once with the types that training gives it."""
    rows, sums = np.zeros((1, 2), np.float32), np.zeros((1, 2))
    labels = np.zeros(1, np.int64)
    sparse = np.ones(1, np.float32), labels, np.array([0, 1], np.int64)
    kernels.add_rows(rows, labels, sums)
    kernels.spread(*sparse, rows)
    kernels.multiply(*sparse, rows, rows.copy())
    kernels.add_sparse_rows(*sparse, labels, sums)
