"""Cross-validation: rows dealt into folds, and what the folds predicted of the rows they had not seen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.batches import Float32

Rows = NDArray[np.int64]


def splits(
    labels: Float32, folds: int, repeats: int, seed: int, stratified: bool
) -> Iterator[tuple[Rows, Rows]]:
    """(rows to learn from, rows held out) of each fold of each repeat; every row is held out once a repeat.

    With ``stratified`` each fold has its share of each class.
    """
    for repeat in range(repeats):
        generator = np.random.default_rng([seed % (1 << 32), repeat])
        order = generator.permutation(len(labels))
        if stratified:
            order = order[np.argsort(labels[order], kind="stable")]
        # Dealt like cards: neighbours, which are of one class, come to different folds.
        fold = np.empty(len(labels), np.int64)
        fold[order] = np.arange(len(labels)) % folds
        for number in range(folds):
            yield np.flatnonzero(fold != number), np.flatnonzero(fold == number)


class Predictions:
    """What the folds said of each row: a value a repeat, and a class where there are classes."""

    def __init__(self, labels: Float32, repeats: int, classes: bool) -> None:
        self.labels = labels
        self._values = np.zeros((len(labels), repeats))
        self._classes = np.zeros((len(labels), repeats), np.int64) if classes else None

    def record(self, repeat: int, rows: Rows, values: NDArray[Any], classes: NDArray[Any] | None) -> None:
        """Keeps the answers for held-out ``rows``."""
        self._values[rows, repeat] = values
        if self._classes is not None and classes is not None:
            self._classes[rows, repeat] = classes

    def table(self) -> NDArray[np.float64]:
        """(rows, 2 or 3): label, mean value, and the commonest class (the lowest of equally common ones)."""
        columns = [self.labels.astype(np.float64), self._values.mean(axis=1)]
        if self._classes is not None:
            counts = [
                (self._classes == one).sum(axis=1) for one in range(int(self._classes.max(initial=0)) + 1)
            ]
            columns.append(np.argmax(counts, axis=0).astype(np.float64))
        return np.column_stack(columns)


def probabilities(objective: str, margins: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Each row's probability and class from its margins.

    Of several classes it is the likeliest one's probability; of two it is that of class 1.
    """
    if margins.ndim == 2:
        exponents = np.exp(margins - margins.max(axis=1, keepdims=True))
        shares = exponents / exponents.sum(axis=1, keepdims=True)
        return shares.max(axis=1), margins.argmax(axis=1)
    classes = (margins > 0).astype(np.int64)
    if objective == "binary:hinge":
        return classes.astype(np.float64), classes
    return 1 / (1 + np.exp(-margins.astype(np.float64))), classes
