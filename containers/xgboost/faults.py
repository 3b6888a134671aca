"""The library's errors as a user's mistakes, or as ours."""

from __future__ import annotations

import re

from common.failures import AlgorithmError, ClientError

# What AWS's container takes for a mistake in the data or the parameters, and more of the same kind.
_MISTAKES = (
    "label must be",
    "label and prediction size not match",
    "labels must be",
    "Label contains NaN",
    "Label set is empty",
    "feature_names mismatch",
    "preds.size() == info.labels_.size()",
    "Check failed: !auc_error AUC: the dataset only contains pos or neg samples",
    "base_score",
    "should be greater equal to",
    "should be less",
    "Invalid Input",
    "Input data contains `inf`",
    "monotone constraint",
    "Number of columns",
    "No more tree left for updating",
    "Relevance degre",
    "map can only be used with binary labels",
    "doesn't support",
    "not supported",
    "Interaction constraint",
    "Check failed: preds.Size()",
)
_CLUTTER = re.compile(r"^(?:\[[\d:]+\] )?(?:\S+:\d+: )?(?:Check failed: .*? ?: ?)?")


def translated(error: Exception) -> Exception:
    """A library error as ClientError or AlgorithmError, in one line without paths and traces."""
    text = str(error).split("\nStack trace")[0].strip()
    first = " ".join(text.split())
    plain = _CLUTTER.sub("", first).strip() or first
    if any(mistake in first for mistake in _MISTAKES):
        return ClientError(plain)
    return AlgorithmError(f"XGB train call failed with exception: {plain}")
