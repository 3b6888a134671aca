"""Carries a job's channels to the sampler, the sample to a forest, the forest to model_algo-1."""

from __future__ import annotations

import itertools
import time

import numpy as np

from common import finite
from common.batches import Float32, dense
from common.cores import Cores
from common.failures import ClientError
from common.metrics import log
from common.reservoir import Reservoir
from common.training import Run
from containers.randomcutforest import artifact, memory, sampling, telling
from containers.randomcutforest.model import Forest, grow_forest
from containers.randomcutforest.testing import score_test


def train(run: Run) -> None:
    """Samples, grows the forest on the leader, writes it and scores it."""
    log.info("Verifying hyperparamemters...")  # AWS's spelling
    log.info("Hyperparameters are correct.")
    try:
        with Cores(run.threads) as cores:
            _train(run, cores)
    except MemoryError:
        raise ClientError(
            "memory is too small for this forest; accepted: smaller num_trees, num_samples_per_tree or "
            "mini_batch_size, or an instance type with more memory"
        ) from None


def _train(run: Run, cores: Cores) -> None:
    reservoir = _sample(run)
    sample = _gather(run, reservoir)
    if sample is None:
        log.info("Stopping on request before there was a row for each tree: no model")
        return
    forest = None
    if run.cluster.leader:
        forest = _grow(run, sample, cores)
        _save(run, forest)
    if "test" in run.channels and not run.cluster.any(run.stop.requested):
        score_test(run, forest, cores)


def _sample(run: Run) -> Reservoir:
    """One pass over this host's rows."""
    values, metrics = run.hyperparameters, run.metrics
    reservoir = Reservoir(values["num_trees"] * values["num_samples_per_tree"], [run.seed, run.cluster.rank])
    with metrics.timed("initialize.time"):
        log.info("Validating that feature_dim agrees with dimensions in training data...")
        batches = run.train.epoch(values["mini_batch_size"], feature_dim=values["feature_dim"], share=True)
        first = list(itertools.islice(batches, 1))
        log.info("feature_dim is correct.")
        memory.check(values, run.cluster.size, "test" in run.channels)
    metrics.flush()
    log.info("Sampling training data...")
    count, started = 0, time.perf_counter()
    with metrics.timed("update.time"):
        for batch in itertools.chain(first, batches):
            finite.check(batch.features, "train", reservoir.seen)
            reservoir.add(dense(batch.features) if values["force_dense"] else batch.features)
            count += 1
    log.info("Sampling training data completed.")
    telling.sampled(run, reservoir.seen, count, time.perf_counter() - started)
    return reservoir


def _gather(run: Run, reservoir: Reservoir) -> Float32 | None:
    """A uniform sample of all hosts' rows on the leader, no rows elsewhere; None when a stop left too few."""
    values, cluster = run.hyperparameters, run.cluster
    if cluster.leader:
        log.info("Master node: building Random Cut Forest...")
        log.info("Gathering samples...")
    seen = np.zeros(cluster.size, np.int64)
    seen[cluster.rank] = reservoir.seen
    seen = cluster.all_reduce(seen)
    if seen.sum() < values["num_trees"]:
        if cluster.any(run.stop.requested):
            return None
        raise ClientError(
            f"channel train has {seen.sum()} rows, fewer than num_trees={values['num_trees']}; "
            "accepted: at least a row for each tree"
        )
    # All hosts draw the same numbers.
    share = sampling.shares(seen.tolist(), reservoir.size, run.seed)[cluster.rank]
    own = sampling.chosen(reservoir.rows, int(share), [run.seed, cluster.rank, 1])
    parts = cluster.gather(own.reshape(-1, values["feature_dim"]))
    sample = parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else own[:0]
    if cluster.leader:
        log.info("%d samples gathered", len(sample))
    return sample


def _grow(run: Run, sample: Float32, cores: Cores) -> Forest:
    with run.metrics.timed("finalize.time"):
        log.info("Building Random Cut Forest...")
        with run.metrics.timed("fit_model.time"):
            forest, depths = grow_forest(sample, run.hyperparameters["num_trees"], run.seed, cores)
        log.info("Random Cut Forest built: \n\n%s", telling.forest_info(forest, depths))
    run.metrics.add("model.bytes", forest.nbytes)
    run.metrics.flush()
    return forest


def _save(run: Run, forest: Forest) -> None:
    log.info("Master node: Serializing the RandomCutForest model")
    with run.metrics.timed("serialize_model.time"), run.artifact(artifact.NAME) as path:
        artifact.save(path, forest)
    run.metrics.flush()
