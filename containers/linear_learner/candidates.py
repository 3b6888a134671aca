"""The settings of the models that are trained side by side.

Model 0 has what the user gave, or base settings; the others have settings around it. The developer guide says
"close parameters" and no more; here the first 32 lie on a fixed grid, wide for what is ``auto`` and narrow
around what the user gave, and any beyond are drawn from the same ranges.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

BASE = {"adam": 0.02, "rmsprop": 0.005, "sgd": 0.02}
"""Learning rates that auto means for model 0."""

_GRID = 32
# Factors on model 0's learning rate: what is auto is searched from 1/40 to 20, what is given nearby.
_WIDE = (1.0, 5.0, 0.25, 2.0, 0.5, 10.0, 0.1, 20.0)
_NEAR = (1.0, 1.5, 0.67, 2.0, 0.5, 3.0, 0.33, 1.25)
_WD = (0.0, 1e-4, 1e-3, 1e-2)
_L1 = (0.0, 0.0, 1e-5, 1e-4)
_FACTORS = (1.0, 0.3, 3.0, 0.1)  # on a wd or l1 that is given
_STEPS = (100, 10, 30)


@dataclass(frozen=True, slots=True)
class Settings:
    """One model's settings: those that differ between the models of a job."""

    learning_rate: float
    wd: float = 0.0
    l1: float = 0.0
    lr_scheduler_step: int = 100
    lr_scheduler_factor: float = 0.99
    lr_scheduler_minimum_lr: float = 1e-5
    positive_weight: float = 1.0

    def reported(self, optimizer: str, scheduled: bool) -> dict[str, Any]:
        """What the line "Best model found for hyperparameters" prints."""
        values = {"optimizer": optimizer, **asdict(self)}
        del values["positive_weight"]
        if not scheduled:
            values = {name: value for name, value in values.items() if "scheduler" not in name}
        return values


def candidates(values: Mapping[str, Any], optimizer: str, count: int, seed: int) -> list[Settings]:
    """``count`` settings of models around hyperparameters ``values``, the same for equal arguments."""
    base = Settings(
        learning_rate=_or(values["learning_rate"], BASE[optimizer]),
        wd=_or(values["wd"], 0.0),
        l1=_or(values["l1"], 0.0),
        lr_scheduler_step=_or(values["lr_scheduler_step"], 100),
        lr_scheduler_factor=_or(values["lr_scheduler_factor"], 0.99),
        lr_scheduler_minimum_lr=_or(values["lr_scheduler_minimum_lr"], 1e-5),
    )
    # Philox and a fixed order of draws: the same models whatever their number.
    generator = np.random.Generator(np.random.Philox(seed))
    settings = [base]
    while len(settings) < count:
        index = len(settings)
        place = index if index < _GRID else int(generator.integers(_GRID))
        near = _on_grid(base, values, place)
        if index >= _GRID:
            near = replace(near, learning_rate=near.learning_rate * float(2 ** generator.uniform(-1, 1)))
        settings.append(near)
    return settings


def _on_grid(base: Settings, values: Mapping[str, Any], index: int) -> Settings:
    rate, penalty = index % len(_WIDE), index // len(_WIDE)
    rates = _WIDE if values["learning_rate"] == "auto" else _NEAR
    step = base.lr_scheduler_step
    if values["lr_scheduler_step"] == "auto":
        step = _STEPS[(rate + penalty) % len(_STEPS)]
    return replace(
        base,
        learning_rate=base.learning_rate * rates[rate],
        wd=_WD[penalty] if values["wd"] == "auto" else base.wd * _FACTORS[penalty],
        # In an order of its own, so that either penalty is met without the other.
        l1=_L1[(penalty + rate) % 4] if values["l1"] == "auto" else base.l1 * _FACTORS[(penalty + rate) % 4],
        lr_scheduler_step=step,
    )


def with_positive_weights(settings: list[Settings], weight: float | str, balanced: float) -> list[Settings]:
    """The models with the loss weight of positive rows: a number, ``balanced``, or ``auto``.

    ``balanced`` is negatives / positives. With auto the models take 1, its root and itself in turn.
    """
    if weight == "auto":
        turns = (1.0, balanced**0.5, balanced) if len(settings) > 1 else (balanced,)
        return [replace(one, positive_weight=turns[i % len(turns)]) for i, one in enumerate(settings)]
    fixed = balanced if weight == "balanced" else float(weight)
    return [replace(one, positive_weight=fixed) for one in settings]


def affordable(rows: int, feature_dim: int, outputs: int, budget: int) -> int:
    """How many models of ``outputs`` columns fit in ``budget`` bytes, 0 when not even one does.

    Counted are weights, gradient, two moments, the best epoch's weights and a temporary, and for a mini-batch
    scores, losses and gradients.
    """
    one = 4 * outputs * (6 * (feature_dim + 1) + 4 * rows)
    return budget // one


def _or(value: Any, default: Any) -> Any:
    return default if value == "auto" else value
