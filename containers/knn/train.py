"""Carries a job's channels to the sampler, the sample to an index, the index to model_algo-1."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass

import faiss
import numpy as np

from common.batches import Float32
from common.failures import ClientError
from common.instances import available_memory
from common.metrics import log
from common.reservoir import Reservoir
from common.training import Run
from containers.knn import artifact, plan
from containers.knn.model import KNN, Preparation, compare_directly, far, new_index, to_cpu, to_gpu, unit
from containers.knn.rows import arrays
from containers.knn.scoring import score_test
from containers.knn.telling import told


@dataclass(frozen=True, slots=True)
class Sample:
    """What this host kept of its rows."""

    reservoir: Reservoir
    preparation: Preparation | None  # None on a host that had no rows


def train(run: Run) -> None:
    """Samples, builds the index on the leader, writes it and scores it."""
    log.info("Checkpoint loading and saving are disabled.")
    faiss.omp_set_num_threads(run.threads)
    try:
        _train(run)
    except MemoryError:
        raise ClientError(
            f"memory is too small for a sample of {run.hyperparameters['sample_size']} rows; accepted: a "
            "larger instance type, dimension reduction, or a smaller sample_size or mini_batch_size"
        ) from None


def _train(run: Run) -> None:
    sample = _sample(run)
    preparation = _agreed(run, sample)
    if preparation is None:
        log.info("Stopping on request before there were k rows: no model")
        return
    with run.metrics.timed("finalize.time"):
        knn = _build(run, sample, preparation)
    if knn is not None:
        for name in artifact.NAMES:
            with run.artifact(name) as path:
                artifact.write(knn, name, path)
        knn.centre()
    run.metrics.flush()
    if "test" in run.channels and not run.cluster.any(run.stop.requested):
        score_test(run, knn, preparation.input_dim)


def _sample(run: Run) -> Sample:
    """One pass over this host's rows."""
    values, cluster, metrics = run.hyperparameters, run.cluster, run.metrics
    whole, rest = divmod(values["sample_size"], cluster.size)
    size = whole + (cluster.rank < rest)
    with metrics.timed("initialize.time"):
        log.info(
            "Using per-worker sample size = %d (Available virtual memory = %d bytes, GPU free memory = %d "
            "bytes, number of workers = %d). If an out-of-memory error occurs, choose a larger instance "
            "type, use dimension reduction, decrease sample_size, and/or decrease mini_batch_size.",
            size,
            available_memory(),
            _gpu_memory() if run.device == "cuda" else 0,
            cluster.size,
        )
    preparation: Preparation | None = None
    reservoir = Reservoir(size, [run.seed, cluster.rank])
    batches, started = 0, time.perf_counter()
    width = None if values["feature_dim"] == "auto" else values["feature_dim"]
    with metrics.timed("update.time"):
        for batch in run.train.epoch(values["mini_batch_size"], feature_dim=width, share=True):
            rows, labels = arrays(batch, run.train.name, reservoir.seen, width)
            if preparation is None:
                width = rows.shape[1]
                preparation = plan.preparation(values, width, run.seed)
                reservoir.reduce = preparation.reduce
            reservoir.add(rows, labels)
            batches += 1
    metrics.counted("training_data_iter", reservoir.seen, batches, epoch=0)
    metrics.add("epochs", 1)
    metrics.progress(100.0)
    metrics.throughput(reservoir.seen, time.perf_counter() - started)
    return Sample(reservoir, preparation)


def _agreed(run: Run, sample: Sample) -> Preparation | None:
    """The same preparation on all hosts, with or without rows. None when a stop left fewer than k rows."""
    values, own = run.hyperparameters, sample.preparation
    width = int(run.cluster.all_reduce(np.array([own.input_dim if own else 0]), "max")[0])
    rows = int(run.cluster.all_reduce(np.array([len(sample.reservoir)]))[0])
    if own and own.input_dim != width:
        raise ClientError(
            f"channel train: rows have {own.input_dim} features on host {run.job.hosts.current} and {width} "
            "on another; accepted: the same number in every row"
        )
    if rows < values["k"]:
        if run.cluster.any(run.stop.requested):
            return None
        raise ClientError(
            f"channel train has {rows} rows for an index, fewer than k={values['k']}; "
            "accepted: at least k rows"
        )
    return own or plan.preparation(values, width, run.seed)


def _build(run: Run, sample: Sample, preparation: Preparation) -> KNN | None:
    """The filled index with its labels, on the leader; None elsewhere."""
    rows, labels = _gather(run, sample, preparation)
    if not run.cluster.leader:
        return None
    if preparation.normalize:
        unit(rows)
    settings = plan.index_settings(run.hyperparameters, len(rows), preparation.input_dim, run.seed)
    index = new_index(preparation.dimension, settings)
    directly = settings.kind != "faiss.Flat" and settings.metric == "L2" and far(rows) is not None
    if directly:
        compare_directly()  # or lists would be drawn from rounding
    if run.device == "cuda" and not directly:  # GPUs can't
        index = to_gpu(index)
    with told("Training index", "Finished training index"):
        index.train(rows)
    with told("Adding data to index", "Finished adding data to index"):
        index.add(rows)
    values = run.hyperparameters
    return KNN(to_cpu(index), labels, values["k"], values["predictor_type"], preparation, run.device)


def _gather(run: Run, sample: Sample, preparation: Preparation) -> tuple[Float32, Float32]:
    """Every host's sample on the leader; empty elsewhere."""
    own = sample.reservoir
    names = run.job.hosts.names if run.cluster.leader else ()
    for name in names:
        log.info("Getting reservoir sample from %s...", name)
    parts = run.cluster.gather(own.rows.reshape(-1, preparation.dimension))
    labels = run.cluster.gather(own.labels)
    for name, part, part_labels in zip(names, parts, labels, strict=True):
        # Rows with NaN were refused when they were read.
        log.info(
            "...Got reservoir sample from %s: data=%s, labels=%s, NaNs=0", name, part.shape, part_labels.shape
        )
    if not parts:
        return own.rows, own.labels
    return (parts[0], labels[0]) if len(parts) == 1 else (np.concatenate(parts), np.concatenate(labels))


def _gpu_memory() -> int:
    command = ["nvidia-smi", "--id=0", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        return int(answer.stdout) << 20
    except (OSError, ValueError, subprocess.SubprocessError):
        return 0
