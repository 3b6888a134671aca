"""What the report shows of random cut forests: scores along the rows, and AWS's line above the usual."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from common.batches import dense
from common.report import charts, page, samples, supervised
from common.report.page import Section
from common.training import Run
from containers.randomcutforest import predict

_DEVIATIONS = 3  # above the mean: anomalous, in AWS's guide and notebooks
_MARKED = 12


def sections(run: Run) -> Iterator[Section]:
    """Of the test rows, or else of the training rows, in their order."""
    found = samples.rows(run, "test", "train")
    if found is None:
        return
    numbers = np.arange(len(found.batch)) * max(1, round(found.seen / len(found.batch)))
    rows = dense(found.batch.features)
    scores = np.asarray(predict.load(run.job.model).predict(rows, {})["score"], np.float64)
    line = float(scores.mean() + _DEVIATIONS * scores.std())
    odd = np.flatnonzero(scores > line)
    highest = odd[np.argsort(-scores[odd], kind="stable")][:_MARKED]
    which = "those above the line" if len(odd) <= _MARKED else f"the {_MARKED} of the highest scores"
    marks = [(float(numbers[i]), float(scores[i]), "") for i in highest]
    drawn = [
        (
            charts.lines(
                "scores along the rows", {"score": (numbers, scores)}, "row", "anomaly score", marks=marks
            ),
            f"Scores in the order of rows; {len(odd)} lie above {line:.4g}, the mean and "
            f"{_DEVIATIONS} deviations; {which} are marked",
        ),
        (charts.histogram("scores", {"rows": scores}, "anomaly score", line), "Scores and that line"),
    ]
    if rows.shape[1] <= 4 or _shingled(rows):
        values = rows[:, -1]
        marks = [(float(numbers[i]), float(values[i]), "") for i in highest]
        drawn.insert(
            1,
            (
                charts.lines("the rows", {"value": (numbers, values)}, "row", "last feature", marks=marks),
                f"The last feature of the rows, {which} marked",
            ),
        )
    yield Section("Anomaly scores", [page.figures(*drawn)], f"Of {found.described}.")
    labels = found.batch.labels
    if found.channel == "test" and labels is not None and 0 < (labels > 0.5).mean() < 1:
        yield from supervised.binary(labels, scores, line, found.described, "1, an anomaly")


def _shingled(rows: np.ndarray) -> bool:
    """Whether each row is the one before, moved on by one: a window over a series."""
    return len(rows) > 1 and bool(np.allclose(rows[1:, :-1], rows[:-1, 1:]))
