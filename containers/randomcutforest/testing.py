"""Scores the test channel with the finished forest."""

from __future__ import annotations

import numpy as np

from common import finite
from common.batches import Batch, Float32
from common.cores import Cores
from common.failures import ClientError
from common.training import Run
from containers.randomcutforest.evaluation import anomalous, measures
from containers.randomcutforest.model import Forest
from containers.randomcutforest.scoring import Scorer

_MEASURED = {"accuracy": ("accuracy",), "precision_recall_fscore": ("precision", "recall", "f1")}


def score_test(run: Run, forest: Forest | None, cores: Cores) -> None:
    """Prints what eval_metrics names. The leader, which has the forest, reads and scores all rows."""
    if forest is not None:
        scores, labels = _scored(run, Scorer(forest), cores)
    if run.cluster.any(run.stop.requested) or forest is None:
        return  # an early end of the channel: no score of all of it
    if not len(scores):
        raise ClientError("channel test has no rows; accepted: at least one, or no test channel")
    found = measures(anomalous(scores), labels == 1)
    names = [name for metric in run.hyperparameters["eval_metrics"] for name in _MEASURED[metric]]
    for name in names:
        run.metrics.score("test", name, found[name])
    for name in names:
        run.metrics.quality("test", name, found[name], "score")


def _scored(run: Run, scorer: Scorer, cores: Cores) -> tuple[Float32, Float32]:
    """The score and the label of each row; rows themselves are not kept."""
    scores, labels = [np.empty(0, np.float32)], [np.empty(0, np.float32)]
    rows = 0
    for batch in run.channels["test"].epoch(
        run.hyperparameters["mini_batch_size"], feature_dim=scorer.feature_dim
    ):
        finite.check(batch.features, "test", rows)
        labels.append(_labels(batch, rows))
        scores.append(scorer.scores(batch.features, cores))
        rows += len(batch)
    run.metrics.counted("test_data_iter", rows, len(scores) - 1)
    return np.concatenate(scores), np.concatenate(labels)


def _labels(batch: Batch, before: int) -> Float32:
    labels = batch.labels
    assert labels is not None  # the manifest requires them
    if labels.ndim > 1 and labels.shape[1] != 1:
        raise ClientError(f"channel test: rows have {labels.shape[1]} labels; accepted: label_size=1")
    labels = labels.reshape(-1)
    known = (labels == 0) | (labels == 1)
    if not known.all():
        row = int(known.argmin())
        raise ClientError(
            f"channel test: the label of row {before + row + 1} is {labels[row]}; "
            "accepted: 1 for an anomaly and 0 for a normal row"
        )
    return labels
