"""How well masks are answered: the share of right pixels, and intersections over unions of classes.

The formulas are those of GluonCV (gluoncv/utils/metrics/segmentation.py), on counts of all images together.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def confusion(answers: NDArray, masks: NDArray, classes: int) -> NDArray[np.int64]:
    """How often each class of ``masks`` was answered as each: (classes, classes).

    ``answers`` and ``masks`` have equal shapes; pixels whose mask is no class don't count.
    """
    known = masks < classes
    pairs = masks[known].astype(np.int64) * classes + answers[known]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def accuracy(counts: NDArray[np.int64]) -> float:
    """The share of pixels whose class is right."""
    return float(np.trace(counts) / max(1, counts.sum()))


def mean_iou(counts: NDArray[np.int64]) -> float:
    """The mean over all classes of intersection over union; a class that is nowhere counts as 0."""
    both = np.diag(counts).astype(np.float64)
    union = counts.sum(0) + counts.sum(1) - both
    return float((both / np.maximum(union, 1)).mean())
