"""What each hyperparameter does to a machine, and which values are refused."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from common.failures import ClientError
from containers.factorization_machines.hyperparameters import DECLARATION

DIGITS = load_digits()
ROWS, ODD = (DIGITS.data[:300] / 16).astype(np.float32), (DIGITS.target[:300] % 2).astype(np.float32)
JOB = {"feature_dim": 64, "num_factors": 16, "predictor_type": "binary_classifier", "mini_batch_size": 100}
GROUPS = ("bias", "linear", "factors")


@pytest.fixture
def weights(learned):
    """Weights by group after learning with these hyperparameters."""

    def learn(**values):
        machine = learned(ROWS, ODD, **{**JOB, **values})
        return dict(zip(GROUPS, (machine.bias, machine.linear, machine.factors), strict=True))

    return learn


STILL = {f"{group}_lr": 0 for group in GROUPS}


def test_normal_starts_are_the_default(weights):
    start = weights(**STILL)
    assert start["linear"].std() == pytest.approx(0.01, rel=0.3)
    assert start["factors"].std() == pytest.approx(0.001, rel=0.1)
    assert 0 < abs(start["bias"][0]) < 0.05
    wider = weights(**STILL, bias_init_sigma=100, linear_init_sigma=0.5, factors_init_sigma=2)
    for group, factor in (("bias", 10_000), ("linear", 50), ("factors", 2000)):
        np.testing.assert_allclose(wider[group], factor * start[group], rtol=1e-5)


@pytest.mark.parametrize("group", GROUPS)
def test_each_group_has_a_start_of_its_own(weights, group):
    plain = weights(**STILL)
    constant = weights(**STILL, **{f"{group}_init_method": "constant", f"{group}_init_value": "-2.5"})
    uniform = weights(**STILL, **{f"{group}_init_method": "uniform", f"{group}_init_scale": 0.25})
    assert (constant[group] == -2.5).all()
    assert 0 < np.abs(uniform[group]).max() <= 0.25
    for other in {*GROUPS} - {group}:
        assert constant[other].tobytes() == uniform[other].tobytes() == plain[other].tobytes()


@pytest.mark.parametrize("group", GROUPS)
def test_each_group_has_a_learning_rate_of_its_own(weights, group):
    start = weights(**STILL)
    moved = weights(**{**STILL, f"{group}_lr": 0.02})
    # Adam's steps are as long as the learning rate as long as slopes agree; there are three.
    assert 0.005 < np.abs(moved[group] - start[group]).max() <= 0.0601
    for other in {*GROUPS} - {group}:
        assert moved[other].tobytes() == start[other].tobytes()


@pytest.mark.parametrize("group", GROUPS)
def test_each_group_has_a_weight_decay_of_its_own(weights, group):
    rates = {f"{name}_lr": 0.02 for name in GROUPS}
    starts = {f"{group}_init_method": "constant", f"{group}_init_value": 0.5}
    light = weights(**rates, **starts, **{f"{group}_wd": 0})
    heavy = weights(**rates, **starts, **{f"{group}_wd": 100})
    assert np.abs(heavy[group]).sum() < np.abs(light[group]).sum()
    # With that much decay weights go down by the learning rate each step; some features aren't in each batch.
    always = np.all([ROWS[first : first + 100].any(axis=0) for first in (0, 100, 200)], axis=0)
    moved = heavy[group] if group == "bias" else heavy[group][always]
    np.testing.assert_allclose(moved, 0.44, atol=2e-3)


def test_clipping_rescaling_and_epsilon(weights):
    plain = weights()
    for values in ({"clip_gradient": 1e-4}, {"eps": 0.5}, {"rescale_grad": 10}):
        changed = weights(**values)
        assert all(changed[group].tobytes() != plain[group].tobytes() for group in GROUPS), values
    explicit = weights(rescale_grad=0.01, clip_gradient=0, eps=1e-8)
    assert all(explicit[group].tobytes() == plain[group].tobytes() for group in GROUPS)
    # A large epsilon makes steps small.
    assert np.abs(weights(**STILL)["linear"] - weights(eps=1e6)["linear"]).max() < 1e-6


def test_groups_that_are_switched_off_stay_at_0(weights):
    off = weights(use_bias="False", use_linear="false")
    assert not off["bias"].any()
    assert not off["linear"].any()
    assert off["factors"].any()


def test_more_epochs_and_smaller_batches_are_more_steps(weights):
    # With that much decay each step takes the learning rate off the bias.
    heavy = {"bias_init_method": "constant", "bias_init_value": 1, "bias_wd": 100, "bias_lr": 0.02}
    for steps, values in ((1, {"mini_batch_size": 300}), (3, {}), (6, {"epochs": 2}), (12, {"epoch": 4})):
        assert weights(**heavy, **values)["bias"][0] == pytest.approx(1 - 0.02 * steps, abs=0.01)


def test_equal_seeds_give_equal_machines(weights, learned):
    first, second = learned(ROWS, ODD, **JOB), learned(ROWS, ODD, threads=3, **JOB)
    assert first.factors.tobytes() == second.factors.tobytes()
    assert first.factors.tobytes() != learned(ROWS, ODD, seed=1, **JOB).factors.tobytes()


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"feature_dim": 0, "num_factors": "many"}, ["feature_dim is '0'", "num_factors is 'many'"]),
        ({"predictor_type": "multiclass"}, ["predictor_type", "binary_classifier or regressor"]),
        ({"factors_lr": -1, "eps": 0}, ["factors_lr is '-1'", "eps is '0'", "above 0"]),
        ({"clip_gradient": -0.5}, ["clip_gradient is '-0.5'", "of at least 0"]),
        ({"rescale_grad": "nan"}, ["rescale_grad is 'nan'"]),
        (
            {"linear_init_method": "uniform", "bias_init_method": "constant"},
            [
                "linear_init_scale is missing, which linear_init_method=uniform needs",
                "bias_init_value is missing, which bias_init_method=constant needs; accepted: a number",
            ],
        ),
        ({"factor_lr": 1}, ["factor_lr is unknown; did you mean factors_lr?"]),
    ],
)
def test_mistakes(values, parts):
    with pytest.raises(ClientError) as refused:
        DECLARATION.resolve({**JOB, **values})
    for part in parts:
        assert part in str(refused.value)


def test_three_are_required():
    with pytest.raises(ClientError) as refused:
        DECLARATION.resolve({})
    for name in ("feature_dim", "num_factors", "predictor_type"):
        assert f"hyperparameter {name} is missing" in str(refused.value)


def test_what_has_no_effect_is_told():
    values = DECLARATION.resolve(
        {
            **JOB,
            "bias_init_scale": 1,
            "factors_init_value": 2,
            "linear_wd": 0.5,
            "use_linear": "false",
            "_optimizer": "adam",
        }
    )
    assert [sentence.split(" has no effect")[0] for sentence in DECLARATION.without_effect(values)] == [
        "hyperparameter bias_init_scale",
        "hyperparameter factors_init_value",
        "hyperparameter linear_wd",
    ]
