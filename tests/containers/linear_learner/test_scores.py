"""Metrics, calibration, selection and the scaler pass against scikit-learn, brute force and numpy."""

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from common.batches import Batch, to_csr
from containers.linear_learner.candidates import Settings
from containers.linear_learner.criteria import ClassCounts, Criterion, binary_metrics, calibrate
from containers.linear_learner.evaluation import Tally
from containers.linear_learner.hyperparameters import DECLARATION
from containers.linear_learner.losses import objective
from containers.linear_learner.model import Dense, LinearModels, Rows
from containers.linear_learner.plan import Plan
from containers.linear_learner.predict import sigmoid
from containers.linear_learner.scaling import constant, moments
from containers.linear_learner.selection import Selection


def scored(rows=500, seed=0, digits=2):
    generator = np.random.default_rng(seed)
    labels = (generator.random(rows) < 0.3).astype(np.float32)
    scores = (generator.random(rows) * 0.6 + labels * 0.3).astype(np.float32)
    return np.round(scores, digits), labels  # rounded, so that scores tie


def test_binary_metrics_are_scikit_learns():
    scores, labels = scored()
    found = binary_metrics(scores, labels, 0.5, 2.0)
    called = scores >= 0.5
    assert list(found) == [
        "binary_classification_accuracy",
        "binary_f_2.000",
        "precision",
        "recall",
        "roc_auc_score",
    ]
    assert list(found.values()) == pytest.approx(
        [
            sk.accuracy_score(labels, called),
            sk.fbeta_score(labels, called, beta=2),
            sk.precision_score(labels, called),
            sk.recall_score(labels, called),
            sk.roc_auc_score(labels, scores),
        ]
    )


def test_binary_metrics_of_one_class_are_defined():
    found = binary_metrics(np.array([0.1, 0.2], np.float32), np.zeros(2, np.float32), 0.5, 1.0)
    assert found["binary_classification_accuracy"] == 1
    assert found["precision"] == found["recall"] == found["binary_f_1.000"] == 0
    assert np.isnan(found["roc_auc_score"])


def test_multiclass_metrics_are_scikit_learns():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 5, 300)  # the sixth class never occurs
    scores = generator.standard_normal((300, 6)).astype(np.float32)
    scores[np.arange(300), labels] += 1
    counts = ClassCounts(6, 2)
    counts.add(scores[:100], labels[:100])
    counts.add(scores[100:], labels[100:])
    found = counts.metrics(0.5)
    called = scores.argmax(1)
    probabilities = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    gain = np.zeros((300, 6))
    gain[np.arange(300), labels] = 1
    macro = {"average": "macro", "zero_division": 0}
    expected = {
        "multiclass_accuracy": sk.accuracy_score(labels, called),
        "multiclass_top_k_accuracy_2": sk.top_k_accuracy_score(labels, scores, k=2, labels=range(6)),
        "dcg": sk.dcg_score(gain, scores),
        "macro_recall": sk.recall_score(labels, called, **macro),
        "macro_precision": sk.precision_score(labels, called, **macro),
        "macro_f_0.500": sk.fbeta_score(labels, called, beta=0.5, **macro),
        "multiclass_balanced_accuracy": np.mean([np.mean(called[labels == k] == k) for k in range(5)]),
        "multiclass_log_loss": sk.log_loss(labels, probabilities, labels=range(6)),
    }
    assert list(found) == list(expected)
    assert found == pytest.approx(expected, rel=1e-5)


CRITERIA = [
    Criterion("accuracy"),
    Criterion("f_beta", beta=2.0),
    Criterion("precision_at_target_recall", target_recall=0.7),
    Criterion("recall_at_target_precision", target_precision=0.6),
]


@pytest.mark.parametrize("criterion", CRITERIA, ids=lambda one: one.name)
def test_calibration_finds_the_best_threshold(criterion):
    scores, labels = scored()
    threshold, value = calibrate(scores, labels, criterion)

    def at(cut):
        called = scores >= np.float32(cut)
        tp, fp = np.sum(called & (labels > 0)), np.sum(called & (labels == 0))
        one = criterion.values(np.array([tp]), np.array([fp]), labels.sum(), (1 - labels).sum())
        return float(one[0])

    everywhere = [at(cut) for cut in [*np.unique(scores), 2.0]]
    assert value == pytest.approx(max(everywhere))
    assert at(threshold) == pytest.approx(value)


def test_calibration_prefers_the_natural_threshold():
    scores = np.array([0.1, 0.2, 0.8, 0.9], np.float32)
    assert calibrate(scores, np.array([0, 0, 1, 1], np.float32), Criterion())[0] == 0.5
    # Between 0.8 and 0.9, whose middle is where a score is most safely on its side.
    assert calibrate(scores, np.array([0, 0, 0, 1], np.float32), Criterion())[0] == pytest.approx(0.85)
    assert calibrate(scores[:0], scores[:0], Criterion()) == (0.5, 0.0)
    low, high = np.float32(0.7), np.nextafter(np.float32(0.7), np.float32(1))
    cut, value = calibrate(np.array([low, high]), np.array([0, 1], np.float32), Criterion())
    assert value == 1
    assert low < np.float32(cut) <= high


