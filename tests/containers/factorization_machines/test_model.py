"""Scores, gradients and steps on arrays, against their definitions in plain numpy and 64 bits."""

from __future__ import annotations

import itertools
import socket
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, log_loss, mean_absolute_error, mean_squared_error

from common.batches import CSR, Batch, to_csr
from common.cluster import Cluster
from common.cores import Cores
from common.job import Hosts
from containers.factorization_machines import measures, model
from containers.factorization_machines.adam import Descent, Rate
from containers.factorization_machines.engines import CoresEngine
from containers.factorization_machines.model import Machine, Start
from containers.factorization_machines.torch_engine import TorchEngine

FEATURES, FACTORS = 12, 5
ALONE = Cluster(Hosts())
DESCENT = Descent(Rate(0.1, 0.01), Rate(0.03, 0.2), Rate(0.02, 0.1))


@pytest.fixture(scope="module")
def cores():
    with Cores(2) as pool:
        yield pool


def machine(seed=0):
    generator = np.random.default_rng(seed)
    return Machine(
        generator.normal(size=1).astype(np.float32),
        generator.normal(size=(FEATURES, 1)).astype(np.float32),
        generator.normal(size=(FEATURES, FACTORS)).astype(np.float32),
    )


def rows(count=40, seed=1, share=0.3):
    """Dense rows with zeros, one of them all zeros; the last feature is never set."""
    generator = np.random.default_rng(seed)
    found = generator.normal(size=(count, FEATURES)).astype(np.float32)
    found[generator.random(found.shape) > share] = 0
    found[3] = 0
    found[:, -1] = 0
    return found


def repeated(dense):
    """The same rows as CSR, each value in two parts, columns falling."""
    parts = []
    for row in dense:
        columns = np.flatnonzero(row)[::-1]
        parts.append((np.repeat(row[columns] / 2, 2), np.repeat(columns, 2)))
    indptr = np.cumsum([0, *(len(columns) for _, columns in parts)])
    values, columns = (np.concatenate(part) for part in zip(*parts, strict=True))
    return CSR(values.astype(np.float32), columns.astype(np.int64), indptr.astype(np.int64), dense.shape)


FORMS = {"dense": lambda dense: dense, "sparse": to_csr, "repeated": repeated}


# --- the definition ---


def defined_scores(weights, dense):
    """A row's score, pair by pair."""
    bias, linear, factors = weights
    found = []
    for row in dense.astype(float):
        pairs = itertools.combinations(np.flatnonzero(row), 2)
        products = sum(row[i] * row[j] * (factors[i] @ factors[j]) for i, j in pairs)
        found.append(bias[0] + row @ linear[:, 0] + products)
    return np.array(found)


def defined_gradients(weights, dense, slopes):
    """The scores' derivatives times the slopes, added. Scores are quadratic at most: quotients are exact."""
    found = []
    for number, part in enumerate(weights):
        gradient = np.empty_like(part)
        for place in np.ndindex(*part.shape):
            moved = []
            for step in (1e-3, -1e-3):
                other = [weight.copy() for weight in weights]
                other[number][place] += step
                moved.append(slopes @ defined_scores(other, dense))
            gradient[place] = (moved[0] - moved[1]) / 2e-3
        found.append(gradient)
    return found


class MXNetAdam:
    """mxnet.optimizer.Adam with lazy updates: rows of a weight without a gradient stay."""

    def __init__(self, rate, weight, clip=None, epsilon=1e-8):
        self.rate, self.clip, self.epsilon, self.steps = rate, clip, epsilon, 0
        self.mean, self.square = np.zeros_like(weight), np.zeros_like(weight)

    def step(self, weight, gradient, touched, rescale):
        self.steps += 1
        slope = gradient * rescale + self.rate.weight_decay * weight
        if self.clip is not None:
            slope = np.clip(slope, -self.clip, self.clip)
        mean, square = 0.9 * self.mean + 0.1 * slope, 0.999 * self.square + 0.001 * slope**2
        rate = self.rate.learning_rate * np.sqrt(1 - 0.999**self.steps) / (1 - 0.9**self.steps)
        self.mean[touched], self.square[touched] = mean[touched], square[touched]
        weight[touched] -= (rate * mean / (np.sqrt(square) + self.epsilon))[touched]


