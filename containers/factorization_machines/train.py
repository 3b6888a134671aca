"""Carries a job's channels to a factorization machine, prints AWS's log lines and writes model_algo-1."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import chain, count

import numpy as np
from numpy.typing import NDArray

from common.batches import CSR, Batch
from common.cores import Cores
from common.failures import ClientError
from common.metrics import log
from common.training import Run
from containers.factorization_machines import artifact, data, measures, model, plan
from containers.factorization_machines.engines import CoresEngine, Engine
from containers.factorization_machines.model import Machine

Float64 = NDArray[np.float64]


def train(run: Run) -> None:
    """Trains and scores; the leader writes the model."""
    log.info("Create Store: %s", "local" if run.cluster.size == 1 else "dist_sync")
    with Cores(run.threads) as cores:
        machine = _learn(run, cores)
        if machine is None:
            log.info("Stopping on request before a row was read: no model")
            return
        _write(run, machine)
        if "test" in run.channels and not run.cluster.any(run.stop.requested):
            _score(run, machine, cores)


def _learn(run: Run, cores: Cores) -> Machine | None:
    """All epochs. None when the job was stopped before there was a row."""
    epochs = run.hyperparameters["epochs"]
    engine, sums = None, np.zeros(1)
    for epoch in run.epochs(epochs):
        started = time.perf_counter()
        batches = data.epoch(run, "train", share=True)
        if engine is None:
            with run.metrics.timed("initialize.time"):
                first = next(batches, None)
                engine = _engine(run, cores, first)
            batches = chain([] if first is None else [first], batches)
        with run.metrics.timed("update.time"):
            found, rows, number = _epoch(run, engine, batches, epoch)
        if not found[0]:
            break  # a stop before the epoch's first row takes nothing from the epochs before
        sums = found
        _tell(run, "train", sums, epoch=epoch)
        run.metrics.add("epochs", 1)
        run.metrics.flush()
        run.metrics.progress(100.0 * (epoch + 1) / epochs)
        # As AWS's iterators count: over all epochs.
        seen = epoch + 1
        run.metrics.counted("training_data_iter", rows * seen, number * seen, epoch=epoch, resets=seen)
        run.metrics.throughput(rows, time.perf_counter() - started)
    if engine is None or not sums[0]:
        if run.cluster.any(run.stop.requested):
            return None
        raise ClientError("channel train has no rows; accepted: at least one")
    _tell(run, "train", sums)
    return engine.machine()


def _engine(run: Run, cores: Cores, first: Batch | None) -> Engine:
    """Where to learn, which the first mini-batches of all hosts decide: GPUs take dense rows alone."""
    values, kind = run.hyperparameters, run.hyperparameters["predictor_type"]
    run.metrics.counted("init_train_data_iter", 0 if first is None else len(first), int(first is not None))
    machine = Machine.start(
        values["feature_dim"], values["num_factors"], plan.starts(values), run.seed, cores
    )
    sparse = run.cluster.any(first is not None and isinstance(first.features, CSR))
    if sparse and run.device != "cpu":
        log.info("Training data are sparse: the CPU is used, no GPU")
    if sparse or run.device == "cpu":
        return CoresEngine(machine, kind, plan.descent(values), cores, run.cluster)
    from containers.factorization_machines.torch_engine import TorchEngine

    return TorchEngine(machine, kind, plan.descent(values), run.devices, run.cluster)


def _epoch(run: Run, engine: Engine, batches: Iterator[Batch], epoch: int) -> tuple[Float64, int, int]:
    """One pass: all hosts take their next mini-batch together until none has any left.

    Returns the measures of all rows of all hosts, and how many rows and mini-batches were this host's.
    """
    total = np.zeros(measures.count(run.hyperparameters["predictor_type"]))
    rows = own = 0
    for number in count():
        batch = next(batches, None)
        sums = engine.step(batch)
        if not sums[0]:
            break
        total += sums
        if batch is not None:
            rows, own = rows + len(batch), own + 1
        if number % run.hyperparameters["batch_metrics_publish_interval"] == 0:
            _tell(run, "train", total, epoch=epoch, batch=number)
    return total, rows, own


def _tell(run: Run, channel: str, sums: Float64, **where: int) -> None:
    """Prints metrics. Raises ClientError when they tell that training leads nowhere."""
    if not np.isfinite(sums).all():
        raise ClientError(
            f"the loss on channel {channel} is not a finite number any more; "
            "accepted: smaller bias_lr, linear_lr, factors_lr, initial weights or features"
        )
    for name, value, tag in measures.metrics(run.hyperparameters["predictor_type"], sums):
        run.metrics.quality(channel, name, value, tag, **where)


def _write(run: Run, machine: Machine) -> None:
    if not machine.finite():
        raise ClientError(
            "the trained weights are not finite numbers; accepted: smaller bias_lr, linear_lr or factors_lr"
        )
    if run.cluster.leader:
        trained = artifact.Model(machine, run.hyperparameters["predictor_type"])
        with run.artifact(artifact.NAME) as path:
            artifact.write(path, trained, run.hyperparameters)


def _score(run: Run, machine: Machine, cores: Cores) -> None:
    """Prints the metrics of the test channel."""
    channel, kind = run.channels["test"], run.hyperparameters["predictor_type"]
    sums = np.zeros(measures.count(kind))
    lengths, batches = model.squares(machine.factors), 0
    for batch in data.epoch(run, "test"):
        assert batch.labels is not None
        parts = [batch.features[part] for part in cores.parts(len(batch))]
        scores = cores.map(lambda part: model.scores(machine, part, lengths), parts)
        sums += measures.measure(kind, np.concatenate(scores), model.plain(batch.labels))[1]
        batches += 1
    run.metrics.counted("test_data_iter", int(sums[0]), batches)
    if channel.config.distribution == "ShardedByS3Key":
        # Replicated rows were scored by every host, all of them.
        sums = run.cluster.all_reduce(sums)
    if run.cluster.any(run.stop.requested):
        return  # an early end of the channel: no score of all of it
    if not sums[0]:
        raise ClientError("channel test has no rows; accepted: at least one, or no test channel")
    for name, value, _ in measures.metrics(kind, sums):
        run.metrics.score("test", name, value)
    _tell(run, "test", sums)
