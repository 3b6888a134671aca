"""What the report shows of nearest neighbors: how they do on rows, and how near they are."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from common.batches import dense
from common.report import charts, page, samples, supervised
from common.report.page import Section
from common.training import Run
from containers.knn import predict

_ROWS = 1000  # each is a search of the whole index


def sections(run: Run) -> Iterator[Section]:
    """Of the test rows, or else of the training rows, each of which finds itself."""
    found = samples.rows(run, "test", "train")
    if found is None or found.batch.labels is None:
        return
    step = -(-len(found.batch) // _ROWS)
    batch = found.batch[::step]
    answers = predict.load(run.job.model).predict(dense(batch.features), {"verbose": "true"})
    labels, source = found.batch.labels[::step].ravel(), f"{len(batch):,} rows of channel {found.channel}"
    if found.channel == "train":
        source += ", whose nearest neighbor is the row itself"
    if run.hyperparameters["predictor_type"] == "classifier":
        yield from supervised.classes(labels, answers["predicted_label"], source)
        right = answers["predicted_label"] == labels
        distances = np.asarray(answers["distances"]).mean(1)
        groups = {"right": distances[right], "wrong": distances[~right]}
    else:
        yield from supervised.regression(labels, answers["predicted_label"], source)
        groups = {"rows": np.asarray(answers["distances"]).mean(1)}
    chart = charts.histogram("distances to neighbors", groups, "mean distance to the neighbors")
    yield Section("Neighbors", [page.figures((chart, "How far the k nearest neighbors of a row are"))])
