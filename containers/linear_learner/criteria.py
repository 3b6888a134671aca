"""Scores of classifiers and regressors on arrays: what is printed, chosen by and calibrated for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_BEYOND = 1e-3  # of a score, and at least itself: how far beyond all scores a threshold is put


@dataclass(frozen=True, slots=True)
class Criterion:
    """What a binary classifier's threshold, and the choice among models, maximises."""

    name: str = "accuracy"
    beta: float = 1.0
    target_precision: float = 0.8
    target_recall: float = 0.8

    def values(self, tp: Array, fp: Array, positives: float, negatives: float) -> Array:
        """The criterion where ``tp`` of ``positives`` and ``fp`` of ``negatives`` are called positive.

        Below 0 where a target is missed, the less the further.
        """
        if self.name == "accuracy":
            return (tp + negatives - fp) / max(positives + negatives, 1)
        if self.name == "f_beta":
            return f_score(tp, fp, positives, self.beta)
        recall = tp / max(positives, 1)
        precision = tp / np.maximum(tp + fp, 1)
        if self.name == "precision_at_target_recall":
            return np.where(recall >= self.target_recall, precision, recall - 1)
        return np.where(precision >= self.target_precision, recall, precision - 1)


def f_score(tp: Array, fp: Array, positives: float | Array, beta: float) -> Array:
    """F-beta; 0 where nothing is positive and nothing is called so."""
    square = beta * beta
    denominator = tp + fp + square * positives
    return (1 + square) * tp / np.where(denominator > 0, denominator, 1)


def calibrate(
    scores: NDArray[np.float32], labels: NDArray[np.float32], criterion: Criterion, natural: float = 0.5
) -> tuple[float, float]:
    """The threshold from which on a score is called positive, and the criterion's value there.

    ``scores`` and ``labels`` (0 or 1) are (rows,). Among thresholds that are equally good it is the one
    nearest to ``natural``; within the gap between two scores it lies in the middle.
    """
    if not len(scores):
        return natural, 0.0
    order = np.argsort(-scores, kind="stable")
    ordered, positive = scores[order].astype(np.float64), labels[order] > 0.5
    # A cut is possible before the first, after the last, and wherever the score changes.
    cuts = np.concatenate([[0], np.flatnonzero(np.diff(ordered)) + 1, [len(ordered)]])
    tp = np.concatenate([[0], np.cumsum(positive)])[cuts].astype(np.float64)
    positives = float(tp[-1])
    values = criterion.values(tp, cuts - tp, positives, len(ordered) - positives)
    # The gap of scores that cut i lies in: from below, exclusive, to above, inclusive.
    above = np.concatenate([[np.inf], ordered[cuts[1:] - 1]])
    below = np.concatenate([ordered[cuts[:-1]], [-np.inf]])
    inside = (below < natural) & (natural <= above)
    with np.errstate(invalid="ignore"):
        middle = (above + below) / 2
    # At the ends there is no middle, but a place that an endpoint's roundings don't reach, unless its
    # probabilities are all but 1.
    middle = np.where(np.isposinf(above), ordered[0] + _BEYOND * max(1.0, abs(ordered[0])), middle)
    middle = np.where(np.isneginf(below), ordered[-1] - _BEYOND * max(1.0, abs(ordered[-1])), middle)
    # Between neighbours among float32 numbers there is no middle either.
    middle = middle.astype(np.float32).astype(np.float64)
    middle = np.where(middle <= below, above, middle)
    thresholds = np.where(inside, natural, middle)
    best = np.flatnonzero(values == values.max())
    chosen = best[np.argmin(np.abs(thresholds[best] - natural))]
    return float(thresholds[chosen]), float(values[chosen])


def roc_auc(scores: NDArray[np.float32], labels: NDArray[np.float32]) -> float:
    """The chance that a positive row scores above a negative one; nan when either kind is missing."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    positive = labels > 0.5
    positives = int(positive.sum())
    negatives = len(labels) - positives
    if not positives or not negatives:
        return float("nan")
    total = float(ranks[inverse[positive]].sum())
    return (total - positives * (positives + 1) / 2) / (positives * negatives)


def binary_metrics(
    scores: NDArray[np.float32], labels: NDArray[np.float32], threshold: float, beta: float
) -> dict[str, float]:
    """Accuracy, F-beta, precision, recall and ROC AUC, in the order that AWS prints them."""
    called, positive = scores >= threshold, labels > 0.5
    tp = float(np.sum(called & positive))
    called_total, positives = float(called.sum()), float(positive.sum())
    f = f_score(np.array([tp]), np.array([called_total - tp]), positives, beta)
    return {
        "binary_classification_accuracy": float(np.mean(called == positive)),
        f"binary_f_{beta:.3f}": float(f[0]),
        "precision": tp / max(called_total, 1),
        "recall": tp / max(positives, 1),
        "roc_auc_score": roc_auc(scores, labels),
    }


class ClassCounts:
    """Sums from which all multiclass metrics follow, over any number of blocks of rows."""

    def __init__(self, classes: int, top_k: int) -> None:
        self._top_k = top_k
        # Rows a class, rows called that class and the right ones of these; rows in the top k, gain, loss.
        self.sums = np.zeros(3 * classes + 3)
        self._by_class = self.sums[:-3].reshape(3, classes)

    def add(self, scores: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        """Adds rows: linear scores (rows, classes) and labels (rows,)."""
        classes = scores.shape[1]
        chosen = scores.argmax(1)
        own = scores[np.arange(len(labels)), labels]
        rank = np.sum(scores > own[:, None], 1)
        self._by_class[0] += np.bincount(labels, minlength=classes)
        self._by_class[1] += np.bincount(chosen, minlength=classes)
        self._by_class[2] += np.bincount(labels[chosen == labels], minlength=classes)
        self.sums[-3] += np.sum(rank < self._top_k)
        self.sums[-2] += np.sum(1 / np.log2(rank + 2.0))
        highest = scores.max(1)
        spread = np.exp(scores.astype(np.float64) - highest[:, None]).sum(1)
        self.sums[-1] += np.sum(np.log(spread) - (own - highest))

    def metrics(self, beta: float) -> dict[str, float]:
        """All metrics but the objective, in the order that AWS prints them.

        Macro means are over the classes that occur as a label or as a prediction.
        """
        actual, called, right = self.sums[:-3].reshape(3, -1)
        rows = max(actual.sum(), 1.0)
        occurs = (actual + called) > 0
        recall = right / np.maximum(actual, 1)
        precision = right / np.maximum(called, 1)
        macro = f_score(right, called - right, actual, beta)
        top, gain, loss = self.sums[-3:] / rows
        return {
            "multiclass_accuracy": float(right.sum() / rows),
            f"multiclass_top_k_accuracy_{self._top_k}": float(top),
            "dcg": float(gain),
            "macro_recall": _mean(recall[occurs]),
            "macro_precision": _mean(precision[occurs]),
            f"macro_f_{beta:.3f}": _mean(macro[occurs]),
            "multiclass_balanced_accuracy": _mean(recall[actual > 0]),
            "multiclass_log_loss": float(loss),
        }


def _mean(values: Array) -> float:
    return float(values.mean()) if len(values) else float("nan")
