"""Random cut forests on arrays: trees against their definition, scores against a plain recursion."""

from __future__ import annotations

import math
import runpy
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import f1_score, precision_score, recall_score, roc_auc_score

from common.batches import to_csr
from common.cores import Cores
from common.failures import ClientError
from containers.randomcutforest import memory, sampling
from containers.randomcutforest.evaluation import anomalous, measures
from containers.randomcutforest.model import Forest, grow_forest
from containers.randomcutforest.scoring import NotAForest, Scorer

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


@pytest.fixture
def cores() -> Iterator[Cores]:
    with Cores(2) as opened:
        yield opened


class Node:
    """One node of a tree as a forest's arrays tell it."""

    def __init__(self, forest: Forest, tree: int) -> None:
        starts = forest.first_leaves
        self._forest = forest
        self._next = int(starts[tree]) - tree
        self._read(int(starts[tree]), int(starts[tree + 1]), 0)

    def _read(self, start: int, stop: int, depth: int) -> None:
        self.points, self.counts = self._forest.points[start:stop], self._forest.counts[start:stop]
        self.depth = depth
        self.children: tuple[Node, ...] = ()
        if stop - start > 1:
            node, self._next = self._next, self._next + 1
            self.dimension, self.value = self._forest.dimensions[node], self._forest.values[node]
            middle = start + int(self._forest.lefts[node])
            left = self._child(start, middle)
            self._next = left._next
            right = self._child(middle, stop)
            self._next = right._next
            self.children = left, right

    def _child(self, start: int, stop: int) -> Node:
        child = Node.__new__(Node)
        child._forest, child._next = self._forest, self._next
        child._read(start, stop, self.depth + 1)
        return child

    def walk(self) -> Iterator[Node]:
        yield self
        for child in self.children:
            yield from child.walk()


def trees(forest: Forest) -> list[Node]:
    return [Node(forest, tree) for tree in range(len(forest.leaves))]


def plainly(root: Node, point: np.ndarray) -> float:
    """The score of one tree, in 64 bits and from the definition."""
    mass = int(root.counts.sum())

    def at(node: Node) -> float:
        if not node.children and (node.points[0] == point).all():
            count = int(node.counts[0])
            return (1 - count / (2 * mass)) / (node.depth + math.log2(count + 1))
        if not node.children:
            return 1 / (node.depth + 1)
        points = node.points.astype(float)
        low, high = points.min(0), points.max(0)
        wider = np.maximum(high, point) - np.minimum(low, point)
        apart = 1 - (high - low).sum() / wider.sum()
        side = int(point[node.dimension] > node.value)
        return apart / (node.depth + 1) + (1 - apart) * at(node.children[side])

    return at(root) * math.log2(mass + 1)


def rows(count: int, width: int, kind: str) -> np.ndarray:
    random = np.random.default_rng(5)
    made = random.normal(size=(count, width)).astype(np.float32)
    if kind == "many equal":
        made = made.round()
    elif kind == "a constant column":
        made[:, 0] = 3
    elif kind == "far from zero":
        made += 1e4
    elif kind == "very unequal scales":
        made[:, 0] *= 1e12
    return made


KINDS = ["plain", "many equal", "a constant column", "far from zero", "very unequal scales"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [1, 3, 40])
def test_trees_are_what_they_should_be_and_scores_are_their_definition(cores, kind, width):
    sample = rows(410, width, kind)
    forest, depths = grow_forest(sample.copy(), 5, 0, cores)
    # All points but the remainder of 410 / 5, of which there is none, are in one tree each.
    together = np.repeat(forest.points, forest.counts, axis=0)
    assert sorted(map(tuple, together.tolist())) == sorted(map(tuple, sample.tolist()))
    grown = trees(forest)
    for root, depth in zip(grown, depths, strict=True):
        assert root.counts.sum() == 82
        assert max(node.depth for node in root.walk()) == depth
        for node in root.walk():
            if node.children:
                left, right = (child.points[:, node.dimension] for child in node.children)
                assert left.max() <= node.value < right.min()
            else:
                assert len(node.points) == 1
    asked = np.concatenate(
        [sample[:60], rows(60, width, kind)[::-1] * 2, np.full((1, width), 1e15, np.float32)]
    )
    expected = [np.mean([plainly(root, point.astype(float)) for root in grown]) for point in asked]
    scorer = Scorer(forest)
    found = scorer.scores(asked)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=2e-4)
    np.testing.assert_array_equal(scorer.scores(to_csr(asked)), found)


