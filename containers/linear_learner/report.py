"""What the report shows of a linear model: how it does on rows it may not have seen, and what it looks at."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from common.batches import dense
from common.report import charts, page, samples, supervised
from common.report.page import Section
from common.report.samples import Sample
from common.training import Run
from containers.linear_learner import predict
from containers.linear_learner.artifact import Model

_SHOWN = 20


def sections(run: Run) -> Iterator[Section]:
    """Of the test rows, or else of those of validation or training."""
    found = samples.rows(run, "test", "validation", "train")
    if found is None or found.batch.labels is None:
        return
    predictor = predict.load(run.job.model)
    labels = found.batch.labels.ravel()
    answers = predictor.predict(found.batch.features, {})
    if predictor.model.predictor_type == "regressor":
        yield from supervised.regression(labels, answers["score"], found.described)
    elif predictor.model.predictor_type == "multiclass_classifier":
        yield from supervised.classes(labels, answers["predicted_label"], found.described)
    else:
        yield from supervised.binary(labels, answers["score"], predictor.model.threshold, found.described)
    yield _weights(predictor.model, found)


def _weights(model: Model, found: Sample) -> Section:
    """Weights times how much their features vary: what a change of the usual size does to the score."""
    effect = model.weights * dense(found.batch.features).std(0)
    strongest = np.argsort(-np.abs(effect).mean(0), kind="stable")[:_SHOWN]
    if len(effect) == 1:
        values, what = effect[0][strongest], "change of the score"
    else:
        values, what = np.abs(effect).mean(0)[strongest], "mean size of the change of a class's score"
    chart = charts.bars("feature importances", [f"feature {i}" for i in strongest], values, what)
    caption = f"What one standard deviation of a feature does; the strongest of {model.weights.shape[1]}"
    return Section("Feature importances", [page.figures((chart, caption))])
