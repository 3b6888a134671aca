"""100 trees of 256 points grown and 100,000 points of 10 dimensions scored, against two other forests.

``krcf`` is Amazon's own random cut forest, in Rust; ``rrcf`` is the forest of the paper, in Python. Both must
be installed. All sides see the same 25,600 rows, of which krcf's streaming sampler picks each tree's and rrcf
gives 256 to each; then all score the same points. krcf may execute in parallel or not, and the faster way
counts. rrcf inserts a point, measures its collusive displacement and removes it: too slowly for more than 200
points, half of them anomalies, which stand for all. The area under the ROC curve tells that all sides find
the same. Run as::

    python -m bench.random_cut_forest [--points 100000] [--repeat 3]
"""

from __future__ import annotations

import argparse
import sys
import time
from unittest.mock import MagicMock

import numpy as np
from sklearn.metrics import roc_auc_score

from common import instances
from common.batches import Float32
from common.cores import Cores
from containers.randomcutforest.model import grow_forest
from containers.randomcutforest.scoring import Scorer
from containers.randomcutforest.warm import compile_all

TREES, SAMPLES, FEATURES = 100, 256, 10
SOME = 200  # points that rrcf scores in place of all, half of them anomalies
Result = tuple[float, float, np.ndarray]  # seconds to grow, seconds to score all points, scores


def made(points: int) -> tuple[Float32, Float32, np.ndarray]:
    """Rows to learn from, points to score, and which of them are anomalies: one in fifty, further out."""
    random = np.random.default_rng(0)
    mixing = random.normal(size=(FEATURES, FEATURES))
    centers = random.normal(size=(5, FEATURES)) * 4

    def rows(count: int, anomalous: np.ndarray) -> Float32:
        noise = random.normal(size=(count, FEATURES)) * np.where(anomalous, 2.5, 1)[:, None]
        return (centers[random.integers(5, size=count)] + noise @ mixing / FEATURES**0.5).astype(np.float32)

    labels = [random.random(count) < 0.02 for count in (TREES * SAMPLES, points)]
    return rows(TREES * SAMPLES, labels[0]), rows(points, labels[1]), labels[1]


def ours(rows: Float32, points: Float32, threads: int) -> Result:
    """Growing is all that a job does with its sample, and all that an endpoint does with its model."""
    sample = rows.copy()
    started = time.perf_counter()
    with Cores(threads) as cores:
        scorer = Scorer(grow_forest(sample, TREES, 0, cores)[0])
        grown = time.perf_counter()
        scores = scorer.scores(points, cores)
    return grown - started, time.perf_counter() - grown, scores


def krcf(rows: Float32, points: Float32, parallel: bool) -> Result:
    """Amazon's, a point at a time, which is how it is called."""
    from krcf import RandomCutForest

    started = time.perf_counter()
    forest = RandomCutForest(
        {
            "dimensions": FEATURES,
            "shingle_size": 1,
            "num_trees": TREES,
            "sample_size": SAMPLES,
            "output_after": 1,
            "random_seed": 0,
            "parallel_execution_enabled": parallel,
        }
    )
    for row in rows:
        forest.update(row)
    grown = time.perf_counter()
    scores = np.array([forest.score(point) for point in points])
    return grown - started, time.perf_counter() - grown, scores


def rrcf(rows: Float32, points: Float32) -> Result:
    """The paper's."""
    # It asks this module, which newer setuptools lack, for its version.
    sys.modules.setdefault("pkg_resources", MagicMock())
    import rrcf

    np.random.seed(0)
    started = time.perf_counter()
    trees = [rrcf.RCTree(part) for part in np.split(rows.astype(float), TREES)]
    grown = time.perf_counter()
    scores = []
    for point in points.astype(float):
        total = 0.0
        for tree in trees:
            tree.insert_point(point, "new")
            total += tree.codisp("new")
            tree.forget_point("new")
        scores.append(total / TREES)
    return grown - started, time.perf_counter() - grown, np.array(scores)


def main() -> None:
    """Prints all sides and the ratios."""
    parser = argparse.ArgumentParser(prog="python -m bench.random_cut_forest")
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--repeat", type=int, default=3)
    chosen = parser.parse_args()
    compile_all()
    threads = instances.threads()
    rows, points, anomalous = made(chosen.points)
    sides = {
        "ours": lambda: ours(rows, points, threads),
        "ours, one core": lambda: ours(rows, points, 1),
        "krcf": lambda: krcf(rows, points, False),
        "krcf, parallel": lambda: krcf(rows, points, True),
    }
    best: dict[str, Result] = {}
    for _ in range(chosen.repeat):
        for name, run in sides.items():
            result = run()
            if name not in best or sum(result[:2]) < sum(best[name][:2]):
                best[name] = result
    some = np.concatenate([np.flatnonzero(anomalous == kind)[: SOME // 2] for kind in (True, False)])
    growing, scoring, few = rrcf(rows, points[some])
    best["rrcf"] = growing, scoring * len(points) / len(some), few
    print(f"{TREES} trees of {SAMPLES}, {chosen.points:,} points of {FEATURES} dimensions, {threads} threads")
    for name, (growing, scoring, scores) in best.items():
        whole = "" if name == "rrcf" else f", {roc_auc_score(anomalous, scores):.4f} on all"
        part = roc_auc_score(anomalous[some], few if name == "rrcf" else scores[some])
        print(
            f"{name:15} grown in {growing:6.2f} s, scored in {scoring:9.2f} s "
            f"({chosen.points / scoring:8,.0f} points/s), AUC {part:.3f} on {len(some)} points{whole}"
        )
    total = {name: sum(result[:2]) for name, result in best.items()}
    peer = min(total["krcf"], total["krcf, parallel"])
    print(
        f"against krcf: {peer / total['ours']:.1f}x as fast, one core {peer / total['ours, one core']:.1f}x"
    )
    print(f"against rrcf: {total['rrcf'] / total['ours']:,.0f}x as fast")


if __name__ == "__main__":
    main()
