"""Compiles the kernels, so that neither a job nor a request waits for that."""

from __future__ import annotations

import numpy as np

from containers.deepar.artifact import Settings
from containers.deepar.forecaster import Forecaster
from containers.deepar.series import Series


def compile_all() -> None:
    """Lets a small network learn and forecast: each kernel is called with the types that jobs give it."""
    # An endpoint imports this module, and needs none of these.
    from common.cluster import Cluster
    from common.job import Hosts
    from containers.deepar.engine import Engine
    from containers.deepar.windows import Store

    settings = Settings("D", 2, 2, [1, 2], "gaussian", 1, 2, 0.1, [1], 1, 1, 1.0)
    store = Store([_series(settings, 4)], settings.span)
    hosts = Hosts("algo-1", ("algo-1",))
    engine = Engine(settings, store, rate=0.001, devices=("cpu",), threads=1, cluster=Cluster(hosts), seed=0)
    engine.learn(np.zeros(1, np.int64), np.ones(1, np.int64))
    forecasting(Forecaster(engine.model(engine.state())))


def forecasting(forecaster: Forecaster) -> None:
    """Calls the kernels that forecasts need."""
    forecaster.paths([_series(forecaster.settings, 1)], 1, np.random.default_rng(0))


def _series(settings: Settings, length: int) -> Series:
    steps = length + settings.prediction_length
    dynamic = np.zeros((settings.num_dynamic_feat, steps), np.float32)
    cat = (0,) * len(settings.cardinality)
    return Series(np.datetime64("2020-01-01", "s"), np.ones(length, np.float32), cat, dynamic)