def defined_steps(start, batches, kind, descent, lazy):
    """The weights after one step a batch, each lazy or not."""
    weights = [part.astype(float) for part in (start.bias, start.linear, start.factors)]
    rates = (descent.bias, descent.linear, descent.factors)
    optimizers = [
        MXNetAdam(rate, weight, descent.clip or None, descent.epsilon)
        for rate, weight in zip(rates, weights, strict=True)
    ]
    for (dense, labels), sparing in zip(batches, lazy, strict=True):
        found = defined_scores(weights, dense)
        predicted = found if kind == "regressor" else 1 / (1 + np.exp(-found))
        gradients = defined_gradients(weights, dense, predicted - labels)
        rescale = 1 / len(labels) if descent.rescale is None else descent.rescale
        touched = dense.any(axis=0) if sparing else np.full(FEATURES, True)
        for number, (optimizer, weight) in enumerate(zip(optimizers, weights, strict=True)):
            optimizer.step(weight, gradients[number], touched if number else np.array([True]), rescale)
    return weights


@pytest.mark.parametrize("form", FORMS)
def test_scores_are_those_of_the_definition(form):
    start, dense = machine(), rows()
    expected = defined_scores((start.bias, start.linear, start.factors), dense)
    np.testing.assert_allclose(model.scores(start, FORMS[form](dense)), expected, rtol=1e-4, atol=1e-5)
    assert model.scores(start, FORMS[form](dense)[:0]).shape == (0,)


def test_many_rows_are_scored_in_blocks(monkeypatch):
    start, dense = machine(), rows(500)
    expected = model.scores(start, dense)
    for name in ("_ENTRIES", "_BLOCK"):
        monkeypatch.setattr(model, name, 100)
    for form in FORMS.values():
        np.testing.assert_allclose(model.scores(start, form(dense)), expected, rtol=1e-3, atol=1e-4)


def test_rows_that_need_no_merging_are_not_copied():
    sparse = to_csr(rows())
    assert model.unique(sparse).values is sparse.values
    merged = model.unique(repeated(rows()))
    np.testing.assert_array_equal(merged.indices[: merged.indptr[-1]], sparse.indices)
    np.testing.assert_allclose(merged.values[: merged.indptr[-1]], sparse.values, rtol=1e-6)


# --- steps ---


def labels_for(kind, count, seed):
    generator = np.random.default_rng(seed)
    if kind == "regressor":
        return generator.normal(size=count).astype(np.float32)
    return generator.integers(0, 2, count).astype(np.float32)


def engine_of(name, start, kind, descent, cores, cluster=ALONE):
    if name == "torch":
        return TorchEngine(start, kind, descent, ("cpu",), cluster)
    if name == "two devices":
        return TorchEngine(start, kind, descent, ("cpu", "cpu"), cluster)
    return CoresEngine(start, kind, descent, cores, cluster)


DESCENTS = {
    "plain": DESCENT,
    "clipped": Descent(*[Rate(0.05, 0.3)] * 3, clip=0.02),
    "rescaled": Descent(*[Rate(0.05, 0.0)] * 3, rescale=-0.5, epsilon=0.3),
}


@pytest.mark.parametrize("kind", ["regressor", "binary_classifier"])
@pytest.mark.parametrize("descent", DESCENTS)
@pytest.mark.parametrize("name", ["dense", "sparse", "repeated", "torch", "two devices"])
def test_steps_are_those_of_mxnets_adam(cores, name, descent, kind):
    start, descent = machine(), DESCENTS[descent]
    batches = [
        (rows(count, seed), labels_for(kind, count, seed)) for seed, count in enumerate((30, 30, 5), 2)
    ]
    expected = defined_steps(start, batches, kind, descent, [name in ("sparse", "repeated")] * 3)
    engine = engine_of(name, machine(), kind, descent, cores)
    for dense, labels in batches:
        sums = engine.step(Batch(FORMS.get(name, FORMS["dense"])(dense), labels))
        assert sums[0] == len(labels)
    found = engine.machine()
    for part, weights in zip((found.bias, found.linear, found.factors), expected, strict=True):
        assert part.dtype == np.float32
        np.testing.assert_allclose(part, weights, rtol=2e-3, atol=2e-4)


