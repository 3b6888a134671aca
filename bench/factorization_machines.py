"""Time that factorization machines take to an equal test RMSE, and AUC, against myFM and against PyTorch.

Ratings from 1 to 5 as MovieLens has them: 6,000 users and 4,000 items, of very unequal popularity, are
10,000 one-hot features; there are 64 factors. The classifier learns whether a rating is at least 4. All learn
from the same rows in memory, in the same order, with all cores, until the score on 100,000 other ratings is
reached; the time of scoring those is left out. PyTorch runs the plain loop with sparse gradients and
SparseAdam, and the same with dense gradients and fused Adam. It and we use Adam with the same rates, with
mini-batches of 1,000 and of 5,000; the fastest counts. myFM samples (Gibbs) and averages its samples, with a
group each for users and items; where it isn't done in ``--limit`` seconds, how far it came is told. PyTorch
has ``--torch-threads``: its steps are too small for more than one to be of use. Sides
take turns; times are the least of ``--repetitions``, but myFM's, which runs once. Needs ``myfm``, and
``setuptools<81`` for what that imports. Run as::

    python -m bench.factorization_machines [--ratings 300000] [--repetitions 3] [--limit 120]
"""

from __future__ import annotations

import argparse
import io
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from dataclasses import dataclass

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from common import instances
from common.batches import CSR, Batch
from common.cluster import Cluster
from common.cores import Cores
from common.job import Hosts
from containers.factorization_machines import model
from containers.factorization_machines.adam import Descent, Rate
from containers.factorization_machines.engines import CoresEngine
from containers.factorization_machines.model import Machine, Start
from containers.factorization_machines.warm import compile_all

USERS, ITEMS, FACTORS = 6000, 4000, 64
FEATURES = USERS + ITEMS
TESTED = 100_000
TARGETS = {"regressor": 0.84, "binary_classifier": 0.795}  # RMSE at most, AUC at least
EPOCHS = 12
LOOKS = 8  # at the test score, an epoch
# Rows of a mini-batch, and the learning rate of linear weights and of factors.
SETTINGS = ((1000, 0.01, 0.001), (5000, 0.02, 0.002))
BIAS_RATE, START = 0.1, 0.001


@dataclass(frozen=True)
class Data:
    """(rows, 2) one-hot columns and (rows,) labels to learn from, and to test on."""

    kind: str
    columns: NDArray[np.int64]
    labels: NDArray[np.float32]
    test_columns: NDArray[np.int64]
    test_labels: NDArray[np.float32]

    def score(self, found: NDArray[np.floating]) -> float:
        """RMSE or AUC of test scores."""
        if self.kind == "regressor":
            return float(np.sqrt(np.mean((found - self.test_labels) ** 2)))
        return float(roc_auc_score(self.test_labels, found))

    def reached(self, score: float) -> bool:
        """Whether a score is as good as the target."""
        return score <= TARGETS[self.kind] if self.kind == "regressor" else score >= TARGETS[self.kind]


def ratings(count: int, kind: str) -> Data:
    """Ratings that have a mean, users' and items' biases, 4 dimensions of taste, and noise."""
    generator = np.random.default_rng(0)
    tastes, traits = generator.normal(size=(USERS, 4)), generator.normal(size=(ITEMS, 4))
    users, items = generator.normal(size=USERS) * 0.4, generator.normal(size=ITEMS) * 0.45
    active, popular = generator.lognormal(0, 1.0, USERS), generator.lognormal(0, 1.3, ITEMS)
    rows = count + TESTED
    user = generator.choice(USERS, rows, p=active / active.sum())
    item = generator.choice(ITEMS, rows, p=popular / popular.sum())
    liking = 0.35 * (tastes[user] * traits[item]).sum(axis=1) + users[user] + items[item]
    values = np.clip(np.round(3.55 + liking + 0.75 * generator.normal(size=rows)), 1, 5).astype(np.float32)
    labels = values if kind == "regressor" else (values >= 4).astype(np.float32)
    columns = np.stack([user, USERS + item], axis=1)
    return Data(kind, columns[:count], labels[:count], columns[count:], labels[count:])


