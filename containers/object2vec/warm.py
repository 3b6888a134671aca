"""Compiles the kernels, so that no job and no endpoint waits for that."""

from __future__ import annotations

import numpy as np

from common import optimizer_kernels
from containers.object2vec import kernels


def compile_all() -> None:
    """Calls each kernel once with the types that training gives it."""
    optimizer_kernels.compile_all()
    answering()
    starts, one, tokens = np.array([0, 1], np.int64), np.ones((1, 2), np.float32), np.zeros(1, np.int32)
    numbers = np.zeros(1, np.int64)
    kernels.numbered(tokens, np.full(1, -1, np.int32), 0, numbers, numbers.copy())
    kernels.taken(tokens, starts, numbers, starts, tokens.copy())
    kernels.unwindow(np.ones((1, 6), np.float32), starts, 3, one.copy())
    kernels.unpeak(one, np.zeros((1, 2), np.int32), one.copy())
    kernels.scattered(one, numbers, one.copy())


def answering() -> None:
    """Calls those that an endpoint needs."""
    starts, one = np.array([0, 1], np.int64), np.ones((1, 2), np.float32)
    kernels.windows(one, starts, 3, np.ones((1, 6), np.float32))
    kernels.peaks(one, starts, one.copy(), np.zeros((1, 2), np.int32))
    kernels.gathered(one, np.zeros(1, np.int64), one.copy())
