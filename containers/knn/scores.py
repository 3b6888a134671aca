"""Scores of predictions that come batch by batch."""

from __future__ import annotations

from typing import Any

import numpy as np

from common.batches import Float32


class Accuracy:
    """Share of right votes, and F1 averaged over classes: those of the labels and of the votes."""

    def __init__(self) -> None:
        self._classes: dict[float, Any] = {}  # class to [right, voted, labelled]

    def add(self, predicted: Float32, labels: Float32) -> None:
        """Counts (n,) votes against (n,) labels."""
        right = labels[predicted == labels]
        for place, values in enumerate((right, predicted, labels)):
            for value, count in zip(*np.unique(values, return_counts=True), strict=True):
                self._classes.setdefault(float(value), np.zeros(3, np.int64))[place] += count

    def scores(self) -> dict[str, float]:
        """``accuracy`` and ``macro_f_1.000``; at least one row must have been added."""
        right, voted, labelled = np.array(list(self._classes.values())).T
        return {
            "accuracy": float(right.sum() / labelled.sum()),
            "macro_f_1.000": float(np.mean(2 * right / (voted + labelled))),
        }


class SquaredError:
    """Mean squared error."""

    def __init__(self) -> None:
        self._sum = 0.0
        self._rows = 0

    def add(self, predicted: Float32, labels: Float32) -> None:
        """Adds (n,) predictions of (n,) labels."""
        self._sum += float(np.square(predicted.astype(np.float64) - labels).sum())
        self._rows += len(labels)

    def scores(self) -> dict[str, float]:
        """``mse``; at least one row must have been added."""
        return {"mse": self._sum / self._rows}
