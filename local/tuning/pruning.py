"""Which trials end before their time, by the objectives they print on the way."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Protocol

from local.tuning.trials import COMPLETED, STOPPED, Objective, Trial

_REDUCTION = 3  # of three trials that reach a rung of Hyperband one goes on


class Pruning(Protocol):
    """A rule."""

    def ends(self, trial: Trial, others: Sequence[Trial]) -> bool:
        """Whether ``trial``, which has just printed its objective, shall end."""
        ...


class Never:
    """TrainingJobEarlyStoppingType Off."""

    def ends(self, trial: Trial, others: Sequence[Trial]) -> bool:
        return False


class Median:
    """TrainingJobEarlyStoppingType Auto: ends what is worse than the median of the earlier trials' averages.

    The averages are of all they had printed by the same epoch. Trials that were stopped themselves count as
    far as they came.
    """

    def __init__(self, objective: Objective) -> None:
        self._objective = objective

    def ends(self, trial: Trial, others: Sequence[Trial]) -> bool:
        epochs = len(trial.reports)
        averages = [
            statistics.fmean(other.reports[:epochs])
            for other in others
            if other is not trial and other.status in (COMPLETED, STOPPED) and len(other.reports) >= epochs
        ]
        return bool(averages) and self._objective.better(statistics.median(averages), trial.reports[-1])


class Hyperband:
    """Asynchronous successive halving (Li and others, 2020): rungs at ``least`` times powers of three.

    A trial that reaches a rung goes on when it is in the best third of those that have reached it so far.
    """

    def __init__(self, objective: Objective, least: int, most: int) -> None:
        self._objective = objective
        self._most = most
        self._rungs = []
        rung = least
        while rung < most:
            self._rungs.append(rung)
            rung *= _REDUCTION

    def ends(self, trial: Trial, others: Sequence[Trial]) -> bool:
        epochs = len(trial.reports)
        if epochs >= self._most:
            return True
        if epochs not in self._rungs:
            return False
        reached = [other.reports[epochs - 1] for other in others if len(other.reports) >= epochs]
        ahead = sum(self._objective.better(value, trial.reports[-1]) for value in reached)
        return ahead >= max(1, len(reached) // _REDUCTION)
