"""Neighbors, votes, samples and projections, against scikit-learn, scipy and counting."""

from __future__ import annotations

import collections

import faiss
import numpy as np
import pytest
from scipy.linalg import hadamard
from sklearn.datasets import load_diabetes, load_digits
from sklearn.metrics import f1_score
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, NearestNeighbors

from common.batches import Float32
from containers.knn import plan
from containers.knn.hyperparameters import DECLARATION
from containers.knn.model import KNN, IndexSettings, Preparation, TooFar, majority, new_index, unit
from containers.knn.projection import FJLT, KINDS, Sign, walsh_hadamard
from containers.knn.scores import Accuracy, SquaredError

random = np.random.default_rng(0)
ROWS = random.normal(size=(900, 12)).astype(np.float32)
LABELS = random.integers(0, 5, 900).astype(np.float32)
QUERIES = random.normal(size=(60, 12)).astype(np.float32)


def built(
    settings: IndexSettings, k: int = 7, predictor_type: str = "classifier", rows: Float32 = ROWS
) -> KNN:
    normalize = settings.metric == "COSINE"
    rows = unit(rows.copy()) if normalize else rows
    index = new_index(rows.shape[1], settings)
    index.train(rows)
    index.add(rows)
    preparation = Preparation(rows.shape[1], rows.shape[1], None, normalize)
    return KNN(index, LABELS[: len(rows)], k, predictor_type, preparation)


# --- search ---


def test_flat_neighbors_of_digits_are_exactly_scikit_learns():
    rows, labels = load_digits(return_X_y=True)
    rows = rows.astype(np.float32)
    index = new_index(64, IndexSettings())
    index.add(rows[:1300])
    knn = KNN(index, labels[:1300].astype(np.float32), 5, "classifier", Preparation(64, 64))
    distances, places = knn.neighbors(rows[1300:])
    reference = NearestNeighbors(n_neighbors=6, algorithm="brute").fit(rows[:1300].astype(np.float64))
    due, due_places = reference.kneighbors(rows[1300:].astype(np.float64))
    due = np.round(due**2)  # pixels are whole numbers, so squared distances are
    np.testing.assert_array_equal(distances, due[:, :5])
    # Where no two of the six nearest are equally far, there is one right answer.
    clear = (np.diff(due, axis=1) > 0).all(axis=1)
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(places[clear], due_places[clear, :5])


@pytest.fixture
def own_threshold():
    """FAISS's own, afterwards too."""
    before = faiss.cvar.distance_compute_blas_threshold
    yield
    faiss.cvar.distance_compute_blas_threshold = before


@pytest.mark.parametrize("kind", ["faiss.Flat", "faiss.IVFFlat"])
def test_rows_far_from_zero_have_the_neighbors_of_rows_near_it(kind, own_threshold):
    near = np.random.default_rng(1).normal(size=(2000, 200)).astype(np.float32)
    near[:, 0] *= 20  # for lists that are no matter of chance
    settings = IndexSettings(kind, lists=4, probes=4)
    knn = built(settings, rows=near[:900])
    due = knn.neighbors(near[900:])[1]
    shifted = near + np.float32(5000)
    moved = built(settings, rows=shifted[:900])
    moved.centre()
    distances, places = moved.neighbors(shifted[900:])
    assert np.mean(places == due) > 0.95  # the shift itself rounds
    one_distances, one_places = moved.neighbors(shifted[900:901])
    np.testing.assert_array_equal(places[:1], one_places)
    np.testing.assert_allclose(distances[:1], one_distances, rtol=1e-4)


@pytest.mark.parametrize("reduction", [{}, {"dimension_reduction_type": "sign"}])
def test_sub_vectors_divide_rows_of_any_width(reduction):
    for width in range(1, 500):
        given = {"feature_dim": width + 1 if reduction else width, "k": 1, "sample_size": 300}
        if reduction:
            given |= {**reduction, "dimension_reduction_target": width}
        values = DECLARATION.resolve({**given, "predictor_type": "classifier", "index_type": "faiss.IVFPQ"})
        preparation = plan.preparation(values, given["feature_dim"], 0)
        settings = plan.index_settings(values, 300, given["feature_dim"], 0)
        assert preparation.dimension % settings.sub_vectors == 0, width


def test_rows_near_zero_stay_where_they_are():
    knn = built(IndexSettings())
    knn.centre()
    np.testing.assert_array_equal(knn.index.reconstruct_n(0, len(ROWS)), ROWS)


def test_answers_for_one_row_are_those_for_many():
    for predictor_type in ("classifier", "regressor"):
        knn = built(IndexSettings(), predictor_type=predictor_type)
        many = knn.predict(QUERIES)
        np.testing.assert_array_equal(many, [knn.predict(row[None])[0] for row in QUERIES])
        np.testing.assert_array_equal(many, knn.answer(QUERIES).predicted)
        assert many.dtype == np.float32