def test_cuts_are_drawn_in_proportion_to_extents_and_uniformly(cores):
    """Two points: the only cut's dimension and place are a sample of what they are drawn from."""
    pair = np.array([[0, 0, 0], [1, 3, 0]], np.float32)
    forest, _ = grow_forest(np.tile(pair, (4000, 1)), 4000, 3, cores)
    split = forest.leaves == 2
    assert 1800 < split.sum() < 2200  # trees whose two points differ
    along = forest.dimensions == 1
    assert not (forest.dimensions == 2).any()
    assert abs(along.mean() - 0.75) < 0.04
    places = np.sort(forest.values[along])
    # Kolmogorov and Smirnov's distance from the uniform distribution on [0, 3).
    assert np.abs(places / 3 - np.linspace(0, 1, len(places))).max() < 1.95 / len(places) ** 0.5


def test_points_are_dealt_at_random(cores):
    """Sorted data: each tree still sees all of their range."""
    forest, _ = grow_forest(np.arange(5000, dtype=np.float32)[:, None], 50, 0, cores)
    means = [root.points.mean() for root in trees(forest)]
    # A mean of 100 of them varies by 5000 / sqrt(12 * 100) = 144; dealt in order it would by 1443.
    assert 90 < np.std(means) < 200


def test_a_remainder_is_left_out(cores):
    forest, _ = grow_forest(rows(417, 2, "plain"), 5, 0, cores)
    assert forest.counts.sum() == 415
    assert len(forest.leaves) == 5


def test_threads_and_blocks_change_nothing():
    sample, asked = rows(1000, 7, "plain"), rows(3000, 7, "far from zero") - 1e4
    answers = []
    for threads in (1, 3):
        with Cores(threads) as cores:
            forest, _ = grow_forest(sample.copy(), 20, 9, cores)
            scorer = Scorer(forest)
            answers += [scorer.scores(asked, cores), scorer.scores(asked)]
            answers.append(np.concatenate([scorer.scores(asked[:1]), scorer.scores(asked[1:])]))
    for answer in answers[1:]:
        np.testing.assert_array_equal(answer, answers[0])
    with Cores(1) as cores:
        other, _ = grow_forest(sample.copy(), 20, 10, cores)
    assert not np.array_equal(Scorer(other).scores(asked), answers[0])


@pytest.mark.parametrize("size", [1, 4])
def test_trees_of_equal_points(cores, size):
    forest, depths = grow_forest(np.ones((50 * size, 3), np.float32), 50, 0, cores)
    assert depths == [0] * 50
    assert forest.counts.tolist() == [size] * 50
    scores = Scorer(forest).scores(np.array([[1, 1, 1], [1, 1, 2]], np.float32))
    np.testing.assert_allclose(scores, [0.5, math.log2(size + 1)], rtol=1e-6)


def test_ten_thousand_dimensions_and_points_beyond_32_bits(cores):
    sample = rows(200, 10_000, "plain")
    forest, _ = grow_forest(sample.copy(), 50, 0, cores)
    scorer = Scorer(forest)
    far = np.full((2, 10_000), np.finfo(np.float32).max, np.float32)
    near, anomaly = scorer.scores(sample[:1]), scorer.scores(sample[:1] + 10)
    assert near < anomaly < scorer.scores(far)[0]
    np.testing.assert_allclose(scorer.scores(far), math.log2(5), rtol=1e-3)  # cut off at the root


def test_the_closest_floats_are_told_apart(cores):
    one = np.float32(1)
    pair = np.array([[one], [np.nextafter(one, np.float32(2))]], np.float32)
    forest, _ = grow_forest(np.tile(pair, (64, 1)), 2, 0, cores)
    assert forest.leaves.tolist() == [2, 2]
    assert Scorer(forest).scores(pair).max() < 1


