"""What the report shows of nearest neighbors: how they do on rows, and how near they are."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from common.batches import dense
from common.report import charts, page, samples, supervised
from common.report.page import Section
from common.training import Run
from containers.knn import predict

_DISTANCES = {
    "L2": "squared distance",
    "INNER_PRODUCT": "minus the inner product",
    "COSINE": "1 - the cosine",
}
_ROWS = 1000  # each is a search of the whole index


def sections(run: Run) -> Iterator[Section]:
    """Of the test rows, or else of the training rows, each of which finds itself."""
    found = samples.rows(run, "test", "train")
    if found is None or found.batch.labels is None:
        return
    found = found.fewer(_ROWS)
    assert found.batch.labels is not None
    answers = predict.load(run.job.model).predict(dense(found.batch.features), {"verbose": "true"})
    labels, source = found.batch.labels.ravel(), found.described
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
    values = run.hyperparameters
    chart = charts.histogram("distances to neighbors", groups, f"mean {_DISTANCES[values['index_metric']]}")
    neighbors = f"{values['k']} nearest neighbors of a row are" if values["k"] > 1 else "nearest neighbor is"
    yield Section("Neighbors", [page.figures((chart, f"How far the {neighbors}"))])
