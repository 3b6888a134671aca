"""Learning rates over time, as Sockeye 1 has them (lr_scheduler)."""

from __future__ import annotations

import math


class Schedule:
    """``rate`` at all times."""

    def __init__(self, rate: float) -> None:
        self.base = rate

    def rate(self, updates: int) -> float:
        """The learning rate after so many updates."""
        return self.base

    def checkpoint(self, improved: bool) -> None:
        """Takes a checkpoint's outcome into account."""


class PlateauReduce(Schedule):
    """Multiplied by ``factor`` each time that ``threshold`` checkpoints in a row improved nothing."""

    def __init__(self, rate: float, factor: float, threshold: int) -> None:
        super().__init__(rate)
        self._factor, self._threshold = factor, threshold
        self._waited = 0

    def checkpoint(self, improved: bool) -> None:
        """Counts a checkpoint."""
        self._waited = 0 if improved else self._waited + 1
        if self._waited >= self._threshold:
            self.base *= self._factor
            self._waited = 0


class InverseTime(Schedule):
    """``rate / (1 + t / half_life)`` after t updates, half of it after ``half_life`` of them."""

    def __init__(self, rate: float, half_life: int) -> None:
        super().__init__(rate)
        self._half_life = half_life

    def rate(self, updates: int) -> float:
        """The learning rate after so many updates."""
        return self.base / (1 + updates / self._half_life)


class InverseSquareRoot(InverseTime):
    """``rate / sqrt(1 + 3 t / half_life)`` after t updates, half of it after ``half_life`` of them."""

    def rate(self, updates: int) -> float:
        """The learning rate after so many updates."""
        return self.base / math.sqrt(1 + 3 * updates / self._half_life)
