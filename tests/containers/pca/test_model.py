"""PCA on arrays, against numpy's SVD and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_wine
from sklearn.decomposition import PCA

from common.batches import CSR, to_csr
from common.cores import Cores
from containers.pca import model
from containers.pca.products import Products, TorchProducts

DIGITS = load_digits().data.astype(np.float32)


@pytest.fixture
def cores():
    with Cores(2) as pool:
        yield pool


def places(cores):
    return {"cpu": Products(cores), "torch": TorchProducts(cores, "cpu")}


def exact(rows, place, step=400, center=True, densify=True, count=10):
    moments = model.Moments(rows.shape[1], place, densify=densify)
    for start in range(0, len(rows), step):
        moments.add(rows[start : start + step])
    assert moments.count == len(rows)
    mean = moments.total / moments.count if center else np.zeros(rows.shape[1])
    return model.decompose(moments.scatter(mean), mean, count)


def same(found, rows, count=10):
    """As the SVD of the centered rows has it, strongest last, each vector's largest entry positive."""
    rows = rows.astype(np.float64)
    mean = rows.mean(axis=0)
    _, s, vt = np.linalg.svd(rows - mean, full_matrices=False)
    np.testing.assert_allclose(found.mean, mean[None], rtol=1e-6)
    np.testing.assert_allclose(found.s, s[:count][::-1], rtol=1e-5)
    reference = vt[:count][::-1].T
    np.testing.assert_allclose(np.abs((found.v * reference).sum(axis=0)), 1, atol=1e-5)
    assert (np.take_along_axis(found.v, np.abs(found.v).argmax(axis=0)[None], axis=0) > 0).all()
    assert found.explained == pytest.approx((s[:count] ** 2).sum() / (s**2).sum(), rel=1e-6)


@pytest.mark.parametrize("kind", ["cpu", "torch"])
def test_exact_components_are_those_of_the_svd(cores, kind):
    same(exact(DIGITS, places(cores)[kind]), DIGITS)


def test_exact_components_are_those_of_scikit_learn(cores):
    wine = load_wine().data.astype(np.float32)
    found = exact(wine, Products(cores), step=50, count=4)
    peer = PCA(4).fit(wine.astype(np.float64))
    np.testing.assert_allclose(found.s[::-1], peer.singular_values_, rtol=1e-5)
    np.testing.assert_allclose(found.s[::-1] ** 2 / 177, peer.explained_variance_, rtol=1e-5)
    assert found.explained == pytest.approx(peer.explained_variance_ratio_.sum(), rel=1e-7)


@pytest.mark.parametrize("step", [1, 37, 10_000])
def test_the_size_of_blocks_makes_no_difference(cores, step):
    same(exact(DIGITS[:500], Products(cores), step=step), DIGITS[:500])


def test_many_features_are_divided_by_tiles(cores):
    generator = np.random.default_rng(0)
    rows = (generator.normal(size=(900, 20)) @ generator.normal(size=(20, 700))).astype(np.float32)
    same(exact(rows, Products(cores)), rows)


@pytest.mark.parametrize("kind", ["cpu", "torch"])
def test_far_from_the_origin(cores, kind):
    rows = DIGITS[:, 1:31] + np.float32(1e6)
    same(exact(rows, places(cores)[kind], count=5), rows, 5)


@pytest.mark.parametrize("densify", [True, False])
def test_sparse_rows_mean_the_same_as_dense_ones(cores, densify):
    generator = np.random.default_rng(0)
    rows = generator.random((800, 50), np.float32)
    rows[generator.random(rows.shape) < 0.9] = 0
    same(exact(to_csr(rows), Products(cores), densify=densify), rows)
    # Digits are half full: dense blocks, unless those are ruled out.
    same(exact(to_csr(DIGITS), Products(cores), densify=densify), DIGITS)


def test_dense_and_sparse_blocks_in_turn(cores):
    for first in (0, 1):
        moments = model.Moments(64, Products(cores), densify=False)
        for number, start in enumerate(range(0, len(DIGITS), 300)):
            block = DIGITS[start : start + 300]
            moments.add(to_csr(block) if number % 2 == first else block)
        mean = moments.total / moments.count
        same(model.decompose(moments.scatter(mean), mean, 10), DIGITS)


