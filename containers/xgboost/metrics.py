"""The metrics that AWS's container computes itself, from sums that hosts can add up.

The definitions are scikit-learn's; a precision or recall without a row to count is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.failures import ClientError
from containers.xgboost import tasks

Reduce = Callable[[NDArray[np.float64]], NDArray[np.float64]]
Float64 = NDArray[np.float64]


class OwnMetrics:
    """Measures rows by name. ``reduce`` adds an array over the hosts, which all measure at the same time."""

    def __init__(self, names: Sequence[str], classes: int = 2, reduce: Reduce = lambda array: array) -> None:
        self.names = [name for name in names if name in tasks.OWN_METRICS]
        self.by_class = [name for name in self.names if name in tasks.CLASSIFICATION_METRICS]
        self.by_value = [name for name in self.names if name in tasks.REGRESSION_METRICS]
        self._classes = max(classes, 2)
        self._reduce = reduce

    def check(self, labels: NDArray[np.float32], channel: str) -> None:
        """Raises ClientError when metrics of classes are asked for and the labels are none."""
        wrong = (labels < 0) | (labels >= self._classes) | (labels != np.floor(labels))
        if self.by_class and wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise ClientError(
                f"channel {channel}: the label of row {row + 1} is {labels[row]:g}; metric "
                f"{self.by_class[0]} accepts whole numbers from 0 to {self._classes - 1}"
            )

    def measure(
        self, labels: NDArray[np.float32], margins: NDArray[Any] | None, values: NDArray[Any] | None
    ) -> dict[str, float]:
        """All metrics asked for; ``margins`` are (rows,) or (rows, classes), ``values`` (rows,)."""
        found: dict[str, float] = {}
        if margins is not None:
            confusion = self._reduce(confuse(labels, classes_of(margins), self._classes))
            found |= {name: classification(name, confusion) for name in self.by_class}
        if values is not None:
            # The mean first: squares of large labels would eat the digits of their spread.
            count, total = self._reduce(np.array([len(labels), labels.sum(dtype=np.float64)]))
            spread = labels - total / max(count, 1)
            error = labels.astype(np.float64) - values
            sums = np.array([count / 1.0, error @ error, np.abs(error).sum(), spread @ spread])
            sums[1:] = self._reduce(sums[1:])
            found |= {name: regression(name, sums) for name in self.by_value}
        return found


def classes_of(margins: NDArray[Any]) -> NDArray[np.int64]:
    """Each row's class: the largest margin of several, else whether the margin is above 0."""
    if margins.ndim == 2:
        return margins.argmax(axis=1)
    return (margins > 0).astype(np.int64)


def confuse(labels: NDArray[np.float32], predicted: NDArray[np.int64], classes: int) -> Float64:
    """How many rows of class i (row) were taken for class j (column): (classes, classes)."""
    cells = labels.astype(np.int64) * classes + predicted
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes).astype(np.float64)


def classification(name: str, confusion: Float64) -> float:
    """One of `tasks.CLASSIFICATION_METRICS` of a confusion matrix."""
    right, actual, taken = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    present = (actual + taken) > 0
    precision, recall = _ratio(right, taken), _ratio(right, actual)
    f1 = _ratio(2 * right, actual + taken)
    accuracy = float(_ratio(right.sum(), confusion.sum()))
    one = {"precision": precision, "recall": recall, "f1_binary": f1}
    if name in one:
        return float(one[name][1])
    if name in ("accuracy", "precision_micro", "recall_micro"):
        # Every row has one class and is taken for one, so these three are the same number.
        return accuracy
    if name == "balanced_accuracy":
        return float(recall[actual > 0].mean()) if present.any() else 0.0
    averaged = {"precision_macro": precision, "recall_macro": recall, "f1": f1, "f1_macro": f1}[name]
    return float(averaged[present].mean()) if present.any() else 0.0


def regression(name: str, sums: Float64) -> float:
    """One of `tasks.REGRESSION_METRICS` of (rows, squared error, absolute error, labels' squared spread)."""
    rows, squared, absolute, spread = sums.tolist()
    if name == "mae":
        return absolute / max(rows, 1)
    if name == "mse":
        return squared / max(rows, 1)
    if name == "rmse":
        return float(np.sqrt(squared / max(rows, 1)))
    if spread == 0:
        return 1.0 if squared == 0 else 0.0
    return 1 - squared / spread


def _ratio(numerator: Any, denominator: Any) -> Any:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(np.equal(denominator, 0), 0.0, numerator / denominator)
