"""Rules, choices and translations of the hyperparameters."""

from __future__ import annotations

import pytest

from common.failures import ClientError
from containers.xgboost import parameters
from containers.xgboost.hyperparameters import DECLARATION


def resolved(**written):
    return DECLARATION.resolve({"num_round": "3", **{k: str(v) for k, v in written.items()}})


def library(device="cpu", **written):
    values = resolved(**written)
    applicable = frozenset(
        n for n in values.given if all(values[o] in w for o, w in DECLARATION[n].applies.items())
    )
    return parameters.library(values, device=device, threads=2, seed=0, applicable=applicable)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"objective": "multi:softmax"}, "num_class"),
        ({"objective": "aft_loss_distribution"}, "no objective"),
        ({"objective": "reg:cubic"}, "reg:squarederror"),
        ({"eval_metric": "auc"}, "binary:"),
        ({"eval_metric": "auc", "objective": "multi:softprob", "num_class": 3}, "binary:"),
        ({"eval_metric": "aft-nloglik"}, "survival:aft"),
        ({"eval_metric": "auc@0.5", "objective": "binary:logistic"}, "accepted: a list"),
        ({"eval_metric": "error@high", "objective": "binary:logistic"}, "accepted: a list"),
        ({"eval_metric": "merror"}, "multi:softmax"),
        ({"eval_metric": "f1_binary", "objective": "multi:softmax", "num_class": 3}, "average='binary'"),
        ({"_tuning_objective_metric": "train:auc"}, "validation:"),
        ({"booster": "gblinear", "updater": "shotgun,coord_descent"}, "exactly one"),
        ({"booster": "gblinear", "updater": "prune"}, "exactly one"),
        ({"updater": "grow_colmaker,grow_histmaker"}, "one is accepted"),
        ({"updater": "distcol"}, "no longer has"),
        ({"updater": "prune"}, "growing a tree"),
        ({"updater": "grow_quantile_histmaker"}, "grow_histmaker"),
        ({"process_type": "update", "updater": "grow_colmaker"}, "refresh and prune"),
        ({"process_type": "update"}, "updater"),
        ({"monotone_constraints": "(1,-1)"}, "exact or hist"),
        ({"monotone_constraints": "(1,-1)", "tree_method": "approx"}, "exact or hist"),
        ({"monotone_constraints": "(1,2)", "tree_method": "hist"}, "-1, 0 and 1"),
        ({"interaction_constraints": "[[0,1]]"}, "exact, hist or approx"),
        ({"interaction_constraints": "[0,1]", "tree_method": "hist"}, "feature numbers"),
        ({"sampling_method": "gradient_based", "tree_method": "exact"}, "gpu_hist"),
        ({"tree_method": "gpu_hist", "device": "cpu"}, "contradicts"),
        ({"max_depth": 0, "tree_method": "exact"}, "at least 1"),
        ({"max_bin": 1}, "at least 2"),
        ({"dsplit": "col"}, "row"),
        ({"use_dask_gpu_training": "true"}, "not built"),
        ({"lambda_bias": 0.5, "booster": "gblinear"}, "accepted: 0"),
        ({"base_score": 1.5, "objective": "binary:logistic"}, "(0,1)"),
        ({"subsample": 0}, "above 0"),
        ({"seed": 2**31 - 1}, "below 2147483647"),
        ({"learning_rate": 0.1, "eta": 0.2}, "twice"),
    ],
)
def test_refused(written, said):
    with pytest.raises(ClientError) as caught:
        resolved(**written)
    assert said in str(caught.value)


def test_all_faults_at_once():
    with pytest.raises(ClientError) as caught:
        DECLARATION.resolve({"eta": "2", "max_dept": "3", "booster": "tree"})
    assert all(
        word in str(caught.value) for word in ("num_round", "eta", "max_depth?", "gbtree, gblinear or dart")
    )


def test_only_what_is_given_goes_to_the_library():
    assert library() == {"nthread": 2, "seed": 0, "device": "cpu", "objective": "reg:squarederror"}


def test_aliases():
    given = library(learning_rate=0.1, min_split_loss=1, reg_lambda=2, reg_alpha=3)
    assert {k: given[k] for k in ("eta", "gamma", "lambda", "alpha")} == {
        "eta": 0.1,
        "gamma": 1,
        "lambda": 2,
        "alpha": 3,
    }


def test_old_settings_in_todays_names():
    assert library(objective="reg:linear")["objective"] == "reg:squarederror"
    assert library(tree_method="approx", sketch_eps=0.1)["max_bin"] == 10
    assert library(silent=1)["verbosity"] == 0
    assert library(updater="grow_skmaker,prune")["updater"] == "grow_histmaker,prune"
    gpu = library("cuda", tree_method="gpu_hist")
    assert (gpu["tree_method"], gpu["device"]) == ("hist", "cuda")
    without = {"predictor": "cpu_predictor", "prob_buffer_row": 2, "deterministic_histogram": "false"}
    assert not set(without) & set(library(**without))
    silent = parameters.warnings(resolved(silent=1), device="cpu", validation=False, csv=True)
    assert "hyperparameter silent=1 is taken as verbosity=0, its name today" in silent
    told = parameters.warnings(resolved(**without), device="cpu", validation=False, csv=True)
    assert [t.split()[1] for t in told] == sorted(without)


def test_gpu_is_asked_for_and_there():
    values = resolved(tree_method="gpu_hist")
    assert parameters.device(values, "cuda") == "cuda"
    assert parameters.device(values, "cpu") == "cpu"
    assert parameters.device(resolved(), "cuda") == "cpu"
    assert parameters.device(resolved(device="cuda"), "cuda") == "cuda"
    assert "training on the CPU" in parameters.warnings(values, device="cpu", validation=False, csv=True)[0]


def test_constraints_as_the_library_reads_them():
    assert (
        library(monotone_constraints="(1, 0, -1)", tree_method="hist")["monotone_constraints"] == "(1,0,-1)"
    )
    assert library(monotone_constraints="(1)", tree_method="hist")["monotone_constraints"] == "(1)"
    written = library(interaction_constraints="[[0, 1], [2, 3]]", tree_method="hist")
    assert written["interaction_constraints"] == "[[0, 1], [2, 3]]"


def test_what_has_no_effect_is_not_passed_on():
    values = resolved(rate_drop=0.5, num_class=3, max_bin=7, tree_method="exact")
    assert len(DECLARATION.without_effect(values)) == 3
    assert not {"rate_drop", "num_class", "max_bin"} & set(
        library(rate_drop=0.5, num_class=3, max_bin=7, tree_method="exact")
    )


def test_metrics_in_order():
    values = resolved(
        objective="binary:logistic", eval_metric="logloss,auc", _tuning_objective_metric="validation:f1"
    )
    assert parameters.metrics(values) == ["auc", "f1", "logloss"]
    assert parameters.watched(values) == "f1"
    values = resolved(objective="binary:logistic", eval_metric="logloss, error@0.7")
    assert parameters.metrics(values) == ["logloss", "error@0.7"]
    assert parameters.watched(values) == "error@0.7"
