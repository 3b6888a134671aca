"""Compiles the kernels, so that no job waits for that."""

from __future__ import annotations

import numpy as np

from containers.ntm import kernels


def compile_all() -> None:
    """Calls each kernel once with the types that training gives it."""
    one, rows, numbers = np.ones(1, np.float32), np.zeros((1, 2), np.float32), np.ones(4, np.float32)
    kernels.scatter(np.zeros(1, np.int64), one, np.array([0, 1], np.int64), rows, rows.copy())
    kernels.sgd(one, one.copy(), numbers)
    kernels.adagrad(one, one.copy(), one.copy(), numbers)
    kernels.rmsprop(one, one.copy(), one.copy(), numbers)
    kernels.adam(one, one.copy(), one.copy(), one.copy(), numbers)
    kernels.adadelta(one, one.copy(), one.copy(), one.copy(), numbers)
