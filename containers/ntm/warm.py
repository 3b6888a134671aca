"""Compiles the kernels, so that no job waits for that."""

from __future__ import annotations

import numpy as np

from common import optimizer_kernels
from containers.ntm import kernels


def compile_all() -> None:
    """Calls each kernel once with the types that training gives it."""
    one, rows = np.ones(1, np.float32), np.zeros((1, 2), np.float32)
    kernels.scatter(np.zeros(1, np.int64), one, np.array([0, 1], np.int64), rows, rows.copy())
    optimizer_kernels.compile_all()
