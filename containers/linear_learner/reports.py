"""The lines that AWS's image prints, in its order."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.metrics import Metrics, Tag, log
from containers.linear_learner.criteria import binary_metrics
from containers.linear_learner.evaluation import Scored
from containers.linear_learner.scaling import Moments

Float64 = NDArray[np.float64]

_LOSSES = ("mse", "rmse", "absolute_loss")


def tag(metric: str) -> Tag:
    """``loss`` or ``score``. AWS prints multiclass_log_loss as a score, though it is a loss."""
    return "loss" if metric in _LOSSES or metric.endswith("_objective") else "score"


def scaler(found: Moments, normalise_label: bool) -> None:
    """What the scaler pass found; labels of classifiers are None."""
    with np.printoptions(threshold=6, precision=6, linewidth=1 << 20):
        log.info(
            "Scaling model computed with parameters: %s",
            {
                "stdev_weight": found.deviation,
                "mean_weight": found.mean,
                "stdev_label": found.label_deviation if normalise_label else None,
                "mean_label": found.label_mean if normalise_label else None,
            },
        )


def objectives(metrics: Metrics, channel: str, token: str, epoch: int, losses: Float64) -> None:
    """A ``#metrics`` line for each model, and model 0's ``#quality_metric`` line."""
    name = f"{token}_objective"
    for model, loss in enumerate(losses):
        metrics.record({f"{channel}_{name}": float(loss)}, model=model, epoch=epoch)
    metrics.quality(channel, name, float(losses[0]), epoch=epoch)


def progress(metrics: Metrics, epoch: int, epochs: int, stopped: bool) -> None:
    """Whole percents, as this image alone prints them."""
    metrics.progress(100 if stopped else (epoch + 1) * 100 // epochs)


def final(metrics: Metrics, channel: str, values: Mapping[str, float]) -> None:
    """``#validation_score`` lines, then the ``#quality_metric`` lines of the model that won."""
    for name, value in values.items():
        metrics.score(channel, name, value)
    for name, value in values.items():
        metrics.quality(channel, name, value, tag(name))


def best(settings: Mapping[str, Any]) -> None:
    """The winner's settings."""
    log.info("Best model found for hyperparameters: %s", json.dumps(dict(settings)))


def values(
    scored: Scored, token: str, unit: float, degree: int, threshold: float, beta: float
) -> dict[str, float]:
    """All metrics of a scored channel in AWS's order.

    ``unit`` is the deviation that labels were divided by, ``degree`` the power of it that the loss grows
    with, and ``threshold`` the linear score from which on a row is called positive.
    """
    rows = max(scored.rows, 1)
    found = {f"{token}_objective": scored.loss / rows * unit**degree}
    if scored.classes is not None:
        return {**found, **scored.classes.metrics(beta)}
    if len(scored.scores):
        return {**found, **binary_metrics(scored.scores, scored.labels, threshold, beta)}
    mse = scored.squares / rows * unit**2
    return {**found, "mse": mse, "absolute_loss": scored.errors / rows * unit, "rmse": mse**0.5}
