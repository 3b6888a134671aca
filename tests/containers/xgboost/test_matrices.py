"""Binned tables, plain ones and the library's own make the same trees."""

from __future__ import annotations

import numpy as np
import pytest

from common.batches import CSR, Batch, to_csr
from common.failures import ClientError
from containers.xgboost import matrices
from containers.xgboost.library import xgb
from containers.xgboost.model import Boosting, Plan

RNG = np.random.default_rng(0)
ROWS = np.where(RNG.random((3000, 6)) < 0.2, 0, RNG.random((3000, 6))).astype(np.float32)
LABELS = (ROWS[:, 0] * 3 + ROWS[:, 1] * ROWS[:, 2] + 0.1 * RNG.normal(size=3000)).astype(np.float32)
WEIGHTS = RNG.random(3000).astype(np.float32)


@pytest.mark.parametrize("sparse", [False, True])
def test_the_same_trees(sparse):
    def batches():
        for start in range(0, 3000, 700):
            part = slice(start, start + 700)
            rows = to_csr(ROWS[part]) if sparse and start else ROWS[part]
            yield Batch(rows, LABELS[part], WEIGHTS[part])

    table = matrices.gather(batches())
    assert (table.sparse, len(table), table.width) == (sparse, 3000, 6)
    assert not table.one_based
    held = xgb.DMatrix(ROWS, missing=0 if sparse else np.nan)
    wanted = xgb.train(
        {"max_depth": 4}, xgb.DMatrix(ROWS, LABELS, weight=WEIGHTS, missing=0 if sparse else np.nan), 8
    ).predict(held)
    for matrix in (
        matrices.plain(table, 6, threads=1),
        matrices.binned(table, 6, threads=1, max_bin=256),
    ):
        boosting = Boosting(Plan({"max_depth": 4, "nthread": 1}), [(matrix, "train")])
        scores: list[float] = []
        boosting.run(range(8), lambda _, found, kept=scores: kept.append(found[0].value))
        np.testing.assert_allclose(boosting.booster.predict(held), wanted, atol=0.05)
        assert np.all(np.diff(scores) < 0)


def test_unsorted_and_repeated_columns_are_the_same_row():
    from common.batches import CSR

    rows = CSR(np.array([3, 1, 2, 2], np.float32), np.array([4, 0, 2, 2]), np.array([0, 4]), (1, 5))
    matrix = matrices.plain(matrices.Table([rows], np.zeros(1, np.float32)), 6, threads=1)
    assert matrix.num_col() == 6
    assert matrix.get_data().toarray().tolist() == [[1, 0, 4, 0, 3, 0]]


def test_early_stopping_goes_on_from_a_checkpoint():
    rows, held = ROWS[:2000], ROWS[2000:]
    noise = np.random.default_rng(1).permutation(LABELS)
    evaluated = [(xgb.DMatrix(rows, noise[:2000]), "train"), (xgb.DMatrix(held, noise[2000:]), "validation")]
    plan = Plan({"nthread": 1}, ["rmse"], library={}, patience=4)
    whole = Boosting(plan, evaluated)
    whole.run(range(100), lambda *_: None)
    first = Boosting(plan, evaluated)
    first.run(range(2), lambda *_: None)
    second = Boosting(plan, evaluated, bytes(first.booster.save_raw("ubj")))
    second.run(range(2, 100), lambda *_: None)
    assert whole.rounds == second.rounds < 100
    assert whole.best().num_boosted_rounds() == second.best().num_boosted_rounds() == whole.rounds - 4
    again = Boosting(plan, evaluated, bytes(second.booster.save_raw("ubj")))
    assert again.out_of_patience()


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinite_features_are_told_with_their_row(sparse, value):
    rows = ROWS[:40].copy()
    rows[3, 1] = np.nan
    matrices.check_features(matrices.gather([Batch(rows, LABELS[:40])]), "train")
    rows[25, 4] = value
    parts = [to_csr(part) if sparse else part for part in (rows[:20], rows[20:])]
    table = matrices.gather([Batch(part, LABELS[:20]) for part in parts])
    with pytest.raises(ClientError, match=rf"channel train: feature 4 .* of row 26 is {value}; accepted: "):
        matrices.check_features(table, "train")


def test_indices_that_no_memory_holds():
    def table(index, width):
        return matrices.Table(
            [
                CSR(
                    np.ones(3, np.float32),
                    np.array([0, 1, index], np.int64),
                    np.array([0, 1, 3], np.int64),
                    (2, width),
                )
            ],
            LABELS[:2],
        )

    matrices.check_features(table(5, matrices.WIDEST), "train")
    with pytest.raises(ClientError, match="row 2 has the feature index 2000000000; accepted: up to 33554431"):
        matrices.check_features(table(2_000_000_000, 2_000_000_001), "train")
    with pytest.raises(ClientError, match="the feature index 2000000000; accepted"):
        matrices.check_features(table(5, 2_000_000_001), "train")
