"""One pass of k-means over 1,000,000 x 50 rows with k=100, against scikit-learn's MiniBatchKMeans.

Both start by k-means++ on the first mini-batch and then see each mini-batch of 5,000 rows once, in the same
order, with all cores; ours keeps as many centers as the peer (extra_center_factor=1). What is timed is the
whole of learning from rows in memory. Seeds take turns; the time is the least and the inertia the mean over
them, since it depends on the start. Run as::

    python -m bench.kmeans [--rows 1000000] [--seeds 3]
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
from sklearn.cluster import MiniBatchKMeans

from common import instances
from common.batches import Float32
from common.cores import Cores
from containers.kmeans import model
from containers.kmeans.engines import Engine
from containers.kmeans.warm import compile_all

BATCH = 5000
FEATURES = 50
K = 100


def rows_like_real_ones(count: int) -> Float32:
    """A mixture of 300 overlapping groups of unequal size, in features that go together."""
    generator = np.random.default_rng(0)
    groups = generator.normal(size=(300, FEATURES)) * np.linspace(3, 0.3, FEATURES)
    sizes = generator.dirichlet(np.ones(300))
    mixing = generator.normal(size=(FEATURES, FEATURES)) / FEATURES**0.5
    rows = np.empty((count, FEATURES), np.float32)
    for start in range(0, count, 100_000):
        block = slice(start, min(start + 100_000, count))
        chosen = groups[generator.choice(300, len(rows[block]), p=sizes)]
        rows[block] = (chosen + generator.normal(size=chosen.shape)) @ mixing
    return rows


def ours(rows: Float32, seed: int, factor: int, threads: int) -> tuple[float, np.ndarray]:
    """Seconds and centers."""
    started = time.perf_counter()
    generator = np.random.default_rng(seed)
    with Cores(threads) as cores:
        engine = Engine(cores)
        clusters = model.Clusters(model.choose(rows[:BATCH], K * factor, "kmeans++", generator))
        for start in range(0, len(rows), BATCH):
            clusters.update(engine.totals(rows[start : start + BATCH], clusters.centers))
        reduction = model.shrink(clusters.centers, clusters.counts, K, generator, engine)
    return time.perf_counter() - started, reduction.centers


def theirs(rows: Float32, seed: int) -> tuple[float, np.ndarray]:
    """Seconds and centers of the faster way to make one pass, which is partial_fit."""
    started = time.perf_counter()
    peer = MiniBatchKMeans(K, init="k-means++", n_init=1, batch_size=BATCH, random_state=seed)
    for start in range(0, len(rows), BATCH):
        peer.partial_fit(rows[start : start + BATCH])
    return time.perf_counter() - started, peer.cluster_centers_


def main() -> None:
    """Prints both sides and the ratios."""
    parser = argparse.ArgumentParser(prog="python -m bench.kmeans")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seeds", type=int, default=3)
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    compile_all()
    rows, threads = rows_like_real_ones(chosen.rows), instances.threads()
    sides = {
        "scikit-learn MiniBatchKMeans": lambda seed: theirs(rows, seed),
        "k-means": lambda seed: ours(rows, seed, 1, threads),
        "k-means, extra_center_factor=10": lambda seed: ours(rows, seed, 10, threads),
    }
    times: dict[str, list[float]] = {name: [] for name in sides}
    inertias: dict[str, list[float]] = {name: [] for name in sides}
    for seed in range(chosen.seeds):
        for name, run in sides.items():
            seconds, centers = run(seed)
            times[name].append(seconds)
            with Cores(threads) as cores:
                inertias[name].append(model.quality(iter([rows]), centers, Engine(cores))[0])
    peer, *rest = sides
    print(f"{chosen.rows:,} x {FEATURES} rows, k={K}, one pass in batches of {BATCH:,}, {threads} threads")
    for name in sides:
        print(
            f"{name:32} {min(times[name]):7.3f} s   mean squared distance "
            f"{np.mean(inertias[name]) / chosen.rows:.4f}"
        )
    for name in rest:
        speed = min(times[peer]) / min(times[name])
        worse = np.mean(inertias[name]) / np.mean(inertias[peer]) - 1
        print(f"{name}: {speed:.1f}x as fast, inertia {100 * worse:+.2f} %")


if __name__ == "__main__":
    main()