def test_inner_product_and_cosine_against_numpy():
    inner = QUERIES.astype(float) @ ROWS.T
    answer = built(IndexSettings(metric="INNER_PRODUCT")).answer(QUERIES)
    np.testing.assert_allclose(answer.distances, np.sort(-inner, axis=1)[:, :7], rtol=1e-5, atol=1e-5)
    lengths = np.linalg.norm(QUERIES, axis=1)[:, None] * np.linalg.norm(ROWS, axis=1)
    answer = built(IndexSettings(metric="COSINE")).answer(QUERIES)
    np.testing.assert_allclose(answer.distances, np.sort(1 - inner / lengths, axis=1)[:, :7], atol=1e-6)
    np.testing.assert_array_equal(answer.labels, LABELS[np.argsort(1 - inner / lengths, axis=1)[:, :7]])


@pytest.mark.parametrize("metric", ["L2", "INNER_PRODUCT", "COSINE"])
def test_visiting_all_lists_finds_what_the_exhaustive_search_finds(metric):
    flat = built(IndexSettings(metric=metric))
    lists = built(IndexSettings("faiss.IVFFlat", metric, lists=30, probes=30))
    np.testing.assert_array_equal(flat.neighbors(QUERIES)[1], lists.neighbors(QUERIES)[1])


def test_fewer_probes_find_less_but_most():
    due = built(IndexSettings()).neighbors(QUERIES)[1]

    def recall(probes: int) -> float:
        found = built(IndexSettings("faiss.IVFFlat", lists=30, probes=probes)).neighbors(QUERIES)[1]
        return float(np.mean([len(set(a) & set(b)) / 7 for a, b in zip(found, due, strict=True)]))

    assert recall(1) < recall(5) < recall(30) == 1
    assert recall(5) > 0.5


def test_product_quantizer_approximates_distances():
    knn = built(IndexSettings("faiss.IVFPQ", lists=10, probes=10, sub_vectors=12))
    exact = built(IndexSettings())
    np.testing.assert_allclose(knn.neighbors(QUERIES)[0], exact.neighbors(QUERIES)[0], rtol=0.25)
    assert np.mean(knn.predict(QUERIES) == exact.predict(QUERIES)) > 0.7


@pytest.mark.parametrize("kind", ["faiss.IVFFlat", "faiss.IVFPQ"])
def test_k_neighbors_even_where_the_visited_lists_hold_fewer(kind):
    knn = built(IndexSettings(kind, lists=100, probes=1, sub_vectors=12), k=400)
    distances, places = knn.neighbors(QUERIES)
    assert places.min() >= 0
    assert all(len(set(row)) == 400 for row in places.tolist())
    assert (np.diff(distances, axis=1) >= 0).all()


def test_equal_seeds_give_equal_indexes():
    settings = IndexSettings("faiss.IVFPQ", lists=20, sub_vectors=4, seed=3)
    first, again = (faiss.serialize_index(built(settings).index) for _ in range(2))
    other = faiss.serialize_index(built(IndexSettings("faiss.IVFPQ", lists=20, sub_vectors=4, seed=4)).index)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_distances_beyond_32_bits_are_told_with_their_row():
    queries = QUERIES.copy()
    queries[41, 3] = 3e38
    for kind in ("faiss.Flat", "faiss.IVFFlat"):
        with pytest.raises(TooFar, match="row 42 "):
            built(IndexSettings(kind, lists=9)).predict(queries)
    with pytest.raises(TooFar, match="row 1 "):
        built(IndexSettings()).predict(queries[41:42])


def test_rows_in_several_parts(monkeypatch):
    monkeypatch.setattr("containers.knn.model._CHUNK", 7 * 16)
    knn = built(IndexSettings())
    np.testing.assert_array_equal(knn.predict(QUERIES), knn.answer(QUERIES).predicted)
    queries = QUERIES.copy()
    queries[41] = 3e38
    with pytest.raises(TooFar, match="row 42 "):
        knn.predict(queries)


def test_unit_vectors_of_huge_tiny_and_zero_rows():
    rows = unit(np.array([[3e38, 3e38], [1e-30, 0], [0, 0], [3, 4]], np.float32))
    np.testing.assert_allclose(rows, [[0.5**0.5] * 2, [1, 0], [0, 0], [0.6, 0.8]], rtol=1e-6)


def test_queries_are_left_as_they_are():
    queries = QUERIES.copy()
    built(IndexSettings(metric="COSINE")).predict(queries)
    np.testing.assert_array_equal(queries, QUERIES)


# --- votes ---


