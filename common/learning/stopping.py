"""Early stopping as AWS's image algorithms do it."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass
class Patience:
    """Whether to go on, from a score each epoch of which more is better.

    A score is better than the best by ``(score - best) / best`` above ``tolerance``. After ``least`` epochs
    training ends once ``patience`` epochs in a row were not better.
    """

    least: int
    patience: int
    tolerance: float
    best: float = -math.inf
    waited: int = 0
    epochs: int = 0

    def ends(self, score: float) -> bool:
        """Takes the score of one more epoch; whether training ends with it."""
        self.epochs += 1
        # A best score of 0 has no ratio: whatever is above it is better.
        gain = score - self.best if self.best <= 0 else (score - self.best) / self.best
        if score > self.best and gain > (self.tolerance if self.best > 0 else 0):
            self.best, self.waited = score, 0
        else:
            self.waited += 1
        return self.epochs >= self.least and self.waited >= self.patience
