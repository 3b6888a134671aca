"""KNN: queries a second through our predictor, against bare FAISS on the same index.

Writes an artifact as training does, loads it as the endpoint does, and times ``predict`` (search, vote or
mean) against ``index.search`` of the very same file. The two take short turns; a rate is that of the
fastest turn, the ratio the median over pairs of turns. The target is at least 0.95 of FAISS's rate::

    python -m bench.knn [--rows 100000] [--features 50] [--neighbors 10] [--seconds 4]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from containers.knn import artifact
from containers.knn.model import KNN, IndexSettings, Preparation, new_index
from containers.knn.predict import load

CLASSES = 10
TURN = 0.02  # seconds
INDEXES = ("faiss.Flat", "faiss.IVFFlat", "faiss.IVFPQ")


def make(folder: Path, kind: str, arguments: argparse.Namespace, predictor_type: str) -> None:
    """A model of random rows in CLASSES clusters."""
    random = np.random.default_rng(0)
    labels = random.integers(0, CLASSES, arguments.rows)
    rows = random.normal(size=(arguments.rows, arguments.features)) + 3 * labels[:, None]
    rows = rows.astype(np.float32)
    settings = IndexSettings(kind, "L2", int(arguments.rows**0.5), 5, arguments.features // 5)  # type: ignore[arg-type]
    index = new_index(arguments.features, settings)
    index.train(rows)
    index.add(rows)
    preparation = Preparation(arguments.features, arguments.features)
    knn = KNN(index, labels.astype(np.float32), arguments.neighbors, predictor_type, preparation)  # type: ignore[arg-type]
    for name in artifact.NAMES:
        artifact.write(knn, name, folder / name)


def compare(
    ours: Callable[[Any], Any], peer: Callable[[Any], Any], queries: list[Any], seconds: float
) -> tuple[float, float, float]:
    """Fastest seconds a query batch of each, and the median ratio of their rates, turn by turn."""
    start = time.perf_counter()
    for batch in queries[:3]:
        ours(batch), peer(batch)
    each = (time.perf_counter() - start) / 6
    turns = max(1, min(len(queries), int(TURN / max(each, 1e-7))))
    times: tuple[list[float], list[float]] = ([], [])
    for pair in range(max(5, int(seconds / 2 / turns / each))):
        # Short turns next to each other, first one side then the other: what else the machine does just then
        # slows both.
        for side in (0, 1) if pair % 2 else (1, 0):
            function = (ours, peer)[side]
            start = time.perf_counter()
            for batch in queries[:turns]:
                function(batch)
            times[side].append((time.perf_counter() - start) / turns)
    ratios = [theirs / own for own, theirs in zip(*times, strict=True)]
    return min(times[0]), min(times[1]), statistics.median(ratios)


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(prog="python -m bench.knn")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--features", type=int, default=50)
    parser.add_argument("--neighbors", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=4)
    arguments = parser.parse_args()
    random = np.random.default_rng(1)
    print(
        f"{arguments.rows} x {arguments.features}, k={arguments.neighbors}, "
        f"{faiss.omp_get_max_threads()} threads, FAISS {faiss.__version__}"
    )
    for kind in INDEXES:
        for predictor_type in ("classifier", "regressor"):
            with tempfile.TemporaryDirectory() as name:
                make(Path(name), kind, arguments, predictor_type)
                predictor = load(Path(name))
                index = faiss.read_index(str(Path(name) / artifact.INDEX))
            for size in (1, 1000):
                queries = [
                    (random.normal(size=(size, arguments.features)) + 3 * random.integers(CLASSES)).astype(
                        "f4"
                    )
                    for _ in range(2000 if size == 1 else 20)
                ]
                ours, peer, ratio = compare(
                    lambda rows, model=predictor: model.predict(rows, {}),
                    lambda rows, bare=index: bare.search(rows, arguments.neighbors),
                    queries,
                    arguments.seconds,
                )
                print(
                    f"{kind:14} {predictor_type:10} batches of {size:4}: ours {size / ours:9.0f} queries/s, "
                    f"FAISS {size / peer:9.0f} queries/s, ratio {ratio:.3f}"
                )


if __name__ == "__main__":
    main()
