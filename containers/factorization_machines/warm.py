"""Compiles the kernels, so that no job and no endpoint waits for that."""

from __future__ import annotations

import numpy as np

from common.batches import CSR, Batch, dense
from common.cluster import Cluster
from common.cores import Cores
from common.job import Hosts
from containers.factorization_machines import kernels, model
from containers.factorization_machines.adam import Descent, Rate
from containers.factorization_machines.engines import CoresEngine
from containers.factorization_machines.model import NOTHING, Machine


def compile_all() -> None:
    """Calls each kernel with the types that jobs and endpoints give it."""
    # A row that repeats a column, and one that doesn't.
    rows = CSR(np.ones(3, np.float32), np.array([1, 1, 0]), np.array([0, 2, 3]), (2, 2))
    labels, rate = np.ones(2, np.float32), Rate(0.0, 0.0)
    with Cores(1) as cores:
        machine = Machine.start(2, 1, (NOTHING, NOTHING, NOTHING), 0, cores)
        for kind in ("regressor", "binary_classifier"):
            engine = CoresEngine(
                machine, kind, Descent(rate, rate, rate), cores, Cluster(Hosts("algo-1", ("algo-1",)))
            )
            for features in (rows, dense(rows)):
                engine.step(Batch(features, labels))
    model.scores(machine, rows)
    sums, numbers = np.zeros((2, 1), np.float32), np.array([0, 2])
    kernels.gradients(
        np.array([0]), numbers, numbers, labels, labels, sums, machine.factors, np.zeros((1, 2), np.float32)
    )
