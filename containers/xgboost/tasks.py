"""What XGBoost can learn and measure here: names, kinds and directions, as AWS's container lists them."""

from __future__ import annotations

OBJECTIVES = (
    "aft_loss_distribution",  # AWS lists this hyperparameter's name among the objectives; refused by a rule
    "binary:logistic",
    "binary:logitraw",
    "binary:hinge",
    "count:poisson",
    "multi:softmax",
    "multi:softprob",
    "rank:pairwise",
    "rank:ndcg",
    "rank:map",
    "reg:linear",
    "reg:squarederror",
    "reg:logistic",
    "reg:gamma",
    "reg:pseudohubererror",
    "reg:squaredlogerror",
    "reg:absoluteerror",
    "reg:tweedie",
    "survival:aft",
    "survival:cox",
)

CLASSIFICATION_METRICS = (
    "accuracy",
    "balanced_accuracy",
    "f1",
    "f1_binary",
    "f1_macro",
    "precision",
    "precision_macro",
    "precision_micro",
    "recall",
    "recall_macro",
    "recall_micro",
)
"""Computed here from each row's class, with scikit-learn's definitions."""

BINARY_METRICS = ("f1_binary", "precision", "recall")
"""Those that look at class 1 alone, so that there may be two classes only."""

REGRESSION_METRICS = ("mae", "mse", "r2", "rmse")
"""Computed here from each row's prediction, with scikit-learn's definitions."""

OWN_METRICS = frozenset(CLASSIFICATION_METRICS + REGRESSION_METRICS)

LIBRARY_METRICS = (
    "auc",
    "aucpr",
    "map",
    "ndcg",
    "aft-nloglik",
    "cox-nloglik",
    "error",
    "gamma-deviance",
    "gamma-nloglik",
    "interval-regression-accuracy",
    "logloss",
    "mape",
    "merror",
    "mlogloss",
    "mphe",
    "poisson-nloglik",
    "rmsle",
    "tweedie-nloglik",
)

METRICS = tuple(sorted(OWN_METRICS | set(LIBRARY_METRICS)))

THRESHOLD_METRICS = ("error", "map", "ndcg")
"""Metrics that take a number behind an @: a threshold, or how many ranks count."""

_MAXIMIZED = frozenset(CLASSIFICATION_METRICS) | {
    "r2",
    "auc",
    "aucpr",
    "map",
    "ndcg",
    "pre",
    # AWS lists it as one to minimise, and early stopping would keep the worst model.
    "interval-regression-accuracy",
}


def base(metric: str) -> str:
    """``ndcg`` for ``ndcg@5``."""
    return metric.partition("@")[0]


def maximized(metric: str) -> bool:
    """Whether more is better; ``ndcg@5`` as ``ndcg``."""
    return base(metric) in _MAXIMIZED


def known(metric: str) -> bool:
    """Whether this is a metric's name, with a number behind an @ where the metric takes one."""
    name, at, number = metric.partition("@")
    if not at:
        return name in METRICS
    if name not in THRESHOLD_METRICS:
        return False
    if name == "error":
        try:
            return abs(float(number)) < float("inf")
        except ValueError:
            return False
    # A minus behind ranks makes lists without a relevant row count 0 instead of 1.
    ranks = number.removesuffix("-")
    return ranks.isascii() and ranks.isdigit() and int(ranks) > 0
