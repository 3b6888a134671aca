"""Keeps every model's best epoch, says when to stop, and which model wins."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from containers.linear_learner.model import LinearModels

Float64 = NDArray[np.float64]


class Selection:
    """The models as they were in their best epochs.

    Scores are the higher the better; one that isn't finite ranks last. Training should stop once ``patience``
    epochs in a row brought no relative improvement above ``tolerance`` on the best score of all models.
    """

    def __init__(self, models: LinearModels, patience: int, tolerance: float) -> None:
        self._models = models
        self._patience = patience
        self._tolerance = tolerance
        count = len(models)
        self._scores = np.full(count, -np.inf)
        self._tie_breaks = np.full(count, -np.inf)
        self._pending = np.zeros(count)
        self._reference = -np.inf
        self.parameters = models.parameters.clone()
        self.epochs = 0
        self.waited = 0  # epochs since the last improvement
        self.improved = False

    def ties(self, scores: Float64) -> None:
        """Says what decides, in the next `observe`, between equal scores: the higher the better."""
        self._pending = _ranked(scores)

    def observe(self, scores: Float64) -> int:
        """Takes each model's score after an epoch; the model that did best in it."""
        scores = _ranked(scores)
        better = (scores > self._scores) | ((scores == self._scores) & (self._pending > self._tie_breaks))
        if not self.epochs:
            better[:] = True  # something must be kept, however bad
        self._keep(better)
        self._scores = np.where(better, scores, self._scores)
        self._tie_breaks = np.where(better, self._pending, self._tie_breaks)
        self.epochs += 1
        best = float(scores.max())
        needed = self._tolerance * abs(self._reference) if np.isfinite(self._reference) else 0.0
        self.improved = best > self._reference + needed
        if self.improved:
            self._reference = best
        self.waited = 0 if self.improved else self.waited + 1
        return int(np.lexsort((self._pending, scores))[-1])

    def choose_by(self, scores: Float64, ties: Float64) -> None:
        """Ranks the kept models by other scores than those they were kept by."""
        self._scores, self._tie_breaks = _ranked(scores), _ranked(ties)

    @property
    def patience_over(self) -> bool:
        """Whether training should stop."""
        return self.waited >= self._patience

    @property
    def best(self) -> int:
        """The winner; among equals the first."""
        order = np.lexsort((-np.arange(len(self._scores)), self._tie_breaks, self._scores))
        return int(order[-1])

    def _keep(self, better: NDArray[np.bool_]) -> None:
        if better.all():
            self.parameters.copy_(self._models.parameters)
            return
        columns = np.flatnonzero(np.repeat(better, self._models.outputs))
        if len(columns):
            index = torch.from_numpy(columns).to(self.parameters.device)
            self.parameters[:, index] = self._models.parameters[:, index]


def _ranked(scores: Float64) -> Float64:
    return np.where(np.isfinite(scores), scores, -np.inf)