def csr(columns: NDArray[np.int64]) -> CSR:
    """One-hot rows."""
    values = np.ones(columns.size, np.float32)
    return CSR(values, columns.ravel(), np.arange(0, columns.size + 1, 2), (len(columns), FEATURES))


class Clock:
    """Seconds of learning: those at which the target was met, and the score then."""

    def __init__(self, data: Data) -> None:
        self._data = data
        self.seconds = 0.0
        self.score = float("nan")
        self._since = time.perf_counter()

    def look(self, scores: Callable[[], NDArray[np.floating]]) -> bool:
        """Whether the target is met; what this takes doesn't count."""
        self.seconds += time.perf_counter() - self._since
        self.score = self._data.score(scores())
        self._since = time.perf_counter()
        return self._data.reached(self.score)


def batches(rows: int, size: int) -> Iterator[tuple[slice, bool]]:
    """Mini-batches of all epochs, and whether it is time for a look after them."""
    starts = range(0, rows, size)
    looks = {round(len(starts) * (number + 1) / LOOKS) for number in range(LOOKS)}
    for _ in range(EPOCHS):
        for number, start in enumerate(starts, 1):
            yield slice(start, start + size), number in looks


def ours(data: Data, size: int, linear: float, factors: float, threads: int) -> Clock:
    """Factorization machines as a job trains them."""
    features, test = csr(data.columns), csr(data.test_columns)
    clock = Clock(data)
    with Cores(threads) as cores:
        starts = Start("normal", sigma=0.01), Start("normal", sigma=0.01), Start("normal", sigma=START)
        machine = Machine.start(FEATURES, FACTORS, starts, 0, cores)
        rates = Descent(Rate(BIAS_RATE, 0.0), Rate(linear, 0.0), Rate(factors, 0.0))
        engine = CoresEngine(machine, data.kind, rates, cores, Cluster(Hosts()))
        for part, look in batches(len(features), size):
            engine.step(Batch(features[part], data.labels[part]))
            if look and clock.look(lambda: model.scores(machine, test)):
                break
    return clock


class Loop(torch.nn.Module):
    """The plain machine in PyTorch; each row has as many features, each of value 1."""

    def __init__(self, sparse: bool) -> None:
        super().__init__()
        self.bias = torch.nn.Parameter(torch.zeros(1))
        self.linear = torch.nn.Embedding(FEATURES, 1, sparse=sparse)
        self.factors = torch.nn.Embedding(FEATURES, FACTORS, sparse=sparse)
        torch.nn.init.normal_(self.linear.weight, std=0.01)
        torch.nn.init.normal_(self.factors.weight, std=START)

    def forward(self, columns: torch.Tensor) -> torch.Tensor:
        vectors = self.factors(columns)
        pairs = vectors.sum(1).square() - vectors.square().sum(1)
        return self.bias + self.linear(columns).sum((1, 2)) + 0.5 * pairs.sum(1)


def looped(data: Data, size: int, linear: float, factors: float, sparse: bool) -> Clock:
    """PyTorch's loop."""
    torch.manual_seed(0)
    columns, labels = torch.from_numpy(data.columns), torch.from_numpy(data.labels)
    test = torch.from_numpy(data.test_columns)
    loop = Loop(sparse)
    bias = {"params": [loop.bias], "lr": BIAS_RATE}
    rest = [
        {"params": [loop.linear.weight], "lr": linear},
        {"params": [loop.factors.weight], "lr": factors},
    ]
    optimizers: list[torch.optim.Optimizer] = (
        [torch.optim.SparseAdam(rest), torch.optim.Adam([bias])]
        if sparse
        else [torch.optim.Adam([bias, *rest], fused=True)]
    )
    if data.kind == "regressor":
        loss = lambda found, wanted: 0.5 * torch.nn.functional.mse_loss(found, wanted)  # noqa: E731
    else:
        loss = torch.nn.functional.binary_cross_entropy_with_logits
    clock = Clock(data)
    for part, look in batches(len(columns), size):
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss(loop(columns[part]), labels[part]).backward()
        for optimizer in optimizers:
            optimizer.step()
        if look:
            with torch.no_grad():
                if clock.look(lambda: loop(test).numpy()):
                    break
    return clock


