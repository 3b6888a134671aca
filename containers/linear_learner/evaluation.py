"""Losses and criteria of all models over rows that stream by, in memory that doesn't grow with them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from containers.linear_learner.criteria import ClassCounts, Criterion
from containers.linear_learner.model import LinearModels, Rows

Float64 = NDArray[np.float64]

_BINS = 4096
_REACH = 16.0  # linear scores beyond are counted with these: a sigmoid of 16 is 1 - 1e-7


class Tally:
    """Sums over rows for every model: losses, and for a binary classifier a histogram of scores.

    A histogram of linear scores, 4096 bins from -16 to 16, tells what a criterion is at its best threshold
    closely enough to compare models and epochs; the winner's threshold is then found exactly.
    """

    def __init__(self, models: LinearModels, binary: bool, weighted: bool = True, reach: float = 1.0) -> None:
        self._models = models
        self._weighted = weighted
        self._scale = _BINS / (2 * _REACH * reach)
        count = len(models)
        self._losses = torch.zeros(count, dtype=torch.float64, device=models.device)
        self._rows = 0
        size = count * 2 * _BINS if binary else 0
        self._histogram = torch.zeros(size, dtype=torch.int64, device=models.device)
        # Where a model's bins begin.
        self._offsets = torch.arange(count, device=models.device) * (2 * _BINS) if binary else None

    def add(self, rows: Rows, parameters: Tensor | None = None) -> None:
        """Counts rows, scored with the models' parameters or with others."""
        z = self._models.scores(rows, parameters)
        if self._offsets is not None:
            bins = z.mul(self._scale).add_(_BINS / 2).nan_to_num_(0.0).clamp_(0, _BINS - 1).to(torch.int64)
            bins += self._offsets + (rows.labels * _BINS).to(torch.int64)
            self._histogram += torch.bincount(bins.view(-1), minlength=len(self._histogram))
        self._losses += self._models.losses(rows, z, weighted=self._weighted)
        self._rows += len(rows)

    def sums(self) -> Float64:
        """All sums as one array, to be added up over hosts."""
        return np.concatenate(
            [
                [float(self._rows)],
                self._losses.cpu().numpy(),
                self._histogram.cpu().numpy().astype(np.float64),
            ]
        )

    def means(self, sums: Float64) -> Float64:
        """(models,) mean losses from `sums`."""
        count = len(self._models)
        return sums[1 : 1 + count] / max(sums[0], 1.0)

    def criteria(self, sums: Float64, criterion: Criterion) -> Float64:
        """(models,) the criterion at each model's best threshold, from `sums`."""
        histogram = sums[1 + len(self._models) :].reshape(len(self._models), 2, _BINS)
        called = np.zeros((len(self._models), 2, _BINS + 1))
        np.cumsum(histogram[:, :, ::-1], 2, out=called[:, :, 1:])
        negatives, positives = called[0, :, -1]
        values = criterion.values(called[:, 1], called[:, 0], float(positives), float(negatives))
        best: Float64 = values.max(1)
        return best


@dataclass(slots=True)
class Scored:
    """What one model answers for the rows of a channel."""

    rows: float
    loss: float  # summed, in units of training
    scores: NDArray[np.float32]  # (rows,) linear scores of a binary classifier, else empty
    labels: NDArray[np.float32]
    squares: float = 0.0  # summed errors of a regressor, in units of training
    errors: float = 0.0
    classes: ClassCounts | None = None


def score(
    models: LinearModels,
    model: int,
    parameters: Tensor,
    rows_of: Iterable[Rows],
    kind: str,
    *,
    weighted: bool = True,
    top_k: int = 3,
) -> Scored:
    """Scores rows with one of the models, whose ``parameters`` (features + 1, outputs) are given."""
    empty = np.empty(0, np.float32)
    found = Scored(0, 0.0, empty, empty)
    scores, labels = [empty], [empty]
    if kind == "multiclass_classifier":
        found.classes = ClassCounts(models.outputs, top_k)
    for rows in rows_of:
        z = models.scores(rows, parameters)
        found.rows += len(rows)
        if kind == "binary_classifier":
            scores.append(z[:, 0].cpu().numpy())
            labels.append(rows.labels[:, 0].cpu().numpy())
        elif kind == "regressor":
            error = (z - rows.labels).to(torch.float64)
            found.squares += float(error.square().sum())
            found.errors += float(error.abs().sum())
        elif found.classes is not None:
            found.classes.add(z[:, 0].cpu().numpy(), rows.labels.cpu().numpy())
        found.loss += float(models.losses(rows, z, model, weighted).sum())
    found.scores, found.labels = np.concatenate(scores), np.concatenate(labels)
    return found
