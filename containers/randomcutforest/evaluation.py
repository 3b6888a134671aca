"""How well scores tell anomalies, by the rule that AWS's guide gives its readers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from common.batches import Float32

_SIGMAS = 3


def anomalous(scores: Float32) -> NDArray[np.bool]:
    """Which of (n,) scores lie more than 3 (population) standard deviations above their mean."""
    wide = scores.astype(np.float64)
    return wide > wide.mean() + _SIGMAS * wide.std()


def measures(predicted: NDArray[np.bool], actual: NDArray[np.bool]) -> dict[str, float]:
    """Accuracy, and precision, recall and F1 of the anomalous class; 0 for one that has no denominator."""
    hits = int(np.count_nonzero(predicted & actual))
    found, there = int(np.count_nonzero(predicted)), int(np.count_nonzero(actual))
    return {
        "accuracy": float(np.mean(predicted == actual)),
        "precision": hits / found if found else 0.0,
        "recall": hits / there if there else 0.0,
        "f1": 2 * hits / (found + there) if hits else 0.0,
    }