def test_features_that_no_row_has_keep_their_weights(cores):
    """Which also tells that weight decay and moments don't move them; dense rows have all features."""
    start = machine()
    engine = CoresEngine(machine(), "regressor", DESCENT, cores, ALONE)
    for seed in range(3):
        engine.step(Batch(to_csr(rows(seed=seed)), labels_for("regressor", 40, seed)))
    assert engine.machine().linear[-1] == start.linear[-1]
    assert engine.machine().factors[-1].tobytes() == start.factors[-1].tobytes()
    engine.step(Batch(rows(), labels_for("regressor", 40, 0)))
    assert engine.machine().linear[-1] != start.linear[-1]


def wide_batches(count, features, rows=600, each=9):
    generator = np.random.default_rng(7)
    for _ in range(count):
        indices = np.sort(generator.integers(0, features, (rows, each)), axis=1).ravel()
        values = generator.normal(size=rows * each).astype(np.float32)
        indptr = np.arange(0, rows * each + 1, each)
        yield Batch(
            CSR(values, indices, indptr, (rows, features)),
            generator.integers(0, 2, rows).astype(np.float32),
        )


@pytest.mark.parametrize("features", [50, 1_000_000])
def test_sparse_steps_give_equal_bytes_with_any_number_of_threads(features):
    """Of millions of features too, in no more time: what isn't touched costs nothing."""
    found = []
    for threads in (1, 3):
        with Cores(threads) as pool:
            start = Machine.start(features, 20, (Start("constant"),) * 2 + (Start("uniform", 0.1),), 0, pool)
            engine = CoresEngine(start, "binary_classifier", DESCENT, pool, ALONE)
            for batch in wide_batches(3, features):
                engine.step(batch)
            machine = engine.machine()
            found.append((machine.bias.tobytes(), machine.linear.tobytes(), machine.factors.sum(axis=1)))
    assert found[0][:2] == found[1][:2]
    np.testing.assert_array_equal(found[0][2], found[1][2])


def test_equal_numbers_of_entries_go_to_each_thread(cores):
    engine = CoresEngine(machine(), "regressor", DESCENT, cores, ALONE)
    starts = np.cumsum([0, 200_000, *[100] * 1000])
    assert engine._divided(starts) == [slice(0, 1), slice(1, 1001)]
    assert engine._divided(starts[:1]) == [slice(0, 0)]


@pytest.mark.parametrize(
    "forms", [("sparse", "sparse"), ("dense", "dense"), ("sparse", "dense"), ("torch", "torch")]
)
def test_two_hosts_move_as_one_with_all_rows(forms):
    """Also where one of them runs out of rows first."""
    ends = socket.socketpair()
    names = ("algo-1", "algo-2")
    kind = "regressor"
    batches = [
        [(rows(count, seed), labels_for(kind, count, seed)) for seed, count in parts]
        for parts in (((2, 30), (3, 20), (4, 25)), ((5, 10), (6, 30)))
    ]

    def host(rank):
        cluster = Cluster(Hosts(names[rank], names), [ends[rank]])
        with Cores(1) as pool:
            engine = engine_of(forms[rank], machine(), kind, DESCENT, pool, cluster)
            form = FORMS.get(forms[rank], FORMS["dense"])
            own = [Batch(form(dense), labels) for dense, labels in batches[rank]]
            sums = [engine.step(batch) for batch in [*own, None, None][:4]]
            return engine.machine(), sums

    with ThreadPoolExecutor(2) as pool:
        (first, sums), (second, others) = pool.map(host, range(2))
    assert [list(one) for one in sums] == [list(one) for one in others]
    assert [one[0] for one in sums] == [40, 50, 25, 0]
    both = [
        tuple(
            np.concatenate([part[number][place] for part in batches if number < len(part)])
            for place in (0, 1)
        )
        for number in range(3)
    ]
    # Rows of a dense mini-batch have all features; the last step has rows of the first host alone.
    lazy = [forms == ("sparse", "sparse")] * 2 + [forms[0] == "sparse"]
    expected = defined_steps(machine(), both, kind, DESCENT, lazy)
    for mine, other, weights in zip(
        (first.bias, first.linear, first.factors),
        (second.bias, second.linear, second.factors),
        expected,
        strict=True,
    ):
        assert mine.tobytes() == other.tobytes()
        np.testing.assert_allclose(mine, weights, rtol=2e-3, atol=2e-4)


