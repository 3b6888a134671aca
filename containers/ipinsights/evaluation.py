"""The area under the ROC curve of a stream of scores, in memory that doesn't depend on how many there are."""

from __future__ import annotations

import numpy as np

from common.batches import Float32, Int64
from containers.ipinsights import kernels

# Scores are counted by their sign, exponent and the first 13 bits of their fraction.
_BINS = 1 << 22


class Area:
    """Counts scores of observed and of generated pairs.

    Scores of one bin differ by less than 1/8192 of their value and count as equal, which moves the area by
    less than 0.0001 unless half of all scores are nearly the same number.
    """

    def __init__(self) -> None:
        self.counts: Int64 = np.zeros((2, _BINS), np.int64)

    def add(self, observed: Float32, generated: Float32) -> None:
        """Counts (n,) and (m,) float32 scores."""
        kernels.count_scores(observed.view(np.uint32), self.counts[0])
        kernels.count_scores(generated.view(np.uint32), self.counts[1])

    @staticmethod
    def of(counts: Int64) -> float:
        """The probability that an observed pair has a larger score than a generated one; ties count half."""
        observed, generated = counts
        below = np.cumsum(generated) - generated / 2
        return float(observed @ below / (float(observed.sum()) * float(generated.sum())))
