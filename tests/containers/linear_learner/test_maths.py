"""Losses, optimisers and the batched models against torch's autograd and optimisers and scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.linear_model import LogisticRegression, Ridge

from common.batches import Batch, to_csr
from containers.linear_learner.candidates import Settings, affordable, candidates, with_positive_weights
from containers.linear_learner.data import Preparation
from containers.linear_learner.hyperparameters import DECLARATION
from containers.linear_learner.losses import objective
from containers.linear_learner.model import Dense, LinearModels, Normalisation, Rows, Sparse
from containers.linear_learner.optimizers import Schedule, Tuning


def expected(name, z, y):
    """Each loss as the developer guide writes it; margin 0.8, quantile 0.3, delta 0.7, epsilon 0.4."""
    e = z - y
    zero = torch.zeros_like(z)
    return {
        "logistic": -(y * torch.sigmoid(z).log() + (1 - y) * (1 - torch.sigmoid(z)).log()),
        "hinge_loss": y * torch.maximum(zero, 0.9 - z) + (1 - y) * torch.maximum(zero, -0.1 + z),
        "squared_loss": e**2,
        "absolute_loss": e.abs(),
        "quantile_loss": 0.3 * torch.maximum(zero, -e) + 0.7 * torch.maximum(zero, e),
        "huber_loss": torch.where(e.abs() <= 0.7, e**2 / 2, 0.7 * e.abs() - 0.7**2 / 2),
        "eps_insensitive_squared_loss": torch.maximum(zero, e**2 - 0.16),
        "eps_insensitive_absolute_loss": torch.maximum(zero, e.abs() - 0.4),
    }[name]


@pytest.mark.parametrize(
    "name",
    [
        "logistic",
        "hinge_loss",
        "squared_loss",
        "absolute_loss",
        "quantile_loss",
        "huber_loss",
        "eps_insensitive_squared_loss",
        "eps_insensitive_absolute_loss",
    ],
)
def test_losses_and_their_gradients_are_those_of_the_definitions(name):
    torch.manual_seed(0)
    z = (torch.randn(200, 3, dtype=torch.float64) * 2).requires_grad_()
    binary = name in ("logistic", "hinge_loss")
    y = (torch.rand(200, 1) > 0.5).double() if binary else torch.randn(200, 1, dtype=torch.float64)
    loss = expected(name, z, y)
    loss.sum().backward()
    found = objective(name, margin=0.8, quantile=0.3, delta=0.7, epsilon=0.4)
    losses, gradients = found.loss(z.detach(), y)
    torch.testing.assert_close(losses, loss.detach())
    torch.testing.assert_close(gradients, z.grad)


def test_softmax_is_the_cross_entropy_of_each_model():
    torch.manual_seed(0)
    z = torch.randn(50, 4, 5, dtype=torch.float64, requires_grad=True)
    y = torch.randint(0, 5, (50,))
    loss = torch.nn.functional.cross_entropy(
        z.permute(0, 2, 1), y.view(-1, 1).expand(50, 4), reduction="none"
    )
    loss.sum().backward()
    losses, gradients = objective("softmax_loss").loss(z.detach().clone(), y)
    torch.testing.assert_close(losses, loss.detach())
    torch.testing.assert_close(gradients, z.grad)


def test_logistic_loss_of_extreme_scores_is_finite():
    z, y = torch.tensor([[200.0], [-200.0]]), torch.tensor([[0.0], [1.0]])
    losses, gradients = objective("logistic").loss(z, y)
    assert losses.flatten().tolist() == [200.0, 200.0]
    assert gradients.flatten().tolist() == [1.0, -1.0]


@pytest.mark.parametrize(
    "name", ["squared_loss", "huber_loss", "eps_insensitive_absolute_loss", "eps_insensitive_squared_loss"]
)
def test_scaling_labels_scales_the_loss_by_its_degree(name):
    torch.manual_seed(1)
    z, y = torch.randn(100, 2, dtype=torch.float64), torch.randn(100, 1, dtype=torch.float64)
    plain, scaled = objective(name), objective(name, label_scale=4.0)
    torch.testing.assert_close(
        scaled.loss(z / 4, y / 4)[0] * 4.0**scaled.degree, plain.loss(z, y)[0], atol=1e-12, rtol=1e-9
    )


def some_rows(rows=300, width=6, seed=0, wide=False):
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((rows, width)).astype(np.float32)
    y = (x @ generator.standard_normal(width) + 0.3 > 0).astype(np.float32)
    return Rows(Dense(torch.from_numpy(x)), torch.from_numpy(y).view(-1, 1))


@pytest.mark.parametrize(
    ("tuning", "reference"),
    [
        (
            Tuning(optimizer="adam", beta_1=0.8, beta_2=0.95, bias_lr_mult=1, bias_wd_mult=1),
            lambda p: torch.optim.Adam(p, 0.05, betas=(0.8, 0.95), weight_decay=0.03),
        ),
        (
            Tuning(optimizer="sgd", momentum=0.7, bias_lr_mult=1, bias_wd_mult=1),
            lambda p: torch.optim.SGD(p, 0.05, momentum=0.7, weight_decay=0.03),
        ),
        (
            Tuning(optimizer="rmsprop", bias_lr_mult=1, bias_wd_mult=1),
            lambda p: torch.optim.RMSprop(p, 0.05, alpha=0.9, weight_decay=0.03),
        ),
    ],
)
def test_optimisers_step_as_torch_does(tuning, reference):
    rows = some_rows()
    settings = [Settings(0.05, wd=0.03, lr_scheduler_step=10**6)]
    models = LinearModels(6, settings, objective("logistic"), tuning)
    models.initialise(3)
    weights = models.parameters.clone().requires_grad_()
    optimizer = reference([weights])
    for _ in range(20):
        models.update(models.accumulate(rows), len(rows))
        optimizer.zero_grad()
        z = rows.features.rows @ weights[:-1] + weights[-1]
        torch.nn.functional.binary_cross_entropy_with_logits(z, rows.labels).backward()
        optimizer.step()
    torch.testing.assert_close(models.parameters, weights.detach(), atol=2e-5, rtol=1e-4)


def test_bias_multipliers_l1_and_no_bias():
    rows = some_rows()

    def after_one(settings, **tuning):
        models = LinearModels(6, [settings], objective("logistic"), Tuning(optimizer="sgd", **tuning))
        models.initialise(0)
        before = models.parameters.clone()
        models.update(models.accumulate(rows), len(rows))
        return before, models.parameters - before

    before, plain = after_one(Settings(0.1), bias_lr_mult=1)
    _, faster = after_one(Settings(0.1), bias_lr_mult=7)
    torch.testing.assert_close(faster[-1], plain[-1] * 7)
    torch.testing.assert_close(faster[:-1], plain[:-1])
    _, sparse = after_one(Settings(0.1, l1=0.5), bias_lr_mult=1)
    torch.testing.assert_close(sparse[:-1], plain[:-1] - 0.05 * before[:-1].sign())
    torch.testing.assert_close(sparse[-1], plain[-1])
    _, unbiased = after_one(Settings(0.1), use_bias=False)
    assert unbiased[-1].item() == 0


def test_schedule_steps_down_to_its_floor():
    settings = [Settings(1.0, lr_scheduler_step=10, lr_scheduler_factor=0.5, lr_scheduler_minimum_lr=0.2)]
    schedule = Schedule(settings, used=True)
    assert [float(schedule.rates(u)[0]) for u in (0, 9, 10, 20, 30, 1000)] == [1, 1, 0.5, 0.25, 0.2, 0.2]
    assert schedule.changes(10)
    assert not schedule.changes(11)
    assert float(Schedule(settings, used=False).rates(1000)[0]) == 1


def test_models_side_by_side_are_those_trained_alone():
    rows = some_rows()
    settings = [Settings(0.1), Settings(0.02, wd=0.1, lr_scheduler_step=3), Settings(0.5, l1=0.01)]
    together = LinearModels(6, settings, objective("logistic"))
    together.initialise(0)
    alone = []
    for index, one in enumerate(settings):
        models = LinearModels(6, [one], objective("logistic"))
        models.parameters.copy_(together.parameters[:, index : index + 1])
        alone.append(models)
    for _ in range(15):
        together.update(together.accumulate(rows), len(rows))
        for models in alone:
            models.update(models.accumulate(rows), len(rows))
    torch.testing.assert_close(
        together.parameters, torch.cat([models.parameters for models in alone], 1), atol=1e-6, rtol=1e-5
    )


def test_weights_of_rows_are_as_repeating_them():
    rows = some_rows()
    positive = rows.labels[:, 0] > 0.5
    repeated = torch.cat([rows.features.rows, rows.features.rows[positive], rows.features.rows[positive]])
    labels = torch.cat([rows.labels, rows.labels[positive], rows.labels[positive]])
    weighted = LinearModels(6, [Settings(0.1, positive_weight=3.0)], objective("logistic"))
    plain = LinearModels(6, [Settings(0.1)], objective("logistic"))
    sums = weighted.accumulate(rows)[:-1]
    torch.testing.assert_close(
        sums, plain.accumulate(Rows(Dense(repeated), labels))[:-1], atol=1e-3, rtol=1e-4
    )


def test_sparse_rows_learn_as_dense_ones():
    generator = np.random.default_rng(0)
    x = generator.standard_normal((60, 400)).astype(np.float32)
    x[generator.random(x.shape) > 0.05] = 0
    mean, scale = x.mean(0).astype(np.float64), generator.random(400) + 0.5
    normalisation = Normalisation(mean.astype(np.float32).astype(np.float64), scale)
    y = generator.integers(0, 2, 60).astype(np.float32)
    auto = Preparation(normalisation, False)
    sparse = auto.rows(Batch(to_csr(x), y))
    dense = Preparation(normalisation, False, force_dense="true").rows(Batch(to_csr(x), y))
    assert isinstance(sparse.features, Sparse)
    assert isinstance(dense.features, Dense)
    found = []
    for rows in (sparse, dense):
        models = LinearModels(400, [Settings(0.1), Settings(0.01)], objective("logistic"))
        models.initialise(0)
        found.append(models.accumulate(rows).clone())
    torch.testing.assert_close(found[0], found[1], atol=1e-3, rtol=1e-4)


def test_folding_takes_the_scaling_into_the_weights():
    generator = np.random.default_rng(0)
    x = generator.standard_normal((20, 5)) * 3 + 7
    normal = Normalisation(x.mean(0), 1 / x.std(0), label_mean=4.0, label_scale=2.5)
    parameters = generator.standard_normal((6, 2)).astype(np.float32)
    weights, bias = normal.fold(parameters)
    z = ((x - x.mean(0)) / x.std(0)) @ parameters[:-1] + parameters[-1]
    np.testing.assert_allclose(x @ weights.T + bias, z * 2.5 + 4, rtol=1e-4, atol=1e-4)


def fitted(objective_, x, y, settings, steps, **rest):
    rows = Rows(Dense(torch.from_numpy(x)), y)
    models = LinearModels(x.shape[1], settings, objective_, **rest)
    models.initialise(0)
    for _ in range(steps):
        models.update(models.accumulate(rows), len(rows))
    return models.parameters.numpy()


def test_the_optimum_is_that_of_logistic_regression():
    x, y = load_breast_cancer(return_X_y=True)
    x = ((x - x.mean(0)) / x.std(0)).astype(np.float32)
    # scikit-learn minimises C times the summed loss and half the squared weights.
    peer = LogisticRegression(C=1 / (len(x) * 0.01), tol=1e-8, max_iter=2000).fit(x, y)
    labels = torch.from_numpy(y.astype(np.float32)).view(-1, 1)
    settings = [Settings(0.05, wd=0.01, lr_scheduler_step=20, lr_scheduler_factor=0.95)]
    found = fitted(objective("logistic"), x, labels, settings, 1500, tuning=Tuning(bias_lr_mult=1))
    np.testing.assert_allclose(found[:-1, 0], peer.coef_[0], atol=2e-3)
    np.testing.assert_allclose(found[-1], peer.intercept_, atol=2e-3)


def test_the_optimum_is_that_of_ridge():
    x, y = load_diabetes(return_X_y=True)
    x, y = (x / x.std(0)).astype(np.float32), (y - y.mean()) / y.std()
    peer = Ridge(alpha=len(x) * 0.05).fit(x, y)
    labels = torch.from_numpy(y.astype(np.float32)).view(-1, 1)
    # Ours is the mean of e^2 and wd / 2 times squared weights: twice scikit-learn's weight of the loss.
    settings = [Settings(0.05, wd=0.1, lr_scheduler_step=20, lr_scheduler_factor=0.95)]
    found = fitted(objective("squared_loss"), x, labels, settings, 1500)
    np.testing.assert_allclose(found[:-1, 0], peer.coef_, atol=2e-3)


def test_candidates_surround_the_given_settings():
    values = DECLARATION.resolve({"predictor_type": "regressor"})
    models = candidates(values, "adam", 40, 0)
    assert models == candidates(values, "adam", 40, 0)
    assert candidates(values, "adam", 5, 0) == models[:5]
    assert len(set(models)) == 40
    given = DECLARATION.resolve(
        {"predictor_type": "regressor", "learning_rate": "0.3", "wd": "0", "l1": "0.2"}
    )
    near = candidates(given, "adam", 32, 0)
    assert (near[0].learning_rate, near[0].wd, near[0].l1) == (0.3, 0, 0.2)
    assert {one.wd for one in near} == {0}
    assert all(0.3 / 4 < one.learning_rate < 0.3 * 4 for one in near)


def test_positive_weights():
    settings = [Settings(0.1)] * 3
    assert [one.positive_weight for one in with_positive_weights(settings, "balanced", 9.0)] == [9, 9, 9]
    assert [one.positive_weight for one in with_positive_weights(settings, 2.0, 9.0)] == [2, 2, 2]
    assert [one.positive_weight for one in with_positive_weights(settings, "auto", 9.0)] == [1, 3, 9]


def test_memory_bounds_the_models():
    assert affordable(1000, 50, 1, 1 << 30) > 32
    assert affordable(1000, 1000, 100_000, 1 << 30) == 0
