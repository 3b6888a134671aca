"""PCA hyperparameters, from SageMaker's developer guide (PCA-reference)."""

from __future__ import annotations

from common.hyperparameters import Declaration, Values, boolean, choice, integer


def _enough_features(values: Values) -> str | None:
    if values["num_components"] <= values["feature_dim"]:
        return None
    return (
        f"hyperparameter num_components is {values['num_components']}, more than feature_dim="
        f"{values['feature_dim']}; accepted: at most feature_dim"
    )


def _mode(written: str) -> str:
    # AWS's first notebooks have the first name of the regular mode.
    return "regular" if written.lower() == "stable" else written


DECLARATION = Declaration(
    integer("feature_dim", "Number of input features.", required=True, min=1),
    integer("mini_batch_size", "Rows per mini-batch.", required=True, min=1),
    integer(
        "num_components",
        "How many principal components to compute; at most feature_dim.",
        required=True,
        min=1,
    ),
    choice(
        "algorithm_mode",
        "regular: exact, from the covariance of all features; randomized: approximate, from a random sketch, "
        "for many features.",
        "regular",
        "randomized",
        default="regular",
        reader=_mode,
    ),
    integer(
        "extra_components",
        "How many more components the sketch has than are asked for: more is more accurate and slower; "
        "-1: max(10, num_components).",
        default=-1,
        min=-1,
        applies={"algorithm_mode": ("randomized",)},
    ),
    boolean("subtract_mean", "Center the data, in training and at inference.", default=True),
    boolean(
        "force_dense",
        "true: sparse records become dense rows, a block at a time, where that is faster; false: never.",
        default=True,
        documented=False,
    ),
    integer(
        "epochs",
        "Passes over the data: one is all that this algorithm makes.",
        default=1,
        min=1,
        max=1,
        documented=False,
    ),
    rules=(_enough_features,),
)
