"""Early stopping, and which epoch was the best."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass
class Patience:
    """Ends after ``patience`` epochs in a row that lower the least loss so far by less than ``tolerance``."""

    patience: int
    tolerance: float
    least: float = math.inf
    best: int = 0  # the epoch of the least loss, from 1; 0 before the first that is a number
    bad: int = 0
    _epochs: int = 0

    def observe(self, loss: float) -> bool:
        """Takes the next epoch's loss; whether it is the least so far."""
        self._epochs += 1
        self.bad = 0 if self.least - loss >= self.tolerance else self.bad + 1
        if not loss < self.least:
            return False
        self.least, self.best = loss, self._epochs
        return True

    @property
    def over(self) -> bool:
        """Whether training should end."""
        return self.bad >= self.patience