@pytest.mark.parametrize("classes", [2, 5, 100_000])
@pytest.mark.parametrize("k", [1, 2, 9, 70])
def test_majority_against_counting(classes, k):
    codes = np.random.default_rng(k).integers(0, min(classes, 6), (80, k)) * (classes // min(classes, 6))
    # Counter keeps the order of first occurrence, so its most common is the nearest of the most frequent.
    due = [collections.Counter(row).most_common(1)[0][0] for row in codes.tolist()]
    np.testing.assert_array_equal(majority(codes, classes), due)


def test_a_tie_goes_to_the_nearest():
    np.testing.assert_array_equal(
        majority(np.array([[3, 1, 1, 3], [1, 3, 3, 1], [2, 0, 1, 3]]), 4), [3, 1, 2]
    )


def test_classifier_labels_need_not_be_small_whole_numbers():
    labels = np.where(LABELS < 2, -7.5, 1e9).astype(np.float32)
    index = new_index(12, IndexSettings())
    index.add(ROWS)
    predicted = KNN(index, labels, 5, "classifier", Preparation(12, 12)).predict(QUERIES)
    due = KNeighborsClassifier(5, algorithm="brute").fit(ROWS, (LABELS >= 2).astype(int)).predict(QUERIES)
    np.testing.assert_array_equal(predicted, np.where(due, np.float32(1e9), np.float32(-7.5)))


def test_regressor_is_scikit_learns_on_diabetes():
    rows, targets = load_diabetes(return_X_y=True)
    rows, targets = rows.astype(np.float32), targets.astype(np.float32)
    index = new_index(10, IndexSettings())
    index.add(rows[:350])
    predicted = KNN(index, targets[:350], 10, "regressor", Preparation(10, 10)).predict(rows[350:])
    due = KNeighborsRegressor(10, algorithm="brute").fit(rows[:350], targets[:350]).predict(rows[350:])
    np.testing.assert_allclose(predicted, due, rtol=1e-6)


# --- scores ---


def test_scores_against_scikit_learn():
    predicted, labels = random.integers(1, 6, (2, 500)).astype(np.float32)
    labels[labels == 2] = 9
    accuracy, error = Accuracy(), SquaredError()
    for start in range(0, 500, 60):
        accuracy.add(predicted[start : start + 60], labels[start : start + 60])
        error.add(predicted[start : start + 60], labels[start : start + 60])
    scores = accuracy.scores()
    assert list(scores) == ["accuracy", "macro_f_1.000"]
    assert scores["accuracy"] == np.mean(predicted == labels)
    assert scores["macro_f_1.000"] == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert error.scores() == {"mse": pytest.approx(np.mean((predicted - labels) ** 2))}


# --- projections ---


@pytest.mark.parametrize("power", [0, 1, 2, 5, 6, 7, 12])
def test_walsh_hadamard_is_scipys(power):
    width = 1 << power
    rows = random.integers(-9, 9, (3, width)).astype(np.float32)
    np.testing.assert_array_equal(walsh_hadamard(rows), rows @ hadamard(width, np.float32))


@pytest.mark.parametrize("kind", ["sign", "fjlt"])
def test_projections_keep_distances_and_inner_products(kind):
    rows = np.random.default_rng(5).normal(size=(200, 1000)).astype(np.float32)
    reduced = KINDS[kind](1000, 256, 7)(rows)
    assert reduced.shape == (200, 256)
    assert reduced.dtype == np.float32
    squared = ((rows[:100] - rows[100:]) ** 2).sum(axis=1)
    ratio = ((reduced[:100] - reduced[100:]) ** 2).sum(axis=1) / squared
    # The relative variance of a squared length is about 2 / 256.
    assert abs(ratio.mean() - 1) < 0.03
    assert 0.03 < ratio.std() < 0.13
    angle = (reduced @ reduced.T - rows @ rows.T) / 1000
    assert np.abs(angle).max() < 0.4


@pytest.mark.parametrize("kind", ["sign", "fjlt"])
def test_projections_are_linear_and_come_from_their_seed(kind):
    make = KINDS[kind]
    projected = make(12, 5, 3)(ROWS)
    np.testing.assert_array_equal(projected, make(12, 5, 3)(ROWS))
    assert not np.array_equal(projected, make(12, 5, 4)(ROWS))
    matrix = make(12, 5, 3)(np.eye(12, dtype=np.float32))
    np.testing.assert_allclose(projected, ROWS @ matrix, atol=1e-5)
    np.testing.assert_allclose(np.abs(matrix), 5**-0.5, rtol=1e-6)


SIGN_BITS = [[1, 1, 1, 1, 1, -1, 1, -1], [-1, 1, -1, -1, -1, -1, -1, 1]]
FJLT_BITS = [[1, 1, 1], [1, -1, 1], [1, 1, -1], [1, -1, -1]]


def test_projections_are_what_models_written_before_need():
    """Bits of seed 0 as they were when the first models were written; any other would break these."""
    assert np.sign(Sign(2, 8, 0)(np.eye(2, dtype=np.float32))).astype(int).tolist() == SIGN_BITS
    assert np.sign(FJLT(4, 3, 0)(np.eye(4, dtype=np.float32))).astype(int).tolist() == FJLT_BITS


def test_a_target_may_grow_beyond_the_rows():
    assert FJLT(7, 12, 0)(ROWS[:, :7]).shape == (900, 12)
    assert Sign(7, 12, 0)(ROWS[:, :7]).shape == (900, 12)
