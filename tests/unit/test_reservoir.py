"""A sample of a stream: every row equally likely, whatever the batches."""

from __future__ import annotations

import numpy as np

from common.batches import to_csr
from common.reservoir import Reservoir

ROWS = np.random.default_rng(0).normal(size=(900, 6)).astype(np.float32)


def sampled(count: int, size: int, seed: int, batch: int) -> list[int]:
    reservoir = Reservoir(size, seed)
    rows = np.arange(count, dtype=np.float32)
    for start in range(0, count, batch):
        part = rows[start : start + batch]
        reservoir.add(part[:, None], part)
    np.testing.assert_array_equal(reservoir.rows[:, 0], reservoir.labels)
    assert reservoir.seen == count
    return reservoir.labels.astype(int).tolist()


def test_a_sample_larger_than_the_data_keeps_all_rows_in_order():
    assert sampled(5000, 10_000, 0, 700) == list(range(5000))
    assert sampled(5000, 5000, 0, 700) == list(range(5000))


def test_a_sample_depends_on_the_seed_and_not_on_batches():
    first = sampled(3000, 100, 1, 3000)
    assert len(set(first)) == 100
    assert first == sampled(3000, 100, 1, 7) == sampled(3000, 100, 1, 100)
    assert first != sampled(3000, 100, 2, 3000)


def test_every_row_is_kept_equally_often():
    counts = np.zeros(200)
    for seed in range(2000):
        counts[sampled(200, 20, seed, 64)] += 1
    # 2,000 samples of a tenth: 200 times each, with a standard deviation of 13.4.
    chi_squared = ((counts - 200) ** 2 / 200).sum()
    assert 140 < chi_squared < 270  # 199 degrees of freedom
    assert abs(counts[:20].mean() - 200) < 12
    assert abs(counts[-20:].mean() - 200) < 12


def test_a_sample_of_none_keeps_none():
    reservoir = Reservoir(0, 0)
    reservoir.add(ROWS)
    assert (len(reservoir.rows), len(reservoir.labels), reservoir.seen) == (0, 0, 900)


def test_rows_are_reduced_as_they_enter():
    reservoir = Reservoir(300, 0, lambda rows: rows[:, :3] * 2)
    for start in range(0, 900, 130):
        reservoir.add(ROWS[start : start + 130], np.arange(start, min(start + 130, 900), dtype=np.float32))
    assert reservoir.rows.shape == (300, 3)
    np.testing.assert_array_equal(reservoir.rows, ROWS[reservoir.labels.astype(int), :3] * 2)


def test_a_sample_of_sparse_rows_is_that_of_dense_ones():
    rows = np.where(ROWS > 0.5, ROWS, 0).astype(np.float32)
    plain, sparse = Reservoir(100, 3), Reservoir(100, 3)
    for start in range(0, len(rows), 250):
        plain.add(rows[start : start + 250])
        sparse.add(to_csr(rows[start : start + 250]))
    np.testing.assert_array_equal(sparse.rows, plain.rows)
