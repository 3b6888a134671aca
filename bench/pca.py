"""One exact PCA over rows in memory, against scikit-learn's.

200,000 x 200 rows, 20 components, the peer with its solver of the covariance matrix, which is its fastest
for this shape, in 64 bits as ours. Then the scatter matrix alone of sparse rows, 20,000 x 2,000 with 20
nonzero values each, against their dense form. The least time of some repeats, which take turns. Run as::

    python -m bench.pca [--repeats 3]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from sklearn.decomposition import PCA

from common import instances
from common.batches import CSR, Features
from common.cores import Cores
from containers.pca import model
from containers.pca.products import Products
from containers.pca.warm import compile_all

BATCH = 1000
COMPONENTS = 20


def scatter(rows: Features, threads: int) -> np.ndarray:
    """The (d, d) scatter matrix."""
    with Cores(threads) as cores:
        moments = model.Moments(rows.shape[1], Products(cores))
        for start in range(0, len(rows), BATCH):
            moments.add(rows[start : start + BATCH])
        return moments.scatter(moments.total / moments.count)


def ours(rows: Features, threads: int) -> np.ndarray:
    """Singular values, ascending."""
    return model.decompose(scatter(rows, threads), np.zeros(rows.shape[1]), COMPONENTS).s


def theirs(rows: np.ndarray) -> np.ndarray:
    """Singular values, ascending."""
    return PCA(COMPONENTS, svd_solver="covariance_eigh").fit(rows).singular_values_[::-1]


def compare(title: str, repeats: int, **sides: Callable[[], np.ndarray]) -> None:
    """Prints the least time of each side, the ratio of the first to the last, and how far they differ."""
    times: dict[str, float] = {}
    found: dict[str, np.ndarray] = {}
    for _ in range(repeats):
        for name, run in sides.items():
            started = time.perf_counter()
            found[name] = run()
            times[name] = min(times.get(name, np.inf), time.perf_counter() - started)
    first, last = sides
    apart = float(np.abs(found[first] - found[last]).max() / np.abs(found[last]).max())
    print(f"{title}: {first} {times[first]:.3f} s, {last} {times[last]:.3f} s")
    print(f"  {times[first] / times[last]:.1f}x as fast, results {apart:.1e} apart")


def main() -> None:
    """Prints both comparisons."""
    parser = argparse.ArgumentParser(prog="python -m bench.pca")
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    compile_all()
    generator, threads = np.random.default_rng(0), instances.threads()
    rows = generator.normal(size=(200_000, 200)).astype(np.float32) * np.geomspace(
        5, 0.5, 200, dtype=np.float32
    )
    wide = rows.astype(np.float64)
    compare("dense", repeats, scikit_learn=lambda: theirs(wide), pca=lambda: ours(rows, threads))
    columns = np.concatenate([generator.choice(2000, 20, replace=False) for _ in range(20_000)])
    sparse = CSR(generator.random(400_000, np.float32), columns, np.arange(0, 400_001, 20), (20_000, 2000))
    full = sparse.dense()
    compare("sparse", repeats, dense=lambda: scatter(full, threads), sparse=lambda: scatter(sparse, threads))


if __name__ == "__main__":
    main()
