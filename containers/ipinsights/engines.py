"""Where a model learns: on all cores, or on GPUs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from common.cores import Cores
from containers.ipinsights.learning import Combine, Float64, Learner, Settings
from containers.ipinsights.model import Model, Shape
from containers.ipinsights.pairs import Pairs


class Engine(Protocol):
    """A model that learns; `learning.Learner` documents the methods."""

    shape: Shape

    def learn(self, pairs: Pairs, key: np.uint64, combine: Combine | None = None) -> Float64: ...

    def model(self) -> Model: ...


def engine(shape: Shape, settings: Settings, cores: Cores, devices: Sequence[str]) -> Engine:
    """The engine of devices: ``("cpu",)``, or some of torch's."""
    if tuple(devices) == ("cpu",):
        return Learner(shape, settings, cores)
    from containers.ipinsights.torch_learning import TorchLearner

    return TorchLearner(shape, settings, devices)