def sampled(data: Data, limit: float) -> Clock:
    """myFM."""
    import myfm

    def matrix(columns: NDArray[np.int64]) -> scipy.sparse.csr_matrix:
        rows = csr(columns)
        return scipy.sparse.csr_matrix((rows.values, rows.indices, rows.indptr), shape=rows.shape)

    features, test = matrix(data.columns), matrix(data.test_columns)
    total, clock = np.zeros(TESTED), Clock(data)
    number = 0

    def look(index: int, machine: object, *_: object) -> tuple[bool, str]:
        nonlocal total, number

        def scores() -> NDArray[np.floating]:
            nonlocal total, number
            total, number = total + machine.predict_score(test, []), number + 1  # type: ignore[attr-defined]
            return total / number

        return clock.look(scores) or clock.seconds > limit, ""

    kind = myfm.MyFMGibbsRegressor if data.kind == "regressor" else myfm.MyFMGibbsClassifier
    with redirect_stderr(io.StringIO()):  # a bar of progress
        kind(rank=FACTORS, random_seed=0).fit(
            features,
            data.labels,
            n_iter=1000,
            n_kept_samples=1,
            callback=look,
            group_shapes=[USERS, ITEMS],
        )
    return clock


def compare(data: Data, repetitions: int, limit: float, threads: int) -> None:
    """Prints all sides of one task."""
    measure = "RMSE" if data.kind == "regressor" else "AUC"
    print(
        f"{data.kind}: {len(data.labels):,} ratings, test {measure} {TARGETS[data.kind]}, {threads} threads"
    )
    sides: dict[str, Callable[[], Clock]] = {}
    for size, *rates in SETTINGS:
        sides[f"PyTorch, SparseAdam, {size}"] = lambda s=size, r=rates: looped(data, s, *r, sparse=True)
        sides[f"PyTorch, Adam, {size}"] = lambda s=size, r=rates: looped(data, s, *r, sparse=False)
        sides[f"factorization machines, {size}"] = lambda s=size, r=rates: ours(data, s, *r, threads)
    found: dict[str, Clock] = {}
    for _ in range(repetitions):
        for name, run in sides.items():
            clock = run()
            print(f"    {name}: {clock.seconds:.2f} s", flush=True)
            if name not in found or clock.seconds < found[name].seconds:
                found[name] = clock
    found["myFM"] = sampled(data, limit)
    for name, clock in found.items():
        missed = "" if data.reached(clock.score) else "   (target not reached)"
        print(f"{name:32} {clock.seconds:8.2f} s   {measure} {clock.score:.4f}{missed}")
    reached = {name: clock.seconds for name, clock in found.items() if data.reached(clock.score)}
    mine = min(seconds for name, seconds in reached.items() if name.startswith("factorization"))
    name, seconds = min(
        ((name, seconds) for name, seconds in reached.items() if not name.startswith("factorization")),
        key=lambda pair: pair[1],
    )
    print(f"{seconds / mine:.1f}x as fast as the fastest peer ({name})")


def main() -> None:
    """Both tasks."""
    parser = argparse.ArgumentParser(prog="python -m bench.factorization_machines")
    parser.add_argument("--ratings", type=int, default=300_000)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--limit", type=float, default=120)
    parser.add_argument("--torch-threads", type=int, default=1)
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    compile_all()
    threads = instances.threads()
    torch.set_num_threads(chosen.torch_threads)
    for kind in TARGETS:
        compare(ratings(chosen.ratings, kind), chosen.repetitions, chosen.limit, threads)


if __name__ == "__main__":
    main()
