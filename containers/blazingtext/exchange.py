"""Several hosts learn one model: what each has changed is added up, again and again."""

from __future__ import annotations

import numpy as np

from common.batches import Float32
from common.cluster import Cluster
from containers.blazingtext.model import Matrices


class Exchange:
    """Keeps the hosts' matrices equal.

    Each host learns from its share of some blocks, then the sum of all changes is added to what the hosts
    had before: as with threads that share memory, but that they see each other's steps a little later. The
    mean of models instead would learn from each word in smaller steps, the more hosts there are.
    """

    def __init__(self, cluster: Cluster, matrices: Matrices) -> None:
        self._cluster = cluster
        self._current = (matrices.inputs, matrices.outputs)
        self._before: list[Float32] = [matrix.copy() for matrix in self._current] if cluster.size > 1 else []

    def combine(self) -> None:
        """Adds the other hosts' changes since the last call."""
        for matrix, before in zip(self._current, self._before, strict=False):
            np.subtract(matrix, before, out=matrix)
            before += self._cluster.all_reduce(matrix)
            matrix[:] = before
