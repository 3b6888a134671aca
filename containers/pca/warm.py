"""Compiles PCA's kernels, so that no job waits for that."""

from __future__ import annotations

import numpy as np

from containers.pca import kernels


def compile_all() -> None:
    """Calls each kernel once with the types that training gives it."""
    values = np.ones(1, np.float32)
    indices, indptr = np.zeros(1, np.int64), np.array([0, 1], np.int64)
    kernels.add_products(values, indices, indptr, np.zeros((1, 1)), np.zeros(1))
    kernels.add_sketch(values, indices, indptr, np.ones((1, 1), np.float32), np.zeros((1, 1)), np.zeros(1))
