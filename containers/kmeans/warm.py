"""Compiles k-means' kernels, so that no job waits for that."""

from __future__ import annotations

import numpy as np

from containers.kmeans import kernels


def compile_all() -> None:
    """Calls each kernel once with the types that training gives it."""
    rows = np.zeros((1, 2), np.float32)
    labels = np.zeros(1, np.int64)
    kernels.add_rows(rows, labels, np.zeros((1, 2)))
    kernels.spread(np.ones(1, np.float32), labels, np.array([0, 1], np.int64), rows)
