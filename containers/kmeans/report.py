"""What the report shows of k-means: clusters' sizes, how far their rows lie, a map, and what other k give."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from common.batches import Float32, dense
from common.cores import Cores
from common.report import charts, page, samples
from common.report.page import Section
from common.report.planes import plane
from common.training import Run
from containers.kmeans import model, predict
from containers.kmeans.engines import engine

_ROWS, _TRIED = 1500, 10
_WORK = 200_000_000  # numbers that a round of Lloyd's reads, at most


def sections(run: Run) -> Iterator[Section]:
    """Of the test rows, or else of the training rows."""
    found = samples.rows(run, "test", "train")
    if found is None:
        return
    rows = dense(found.batch.features)
    answers = predict.load(run.job.model).predict(rows, {})
    clusters = answers["closest_cluster"].astype(int)
    distances = answers["distance_to_cluster"].astype(np.float64)
    squares = float(np.square(distances).mean())  # the metric msd of training is of weighted centers
    sizes = np.bincount(clusters, minlength=run.hyperparameters["k"])
    drawn = [
        (
            charts.bars("cluster sizes", range(len(sizes)), sizes, "cluster", "rows"),
            f"Rows in each cluster; the largest has {sizes.max()}, the smallest {sizes.min()}",
        ),
        (
            charts.histogram("distances", {"rows": distances}, "distance to the center"),
            f"Distances of rows to their centers; the mean of their squares is {squares:.6g}",
        ),
    ]
    if rows.shape[1] > 1 and len(rows) > 2:
        points, shares = plane(rows)
        chart = charts.scatter(
            "clusters on a plane",
            points,
            clusters if len(sizes) <= 12 else None,
            xlabel="first component",
            ylabel="second component",
        )
        drawn.append((chart, f"Rows on their first two principal components, {shares:.0%} of their variance"))
    yield Section("Clusters", [page.figures(*drawn)], f"Of {found.described}.")
    yield from _elbow(run, rows)


def _elbow(run: Run, rows: Float32) -> Iterator[Section]:
    """The loss of other k on some rows, where the curve's bend tells how many clusters there are."""
    few = rows[:: -(-len(rows) // _ROWS)].astype(np.float64)
    k, most = run.hyperparameters["k"], len(few) // 4
    tried = sorted({round(one) for one in np.geomspace(2, max(2 * k, 12), _TRIED)} | {k})
    tried = [one for one in tried if one <= most]
    if len(tried) < 3 or few.shape[1] * few.shape[0] * max(tried) > _WORK:
        return
    with Cores(run.threads) as cores:
        place = engine(cores, "cpu", densify=True)
        losses = [
            min(
                model.shrink(
                    few, np.ones(len(few)), one, np.random.default_rng(run.seed), place, trials=3, max_iter=30
                ).losses
            )
            for one in tried
        ]
    marks = [(k, losses[tried.index(k)], f"k = {k}")] if k in tried else []
    curve = {"loss": (tried, losses)}
    chart = charts.lines("elbow", curve, "k", "mean squared distance", whole=True, marks=marks)
    caption = f"Other k, clustered anew from {len(few):,} rows; after a bend more clusters gain little"
    yield Section("How many clusters", [page.figures((chart, caption))])
