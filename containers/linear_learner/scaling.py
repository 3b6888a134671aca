"""Means and deviations of the first rows, by which features and labels are normalised."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.batches import CSR, Batch, Features

Float64 = NDArray[np.float64]
Sum = Callable[[Float64], Float64]
"""Adds an array up over all hosts."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Means and standard deviations of features (features,) and of the label, over ``rows`` rows."""

    rows: int
    mean: Float64
    deviation: Float64
    label_mean: float
    label_deviation: float


def moments(batches: Sequence[Batch], feature_dim: int, over_hosts: Sum = lambda array: array) -> Moments:
    """The moments of all rows of ``batches``, in float64 and two passes, which lose no digits to large means.

    Every host gives its own rows, maybe none, and gets the moments of all.
    """
    total = np.zeros(feature_dim + 2)
    for batch in batches:
        total[:-2] += _sum(batch.features, feature_dim)
        total[-2] += 0.0 if batch.labels is None else batch.labels.sum(dtype=np.float64)
        total[-1] += len(batch)
    total = over_hosts(total)
    rows = max(total[-1], 1.0)
    mean, label_mean = total[:-2] / rows, float(total[-2] / rows)
    squares = np.zeros(feature_dim + 1)
    for batch in batches:
        squares[:-1] += _squares(batch.features, mean)
        if batch.labels is not None:
            # Differences as training takes them; their squares may leave the range of float32.
            squares[-1] += np.sum(np.square(batch.labels - np.float32(label_mean), dtype=np.float64))
    deviation = np.sqrt(over_hosts(squares) / rows)
    return Moments(int(total[-1]), mean, deviation[:-1], label_mean, float(deviation[-1]))


def constant(found: Moments) -> NDArray[np.bool_]:
    """(features,) whether a feature has one value in all rows, rounding and range of float32 aside."""
    return found.deviation <= np.maximum(1e-6 * np.abs(found.mean), np.finfo(np.float32).tiny)


def _sum(features: Features, feature_dim: int) -> Float64:
    if isinstance(features, CSR):
        return np.bincount(features.indices, features.values, feature_dim).astype(np.float64, copy=False)
    return features.sum(0, dtype=np.float64)


def _squares(features: Features, mean: Float64) -> Float64:
    """Sums over the rows of squared differences from ``mean``."""
    if isinstance(features, CSR):
        present = mean[features.indices]
        differences = (features.values - present) ** 2 - present**2
        return np.maximum(np.bincount(features.indices, differences, len(mean)) + len(features) * mean**2, 0)
    return np.square(features - mean).sum(0)
