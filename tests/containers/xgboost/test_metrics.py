"""Our metrics are scikit-learn's, also when the rows lie on several hosts."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from containers.xgboost import tasks
from containers.xgboost.metrics import OwnMetrics, classes_of

REFERENCE = {
    "accuracy": reference.accuracy_score,
    "balanced_accuracy": reference.balanced_accuracy_score,
    "f1": lambda y, p: reference.f1_score(y, p, average="macro"),
    "f1_macro": lambda y, p: reference.f1_score(y, p, average="macro"),
    "f1_binary": lambda y, p: reference.f1_score(y, p, average="binary"),
    "precision": lambda y, p: reference.precision_score(y, p),
    "precision_macro": lambda y, p: reference.precision_score(y, p, average="macro"),
    "precision_micro": lambda y, p: reference.precision_score(y, p, average="micro"),
    "recall": lambda y, p: reference.recall_score(y, p),
    "recall_macro": lambda y, p: reference.recall_score(y, p, average="macro"),
    "recall_micro": lambda y, p: reference.recall_score(y, p, average="micro"),
    "mae": reference.mean_absolute_error,
    "mse": reference.mean_squared_error,
    "r2": reference.r2_score,
    "rmse": reference.root_mean_squared_error,
}


def test_every_metric_has_a_reference():
    assert set(REFERENCE) == set(tasks.OWN_METRICS)


@pytest.mark.parametrize("name", tasks.CLASSIFICATION_METRICS)
def test_binary(name):
    rng = np.random.default_rng(1)
    labels = (rng.random(300) < 0.3).astype(np.float32)
    margins = (labels - 0.5 + rng.normal(0, 0.7, 300)).astype(np.float32)
    found = OwnMetrics([name]).measure(labels, margins, None)
    assert found == pytest.approx({name: REFERENCE[name](labels, margins > 0)})


@pytest.mark.parametrize("name", [n for n in tasks.CLASSIFICATION_METRICS if n not in tasks.BINARY_METRICS])
@pytest.mark.filterwarnings("ignore")  # scikit-learn's, of the class that no row has
def test_multiclass_with_a_class_that_is_only_predicted(name):
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 3, 200).astype(np.float32)
    margins = rng.normal(size=(200, 5)).astype(np.float32)
    margins[:, 4] -= 99  # neither labelled nor predicted
    margins[np.arange(200), labels.astype(int)] += 1
    found = OwnMetrics([name], classes=5).measure(labels, margins, None)
    assert found == pytest.approx({name: REFERENCE[name](labels, classes_of(margins))})


@pytest.mark.parametrize("name", tasks.REGRESSION_METRICS)
def test_regression_far_from_zero(name):
    rng = np.random.default_rng(3)
    labels = (1e5 + rng.normal(size=500)).astype(np.float32)
    values = (labels + rng.normal(0, 0.5, 500)).astype(np.float32)
    found = OwnMetrics([name]).measure(labels, None, values)
    assert found == pytest.approx(
        {name: REFERENCE[name](labels.astype(float), values.astype(float))}, rel=1e-6
    )


def test_hosts_add_up():
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 2, 100).astype(np.float32)
    scores = rng.normal(size=100).astype(np.float32)
    whole = OwnMetrics(["f1", "r2", "rmse"]).measure(labels, scores, scores)
    # What the other host would say, recorded first and then added by this one's reduce.
    said: list[np.ndarray] = []
    other = OwnMetrics(["f1", "r2", "rmse"], reduce=lambda a: said.append(a.copy()) or a)
    other.measure(labels[30:], scores[30:], None)
    totals = iter([said[0], np.array([70, labels[30:].sum()]), None])

    def reduce(array):
        more = next(totals)
        if more is None:  # the sums of squares depend on the mean of both hosts
            mean = labels.mean(dtype=float)
            error, spread = labels[30:].astype(float) - scores[30:], labels[30:] - mean
            more = np.array([error @ error, np.abs(error).sum(), spread @ spread])
        return array + more

    mine = OwnMetrics(["f1", "r2", "rmse"], reduce=reduce)
    assert mine.measure(labels[:30], scores[:30], scores[:30]) == pytest.approx(whole)


def test_directions():
    assert [tasks.maximized(m) for m in ("auc", "ndcg@5", "map@3-", "f1")] == [True] * 4
    assert [tasks.maximized(m) for m in ("rmse", "error@0.7", "logloss")] == [False] * 3
