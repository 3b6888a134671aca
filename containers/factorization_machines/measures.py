"""What a job prints of its rows: sums that hosts and mini-batches add up, and the metrics they come to."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from common.batches import Float32
from common.metrics import Tag
from containers.factorization_machines import kernels

Float64 = NDArray[np.float64]

# What the sums of a predictor type's rows are, in order.
REGRESSION = ("rows", "squared errors", "absolute errors")
CLASSIFICATION = ("rows", "log loss", "correct", "true positives", "called positive", "positives")


def count(predictor_type: str) -> int:
    """How many sums there are."""
    return len(REGRESSION if predictor_type == "regressor" else CLASSIFICATION)


def measure(predictor_type: str, scores: Float32, labels: Float32) -> tuple[Float32, Float64]:
    """The (rows,) slopes of the loss by the scores, and the sums of (rows,) float32 scores and labels.

    The loss is half the squared error of a regressor, the log loss of a binary classifier.
    """
    slopes, sums = np.empty_like(scores), np.empty(count(predictor_type))
    kernel = kernels.regress if predictor_type == "regressor" else kernels.classify
    kernel(scores, labels, slopes, sums)
    return slopes, sums


def metrics(predictor_type: str, sums: Float64) -> list[tuple[str, float, Tag]]:
    """Names, values and tags of AWS's log lines, in its order."""
    rows = float(sums[0])
    if predictor_type == "regressor":
        mean = float(sums[1]) / rows
        return [
            ("rmse", math.sqrt(mean), "loss"),
            ("mse", mean, "loss"),
            ("absolute_loss", float(sums[2]) / rows, "loss"),
        ]
    right, called, positive = map(float, sums[3:])
    return [
        ("binary_classification_accuracy", float(sums[2]) / rows, "score"),
        ("binary_classification_cross_entropy", float(sums[1]) / rows, "loss"),
        # Without a positive row, real or called, there is nothing to be right about.
        ("binary_f_1.000", 2 * right / (called + positive) if called + positive else 0.0, "score"),
    ]
