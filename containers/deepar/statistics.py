"""What a channel's series are like, as the training log tells it, and whether they can be learned from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from common.cluster import Cluster
from common.failures import ClientError
from common.metrics import log
from containers.deepar.series import Series

FEWEST = 300  # observations, AWS's least


class Statistics:
    """Of the targets of all hosts' series. All hosts make the same calls."""

    def __init__(self, series: Sequence[Series], cluster: Cluster) -> None:
        targets = np.concatenate([np.empty(0, np.float32), *(one.target for one in series)])
        seen = targets[~np.isnan(targets)].astype(np.float64)
        whole = bool((seen == np.round(seen)).all())
        sums = np.array([len(series), len(targets), len(seen), seen.sum(), np.abs(seen).sum(), not whole])
        extremes = np.array([seen.max(initial=-np.inf), -seen.min(initial=np.inf)])
        self.series, points, self.observations, total, self._absolute, broken = cluster.all_reduce(sums)
        self._largest, least = cluster.all_reduce(extremes, "max")
        self._least = -least
        self._integers = not broken
        self._missing = points > self.observations
        self._length = points / max(self.series, 1)
        self._mean = total / max(self.observations, 1)

    @property
    def scale(self) -> float:
        """The mean absolute target."""
        return float(self._absolute / max(self.observations, 1))

    def tell(self, name: str) -> None:
        """Logs them."""
        log.info("%s set statistics:", name)
        log.info("%s time series", "Integer" if self._integers else "Real")
        log.info("number of time series: %d", self.series)
        log.info("number of observations: %d", self.observations)
        log.info("mean target length: %s", self._length)
        log.info("min/mean/max target: %s/%s/%s", self._least, self._mean, self._largest)
        log.info("mean abs(target): %s", self.scale)
        log.info("contains missing values: %s", "yes" if self._missing else "no")

    def check(self) -> None:
        """Raises ClientError when nothing can be learned from such series."""
        if self.observations < FEWEST:
            raise ClientError(
                f"channel train has {self.observations:.0f} observations in {self.series:.0f} time series; "
                f"accepted: at least {FEWEST}, missing values not counted"
            )
        if not self._absolute:
            raise ClientError(
                "training time series consist of only zeros; accepted: at least one other value"
            )

    def check_range(self, channel: str, likelihood: str) -> None:
        """Raises ClientError when values are none that the likelihood is of."""
        bounds = {"beta": (0.0, 1.0), "negative-binomial": (0.0, np.inf)}.get(likelihood, (-np.inf, np.inf))
        if self.observations and (self._least < bounds[0] or self._largest > bounds[1]):
            accepted = "values from 0 to 1" if likelihood == "beta" else "counts of at least 0"
            raise ClientError(
                f"channel {channel} has targets from {self._least:g} to {self._largest:g}; "
                f"accepted with likelihood={likelihood}: {accepted}"
            )


def spreads(series: Sequence[Series], count: int, cluster: Cluster) -> tuple[list[float], list[float]]:
    """Of ``count`` dynamic features the means, and how far values lie from these. All hosts call it.

    How far is the mean squared distance over the mean distance: half of what lies between a feature's two
    values, however rare one is (a deviation would make a rare event's enormous), and 1.25 deviations where
    values are normally distributed. 1 for a feature that is always the same.
    """
    features = [one.dynamic[:, : len(one)] for one in series]  # not those of a forecast
    sums = sum((part.sum(1, dtype=np.float64) for part in features), np.zeros(count))
    points = sum(map(len, series))
    *totals, number = cluster.all_reduce(np.array([*sums, points]))
    centers = np.array(totals) / max(number, 1)
    distances = np.zeros((2, count))
    for part in features:
        away = np.abs(part - centers[:, None])
        distances += away.sum(1), np.square(away).sum(1)
    absolute, square = cluster.all_reduce(distances.ravel()).reshape(2, count)
    found = square / np.where(absolute > 0, absolute, 1)
    # 32-bit floats tell no smaller differences.
    found[found <= 1e-6 * np.abs(centers)] = 1
    return centers.tolist(), found.tolist()
