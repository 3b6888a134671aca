"""What the report shows of boosted trees: how they do on rows, and what they look at."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from common import content_types
from common.batches import CSR, Batch, stack
from common.channels.interrupts import Interrupt
from common.report import charts, page, samples, supervised
from common.report.page import Section
from common.report.samples import Sample
from common.training import Run
from containers.xgboost import artifact, predict, ranking
from containers.xgboost.codec import SCORE, LibsvmRows

_SHOWN = 20


def sections(run: Run) -> Iterator[Section]:
    """Of the validation rows, or else of the training rows."""
    found = _ranked(run) or samples.rows(run, "validation", "train", weights=_weighted(run))
    if found is not None and found.batch.labels is not None:
        features = found.batch.features
        libsvm = run.channels[found.channel].media_type.name == content_types.LIBSVM
        rows = LibsvmRows(features) if libsvm and isinstance(features, CSR) else features
        ensemble = predict.load(run.job.model)
        scores = np.asarray(ensemble.predict(rows, {})[SCORE])
        yield from _judged(ensemble.objective, found.batch.labels.ravel(), scores, found.described)
    yield from _importances(run)


def _ranked(run: Run) -> Sample | None:
    """Rows that have groups, which the shared decoder doesn't read."""
    name = "validation" if "validation" in run.channels else "train"
    channel = run.channels[name]
    if channel.media_type.name != content_types.LIBSVM or not ranking.has_groups(channel):
        return None
    table = ranking.read(channel, Interrupt(None), 0, 1)
    batch = Batch(stack(table.parts), table.labels)[: samples.ROWS]
    return Sample(name, batch, len(batch), len(batch) == len(table))


def _weighted(run: Run) -> bool:
    return bool(run.hyperparameters["csv_weights"]) and run.train.media_type.name == content_types.CSV


def _judged(
    objective: str, labels: NDArray[np.float32], scores: NDArray[np.float32], source: str
) -> Iterator[Section]:
    kind, _, how = objective.partition(":")
    if kind == "binary" and how != "hinge":
        yield from supervised.binary(labels, scores, 0.5 if how == "logistic" else 0.0, source)
    elif kind in ("binary", "multi"):
        yield from supervised.classes(labels, scores.argmax(1) if scores.ndim == 2 else scores, source)
    elif objective == "reg:logistic" and set(np.unique(labels)) <= {0.0, 1.0}:
        yield from supervised.binary(labels, scores, 0.5, source)
    elif kind in ("reg", "count") and scores.ndim == 1:
        yield from supervised.regression(labels, scores, source)
    else:
        grades = np.unique(labels)[: 6 if kind == "rank" else 0]
        groups = {f"label {grade:g}": scores[labels == grade] for grade in grades} or {"rows": scores}
        chart = charts.histogram("predictions", groups, "prediction")
        yield Section("Predictions", [page.figures((chart, f"Predictions of {objective}"))], f"Of {source}.")


def _importances(run: Run) -> Iterator[Section]:
    booster = artifact.load_all(run.job.model, first_only=True)[0]
    linear = run.hyperparameters["booster"] == "gblinear"
    drawn = []
    for kind, what in (
        (("weight", "coefficient"),) if linear else (("total_gain", "total gain"), ("weight", "splits"))
    ):
        found = booster.get_score(importance_type=kind)
        ranked = sorted(found.items(), key=lambda item: -abs(np.mean(item[1])))[:_SHOWN]
        if ranked:
            names = [f"feature {name.removeprefix('f')}" for name, _ in ranked]
            values = [float(np.mean(value)) for _, value in ranked]
            caption = f"Features by {what}, the first of {len(found)} that the model uses"
            drawn.append((charts.bars(f"importances by {what}", names, values, what), caption))
    if drawn:
        yield Section("Feature importances", [page.figures(*drawn)])