@pytest.mark.parametrize(
    ("name", "change", "part"),
    [
        ("lefts", 0, "not a tree"),
        ("lefts", 1 << 30, "not a tree"),
        ("values", np.nan, "between"),
        ("values", 1e9, "between"),
    ],
)
def test_arrays_that_contradict_each_other(cores, name, change, part):
    forest, _ = grow_forest(rows(300, 2, "plain"), 3, 0, cores)
    getattr(forest, name)[len(forest.lefts) // 2] = change
    with pytest.raises(NotAForest, match=part):
        Scorer(forest)


def test_malignant_tumours_stand_out_of_benign_ones(cores):
    """Breast cancer (scikit-learn's): benign samples and every tenth of the malignant ones."""
    data = load_breast_cancer()
    scaled = ((data.data - data.data.mean(0)) / data.data.std(0)).astype(np.float32)
    malignant = np.flatnonzero(data.target == 0)[::10]
    kept = np.concatenate([np.flatnonzero(data.target == 1), malignant])
    forest, _ = grow_forest(scaled[kept], 100, 0, cores)
    scores = Scorer(forest).scores(scaled[kept])
    assert roc_auc_score(data.target[kept] == 0, scores) > 0.93


# --- what is sampled, and how it is judged ---


def test_a_sample_of_all_hosts_is_drawn_as_from_one_stream():
    seen, size = [1000, 0, 3000], 100
    drawn = np.array([sampling.shares(seen, size, seed) for seed in range(400)])
    assert (drawn.sum(1) == size).all()
    assert (drawn[:, 1] == 0).all()
    # Hypergeometric: mean 25, variance 100 * 1/4 * 3/4 * 3900/3999.
    assert abs(drawn[:, 0].mean() - 25) < 0.7
    assert 14 < drawn[:, 0].var() < 23
    assert sampling.shares([3, 4], 10, 0).tolist() == [3, 4]
    assert sampling.shares([10**12, 10**12], 50, 0).sum() == 50
    kept = np.arange(50, dtype=np.float32)[:, None]
    assert sampling.chosen(kept, 50, [0]) is kept
    some = sampling.chosen(kept, 20, [0])
    assert len(set(some[:, 0].tolist())) == 20


def test_measures_are_scikit_learns():
    random = np.random.default_rng(1)
    scores = random.normal(size=500).astype(np.float32)
    scores[:20] += 8
    actual = np.arange(500) < 25
    predicted = anomalous(scores)
    assert predicted.sum() == (scores > scores.mean() + 3 * scores.std()).sum() > 10
    found = measures(predicted, actual)
    assert found["accuracy"] == np.mean(predicted == actual)
    assert found["precision"] == pytest.approx(precision_score(actual, predicted))
    assert found["recall"] == pytest.approx(recall_score(actual, predicted))
    assert found["f1"] == pytest.approx(f1_score(actual, predicted))
    none = np.zeros(5, bool)
    assert measures(none, none) == {"accuracy": 1.0, "precision": 0.0, "recall": 0.0, "f1": 0.0}


def test_what_a_forest_takes_is_no_more_than_estimated(cores):
    values = {"num_trees": 50, "num_samples_per_tree": 64, "feature_dim": 30}
    needed = memory.estimate(values, 1, tested=True)
    assert needed.sample == 50 * 64 * 30 * 4
    Scorer(grow_forest(rows(50, 30, "plain"), 50, 0, cores)[0])  # compiles
    tracemalloc.start()
    try:
        sample = rows(50 * 64, 30, "plain").copy()
        tracemalloc.reset_peak()
        Scorer(grow_forest(sample, 50, 0, cores)[0])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert needed.forest / 1.5 < peak < needed.forest
    assert memory.estimate(values, 2, tested=False).forest >= 3 * needed.sample


def test_a_forest_that_no_memory_holds(monkeypatch):
    values = {"feature_dim": 10_000, "num_trees": 1000, "num_samples_per_tree": 2048}
    monkeypatch.setattr(memory, "available_memory", lambda: 64 << 30)
    with pytest.raises(ClientError) as refused:
        memory.check(values, hosts=1, tested=False)
    assert (
        "num_trees=1000 times num_samples_per_tree=2048 points of feature_dim=10000 needs 122880000000 bytes "
        "of memory and 68719476736 are available; accepted: smaller ones"
    ) in str(refused.value)
    monkeypatch.setattr(memory, "available_memory", lambda: 0)  # nobody tells
    memory.check(values, hosts=1, tested=False)


# --- quality on real data ---


def test_all_known_events_are_among_the_highest_peaks_of_the_taxi_series(cores):
    """The example's data and preparation: NAB's five events, with two holidays that it has no windows for."""
    taxi = runpy.run_path(str(EXAMPLES / "taxi_anomalies.py"))
    times, counts = taxi["rides"]()
    rows = taxi["days"](counts).astype(np.float32)
    scores = Scorer(grow_forest(rows.copy(), 100, 0, cores)[0]).scores(rows, cores)
    highest = [taxi["event"](times[place + taxi["DAY"] - 1]) for place in taxi["peaks"](scores, 7)]
    assert set(highest) - {""} == set(taxi["EVENTS"])
    assert all(highest[:3])


def test_scores_of_rides_alone_are_what_public_notebooks_show(cores):
    """One dimension, as AWS's notebook has it: usual rows score about 1, flagged ones 2 to 4."""
    _, counts = runpy.run_path(str(EXAMPLES / "taxi_anomalies.py"))["rides"]()
    rows = counts.astype(np.float32)[:, None]
    forest, _ = grow_forest(rows[: 50 * 80].copy(), 50, 0, cores)
    scores = Scorer(forest).scores(rows, cores)
    low, middle, high = np.percentile(scores, [2, 50, 98])
    assert 0.5 < low < 0.77 < middle < 1 < high < 1.61
    assert 3 < scores[counts.argmax()] == scores.max() < np.log2(81)
    assert 0.005 < anomalous(scores).mean() < 0.03
