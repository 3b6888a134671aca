"""Adam with a learning rate and a weight decay for each group of weights, as MXNet's optimizer has it.

D. P. Kingma and J. Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015. A slope is the loss's
gradient times the rescaling factor, plus weight decay times the weight, then clipped. The bias correction is
in the learning rate, and counts mini-batches. A feature that a sparse mini-batch doesn't touch keeps its
weights and its moments (MXNet's lazy update); dense mini-batches touch all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common.batches import Float32, Int64
from common.cores import Cores
from containers.factorization_machines import kernels
from containers.factorization_machines.model import Machine

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


@dataclass(frozen=True, slots=True)
class Rate:
    """Of one group of weights."""

    learning_rate: float
    weight_decay: float


@dataclass(frozen=True, slots=True)
class Descent:
    """How weights move. ``rescale`` None is one by the rows of a mini-batch; ``clip`` 0 is no clipping."""

    bias: Rate
    linear: Rate
    factors: Rate
    rescale: float | None = None
    clip: float = 0.0
    epsilon: float = EPSILON

    def settings(self, step: int, rows: float) -> list[Float32]:
        """For bias, linear weights and factors: rescaling, decay, clip, rate, epsilon; (5,) float32 each.

        ``step`` counts from 1.
        """
        rescale = 1 / rows if self.rescale is None else self.rescale
        correction = math.sqrt(1 - BETA2**step) / (1 - BETA1**step)
        return [
            np.array(
                [
                    rescale,
                    rate.weight_decay,
                    self.clip or math.inf,
                    rate.learning_rate * correction,
                    self.epsilon,
                ],
                np.float32,
            )
            for rate in (self.bias, self.linear, self.factors)
        ]


@dataclass(frozen=True, slots=True)
class Columns:
    """The entries of a sparse mini-batch by column, of those columns alone that it touches."""

    columns: Int64  # (n,) which
    starts: Int64  # (n + 1,) where each one's entries begin
    rows: Int64  # (nnz,)
    entries: Float32  # (nnz,)


class Adam:
    """Moves a machine's weights. Its moments take twice their memory, where features were touched."""

    def __init__(self, machine: Machine, descent: Descent, cores: Cores) -> None:
        self._machine = machine
        self._descent = descent
        self._cores = cores
        self._steps = 0
        self._bias, self._linear, self._factors = (
            np.zeros((2, *part.shape), np.float32) for part in (machine.bias, machine.linear, machine.factors)
        )
        self._settings: list[Float32] = []

    def begin(self, rows: float, bias_gradient: float) -> None:
        """Begins a step on so many rows, and moves the bias."""
        self._steps += 1
        self._settings = self._descent.settings(self._steps, rows)
        slope = np.array([bias_gradient], np.float32)
        kernels.step(self._machine.bias, self._bias, slope, self._settings[0])

    def descend(self, columns: Columns, slopes: Float32, sums: Float32, parts: Sequence[slice]) -> None:
        """Moves the weights of a sparse mini-batch's columns, those of ``parts`` at the same time.

        ``slopes`` are (rows,) derivatives of the loss by the scores, ``sums`` (rows, k) ``x @ factors``.
        """

        def some(part: slice) -> None:
            kernels.descend(
                columns.columns[part],
                columns.starts[part.start : part.stop + 1],
                columns.rows,
                columns.entries,
                slopes,
                sums,
                *self._weights(),
            )

        self._cores.map(some, parts)

    def update(self, columns: Int64, gradients: Float32) -> None:
        """Moves the weights of (n,) columns by (n, k + 1) gradients, the linear weights' last."""
        self._cores.map(
            lambda part: kernels.update(columns[part], gradients[part], *self._weights()),
            self._cores.parts(len(columns)),
        )

    def _weights(self) -> tuple[Float32, ...]:
        machine, (_, linear, factors) = self._machine, self._settings
        return (
            machine.linear,
            self._linear,
            linear,
            machine.factors,
            self._factors,
            factors,
        )