def test_columns_of_a_sparse_row_in_any_order_and_more_than_once(cores):
    rows = CSR(np.array([3, 1, 2, 5, 4], np.float32), np.array([2, 0, 2, 1, 0]), np.array([0, 3, 5]), (2, 3))
    moments = model.Moments(3, Products(cores), densify=False)
    moments.add(rows)
    dense = np.array([[1.0, 0, 5], [4, 5, 0]])
    np.testing.assert_allclose(moments.scatter(np.zeros(3)), dense.T @ dense)


def test_without_subtracting_the_mean(cores):
    found = exact(DIGITS, Products(cores), center=False)
    _, s, vt = np.linalg.svd(DIGITS.astype(np.float64), full_matrices=False)
    np.testing.assert_allclose(found.s, s[:10][::-1], rtol=1e-5)
    np.testing.assert_allclose(np.abs(found.v[:, -1]), np.abs(vt[0]), atol=1e-5)
    assert not found.mean.any()


def test_more_components_than_rows_have_no_strength(cores):
    found = exact(DIGITS[:5], Products(cores), count=12)
    assert (found.s[:8] < 1e-3).all()
    np.testing.assert_allclose(found.v.T @ found.v, np.eye(12), atol=1e-5)


def sketched(rows, size, place, seed=0, count=10, step=300, densify=True):
    sketch = model.Sketch(rows.shape[1], size, np.random.default_rng(seed), place, densify=densify)
    for start in range(0, len(rows), step):
        sketch.add(rows[start : start + step])
    mean = sketch.total / sketch.count
    return model.approximate(sketch.about(mean), mean, count)


def captured(found, rows):
    """The share of variance in the found components."""
    centered = rows - rows.mean(axis=0, dtype=np.float64)
    return ((centered @ found.v) ** 2).sum() / (centered**2).sum()


def test_a_larger_sketch_is_more_accurate(cores):
    best = captured(exact(DIGITS, Products(cores)), DIGITS)
    shares = [
        np.mean([captured(sketched(DIGITS, size, Products(cores), seed), DIGITS) for seed in range(3)])
        for size in (20, 100, 2000)
    ]
    assert shares[0] > 0.6 * best
    assert shares == sorted(shares)
    assert 0.99 * best < shares[2] <= best


def test_a_large_sketch_has_the_singular_values(cores):
    found = sketched(DIGITS, 8000, Products(cores))
    np.testing.assert_allclose(found.s, exact(DIGITS, Products(cores)).s, rtol=0.05)
    np.testing.assert_allclose(found.v.T @ found.v, np.eye(10), atol=1e-5)
    assert (np.diff(found.s) >= 0).all()


@pytest.mark.parametrize("kind", ["cpu", "torch", "sparse", "sparse in blocks"])
def test_the_sketch_is_signs_times_centered_rows(cores, kind):
    rows = DIGITS[:200] + np.float32(1)
    place = places(cores).get(kind, Products(cores))
    sketch = model.Sketch(64, 12, np.random.default_rng(5), place, densify=kind == "sparse in blocks")
    form = to_csr(rows) if "sparse" in kind else rows
    sketch.add(form[:120])
    sketch.add(form[120:])
    generator = np.random.default_rng(5)
    signs = np.concatenate([
        np.unpackbits(np.frombuffer(generator.bytes(count * 12 // 8), np.uint8)).reshape(count, 12)
        for count in (120, 80)
    ]) * 2.0 - 1  # fmt: skip
    assert set(np.unique(signs)) == {-1, 1}
    mean = rows.mean(axis=0, dtype=np.float64)
    np.testing.assert_allclose(sketch.about(mean), (rows - mean).T @ signs, atol=1e-2)
    np.testing.assert_allclose(sketch.total, rows.sum(axis=0, dtype=np.float64), rtol=1e-6)


def test_reconstruction_loses_what_is_not_explained(cores):
    found = exact(DIGITS, Products(cores))
    lost = model.reconstruction(DIGITS, found.mean, found.v)
    assert lost == pytest.approx(((DIGITS - found.mean) ** 2).sum() * (1 - found.explained), rel=1e-4)
    assert model.reconstruction(to_csr(DIGITS), found.mean, found.v) == pytest.approx(lost, rel=1e-6)