@pytest.mark.parametrize(("label", "side"), [(0, 1), (1, -1)], ids=["none", "all"])
def test_a_threshold_beyond_all_scores_is_so_among_probabilities_too(label, side):
    """Neighbours among logits are often the same probability, and an endpoint rounds in another order."""
    scores = side * np.array([1.25, 2.5, 4], np.float32)
    cut, value = calibrate(scores, np.full(3, label, np.float32), Criterion(), 0.0)
    assert value == 1
    assert (sigmoid(scores) - sigmoid(np.array([cut], np.float32)) > 1e-5).all() == bool(label)
    assert (sigmoid(np.array([cut], np.float32)) - sigmoid(scores) > 1e-5).all() == (not label)


@pytest.mark.parametrize("criterion", CRITERIA, ids=lambda one: one.name)
def test_histograms_tell_the_criterion_of_every_model(criterion):
    generator = np.random.default_rng(0)
    x = generator.standard_normal((2000, 3)).astype(np.float32)
    y = (x @ [2, -1, 0.5] + generator.logistic(size=2000) > 0.4).astype(np.float32)
    rows = Rows(Dense(torch.from_numpy(x)), torch.from_numpy(y).view(-1, 1))
    models = LinearModels(3, [Settings(0.1)] * 2, objective("logistic"))
    models.parameters[:, 0] = torch.tensor([2, -1, 0.5, 0.4])
    models.parameters[:, 1] = torch.tensor([0.1, 0.1, 0, 5])
    tally = Tally(models, binary=True)
    tally.add(Rows(Dense(rows.features.rows[:900]), rows.labels[:900]))
    tally.add(Rows(Dense(rows.features.rows[900:]), rows.labels[900:]))
    found = tally.criteria(tally.sums(), criterion)
    scores = models.scores(rows).numpy()
    exact = [calibrate(scores[:, i].copy(), y, criterion, 0.0)[1] for i in range(2)]
    np.testing.assert_allclose(found, exact, atol=0.005)
    losses = tally.means(tally.sums())
    assert losses[0] == pytest.approx(sk.log_loss(y, 1 / (1 + np.exp(-scores[:, 0].astype(float)))), rel=1e-5)


def test_moments_of_dense_and_sparse_rows():
    generator = np.random.default_rng(0)
    x = (generator.standard_normal((100, 4)) + np.array([0, 1e4, 0, 0])).astype(np.float32)
    x[:, 2] = 3.3
    x[generator.random(100) < 0.8, 3] = 0
    y = generator.standard_normal(100).astype(np.float32) + 50
    batches = [Batch(x[:30], y[:30]), Batch(to_csr(x[30:]), y[30:])]
    found = moments(batches, 4)
    np.testing.assert_allclose(found.mean, x.mean(0, dtype=np.float64))
    np.testing.assert_allclose(found.deviation, x.std(0, dtype=np.float64), rtol=1e-4, atol=1e-6)
    assert found.label_mean == pytest.approx(y.mean(dtype=np.float64))
    assert found.label_deviation == pytest.approx(y.std(dtype=np.float64), rel=1e-5)
    assert constant(found).tolist() == [False, False, True, False]


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_moments_of_labels_whose_squares_leave_float32(size):
    y = (np.random.default_rng(0).standard_normal(50) * size).astype(np.float32)
    found = moments([Batch(np.zeros((50, 1), np.float32), y)], 1)
    assert found.label_deviation == pytest.approx(y.std(dtype=np.float64), rel=1e-5, abs=0)


def test_a_feature_too_small_to_be_scaled_in_float32_is_constant():
    x = np.array([[1e-40, 1e-30], [-1e-40, -1e-30]], np.float32)
    found = moments([Batch(x, np.zeros(2, np.float32))], 2)
    assert constant(found).tolist() == [True, False]
    plan = Plan.of(DECLARATION.resolve({"predictor_type": "binary_classifier"}))
    assert np.isfinite(plan.normalisation(found).scale).all()


def test_selection_keeps_each_models_best_epoch():
    models = LinearModels(1, [Settings(0.1)] * 3, objective("squared_loss"))
    selection = Selection(models, patience=2, tolerance=0.1)

    def epoch(number, scores):
        models.parameters.fill_(number)
        selection.observe(np.array(scores))
        return selection.parameters[0].tolist()

    assert epoch(1, [-5.0, -9.0, np.nan]) == [1, 1, 1]
    assert selection.improved
    assert epoch(2, [-6.0, -4.8, np.inf]) == [1, 2, 1]
    assert not selection.improved  # 4 % better, where 10 % are asked for
    assert selection.waited == 1
    assert epoch(3, [-4.0, -7.0, -8.0]) == [3, 2, 3]
    assert selection.improved
    assert selection.best == 0
    epoch(4, [-4.1] * 3)
    assert not selection.patience_over
    epoch(5, [-3.9] * 3)
    assert selection.patience_over
    assert selection.best == 0  # the first among equals


def test_equal_scores_are_decided_by_the_loss():
    models = LinearModels(1, [Settings(0.1)] * 2, objective("logistic"))
    selection = Selection(models, 1, 0.1)
    selection.ties(np.array([-0.5, -0.2]))
    assert selection.observe(np.array([1.0, 1.0])) == 1
    assert selection.best == 1
