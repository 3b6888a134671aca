"""What forecasts are measured by, as the developer guide defines it (deepar-tuning)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from common.batches import Float32

Sums = NDArray[np.float64]


def quantiles(paths: Float32, levels: Sequence[float]) -> Float32:
    """(series, levels, steps): sample quantiles of (series, samples, steps), interpolated linearly."""
    ordered = np.sort(paths, axis=1)
    places = np.asarray(levels, np.float64) * (paths.shape[1] - 1)
    below = np.floor(places).astype(np.int64)
    above = np.minimum(below + 1, paths.shape[1] - 1)
    share = (places - below).astype(np.float32)[:, None]
    found: Float32 = ordered[:, below] * (1 - share) + ordered[:, above] * share
    return found


def sums(paths: Float32, actual: Float32, levels: Sequence[float]) -> Sums:
    """(3 + levels,): what `scores` needs of (series, samples, steps) draws and (series, steps) values.

    Values that are NaN don't count.
    """
    seen = ~np.isnan(actual)
    truth = actual[seen].astype(np.float64)
    errors = paths.mean(axis=1, dtype=np.float64)[seen] - truth
    found = [float(len(truth)), float(errors @ errors), float(np.abs(truth).sum())]
    forecasts = quantiles(paths, levels)
    for index, level in enumerate(levels):
        short = truth - forecasts[:, index][seen]
        found.append(2 * float(np.maximum(level * short, (level - 1) * short).sum()))
    return np.array(found)


def scores(total: Sums, levels: Sequence[float]) -> dict[str, float]:
    """The metrics by AWS's names, in the order of its log, of sums over all series."""
    with np.errstate(invalid="ignore", divide="ignore"):
        weighted = total[3:] / total[2]
        root = np.sqrt(total[1] / total[0])
    found = {
        "RMSE": root,
        "mean_absolute_QuantileLoss": total[3:].mean(),
        "mean_wQuantileLoss": weighted.mean(),
        **{f"wQuantileLoss[{level}]": value for level, value in zip(levels, weighted, strict=True)},
    }
    return {name: float(value) for name, value in found.items()}
