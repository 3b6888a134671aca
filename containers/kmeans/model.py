"""Web-scale k-means on arrays: many centers follow the stream, and are reduced to k when it ends.

D. Sculley, "Web-Scale K-Means Clustering", WWW 2010, for the running means; D. Arthur and S. Vassilvitskii,
"k-means++: The Advantages of Careful Seeding", SODA 2007, for the start; and "Streaming k-means" (N. Ailon,
R. Jaiswal, C. Monteleoni, NIPS 2009) for why keeping more centers than asked for and clustering those, each
with the weight of its points, comes close to clustering the points.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from common.batches import CSR, Features, Float32, Int64
from containers.kmeans.distances import Prepared, nearest, squares
from containers.kmeans.engines import Engine

Float64 = NDArray[np.float64]


@dataclass
class Clusters:
    """Centers that follow a stream of points.

    ``centers`` is (K, d) float64, ``counts`` (K,) float64, how many points each stands for. After
    ``half_life`` points an earlier one weighs half; 0 means it never weighs less.
    """

    centers: Float64
    half_life: int = 0
    counts: Float64 = field(init=False)

    def __post_init__(self) -> None:
        self.centers = self.centers.astype(np.float64)
        self.counts = np.zeros(len(self.centers))

    def update(self, totals: Float64) -> None:
        """Moves centers towards a mini-batch, given its (K, d + 1) sums and counts from `Engine.totals`."""
        sums, new = totals[:, :-1], totals[:, -1]
        if self.half_life:
            self.counts *= 0.5 ** (new.sum() / self.half_life)
        self.counts += new
        # center + (sum - new * center) / total is (1 - p) * center + p * mean with p = new / total.
        moved = new > 0
        step = sums[moved] - new[moved, None] * self.centers[moved]
        self.centers[moved] += step / self.counts[moved, None]


def choose(
    points: Features | Float64,
    count: int,
    method: str,
    generator: np.random.Generator,
    weights: Float64 | None = None,
) -> Float32 | Float64:
    """``count`` of (n, d) points to start from, count <= n, by ``random`` or ``kmeans++``.

    No row is chosen twice. ``weights`` are (n,) and matter to kmeans++ alone, as the weights of a point's
    cost. Returns (count, d) in the dtype of dense points, float32 for sparse ones.
    """
    if method == "random":
        return _rows(points, generator.choice(len(points), count, replace=False))
    return _rows(points, _spaced(points, count, generator, weights))


def _rows(points: Features | Float64, chosen: Int64) -> Float32 | Float64:
    if not isinstance(points, CSR):
        return points[chosen]
    return np.concatenate([points[row : row + 1].dense() for row in chosen.tolist()])


def _spaced(
    points: Features | Float64, count: int, generator: np.random.Generator, weights: Float64 | None
) -> Int64:
    """k-means++ with its authors' own improvement: of a few candidates, the one that lowers the cost most."""
    squared = _sparse_squared(points) if isinstance(points, CSR) else _dense_squared(points)
    share = np.ones(len(points)) if weights is None else weights
    candidates = 2 + int(math.log(count))
    chosen = np.empty(count, np.int64)
    chosen[0] = _drawn(share, 1, generator)[0]
    closest = squared(chosen[:1])[0]
    free = np.ones(len(points), bool)
    for index in range(1, count):
        free[chosen[index - 1]] = False
        cost = share * closest
        cost[~free] = 0  # rounding may leave a chosen point a little cost
        if not cost.any():  # fewer distinct points than centers
            chosen[index:] = generator.choice(np.flatnonzero(free), count - index, replace=False)
            return chosen
        drawn = _drawn(cost, candidates, generator)
        reached = np.minimum(squared(drawn), closest)
        best = int((reached @ share).argmin())
        chosen[index], closest = drawn[best], reached[best]
    return chosen


def _drawn(cost: Float64, count: int, generator: np.random.Generator) -> Int64:
    """Rows drawn with probabilities proportional to their cost."""
    ladder = np.cumsum(cost)
    drawn = np.searchsorted(ladder, generator.random(count) * ladder[-1], side="right")
    # Rounding could point behind the last row that has a cost.
    return np.minimum(drawn, np.flatnonzero(cost)[-1])


