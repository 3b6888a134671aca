"""Compiles IP Insights' kernels, so that no job and no request waits for that."""

from __future__ import annotations

import numpy as np

from common.content_types import CSV, JSON, MediaType
from common.cores import Cores
from containers.ipinsights import kernels
from containers.ipinsights.codec import PairsCodec
from containers.ipinsights.evaluation import Area
from containers.ipinsights.learning import Learner, Settings
from containers.ipinsights.model import Model, Shape
from containers.ipinsights.pairs import Pairs

_PAIRS = Pairs(np.array([1, 2], np.uint64), np.array([1, 2], np.uint32))


def compile_all() -> None:
    """Calls each kernel once with the types that training and answering give it."""
    with Cores(1) as cores:
        learner = Learner(Shape(2, 4, 1, 0), Settings(0.1, 0.1, 1, 1), cores)
        learner.learn(_PAIRS, learner.shape.key(0))
        answering(learner.model())
    kernels.prefix_rows(_PAIRS.addresses, np.empty((4, 2), np.int64))
    scores = np.zeros(1, np.float32)
    Area().add(scores, scores)


def answering(model: Model) -> None:
    """Calls what reads requests and scores pairs, so that it is loaded."""
    codec = PairsCodec()
    codec.decode(b"a,192.0.2.7\n", MediaType(CSV))
    codec.decode(b'{"instances": [{"features": ["a", "192.0.2.7"]}]}', MediaType(JSON))
    model.scores(_PAIRS)
