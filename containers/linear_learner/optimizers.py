"""Mini-batch optimisers of many models at once: every rate is a vector with one entry a column of weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from containers.linear_learner.candidates import Settings

_TINY = 1e-8


@dataclass(frozen=True, slots=True)
class Tuning:
    """What all models of a job share: the optimiser and its constants."""

    optimizer: str = "adam"
    beta_1: float = 0.9
    beta_2: float = 0.999
    momentum: float = 0.0
    use_bias: bool = True
    bias_lr_mult: float = 10.0
    bias_wd_mult: float = 0.0
    use_lr_scheduler: bool = True


class Schedule:
    """Learning rates by update: ``rate * factor ** (update // step)``, never below the floor."""

    def __init__(self, settings: Sequence[Settings], used: bool) -> None:
        self._rates = np.array([one.learning_rate for one in settings])
        self._steps = np.array([one.lr_scheduler_step for one in settings])
        self._factors = np.array([one.lr_scheduler_factor if used else 1.0 for one in settings])
        # A floor above the rate would raise it.
        floors = np.array([one.lr_scheduler_minimum_lr for one in settings])
        self._floors = np.minimum(floors, self._rates)
        self._distinct = set(self._steps.tolist()) if used else set()

    def changes(self, update: int) -> bool:
        """Whether any rate differs from that of the update before."""
        return update == 0 or any(update % step == 0 for step in self._distinct)

    def rates(self, update: int) -> NDArray[np.float64]:
        """(models,) learning rates of the ``update``-th update, from 0."""
        rates = self._rates * self._factors ** (update // self._steps)
        return np.maximum(rates, self._floors)


class Optimizer:
    """Adam (Kingma and Ba 2014), SGD with momentum, or RMSProp (Tieleman and Hinton 2012).

    It changes ``parameters`` (features + 1, columns) in place, the last row being biases. Column ``c``
    belongs to model ``c // outputs``. Penalties add ``wd w + l1 sign(w)`` to the gradient of a weight.
    """

    def __init__(
        self, parameters: Tensor, settings: Sequence[Settings], tuning: Tuning, outputs: int
    ) -> None:
        self._parameters = parameters
        self._tuning = tuning
        self._outputs = outputs
        self._schedule = Schedule(settings, tuning.use_lr_scheduler)
        self._rates = parameters.new_zeros(parameters.shape[1])
        self._wd = self._column([one.wd for one in settings])
        self._l1 = self._column([one.l1 for one in settings])
        self._penalised = any(one.wd for one in settings)
        self._sparsified = any(one.l1 for one in settings)
        self._first = torch.zeros_like(parameters) if self._has_first else None
        self._second = torch.zeros_like(parameters) if tuning.optimizer != "sgd" else None
        self._scratch = torch.empty_like(parameters)
        self.updates = 0

    @property
    def _has_first(self) -> bool:
        return self._tuning.optimizer == "adam" or (
            self._tuning.optimizer == "sgd" and self._tuning.momentum > 0
        )

    def _column(self, values: Sequence[float] | NDArray[np.float64]) -> Tensor:
        spread = np.repeat(np.asarray(values, np.float32), self._outputs)
        return torch.from_numpy(spread).to(self._parameters.device)

    def update(self, gradient: Tensor) -> None:
        """One step along ``gradient``, which is overwritten."""
        if self._schedule.changes(self.updates):
            self._rates = self._column(self._schedule.rates(self.updates))
        self.updates += 1
        self._penalise(gradient)
        change = self._direction(gradient).mul_(self._rates)
        if not self._tuning.use_bias:
            change[-1].zero_()
        elif self._tuning.bias_lr_mult != 1:
            change[-1].mul_(self._tuning.bias_lr_mult)
        self._parameters.sub_(change)

    def _penalise(self, gradient: Tensor) -> None:
        weights = self._parameters[:-1]
        if self._penalised:
            gradient[:-1].addcmul_(weights, self._wd)
            if self._tuning.bias_wd_mult:
                gradient[-1].addcmul_(self._parameters[-1], self._wd, value=self._tuning.bias_wd_mult)
        if self._sparsified:
            gradient[:-1].addcmul_(torch.sign(weights, out=self._scratch[:-1]), self._l1)

    def _direction(self, gradient: Tensor) -> Tensor:
        """Where to go, before learning rates, in memory that may be overwritten."""
        tuning = self._tuning
        if tuning.optimizer == "sgd":
            if self._first is None:
                return gradient
            return self._scratch.copy_(self._first.mul_(tuning.momentum).add_(gradient))
        assert self._second is not None
        if tuning.optimizer == "rmsprop":
            self._second.mul_(0.9).addcmul_(gradient, gradient, value=0.1)
            return gradient.div_(torch.sqrt(self._second, out=self._scratch).add_(_TINY))
        assert self._first is not None
        self._first.lerp_(gradient, 1 - tuning.beta_1)
        self._second.mul_(tuning.beta_2).addcmul_(gradient, gradient, value=1 - tuning.beta_2)
        # Both corrections of the moments' start at zero in one factor, as in section 2 of the paper.
        corrected = (1 - tuning.beta_2**self.updates) ** 0.5
        scale = torch.sqrt(self._second, out=self._scratch).add_(_TINY * corrected)
        return torch.div(self._first, scale, out=scale).mul_(corrected / (1 - tuning.beta_1**self.updates))
