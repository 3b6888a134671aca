"""fastText's classifier (Joulin et al., Bag of Tricks for Efficient Text Classification, 2016).

A sentence is the mean of its features' vectors; a linear layer and a softmax over all labels follow. One step
of gradient descent for each sentence; of several labels, one by chance is its target.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from common.batches import Float32
from containers.blazingtext import classifier_kernels
from containers.blazingtext.examples import Examples

_PART = 1 << 16  # rows that are drawn at a time


class Classifier(Protocol):
    """A classifier that learns: on a CPU's cores here, on a GPU in torch_classifier."""

    def learn(self, examples: Examples, rate: float, rate_after: float, key: int) -> None:
        """A step for each example in order; the learning rate goes from ``rate`` to ``rate_after``.

        ``key`` decides by chance. Threads may call it at once.
        """
        ...

    def hits(self, examples: Examples) -> int:
        """Of how many examples the likeliest label is one of theirs."""
        ...

    def keep(self) -> None:
        """Keeps the weights as they are, for `restore`."""
        ...

    def restore(self) -> None:
        """Takes the kept weights, if there are any."""
        ...

    def weights(self) -> tuple[Float32, Float32]:
        """Input rows, zeros last (rows + 1, dim), and output rows (labels, dim)."""
        ...


def initial(rows: int, labels: int, dim: int, seed: int) -> tuple[Float32, Float32]:
    """Input rows within 1 / dim of zero by chance and one of zeros behind them; output rows of zeros."""
    random = np.random.Generator(np.random.SFC64(seed))
    inputs = np.zeros((rows + 1, dim), np.float32)
    for start in range(0, rows, _PART):
        part = inputs[start : min(start + _PART, rows)]
        random.random(dtype=np.float32, out=part)
        part -= np.float32(0.5)
        part *= np.float32(2 / dim)
    return inputs, np.zeros((labels, dim), np.float32)


def finite(weights: tuple[Float32, Float32]) -> bool:
    """Whether all weights are finite numbers."""
    # Any value that is none shows in the sum of squares; then each is looked at.
    flat = [matrix.reshape(-1) for matrix in weights]
    with np.errstate(over="ignore", invalid="ignore"):
        return all(math.isfinite(np.dot(values, values)) or np.isfinite(values).all() for values in flat)


class HogwildClassifier:
    """Learns on the cores of this machine."""

    def __init__(self, rows: int, labels: int, dim: int, seed: int) -> None:
        self._inputs, self._outputs = initial(rows, labels, dim, seed)
        self._kept: tuple[Float32, Float32] | None = None

    def learn(self, examples: Examples, rate: float, rate_after: float, key: int) -> None:
        """See `Classifier`."""
        classifier_kernels.learn(
            self._inputs,
            self._outputs,
            examples.features,
            examples.bounds,
            examples.labels,
            examples.label_bounds,
            rate,
            rate_after,
            np.uint64(key),
        )

    def hits(self, examples: Examples) -> int:
        """See `Classifier`."""
        return classifier_kernels.hits(
            self._inputs,
            self._outputs,
            examples.features,
            examples.bounds,
            examples.labels,
            examples.label_bounds,
        )

    def keep(self) -> None:
        """See `Classifier`."""
        if self._kept is None:
            self._kept = np.empty_like(self._inputs), np.empty_like(self._outputs)
        for kept, matrix in zip(self._kept, self.weights(), strict=True):
            kept[:] = matrix

    def restore(self) -> None:
        """See `Classifier`."""
        if self._kept is not None:
            self._inputs, self._outputs = self._kept
            self._kept = None

    def weights(self) -> tuple[Float32, Float32]:
        """See `Classifier`."""
        return self._inputs, self._outputs