def _dense_squared(points: Float32 | Float64) -> Callable[[Int64], Float32]:
    """Makes squared distances of all (n, d) points to the chosen ones: (chosen, n)."""
    relative = (points - points.mean(axis=0, dtype=np.float64)).astype(np.float32)
    lengths = np.einsum("ij,ij->i", relative, relative)

    def squared(chosen: Int64) -> Float32:
        distances = relative[chosen] @ relative.T
        distances *= -2
        distances += lengths
        distances += lengths[chosen, None]
        return np.maximum(distances, 0, out=distances)

    return squared


def _sparse_squared(points: CSR) -> Callable[[Int64], Float32]:
    means = np.bincount(points.indices, points.values, points.shape[1]) / len(points)
    origin = means.astype(np.float32)
    lengths = squares(points, origin)

    def squared(chosen: Int64) -> Float32:
        prepared = Prepared(_rows(points, chosen), sparse=True, origin=origin)
        return np.maximum(prepared.sparse_products(points) + lengths[:, None], 0).T

    return squared


@dataclass(frozen=True, slots=True)
class Reduction:
    """K centers clustered into k: the winner's (k, d) float64 centers, and every attempt's loss."""

    centers: Float64
    losses: list[float]

    @property
    def loss(self) -> float:
        """The weighted mean squared distance of the K centers to those that stand for them."""
        return min(self.losses)


def shrink(
    centers: Float64,
    counts: Float64,
    k: int,
    generator: np.random.Generator,
    engine: Engine,
    *,
    method: str = "kmeans++",
    trials: int = 10,
    max_iter: int = 300,
    tolerance: float = 1e-4,
) -> Reduction:
    """Clusters (K, d) ``centers``, each weighing its count, into k; the best of some trials of Lloyd's.

    K >= k. With K = k, or without counts, nothing can be gained: the centers stay as they are.
    """
    known = counts > 0
    if known.sum() <= k:
        # Those that no point is nearest to stand for nothing and fill the places that are left.
        order = np.argsort(~known, kind="stable")[:k]
        return Reduction(centers[np.sort(order)], [0.0])
    points, weights = centers[known], counts[known] / counts[known].sum()

    def attempt(own: np.random.Generator) -> tuple[float, Float64]:
        start = np.asarray(choose(points, k, method, own, weights), np.float64)
        return lloyd(points, weights, start, max_iter, tolerance)

    results = engine.cores.map(attempt, generator.spawn(trials))
    best = min(results, key=lambda result: result[0])
    return Reduction(best[1], [loss for loss, _ in results])


def lloyd(
    points: Float64, weights: Float64, start: Float64, max_iter: int, tolerance: float
) -> tuple[float, Float64]:
    """Lloyd's iteration on (n, d) weighted points from (k, d) centers; ``weights`` sum to 1.

    Ends when the loss falls by no more than ``tolerance`` of itself, or after ``max_iter`` rounds. Returns
    the weighted mean squared distance to the returned (k, d) centers. A center that loses all its points
    moves to the point that costs most.
    """
    centers, previous = start, math.inf
    single = points.astype(np.float32)
    weighted = points * weights[:, None]
    for _ in range(max_iter):
        labels, squared = nearest(single, Prepared(centers))
        loss = float(squared @ weights)
        if previous - loss <= tolerance * previous < math.inf:
            return loss, centers
        previous = loss
        centers = _means(points, weights, weighted, labels, squared, centers)
    return float(nearest(single, Prepared(centers))[1] @ weights), centers


def _means(
    points: Float64, weights: Float64, weighted: Float64, labels: Int64, squared: Float32, centers: Float64
) -> Float64:
    order = np.argsort(labels, kind="stable")
    present, first = np.unique(labels[order], return_index=True)
    means = centers.copy()
    masses = np.add.reduceat(weights[order], first)
    means[present] = np.add.reduceat(weighted[order], first) / masses[:, None]
    empty = np.setdiff1d(np.arange(len(centers)), present)
    if len(empty):
        costliest = np.argsort(-(squared * weights), kind="stable")
        means[empty] = points[costliest[: len(empty)]]
    return means


def quality(blocks: Iterator[Features], centers: NDArray[np.floating], engine: Engine) -> tuple[float, int]:
    """The sum of squared distances of all points to their nearest centers, and how many points."""
    total, rows = 0.0, 0
    for points in blocks:
        total += float(engine.squared(points, centers).sum(dtype=np.float64))
        rows += len(points)
    return total, rows
