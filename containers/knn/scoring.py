"""Scores the test channel with the finished index."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from common.batches import Float32
from common.failures import ClientError
from common.training import Run
from containers.knn.model import KNN, TooFar
from containers.knn.rows import arrays
from containers.knn.scores import Accuracy, SquaredError
from containers.knn.telling import told


def score_test(run: Run, knn: KNN | None, width: int) -> None:
    """Prints the scores of the test channel. The leader has the index; sharded rows come to it."""
    metrics = run.metrics
    score: Accuracy | SquaredError
    score = Accuracy() if run.hyperparameters["predictor_type"] == "classifier" else SquaredError()
    rows = batches = 0
    for features, labels in _test_batches(run, width):
        if knn is not None and len(features):
            with told("Searching index", "Done searching index"):
                predicted = _predict(knn, features, rows)
            score.add(predicted, labels)
            rows, batches = rows + len(features), batches + 1
    metrics.counted("test_data_iter", rows, batches)
    if run.cluster.any(run.stop.requested) or knn is None:
        return  # an early end of the channel: no score of all of it
    if not rows:
        raise ClientError("channel test has no rows; accepted: at least one, or no test channel")
    scores = score.scores()
    for name, value in scores.items():
        metrics.score("test", name, value)
    for name, value in scores.items():
        metrics.quality("test", name, value, "loss" if name == "mse" else "score")


def _predict(knn: KNN, features: Float32, before: int) -> Float32:
    try:
        return knn.predict(features)
    except TooFar as error:
        raise ClientError(f"channel test: {TooFar(before + error.row)}") from None


def _test_batches(run: Run, width: int) -> Iterator[tuple[Float32, Float32]]:
    """Test rows on the leader, in steps that all hosts take together."""
    channel = run.channels["test"]
    sharded = channel.config.distribution == "ShardedByS3Key"
    # Replicated rows are scored once, by the leader.
    reads = run.cluster.leader or sharded
    batches = channel.epoch(run.hyperparameters["mini_batch_size"], feature_dim=width) if reads else iter(())
    seen = 0
    while True:
        batch = next(batches, None)
        if not run.cluster.any(batch is not None):
            return
        rows, labels = np.empty((0, width), np.float32), np.empty(0, np.float32)
        if batch is not None:
            rows, labels = arrays(batch, channel.name, seen, width)
            seen += len(rows)
        if sharded:
            parts, label_parts = run.cluster.gather(rows), run.cluster.gather(labels)
            if parts:
                rows, labels = np.concatenate(parts), np.concatenate(label_parts)
        yield rows, labels
