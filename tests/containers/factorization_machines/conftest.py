"""Learning as a job does it on one host, without the job."""

from __future__ import annotations

import pytest

from common.batches import Batch, to_csr
from common.cluster import Cluster
from common.cores import Cores
from common.job import Hosts
from containers.factorization_machines import plan
from containers.factorization_machines.engines import CoresEngine
from containers.factorization_machines.hyperparameters import DECLARATION
from containers.factorization_machines.model import Machine


@pytest.fixture
def learned():
    """``learned(rows, labels, sparse=True, **hyperparameters)`` is the machine after all epochs."""

    def learn(rows, labels, sparse=True, threads=1, seed=0, **written):
        values = DECLARATION.resolve(written)
        size = values["mini_batch_size"]
        with Cores(threads) as cores:
            shape = values["feature_dim"], values["num_factors"]
            start = Machine.start(*shape, plan.starts(values), seed, cores)
            engine = CoresEngine(
                start, values["predictor_type"], plan.descent(values), cores, Cluster(Hosts())
            )
            features = to_csr(rows) if sparse else rows
            for _ in range(values["epochs"]):
                for first in range(0, len(rows), size):
                    part = slice(first, first + size)
                    engine.step(Batch(features[part], labels[part]))
            return engine.machine()

    return learn
