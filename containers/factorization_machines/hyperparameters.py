"""Hyperparameters, from SageMaker's developer guide (fact-machines-hyperparameters, fm-tuning).

Those it doesn't document stand in the default configuration that AWS's image prints.
"""

from __future__ import annotations

from common.hyperparameters import (
    Declaration,
    Parameter,
    Rule,
    Tuning,
    Values,
    boolean,
    choice,
    integer,
    number,
)

_WIDE = Tuning((1e-8, 512), "Logarithmic")
# Names of the groups of weights: what they are called in texts, sigma, learning rate and weight decay.
GROUPS = {
    "bias": ("bias term", 0.01, 0.1, 0.01),
    "linear": ("linear terms", 0.01, 0.001, 0.001),
    "factors": ("factorization terms", 0.001, 0.0001, 0.00001),
}


def _group(name: str) -> list[Parameter]:
    terms, sigma, rate, decay = GROUPS[name]
    method = f"{name}_init_method"
    used = {} if name == "factors" else {f"use_{name}": [True]}
    return [
        choice(
            method,
            f"Start of the {terms}.",
            "uniform",
            "normal",
            "constant",
            default="normal",
            applies=used,
        ),
        number(
            f"{name}_init_scale",
            f"The {terms} start from minus this to this; needed with {method}=uniform.",
            min=0,
            tuning=_WIDE,
            applies={**used, method: ["uniform"]},
        ),
        number(
            f"{name}_init_sigma",
            f"Standard deviation of the start of the {terms}.",
            default=sigma,
            min=0,
            tuning=_WIDE,
            applies={**used, method: ["normal"]},
        ),
        number(
            f"{name}_init_value",
            f"Where the {terms} start; needed with {method}=constant.",
            tuning=_WIDE,
            applies={**used, method: ["constant"]},
        ),
        number(
            f"{name}_lr", f"Learning rate of the {terms}.", default=rate, min=0, tuning=_WIDE, applies=used
        ),
        number(
            f"{name}_wd", f"Weight decay of the {terms}.", default=decay, min=0, tuning=_WIDE, applies=used
        ),
    ]


def _given(group: str, method: str, name: str) -> Rule:
    def check(values: Values) -> str | None:
        if values[f"{group}_init_method"] != method or values[f"{group}_init_{name}"] is not None:
            return None
        accepted = DECLARATION[f"{group}_init_{name}"].accepted()
        return (
            f"hyperparameter {group}_init_{name} is missing, which {group}_init_method={method} needs; "
            f"accepted: {accepted}"
        )

    return check


DECLARATION = Declaration(
    integer("feature_dim", "Number of input features.", required=True, min=1),
    integer("num_factors", "Length of each feature's vector of factors.", required=True, min=1),
    choice("predictor_type", "What is predicted.", "binary_classifier", "regressor", required=True),
    *(parameter for group in GROUPS for parameter in _group(group)),
    number(
        "clip_gradient",
        "Each value of a gradient is clipped to plus or minus this; 0: no clipping.",
        min=0,
    ),
    integer(
        "epochs",
        "Passes over the training data.",
        default=1,
        min=1,
        tuning=Tuning((1, 1000)),
        aliases=("epoch",),
    ),
    number("eps", "Keeps the optimizer from dividing by 0; when left out, 1e-8.", min=0, exclusive_min=True),
    integer("mini_batch_size", "Rows per mini-batch.", default=1000, min=1, tuning=Tuning((100, 10000))),
    number(
        "rescale_grad",
        "Gradients are multiplied by this; when left out, by 1 / rows of the mini-batch.",
    ),
    boolean("use_bias", "false: there is no bias term.", default=True, documented=False),
    boolean("use_linear", "false: there are no linear terms.", default=True, documented=False),
    integer(
        "batch_metrics_publish_interval",
        "Mini-batches from one line of metrics to the next.",
        default=500,
        min=1,
        documented=False,
    ),
    rules=[
        _given(group, method, name)
        for group in GROUPS
        for method, name in (("uniform", "scale"), ("constant", "value"))
    ],
)