# --- starts and measures ---


def test_starts():
    with Cores(2) as pool:
        normal = Start("normal", sigma=0.5).draw((3000, 500), [1, 2], pool)
        uniform = Start("uniform", scale=2.0).draw((3000, 500), [1, 2], pool)
        constant = Start("constant", value=-1.5).draw((3, 2), [1, 2], pool)
    assert normal.dtype == uniform.dtype == constant.dtype == np.float32
    assert normal.std() == pytest.approx(0.5, rel=1e-2)
    assert abs(normal.mean()) < 1e-2
    assert (uniform.min(), uniform.max()) == (pytest.approx(-2, abs=1e-2), pytest.approx(2, abs=1e-2))
    assert uniform.std() == pytest.approx(2 / 3**0.5, rel=1e-2)
    assert constant.tolist() == [[-1.5] * 2] * 3
    with Cores(1) as pool:
        assert Start("normal", sigma=0.5).draw((3000, 500), [1, 2], pool).tobytes() == normal.tobytes()
        assert Start("normal", sigma=0.5).draw((3, 5), [1, 3], pool).tobytes() != normal[:3, :5].tobytes()


def test_measures_are_scikit_learns():
    generator = np.random.default_rng(0)
    scores = generator.normal(size=500).astype(np.float32) * 5
    values = generator.normal(size=500).astype(np.float32)
    slopes, sums = measures.measure("regressor", scores, values)
    np.testing.assert_array_equal(slopes, scores - values)
    found = {name: value for name, value, _ in measures.metrics("regressor", sums)}
    assert found["mse"] == pytest.approx(mean_squared_error(values, scores))
    assert found["rmse"] == pytest.approx(found["mse"] ** 0.5)
    assert found["absolute_loss"] == pytest.approx(mean_absolute_error(values, scores))
    classes = generator.integers(0, 2, 500).astype(np.float32)
    slopes, sums = measures.measure("binary_classifier", scores, classes)
    chances = 1 / (1 + np.exp(-scores.astype(float)))
    np.testing.assert_allclose(slopes, chances - classes, atol=1e-6)
    found = {name: value for name, value, _ in measures.metrics("binary_classifier", sums)}
    assert found["binary_classification_accuracy"] == accuracy_score(classes, scores >= 0)
    assert found["binary_classification_cross_entropy"] == pytest.approx(log_loss(classes, chances))
    assert found["binary_f_1.000"] == pytest.approx(f1_score(classes, scores >= 0))


def test_measures_at_the_edges():
    _, sums = measures.measure("binary_classifier", np.float32([-3e38, 3e38, -1]), np.float32([0, 1, 0]))
    found = {name: value for name, value, _ in measures.metrics("binary_classifier", sums)}
    assert found["binary_classification_cross_entropy"] == pytest.approx(np.log1p(np.exp(-1)) / 3)
    _, sums = measures.measure("binary_classifier", np.float32([-1]), np.float32([0]))
    assert measures.metrics("binary_classifier", sums)[2] == ("binary_f_1.000", 0.0, "score")
