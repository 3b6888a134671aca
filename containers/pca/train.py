"""Carries a job's channels to PCA: rows to moments or a sketch, these to components and model_algo-1."""

from __future__ import annotations

import time

import numpy as np

from common import finite
from common.cores import Cores
from common.failures import ClientError
from common.formats import ndarray
from common.metrics import log
from common.training import Run
from containers.pca import model
from containers.pca.products import Products, products

# Blocks of fewer rows would be dear to add to the matrix of all features.
_BLOCK_ROWS = 1000


def train(run: Run) -> None:
    """Trains and scores; the leader writes the model."""
    log.info("Checkpoint loading and saving are disabled.")
    device = "gpu(0)" if run.device == "cuda" else "cpu(0)"
    log.info("The default executor is <PCAExecutor on %s>.", device)
    log.info("%d feature(s) found in 'data'.", run.hyperparameters["feature_dim"])
    log.info(
        "<PCAExecutor on %s> is assigned to batch slice from 0 to %d.",
        device,
        run.hyperparameters["mini_batch_size"] - 1,
    )
    with Cores(run.threads) as cores:
        summary = _summary(run, products(cores, run.device))
        for _ in run.epochs(1):
            _pass(run, summary)
        count, total = _counted(run, summary)
    if not count:
        log.info("Stopping on request before the first row: no model")
        return
    components = _finish(run, summary, count, total)
    run.metrics.flush()
    if "test" in run.channels and not run.cluster.any(run.stop.requested):
        _score(run, components)


def _summary(run: Run, place: Products) -> model.Moments | model.Sketch:
    """What one pass fills."""
    values = run.hyperparameters
    features, components = values["feature_dim"], values["num_components"]
    try:
        with run.metrics.timed("initialize.time"):
            if values["algorithm_mode"] == "regular":
                return model.Moments(features, place, densify=values["force_dense"])
            extra = values["extra_components"]
            size = components + (max(10, components) if extra == -1 else extra)
            generator = np.random.default_rng([run.seed, run.cluster.rank])
            return model.Sketch(features, size, generator, place, densify=values["force_dense"])
    except MemoryError:
        raise _too_large(features, values["algorithm_mode"]) from None


def _too_large(features: int, mode: str) -> ClientError:
    advice = "accepted: fewer features" + (", or algorithm_mode=randomized" if mode == "regular" else "")
    return ClientError(
        f"feature_dim={features} needs more memory in algorithm_mode={mode} than this host has; {advice}"
    )


def _pass(run: Run, summary: model.Moments | model.Sketch) -> None:
    started = time.perf_counter()
    size = run.hyperparameters["mini_batch_size"]
    # Sums don't know where a mini-batch ends: several small ones are one block.
    step = size * max(1, _BLOCK_ROWS // size)
    rows = batches = 0
    with run.metrics.timed("update.time"):
        for batch in run.train.epoch(step, feature_dim=run.hyperparameters["feature_dim"], share=True):
            finite.check(batch.features, "train", rows)
            summary.add(batch.features)
            rows, batches = rows + len(batch), batches + -(-len(batch) // size)
    run.metrics.counted("training_data_iter", rows, batches, epoch=0)
    run.metrics.add("epochs", 1)
    run.metrics.progress(100.0)
    run.metrics.throughput(rows, time.perf_counter() - started)


def _counted(run: Run, summary: model.Moments | model.Sketch) -> tuple[int, model.Float64]:
    """Rows of all hosts, and their sum."""
    found = run.cluster.all_reduce(np.append(summary.total, summary.count))
    count = int(found[-1])
    if not count and not run.cluster.any(run.stop.requested):
        raise ClientError("channel train has no rows; accepted: at least one")
    return count, found[:-1]


def _finish(
    run: Run, summary: model.Moments | model.Sketch, count: int, total: model.Float64
) -> model.Components:
    """The components of all hosts' rows; the leader computes and writes them, and the others learn them."""
    values = run.hyperparameters
    with run.metrics.timed("finalize.time"):
        center = total / count if values["subtract_mean"] else np.zeros_like(total)
        components = _components(run, summary, center)
    if count < values["num_components"] and run.cluster.leader:
        log.warning(
            "num_components is %d and there are only %d rows: the other components are arbitrary, "
            "with singular values of 0",
            values["num_components"],
            count,
        )
    if values["algorithm_mode"] == "regular":
        log.info("%d components explain %.6f of the variance", values["num_components"], components.explained)
    if run.cluster.leader:
        with run.artifact("model_algo-1") as path:
            ndarray.save(path, {"mean": components.mean, "v": components.v, "s": components.s})
    return components


def _components(run: Run, summary: model.Moments | model.Sketch, center: model.Float64) -> model.Components:
    wanted = run.hyperparameters["num_components"]
    exact = isinstance(summary, model.Moments)
    whole = run.cluster.all_reduce(
        summary.scatter(center) if isinstance(summary, model.Moments) else summary.about(center)
    )
    if run.cluster.leader:
        found = (model.decompose if exact else model.approximate)(whole, center, wanted)
        packed = np.concatenate([found.mean.ravel(), found.v.ravel(), found.s, [np.float32(found.explained)]])
    else:
        packed = np.empty(len(center) * (wanted + 1) + wanted + 1, np.float32)
    packed = run.cluster.broadcast(packed.astype(np.float32))
    mean, v, s, explained = np.split(packed, np.cumsum([len(center), len(center) * wanted, wanted]))
    return model.Components(mean[None, :], v.reshape(len(center), wanted), s, float(explained[0]))


def _score(run: Run, components: model.Components) -> None:
    """Prints what the test channel's rows lose when they are projected and reconstructed."""
    channel, lost, rows, batches = run.channels["test"], 0.0, 0, 0
    features = run.hyperparameters["feature_dim"]
    for batch in channel.epoch(run.hyperparameters["mini_batch_size"], feature_dim=features):
        finite.check(batch.features, "test", rows)
        lost += model.reconstruction(batch.features, components.mean, components.v)
        rows, batches = rows + len(batch), batches + 1
    run.metrics.counted("test_data_iter", rows, batches)
    if channel.config.distribution == "ShardedByS3Key":
        # Replicated rows were scored by every host, all of them.
        lost, rows = run.cluster.all_reduce(np.array([lost, rows]))
    if run.cluster.any(run.stop.requested):
        return  # an early end of the channel: no score of all of it
    if not rows:
        raise ClientError("channel test has no rows; accepted: at least one, or no test channel")
    loss = float(lost / (rows * features))
    run.metrics.score("test", "mse", loss)
    run.metrics.quality("test", "mse", loss)
