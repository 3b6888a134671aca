"""Carries a job's channels to k-means: the stream to centers, the centers to k, the k to model_algo-1."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import numpy as np

from common import finite
from common.batches import Batch, Features, Float32, dense, stack
from common.cores import Cores
from common.failures import ClientError
from common.formats import ndarray
from common.metrics import log
from common.training import Run
from containers.kmeans import model
from containers.kmeans.engines import Engine, engine


def train(run: Run) -> None:
    """Trains and scores; the leader writes the model."""
    log.info("Checkpoint loading and saving are disabled.")
    log.info("number of center slices 1")
    with Cores(run.threads) as cores:
        place = engine(cores, run.device, densify=run.hyperparameters["force_dense"])
        clusters = _stream(run, place)
        if clusters is None:
            log.info("Stopping on request before there were enough rows to choose centers from: no model")
            return
        centers = _finish(run, place, clusters)
        run.metrics.flush()
        if "test" in run.channels and not run.cluster.any(run.stop.requested):
            _score(run, place, centers)


def _stream(run: Run, place: Engine) -> model.Clusters | None:
    """All epochs over the training data. None when the job was stopped before centers could be chosen."""
    clusters = None
    for epoch in run.epochs(run.hyperparameters["epochs"]):
        started = time.perf_counter()
        batches = run.train.epoch(
            run.hyperparameters["mini_batch_size"],
            feature_dim=run.hyperparameters["feature_dim"],
            share=True,
        )
        if clusters is None:
            with run.metrics.timed("initialize.time"):
                first = _first(run, batches)
                clusters = _start(run, first)
            batches = itertools.chain(first, batches)
        if clusters is None:
            return None
        rows = _epoch(run, place, clusters, batches, epoch)
        run.metrics.progress(100.0 * (epoch + 1) / run.hyperparameters["epochs"])
        run.metrics.throughput(rows, time.perf_counter() - started)
    return clusters


def _epoch(run: Run, place: Engine, clusters: model.Clusters, batches: Iterator[Batch], epoch: int) -> int:
    """One pass: all hosts take their next mini-batch together until none has any left."""
    rows = count = 0
    with run.metrics.timed("update.time"):
        while True:
            batch = next(batches, None)
            if not run.cluster.any(batch is not None):
                break
            totals = np.zeros((len(clusters.counts), clusters.centers.shape[1] + 1))
            if batch is not None:
                finite.check(batch.features, "train", rows)
                totals = place.totals(batch.features, clusters.centers)
                rows, count = rows + len(batch), count + 1
            clusters.update(run.cluster.all_reduce(totals))
    log.info("processed a total of %d examples", rows)
    run.metrics.counted("training_data_iter", rows, count, epoch=epoch)
    run.metrics.add("epochs", 1)
    return rows


def _first(run: Run, batches: Iterator[Batch]) -> list[Batch]:
    """The first mini-batch, and more where it has too few rows to choose centers from."""
    factor = run.hyperparameters["extra_center_factor"]
    wanted = run.hyperparameters["k"] * (1 if factor == "auto" else factor)
    first: list[Batch] = []
    while sum(map(len, first)) < wanted and (batch := next(batches, None)) is not None:
        finite.check(batch.features, "train", sum(map(len, first)))
        first.append(batch)
    return first


def _start(run: Run, first: list[Batch]) -> model.Clusters | None:
    """Centers chosen by the leader from what all hosts read first; None when a stop left too few rows."""
    values = run.hyperparameters
    own = stack([batch.features for batch in first]) if first else _nothing(run)
    run.metrics.counted("init_train_data_iter", len(own), len(first))
    gathered: Features = own
    if run.cluster.size > 1:
        parts = run.cluster.gather(dense(own))
        gathered = np.concatenate(parts) if parts else own
    count = int(run.cluster.broadcast(np.array([len(gathered)]))[0])
    if count < values["k"]:
        if run.cluster.any(run.stop.requested):
            return None
        raise ClientError(
            f"channel train has {count} rows, fewer than k={values['k']}; accepted: at least k rows"
        )
    if count < values["mini_batch_size"]:
        log.warning(
            "Batch size %d is bigger than the first batch data. "
            "Effective batch size used to initialize is %d",
            values["mini_batch_size"],
            count,
        )
    centers = np.empty((_kept(run, count), values["feature_dim"]))
    if run.cluster.leader:
        generator = np.random.default_rng([run.seed, 0])
        centers[:] = model.choose(gathered, len(centers), values["init_method"], generator)
    return model.Clusters(run.cluster.broadcast(centers), values["half_life_time_size"])


def _nothing(run: Run) -> Float32:
    return np.empty((0, run.hyperparameters["feature_dim"]), np.float32)


def _kept(run: Run, rows: int) -> int:
    """How many centers follow the stream."""
    k, factor = run.hyperparameters["k"], run.hyperparameters["extra_center_factor"]
    if factor == "auto":
        factor = max(1, min(10, rows // k))
        log.info("'extra_center_factor' was set to 'auto', evaluated to %d.", factor)
    if k * factor > rows:
        log.warning(
            "k * extra_center_factor is %d, but there are only %d rows: %d centers are kept",
            k * factor,
            rows,
            rows,
        )
    return int(min(k * factor, rows))


def _finish(run: Run, place: Engine, clusters: model.Clusters) -> Float32:
    """Reduces the centers to k and writes them. All hosts compute the same; only the leader writes."""
    values, metrics = run.hyperparameters, run.metrics
    trials = values["local_lloyd_num_trials"]
    with metrics.timed("finalize.time"):
        log.info("shrinking %d centers into %d", len(clusters.counts), values["k"])
        with metrics.timed("_shrink.time"):
            reduction = model.shrink(
                clusters.centers,
                clusters.counts,
                values["k"],
                np.random.default_rng([run.seed, 1]),
                place,
                method=values["local_lloyd_init_method"],
                trials=10 if trials == "auto" else trials,
                max_iter=values["local_lloyd_max_iter"],
                tolerance=values["local_lloyd_tol"],
            )
        for number, loss in enumerate(reduction.losses):
            log.info("local kmeans attempt #%d. Current mean square distance %f", number, loss)
        log.info("finished shrinking process. Mean Square Distance = %s", reduction.loss)
        metrics.quality("train", "msd", reduction.loss)
        centers = reduction.centers.astype(np.float32)
    if run.cluster.leader:
        with run.artifact("model_algo-1") as path:
            ndarray.save(path, [centers])
    return centers


def _score(run: Run, place: Engine, centers: Float32) -> None:
    """Prints the metrics of the test channel that eval_metrics names."""
    channel = run.channels["test"]
    batches = rows = 0

    def blocks() -> Iterator[Features]:
        nonlocal batches, rows
        for batch in channel.epoch(
            run.hyperparameters["mini_batch_size"], feature_dim=run.hyperparameters["feature_dim"]
        ):
            finite.check(batch.features, "test", rows)
            batches, rows = batches + 1, rows + len(batch)
            yield batch.features

    total, count = model.quality(blocks(), centers, place)
    run.metrics.counted("test_data_iter", rows, batches)
    if channel.config.distribution == "ShardedByS3Key":
        # Replicated rows were scored by every host, all of them.
        total, count = run.cluster.all_reduce(np.array([total, count]))
    if run.cluster.any(run.stop.requested):
        return  # an early end of the channel: no score of all of it
    if not count:
        raise ClientError("channel test has no rows; accepted: at least one, or no test channel")
    scores = {"msd": float(total / count), "ssd": float(total)}
    wanted = run.hyperparameters["eval_metrics"]
    for name in wanted:
        run.metrics.score("test", name, scores[name])
    for name in wanted:
        run.metrics.quality("test", name, scores[name])
