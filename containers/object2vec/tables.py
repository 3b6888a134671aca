"""Tables of token embeddings, of which a mini-batch touches a few rows.

An optimizer such as Adam moves each row in every step, also one that no token of the mini-batch stands for.
For most optimizers what it does to such a row in any number of steps is a formula. So a table remembers when
it brought each row up to date, and does the steps that a row has missed once the row is needed: the numbers
are those of a dense update, in the time of a sparse one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.batches import Int64
from common.optimizers import OPTIMIZERS, Optimizer, Settings

# Rows that are brought up to date at once.
_ROWS = 1 << 14
# How much of Adam's mean remains after a step, in units of its deviation.
_RATIO = 0.9 / 0.999**0.5
# After so many steps nothing of it remains.
_STEPS = 400


class Table(Protocol):
    """A table of token embeddings, (tokens, dimension) float32 on one device."""

    weights: Tensor
    learns: bool

    def rows(self, numbers: Tensor) -> Tensor:
        """A copy of the rows of those numbers, (rows,) int64, each given once."""
        ...

    def learn(self, numbers: Tensor, rows: Tensor, gradient: Tensor) -> None:
        """Takes ``rows``, as `rows` gave them, a step of the optimizer on."""
        ...

    def settle(self) -> None:
        """Brings ``weights`` up to date."""
        ...


class Frozen:
    """A table that stays as it is."""

    learns = False

    def __init__(self, weights: Tensor) -> None:
        self.weights = weights

    def rows(self, numbers: Tensor) -> Tensor:
        """See `Table`."""
        return self.weights.index_select(0, numbers)

    def learn(self, numbers: Tensor, rows: Tensor, gradient: Tensor) -> None:
        """Does nothing."""

    def settle(self) -> None:
        """Does nothing."""


class Sparse:
    """A table of which a step moves the rows that it touched, and no other (MXNet's lazy updates)."""

    learns = True

    def __init__(self, weights: Tensor, optimizer: Optimizer) -> None:
        self.weights = weights
        self._optimizer = optimizer
        # Memory for rows that are never touched isn't taken.
        self._states = [torch.zeros_like(weights) for _ in range(optimizer.states)]

    def rows(self, numbers: Tensor) -> Tensor:
        """See `Table`."""
        return self.weights.index_select(0, numbers)

    def learn(self, numbers: Tensor, rows: Tensor, gradient: Tensor) -> None:
        """See `Table`."""
        states = [state.index_select(0, numbers) for state in self._states]
        self._optimizer.apply(*(values.view(-1) for values in (rows, gradient, *states)))
        for whole, part in zip([self.weights, *self._states], [rows, *states], strict=True):
            whole.index_copy_(0, numbers, part)

    def settle(self) -> None:
        """Does nothing: there is nothing that a row has missed."""


@dataclass(frozen=True, slots=True)
class _Idle:
    """What a step does to a row whose gradient is 0."""

    shrinks: float  # the factor of its weights
    keeps: tuple[float, ...] = ()  # those of its states
    drifts: bool = False  # whether Adam's mean still moves it


def _idle(name: str, settings: Settings) -> _Idle | None:
    """None where decay is part of the gradient, which then is never 0."""
    rate, decay = settings.rate, settings.decay
    match name:
        case "sgd":
            return _Idle(1 - rate * decay)
        case "adagrad":
            return _Idle(1 - rate * decay, (1.0,))
        case "adadelta":
            return _Idle(1 - decay, (0.9, 0.9))
        case "rmsprop":
            return None if decay else _Idle(1.0, (0.9,))
        case _:
            return None if decay else _Idle(1.0, (0.9, 0.999), drifts=True)


class Dense(Sparse):
    """A table of which a step moves every row, though most only once they are needed."""

    def __init__(self, weights: Tensor, optimizer: Optimizer, idle: _Idle) -> None:
        super().__init__(weights, optimizer)
        self._idle = idle
        self._steps = 0
        self._done = np.zeros(len(weights), np.int64)
        self._sums = np.zeros(0)

    def rows(self, numbers: Tensor) -> Tensor:
        """See `Table`."""
        self._catch_up(numbers)
        return super().rows(numbers)

    def learn(self, numbers: Tensor, rows: Tensor, gradient: Tensor) -> None:
        """See `Table`."""
        super().learn(numbers, rows, gradient)
        self._steps += 1
        self._done[numbers.cpu().numpy()] = self._steps

    def settle(self) -> None:
        """See `Table`."""
        for start in range(0, len(self.weights), _ROWS):
            numbers = torch.arange(start, min(start + _ROWS, len(self.weights)), device=self.weights.device)
            self._catch_up(numbers)

    def _catch_up(self, numbers: Tensor) -> None:
        """Does the steps that rows have missed."""
        done = self._done[numbers.cpu().numpy()]
        late = np.flatnonzero(done < self._steps)
        idle = self._idle
        if not len(late) or (idle.shrinks == 1 and not idle.keeps):
            return
        done, numbers = done[late], numbers[torch.from_numpy(late).to(numbers.device)]
        missed = self._steps - done
        states = [state.index_select(0, numbers) for state in self._states]
        if idle.drifts:
            mean, square = states
            steps = self._column(self._optimizer.rate * self._drift(done, missed))
            self.weights.index_add_(0, numbers, mean / square.sqrt().add_(1e-8) * steps, alpha=-1)
        if idle.shrinks != 1:
            rows = self.weights.index_select(0, numbers)
            self.weights.index_copy_(0, numbers, rows.mul_(self._column(idle.shrinks**missed)))
        for whole, part, share in zip(self._states, states, idle.keeps, strict=True):
            whole.index_copy_(0, numbers, part.mul_(self._column(share**missed)))
        self._done[numbers.cpu().numpy()] = self._steps

    def _drift(self, done: Int64, missed: Int64) -> NDArray[np.float64]:
        """How far Adam moves rows in the ``missed`` steps after step ``done``, in units of the rate.

        The mean is multiplied by 0.9 in each, and its deviation by the root of 0.999; the rate is corrected
        as in the step. It is the sum over all steps that ever follow ``done``, less that over those after the
        last.
        """
        if len(self._sums) <= self._steps:
            steps = np.arange(1, 2 * self._steps + 2 + _STEPS, dtype=np.float64)
            corrections = np.sqrt(1 - 0.999**steps) / (1 - 0.9**steps)
            # sums[t] is the sum over n from 1 of corrections[step t + n] * ratio^n.
            self._sums = np.convolve(corrections, _RATIO ** np.arange(_STEPS, 0, -1.0), "valid")
        return self._sums[done] - _RATIO**missed * self._sums[done + missed]

    def _column(self, values: NDArray[np.float64]) -> Tensor:
        return torch.from_numpy(values.astype(np.float32)).to(self.weights.device)[:, None]


class Whole:
    """A table of which every step passes over all rows."""

    learns = True

    def __init__(self, weights: Tensor, name: str, settings: Settings, threads: int) -> None:
        self.weights = weights
        self._gradient = torch.zeros_like(weights)
        self._optimizer = OPTIMIZERS[name](weights.view(-1), self._gradient.view(-1), settings, (), threads)

    def rows(self, numbers: Tensor) -> Tensor:
        """See `Table`."""
        return self.weights.index_select(0, numbers)

    def learn(self, numbers: Tensor, rows: Tensor, gradient: Tensor) -> None:
        """See `Table`."""
        self._gradient.index_copy_(0, numbers, gradient)
        self._optimizer.step()
        self._gradient.index_fill_(0, numbers, 0)

    def settle(self) -> None:
        """Does nothing: it is up to date."""


def table(weights: Tensor, name: str, optimizer: Optimizer, threads: int, *, sparse: bool) -> Table:
    """A table that learns as the optimizer ``name`` has it, whose steps `learn` follows.

    ``optimizer`` is that of the other parameters: it makes its own step first.
    """
    if sparse:
        return Sparse(weights, optimizer)
    idle = _idle(name, optimizer.settings)
    if idle is None:
        return Whole(weights, name, optimizer.settings, threads)
    return Dense(weights, optimizer, idle)
