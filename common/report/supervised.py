"""What is looked at of a classifier or a regression: predictions beside labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.report import charts, page
from common.report.page import Section

_CLASSES = 40  # that a confusion matrix shows; the most frequent


def binary(
    labels: NDArray[Any], scores: NDArray[Any], threshold: float | None, source: str, positive: str = "1"
) -> Iterator[Section]:
    """Confusion at ``threshold``, ROC, precision and recall, of (rows,) labels 0 and 1, and their scores."""
    truth, scores = np.asarray(labels).ravel() > 0.5, np.asarray(scores, np.float64).ravel()
    parts = []
    if threshold is not None:
        yield from classes(truth.astype(int), (scores >= threshold).astype(int), source)
    if truth.any() and not truth.all():
        curve = Curve.of(truth, scores)
        at = None if threshold is None else curve.at(threshold)
        marks = [(at[0], at[1], f"threshold {threshold:.3g}")] if at else []
        parts.append(
            (
                charts.lines(
                    "ROC curve",
                    {"model": (curve.false_rate, curve.recall)},
                    "false positive rate",
                    "true positive rate",
                    marks=marks,
                    diagonal=True,
                ),
                f"ROC curve, area {curve.area:.4f}",
            )
        )
        marks = [(at[1], at[2], f"threshold {threshold:.3g}")] if at else []
        parts.append(
            (
                charts.lines(
                    "precision and recall",
                    {"model": (curve.recall, curve.precision)},
                    "recall",
                    "precision",
                    marks=marks,
                ),
                f"Precision and recall, average precision {curve.average_precision:.4f}",
            )
        )
    parts.append(
        (
            charts.histogram(
                "scores by label",
                {f"label {positive}": scores[truth], "other": scores[~truth]},
                "score",
                threshold,
            ),
            "Scores of either label" + ("" if threshold is None else f"; the threshold is {threshold:.4g}"),
        )
    )
    yield Section("Scores and threshold", [page.figures(*parts)], f"Of {source}.")


def classes(
    labels: NDArray[Any], predicted: NDArray[Any], source: str, names: Sequence[str] | None = None
) -> Iterator[Section]:
    """The confusion matrix and each class's precision and recall; (rows,) whole numbers both."""
    labels, predicted = (
        np.asarray(labels).ravel().astype(np.int64),
        np.asarray(predicted).ravel().astype(np.int64),
    )
    every, inverse, counts = np.unique(
        np.concatenate([labels, predicted]), return_inverse=True, return_counts=True
    )
    kept = np.sort(np.argsort(-counts, kind="stable")[:_CLASSES])
    found = every[kept]
    place = {int(one): number for number, one in enumerate(found)}
    confusion = np.zeros((len(found), len(found)), np.int64)
    for truth, guess in zip(labels.tolist(), predicted.tolist(), strict=True):
        if truth in place and guess in place:
            confusion[place[truth], place[guess]] += 1
    shown = [names[one] if names and 0 <= one < len(names) else str(one) for one in found.tolist()]
    right = np.diag(confusion)
    # Of all rows, those of classes that aren't shown among them.
    had, told = (
        np.bincount(one, minlength=len(every))[kept] for one in np.split(inverse.ravel(), [len(labels)])
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        precision, recall = right / told, right / had
        f1 = 2 * precision * recall / (precision + recall)
    rows = [
        (name, int(total), *(None if np.isnan(v) else float(round(v, 4)) for v in values))
        for name, total, *values in zip(shown, had, precision, recall, f1, strict=True)
    ]
    chart = charts.matrix("confusion matrix", confusion, shown, shown, "predicted", "label", by_row=True)
    caption = "Rows are labels, columns predictions; a cell is the darker, the more of its row it holds"
    if len(every) > len(found):
        caption += f"; the {len(found)} commonest of {len(every)} classes"
    yield Section(
        "Confusion",
        [
            page.figures((chart, caption)),
            page.table(["class", "rows", "precision", "recall", "F1"], rows),
        ],
        f"Accuracy {float((labels == predicted).mean()):.4f} of {source}.",
    )


def regression(labels: NDArray[Any], predicted: NDArray[Any], source: str) -> Iterator[Section]:
    """Predictions against labels, and the residuals; (rows,) both."""
    truth, guess = np.asarray(labels, np.float64).ravel(), np.asarray(predicted, np.float64).ravel()
    residuals = truth - guess
    spread = float(((truth - truth.mean()) ** 2).sum())
    explained = f", R² {1 - float((residuals**2).sum()) / spread:.4f}" if spread else ""
    points = np.stack([truth, guess], 1)
    yield Section(
        "Predictions and residuals",
        [
            page.figures(
                (
                    charts.scatter(
                        "predictions against labels",
                        points,
                        xlabel="label",
                        ylabel="predicted",
                        diagonal=True,
                    ),
                    "Predicted against label; right ones lie on the line",
                ),
                (
                    charts.scatter(
                        "residuals",
                        np.stack([guess, residuals], 1),
                        xlabel="predicted",
                        ylabel="label - predicted",
                    ),
                    "Residuals along the predictions",
                ),
                (
                    charts.histogram("residuals", {"residuals": residuals}, "label - predicted", 0.0),
                    "Residuals",
                ),
            )
        ],
        f"RMSE {float(np.sqrt((residuals**2).mean())):.6g}, mean absolute error "
        f"{float(np.abs(residuals).mean()):.6g}{explained}, of {source}.",
    )


class Curve:
    """A ranking of rows by score, cut at every score; arrays from the strictest cut to none."""

    def __init__(self, cuts: NDArray[Any], hits: NDArray[Any], misses: NDArray[Any]) -> None:
        self._cuts = cuts
        self.recall = np.concatenate([[0.0], hits / hits[-1]])
        self.false_rate = np.concatenate([[0.0], misses / misses[-1]])
        self.precision = np.concatenate([[1.0], hits / (hits + misses)])

    @classmethod
    def of(cls, truth: NDArray[np.bool_], scores: NDArray[np.float64]) -> Curve:
        """Of rows with both labels; equal scores are cut together."""
        order = np.argsort(-scores, kind="stable")
        last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
        hits = np.cumsum(truth[order])[last]
        return cls(scores[order][last], hits, 1 + last - hits)

    @property
    def area(self) -> float:
        """Below the ROC curve."""
        return float(np.trapezoid(self.recall, self.false_rate))

    @property
    def average_precision(self) -> float:
        """The mean of precisions, each weighted by the recall it adds."""
        return float((np.diff(self.recall) * self.precision[1:]).sum())

    def at(self, threshold: float) -> tuple[float, float, float]:
        """False positive rate, true positive rate and precision of scores from ``threshold``."""
        place = int((self._cuts >= threshold).sum())
        return float(self.false_rate[place]), float(self.recall[place]), float(self.precision[place])
