"""Many dimensions on a plane."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def plane(rows: NDArray[Any]) -> tuple[NDArray[np.float64], float]:
    """(n, d) rows on their two principal components, (n, 2), and the share of variance that is there.

    With more columns than rows, by the products of rows, which are fewer.
    """
    centered = np.asarray(rows, np.float64) - np.asarray(rows, np.float64).mean(0)
    tall = len(centered) > centered.shape[1]
    products = centered.T @ centered if tall else centered @ centered.T
    values, vectors = np.linalg.eigh(products)
    strongest = vectors[:, -1:-3:-1]
    points = centered @ strongest if tall else strongest * np.sqrt(np.maximum(values[-1:-3:-1], 0))
    if points.shape[1] < 2:
        points = np.column_stack([points, np.zeros(len(points))])
    total = float(np.maximum(values, 0).sum())
    return points, float(np.maximum(values[-1:-3:-1], 0).sum()) / total if total else 1.0
