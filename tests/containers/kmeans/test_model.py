"""K-means on arrays, against scikit-learn and plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.metrics import pairwise_distances, pairwise_distances_argmin

from common.batches import to_csr
from common.cores import Cores
from containers.kmeans import model
from containers.kmeans.distances import Prepared, nearest
from containers.kmeans.engines import Engine, TorchEngine

DIGITS = load_digits().data.astype(np.float32)


@pytest.fixture
def cores():
    with Cores(2) as pool:
        yield pool


def plain_totals(points, centers):
    labels = pairwise_distances_argmin(points, centers)
    totals = np.zeros((len(centers), points.shape[1] + 1))
    np.add.at(totals[:, :-1], labels, points.astype(np.float64))
    totals[:, -1] = np.bincount(labels, minlength=len(centers))
    return totals


def sparse_points():
    generator = np.random.default_rng(0)
    points = generator.random((1500, 60), np.float32)
    points[generator.random(points.shape) < 0.95] = 0
    return points


@pytest.mark.parametrize("kind", ["cpu", "torch"])
@pytest.mark.parametrize("offset", [0, 1e4])
def test_totals_and_distances_are_those_of_plain_numpy(cores, kind, offset):
    points = DIGITS + np.float32(offset)
    # Digits are whole numbers; without noise some rows are equally far from two centers.
    centers = points[::40] + np.random.default_rng(0).normal(size=(45, 64))
    engine = Engine(cores) if kind == "cpu" else TorchEngine(cores, "cpu")
    expected = plain_totals(points.astype(np.float64), centers)
    np.testing.assert_array_equal(engine.totals(points, centers)[:, -1], expected[:, -1])
    np.testing.assert_allclose(engine.totals(points, centers), expected, rtol=1e-6)
    distances = pairwise_distances(points.astype(np.float64), centers).min(axis=1) ** 2
    np.testing.assert_allclose(engine.squared(points, centers), distances, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("kind", ["cpu", "torch"])
@pytest.mark.parametrize("densify", [True, False])
@pytest.mark.parametrize("points", [sparse_points(), DIGITS], ids=["sparse", "half full"])
def test_sparse_rows_mean_the_same_as_dense_ones(cores, kind, densify, points):
    make = (
        (lambda **rest: TorchEngine(cores, "cpu", **rest))
        if kind == "torch"
        else (lambda **rest: Engine(cores, **rest))
    )
    centers = points[:30] + 0.1 * np.random.default_rng(0).normal(size=(30, points.shape[1]))
    sparse = to_csr(points)
    expected = plain_totals(points, centers)
    np.testing.assert_allclose(make(densify=densify).totals(sparse, centers), expected, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(
        make(densify=densify).squared(sparse, centers), Engine(cores).squared(points, centers),
        rtol=1e-4, atol=2e-3,
    )  # fmt: skip
    chosen = [model.choose(rows, 20, "kmeans++", np.random.default_rng(1)) for rows in (points, sparse)]
    np.testing.assert_array_equal(*chosen)


def test_sparse_points_with_a_large_column_are_told_apart_by_their_small_ones(cores):
    points = sparse_points()
    points[:, 7] = 20_000 + np.arange(len(points)) % 3
    centers = points[:30].astype(np.float64)
    engine, sparse = Engine(cores, densify=False), to_csr(points)
    np.testing.assert_allclose(
        engine.totals(sparse, centers), plain_totals(points.astype(np.float64), centers)
    )
    due = pairwise_distances(points.astype(np.float64), centers).min(axis=1) ** 2
    np.testing.assert_allclose(engine.squared(sparse, centers), due, rtol=1e-3, atol=1e-2)
    chosen = [model.choose(rows, 20, "kmeans++", np.random.default_rng(1)) for rows in (points, sparse)]
    np.testing.assert_array_equal(*chosen)


def test_one_row_and_none(cores):
    engine, centers = Engine(cores), DIGITS[:3].astype(np.float64)
    assert engine.totals(DIGITS[1:2], centers)[:, -1].tolist() == [0, 1, 0]
    assert not engine.totals(DIGITS[:0], centers).any()
    assert len(engine.squared(DIGITS[:0], centers)) == 0


def test_ties_go_to_the_first_center():
    labels, squared = nearest(np.zeros((1, 2), np.float32), Prepared(np.array([[1.0, 0], [-1, 0]])))
    assert labels.tolist() == [0]
    assert squared.tolist() == [1]


def test_running_means_are_means_of_all_points(cores):
    engine = Engine(cores)
    clusters = model.Clusters(DIGITS[:1])
    for start in range(0, len(DIGITS), 100):
        clusters.update(engine.totals(DIGITS[start : start + 100], clusters.centers))
    np.testing.assert_allclose(clusters.centers[0], DIGITS.mean(axis=0, dtype=np.float64), atol=1e-9)
    assert clusters.counts.tolist() == [len(DIGITS)]


def test_half_life_is_the_number_of_points_after_which_an_earlier_one_weighs_half():
    clusters = model.Clusters(np.zeros((2, 1)), half_life=10)
    clusters.update(np.array([[8.0, 4], [0, 0]]))
    assert clusters.counts.tolist() == [4, 0]
    clusters.update(np.array([[40.0, 10], [0, 0]]))
    # The four points with mean 2 weigh 2 by now, against ten with mean 4.
    assert clusters.counts.tolist() == [12, 0]
    assert clusters.centers[:, 0].tolist() == [pytest.approx((2 * 2 + 10 * 4) / 12), 0]


@pytest.mark.parametrize("method", ["random", "kmeans++"])
def test_chosen_rows_are_distinct_rows_of_the_points(method):
    points = DIGITS[:300]
    chosen = model.choose(points, len(points), method, np.random.default_rng(0))
    np.testing.assert_array_equal(np.unique(chosen, axis=0), np.unique(points, axis=0))


def test_spaced_starts_cost_less_than_random_ones():
    def cost(method):
        return np.mean([
            nearest(DIGITS, Prepared(model.choose(DIGITS, 20, method, np.random.default_rng(seed))))[1].mean()
            for seed in range(5)
        ])  # fmt: skip

    assert cost("kmeans++") < 0.95 * cost("random")


def test_spaced_start_among_fewer_distinct_points_than_centers():
    points = np.repeat(np.eye(3, dtype=np.float32), 4, axis=0)
    chosen = model.choose(points, 7, "kmeans++", np.random.default_rng(0))
    assert len(chosen) == 7
    assert len(np.unique(chosen, axis=0)) == 3


def test_lloyd_ends_where_scikit_learn_does():
    points, weights = DIGITS.astype(np.float64), np.full(len(DIGITS), 1 / len(DIGITS))
    loss, centers = model.lloyd(points, weights, points[:10], 300, 0)
    peer = KMeans(10, init=points[:10], n_init=1, max_iter=300, tol=0).fit(points)
    assert loss == pytest.approx(peer.inertia_ / len(points), rel=1e-6)
    np.testing.assert_allclose(centers, peer.cluster_centers_, atol=1e-6)


def test_lloyd_stops_at_the_cap_and_at_the_tolerance():
    points, weights = DIGITS.astype(np.float64), np.full(len(DIGITS), 1 / len(DIGITS))
    losses = [model.lloyd(points, weights, points[:10], cap, 0)[0] for cap in (1, 2, 5, 300)]
    assert losses == sorted(losses, reverse=True)
    assert len(set(losses)) == 4
    assert losses[3] < model.lloyd(points, weights, points[:10], 300, 0.05)[0] < losses[0]


def test_lloyd_gives_a_center_that_lost_its_points_another_place():
    points = np.array([[0.0], [1], [10], [11]])
    loss, centers = model.lloyd(points, np.full(4, 0.25), np.array([[0.5], [10.5], [1e6]]), 10, 0)
    assert loss == pytest.approx(0.125)
    assert sorted(centers[:, 0].tolist()) in ([0, 1, 10.5], [0.5, 10, 11])


def test_reduction_weighs_centers_by_their_points(cores):
    centers, counts = np.array([[0.0], [1], [10], [12]]), np.array([3.0, 1, 1, 1])
    reduction = model.shrink(centers, counts, 2, np.random.default_rng(0), Engine(cores), trials=4)
    np.testing.assert_allclose(np.sort(reduction.centers[:, 0]), [0.25, 11])
    assert len(reduction.losses) == 4
    assert reduction.loss == pytest.approx((3 * 0.0625 + 0.5625 + 1 + 1) / 6)


def test_reduction_forgets_centers_without_points_while_there_are_others(cores):
    centers = np.array([[5.0], [0], [7], [1]])
    for counts, kept in (([0, 2, 0, 1], {0, 1}), ([1, 1, 0, 0], {5, 0}), ([0, 0, 0, 0], {5, 0})):
        reduction = model.shrink(centers, np.array(counts, float), 2, np.random.default_rng(0), Engine(cores))
        assert set(reduction.centers[:, 0].tolist()) == kept
        assert reduction.loss == 0


def test_many_centers_reduced_come_close_to_lloyd_on_all_rows(cores):
    engine, generator = Engine(cores), np.random.default_rng(0)
    clusters = model.Clusters(model.choose(DIGITS[:500], 100, "kmeans++", generator))
    for _ in range(2):
        for start in range(0, len(DIGITS), 500):
            clusters.update(engine.totals(DIGITS[start : start + 500], clusters.centers))
    reduction = model.shrink(clusters.centers, clusters.counts, 10, generator, engine)
    inertia, rows = model.quality(iter([DIGITS]), reduction.centers, engine)
    assert rows == len(DIGITS)
    assert inertia < 1.05 * KMeans(10, n_init=10, random_state=0).fit(DIGITS).inertia_


def test_equal_seeds_give_equal_bytes_with_any_number_of_threads():
    found = []
    for threads in (1, 2):
        with Cores(threads) as cores:
            start = model.choose(DIGITS, 80, "kmeans++", np.random.default_rng(3)).astype(np.float64)
            counts = np.arange(1.0, 81)
            found.append(model.shrink(start, counts, 8, np.random.default_rng(3), Engine(cores)).centers)
    assert found[0].tobytes() == found[1].tobytes()
