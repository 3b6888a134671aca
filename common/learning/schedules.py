"""Learning rates by the number of updates, counted from 0."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

Schedule = Callable[[int], float]


def steps(rate: float, factor: float, epochs: Sequence[int], updates: int) -> Schedule:
    """``rate``, multiplied by ``factor`` after each of ``epochs`` epochs of ``updates`` updates.

    MXNet's ``MultiFactorScheduler``, which lowers the rate once its counter, which begins with 1, is past a
    step.
    """
    ends = [epoch * updates for epoch in epochs]
    return lambda update: rate * factor ** sum(update >= end for end in ends)


def poly(rate: float, updates: int, power: float = 0.9) -> Schedule:
    """``rate (1 - update / updates) ^ power``, as GluonCV trains segmentation."""
    return lambda update: rate * (1 - min(update, updates) / updates) ** power


def cosine(rate: float, updates: int) -> Schedule:
    """Half a cosine from ``rate`` to 0 (Loshchilov and Hutter, 2016)."""
    return lambda update: rate * (1 + math.cos(math.pi * min(update, updates) / updates)) / 2
