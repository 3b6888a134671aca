"""Compiles the kernels, so that neither a job nor an endpoint waits for that."""

from __future__ import annotations

import numpy as np

from common.cores import Cores
from containers.randomcutforest.model import grow_forest
from containers.randomcutforest.scoring import Scorer


def compile_all() -> None:
    """Grows a forest and scores a point, which calls each kernel as jobs and endpoints do."""
    with Cores(1) as cores:
        forest, _ = grow_forest(np.arange(8, dtype=np.float32).reshape(4, 2), 1, 0, cores)
        Scorer(forest).scores(np.zeros((1, 2), np.float32))
