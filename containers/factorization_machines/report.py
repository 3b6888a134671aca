"""What the report shows of a factorization machine: its scores beside labels, and its strongest features."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from common.report import charts, page, samples, supervised
from common.report.page import Section
from common.training import Run
from containers.factorization_machines import artifact, predict

_SHOWN = 20


def sections(run: Run) -> Iterator[Section]:
    """Of the test rows, or else of the training rows."""
    found = samples.rows(run, "test", "train")
    trained = artifact.read(run.job.model)
    if found is not None and found.batch.labels is not None:
        scores = predict.load(run.job.model).predict(found.batch.features, {})["score"]
        if trained.predictor_type == "binary_classifier":
            yield from supervised.binary(found.batch.labels, scores, 0.5, found.described)
        else:
            yield from supervised.regression(found.batch.labels, scores, found.described)
            groups = {"scores": scores, "labels": found.batch.labels}
            chart = charts.histogram("scores and labels", groups, "score")
            yield Section("Scores", [page.figures((chart, "How scores and labels are distributed"))])
    linear = np.asarray(trained.machine.linear).ravel()
    lengths = np.sqrt(np.square(trained.machine.factors).sum(1))
    drawn = []
    for values, what in ((linear, "linear weight"), (lengths, "length of the factors")):
        strongest = np.argsort(-np.abs(values), kind="stable")[:_SHOWN]
        chart = charts.bars(
            f"features by {what}", [f"feature {i}" for i in strongest], values[strongest], what
        )
        drawn.append((chart, f"Features by {what}"))
    yield Section("Features", [page.figures(*drawn)])
