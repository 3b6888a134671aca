"""What SAGEMAKER_INFERENCE_OUTPUT can ask for, from a model's predictions."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.failures import ClientError, one_of

log = logging.getLogger("algodock.serve")

_CLASS = ("predicted_label", "labels", "raw_score", "raw_scores")
_SHARES = (*_CLASS, "probability", "probabilities")
KEYS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("reg:squarederror", "reg:logistic", "reg:gamma", "reg:absoluteerror", "reg:tweedie"),
        ("predicted_score",),
    ),
    **dict.fromkeys(("binary:logistic", "multi:softprob"), _SHARES),
    **dict.fromkeys(("binary:logitraw", "binary:hinge", "multi:softmax"), _CLASS),
}
"""Objective to what can be told of its predictions."""


def select(name: str, objective: str, classes: int, scores: NDArray[Any]) -> NDArray[Any]:
    """One key's values: (rows,) or (rows, m). A key that doesn't fit the objective gives NaN, with a warning.

    ``scores`` are the model's output. Raises ClientError for an objective without keys.
    """
    fitting = KEYS.get(objective)
    if fitting is None:
        raise ClientError(
            f"SAGEMAKER_INFERENCE_OUTPUT is not supported for objective {objective}; "
            f"accepted: a model of {one_of(KEYS)}",
            500,
        )
    if name not in fitting:
        log.warning(
            "%s can't be told by a model of %s and is NaN; it tells %s", name, objective, one_of(fitting)
        )
        return np.full(len(scores), np.nan, np.float32)
    if name == "labels":
        labels = np.arange(classes if objective.startswith("multi:") else 2)
        return np.tile(labels, (len(scores), 1))
    if name in ("predicted_score", "raw_score", "probability"):
        # The likeliest class's where there is one value a class.
        return scores.max(axis=1) if scores.ndim == 2 else scores
    if name in ("raw_scores", "probabilities"):
        return scores if scores.ndim == 2 else np.column_stack([1 - scores, scores])
    return _label(objective, scores)


def _label(objective: str, scores: NDArray[Any]) -> NDArray[Any]:
    if scores.ndim == 2:
        return scores.argmax(axis=1)
    if objective == "binary:logistic":
        return (scores > 0.5).astype(np.int64)
    if objective == "binary:logitraw":
        return (scores > 0).astype(np.int64)
    return scores
