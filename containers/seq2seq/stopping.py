"""Which checkpoint is the best, and when training has gone on long enough without a better one."""

from __future__ import annotations

import math
from collections.abc import Mapping

SMALLER_IS_BETTER = frozenset({"perplexity"})


class Patience:
    """Watches ``metric`` of each checkpoint; ``threshold`` of them in a row without a better one are enough.

    But not before ``epochs`` are over. A ``threshold`` of None is never reached.
    """

    def __init__(self, metric: str, threshold: int | None, epochs: int = 0) -> None:
        self.metric = metric
        self.scores: list[Mapping[str, float]] = []
        self.best = 0  # the number of the best checkpoint, from 1; 0 while there is none
        self._threshold, self._epochs = threshold, epochs

    def observe(self, scores: Mapping[str, float]) -> bool:
        """Takes a checkpoint's metrics, all of which `best_scores` gives. Whether it is the best."""
        self.scores.append(scores)
        value = scores[self.metric]
        if not math.isfinite(value) or (self.best and not self._better(value, self.best_scores[self.metric])):
            return False
        self.best = len(self.scores)
        return True

    def over(self, epochs: int) -> bool:
        """Whether to stop after so many whole epochs."""
        return self._threshold is not None and self.waited >= self._threshold and epochs >= self._epochs

    @property
    def waited(self) -> int:
        """How many checkpoints there were since the best."""
        return len(self.scores) - self.best

    @property
    def best_scores(self) -> Mapping[str, float]:
        """The metrics of the best checkpoint, if there is one."""
        return self.scores[self.best - 1]

    def _better(self, value: float, than: float) -> bool:
        return value < than if self.metric in SMALLER_IS_BETTER else value > than
