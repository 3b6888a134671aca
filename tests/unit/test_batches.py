"""Batches, sparse rows, and the one place where mini-batches are cut."""

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

from common.batches import CSR, Batch, dense, join, recut, stack, to_csr

rng = np.random.default_rng(0)


def sparse(rows, columns):
    matrix = scipy.sparse.random(rows, columns, 0.2, "csr", np.float32, random_state=1)
    return CSR(
        matrix.data, matrix.indices.astype(np.int64), matrix.indptr.astype(np.int64), matrix.shape
    ), matrix


def test_csr_is_scipys():
    ours, theirs = sparse(20, 7)
    assert np.array_equal(ours.dense(), theirs.toarray())
    assert np.array_equal(ours[3:11].dense(), theirs[3:11].toarray())
    assert np.array_equal(ours[1:18:4].dense(), theirs[1:18:4].toarray())
    assert np.array_equal(to_csr(theirs.toarray()).dense(), theirs.toarray())
    assert np.array_equal(stack([ours[:5], ours[5:]]).dense(), theirs.toarray())


def test_a_slice_is_a_view_and_one_with_a_step_a_copy():
    ours, _ = sparse(20, 7)
    rows = np.arange(8, dtype=np.float32).reshape(4, 2)
    for batch in (Batch(ours), Batch(rows, rows[:, 0])):
        values = batch.features.values if isinstance(batch.features, CSR) else batch.features
        parts = [batch[1:3].features, batch[1::2].features]
        shared = [np.shares_memory(values, p.values if isinstance(p, CSR) else p) for p in parts]
        assert shared == [True, False]
    with pytest.raises(ValueError, match="forwards"):
        ours[::-1]


def test_repeated_columns_add_up():
    row = CSR(np.array([1, 2], np.float32), np.array([4, 4]), np.array([0, 2]), (1, 6))
    assert row.dense()[0, 4] == 3


def test_dense_and_sparse_rows_stack():
    ours, theirs = sparse(4, 6)
    below = np.eye(6, dtype=np.float32)
    assert np.array_equal(dense(stack([ours, below])), np.vstack([theirs.toarray(), below]))


@given(st.lists(st.integers(0, 9), max_size=12), st.integers(1, 7))
def test_recut_keeps_every_row_in_order(sizes, size):
    total = sum(sizes)
    rows = np.arange(total, dtype=np.float32).reshape(-1, 1)
    blocks, start = [], 0
    for count in sizes:
        blocks.append(Batch(rows[start : start + count], rows[start : start + count, 0]))
        start += count
    cut = list(recut(blocks, size, join))
    assert [len(batch) for batch in cut] == [size] * (total // size) + [total % size] * bool(total % size)
    if cut:
        whole = join(cut)
        assert np.array_equal(whole.features, rows)
        assert np.array_equal(whole.labels, rows[:, 0])


def test_widths_that_differ_are_refused():
    with pytest.raises(ValueError, match="dimension"):
        stack([rng.random((2, 3), np.float32), rng.random((2, 4), np.float32)])


def test_rows_without_weights_weigh_one_beside_rows_with():
    rows, labels = np.zeros((2, 1), np.float32), np.zeros(2, np.float32)
    whole = join([Batch(rows, labels), Batch(rows, labels, np.array([3, 4], np.float32))])
    assert whole.weights.tolist() == [1, 1, 3, 4]
    with pytest.raises(ValueError, match="some rows have labels"):
        join([Batch(rows), Batch(rows, labels)])
