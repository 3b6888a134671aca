"""LDA hyperparameters, from SageMaker's developer guide (lda_hyperparameters)."""

from __future__ import annotations

from common.hyperparameters import Declaration, Tuning, Values, integer, number


def _enough_words(values: Values) -> str | None:
    if values["num_topics"] <= values["feature_dim"]:
        return None
    return (
        f"hyperparameter num_topics is {values['num_topics']}, more than "
        f"feature_dim={values['feature_dim']}; accepted: at most as many topics as words"
    )


DECLARATION = Declaration(
    integer("num_topics", "Topics to return.", required=True, min=1, tuning=Tuning((1, 150))),
    integer("feature_dim", "Size of the vocabulary.", required=True, min=1),
    integer(
        "mini_batch_size",
        "Training documents; the log counts batches of it. All documents are read, whatever it is.",
        required=True,
        min=1,
    ),
    number(
        "alpha0",
        "Sum of the Dirichlet prior of mixtures: small for documents of few topics, large for even mixtures.",
        default=1.0,
        min=0,
        exclusive_min=True,
        tuning=Tuning((0.1, 10.0)),
    ),
    integer(
        "max_restarts",
        "Random starts of the alternating least squares; the best fit wins.",
        default=10,
        min=1,
    ),
    integer("max_iterations", "Most iterations of the alternating least squares.", default=1000, min=1),
    number(
        "tol",
        "Change of the fit's error that ends the alternating least squares.",
        default=1e-8,
        min=0,
        exclusive_min=True,
    ),
    rules=[_enough_words],
)
