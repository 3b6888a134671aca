"""Learning from mini-batches on all cores: gradients of observed, shuffled and random pairs, then Adam.

A mini-batch is taken in a random order and in blocks that stay in a core's cache. Addresses are shuffled
within a block: a permutation of the mini-batch in which any two of its pairs are as likely to meet. Random
addresses are made as they are needed. So memory depends on ``vector_dim`` and on how many observed pairs and
different entities there are, not on the rates of negatives.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.batches import Float32, Int64
from common.cores import Cores
from containers.ipinsights import kernels
from containers.ipinsights.model import Model, Shape
from containers.ipinsights.negatives import Negatives
from containers.ipinsights.pairs import Addresses, Pairs
from containers.ipinsights.rows import Int32, Rows
from containers.ipinsights.tables import Table
from containers.ipinsights.work import Memory, Partners, Work

Float64 = NDArray[np.float64]

_CHUNK = 1 << 21  # floats of a matrix that has a row for each observed pair
_SETS = 4  # of addresses whose gradients are there at the same time


@dataclass(frozen=True, slots=True)
class Settings:
    """How a model learns."""

    learning_rate: float
    weight_decay: float
    random_negatives: int  # for each observed pair
    shuffled_negatives: int


@dataclass(slots=True)
class Gradients:
    """Sums over the pairs of a mini-batch, or of all hosts' parts of it.

    ``sums`` are those of the log loss, of pairs that were told rightly, of all pairs and of observed ones.
    """

    rows: Int64  # (t,) of the entities' table, all different
    entities: Float32  # (t, d)
    prefixes: Float32  # (PREFIX_ROWS, w)
    touched: NDArray[np.uint8]  # (PREFIX_ROWS,) 1 where a row of prefixes counts
    layers: Float32  # (layers * (d + 1), d): all weights, then all biases
    sums: Float64  # (4,)


Combine = Callable[[Gradients], Gradients]
"""What hosts do between computing gradients and applying them."""


class Learner:
    """A model that learns on the threads of ``cores``."""

    def __init__(self, shape: Shape, settings: Settings, cores: Cores) -> None:
        self.shape = shape
        self.settings = settings
        self._cores = cores
        self._memory = Memory(shape.vector_dim)
        self._bounds = shape.bounds
        self._known = Rows()
        self._entities = Table(np.empty((0, shape.vector_dim), np.float32))
        self._prefixes = Table(shape.initial_prefixes())
        self._layers = Table(shape.initial_layers())
        self._prefix_gradient = np.zeros_like(self._prefixes.values)
        self._touched = np.zeros(kernels.PREFIX_ROWS, np.uint8)
        self._steps = 0

    def learn(self, pairs: Pairs, key: np.uint64, combine: Combine | None = None) -> Float64:
        """One step on a mini-batch, with negatives that ``key`` decides about. Returns `Gradients.sums`."""
        gradients = self._gradients(pairs, key)
        if combine is not None:
            gradients = combine(gradients)
        self._apply(gradients)
        return gradients.sums

    def model(self) -> Model:
        """The model as it is, in views of what may go on learning."""
        return Model(
            self.shape,
            self._known.all(),
            self._entities.values,
            self._prefixes.values,
            self._layers.values,
        )

    # --- gradients ---

    def _gradients(self, pairs: Pairs, key: np.uint64) -> Gradients:
        """The gradients of a mini-batch. Entities' and prefixes' are in memory that `_apply` clears."""
        negatives = Negatives(key, len(pairs), self.shape.block_rows(len(pairs)))
        addresses = pairs.addresses[negatives.order]
        slots, places = self._places(self.shape.rows(pairs.entities[negatives.order]))
        gradients = Gradients(
            self._known.rows(slots),
            self._memory.matrix("gradient", len(slots)),
            self._prefix_gradient,
            self._touched,
            np.zeros_like(self._layers.values),
            np.zeros(4),
        )
        rows = max(1, _CHUNK // self.shape.vector_dim // negatives.block_rows) * negatives.block_rows
        for start in range(0, len(pairs), rows):
            part = slice(start, min(start + rows, len(pairs)))
            self._add(negatives, part, addresses[part], slots[places[part]], places[part], gradients)
        gradients.sums[3] = len(pairs)
        return gradients

    def _places(self, rows: Int64) -> tuple[Int32, Int32]:
        """The slots of rows, without repetition, and each row's place among them; new rows begin."""
        before = len(self._known)
        slots, places = self._known.distinct(rows)
        new = np.arange(before, len(self._known), dtype=np.int32)
        if len(new):
            self._entities.append(self.shape.initial_entities(self._known.rows(new)))
        return slots, places

    def _add(
        self,
        negatives: Negatives,
        part: slice,
        addresses: Addresses,
        slots: Int32,
        places: Int32,
        gradients: Gradients,
    ) -> None:
        """Adds the gradients of a part of the mini-batch."""
        tables = self._entities.values, self._prefixes.values, self._layers.values
        work = Work(self.shape, tables, slots, self._cores, self._memory, negatives, part)
        observed = Partners(addresses, 1, self.settings.shuffled_negatives)
        random = (
            Partners(negatives.addresses(rate, part), 0) for rate in range(self.settings.random_negatives)
        )
        waiting = itertools.chain([observed], random)
        while sets := list(itertools.islice(waiting, _SETS)):
            work.run(sets)
            shown = np.concatenate([each.addresses for each in sets])
            slopes = work.prefixes.reshape(len(shown), self.shape.vector_dim)
            self._by_owner(
                functools.partial(
                    kernels.add_prefixes, self._prefix_gradient, self._touched, self._bounds, shown, slopes
                )
            )
        self._by_owner(functools.partial(kernels.add_rows, gradients.entities, places, work.entities))
        for lane in work.lanes:
            gradients.layers += lane.layers
            gradients.sums[:3] += lane.sums

    def _by_owner(self, add: Callable[[int, int], None]) -> None:
        """Calls ``add`` with every thread's number and how many there are."""
        owners = self._cores.threads
        self._cores.map(lambda owner: add(owner, owners), range(owners))

    # --- Adam ---

    def _apply(self, gradients: Gradients) -> None:
        """One step of Adam on all that has a gradient, which becomes 0."""
        self._steps += 1
        slots, places = self._places(gradients.rows)
        count = self.shape.layers * self.shape.vector_dim
        weights = np.arange(count, dtype=np.int32)
        biases = np.arange(count, len(gradients.layers), dtype=np.int32)
        touched = np.flatnonzero(gradients.touched).astype(np.int32)
        decay = self.settings.weight_decay
        rate = adam_rate(self._steps, self.settings.learning_rate)
        scale = 1.0 / gradients.sums[3]
        steps = (
            (self._entities, slots, gradients.entities, places, decay),
            (self._prefixes, touched, gradients.prefixes, touched, decay),
            (self._layers, weights, gradients.layers, weights, decay),
            # As in MXNet, biases are not drawn to 0.
            (self._layers, biases, gradients.layers, biases, 0.0),
        )
        work = [
            functools.partial(
                kernels.adam, *table.all, rows[part], gradient, places[part], rate, scale, penalty
            )
            for table, rows, gradient, places, penalty in steps
            if len(rows)
            for part in self._cores.parts(len(rows))
        ]
        self._cores.map(lambda step: step(), work)
        gradients.touched[:] = 0


def adam_rate(step: int, learning_rate: float) -> float:
    """Adam's step size at the ``step``-th step, from 1, with the correction of the moments' bias."""
    return learning_rate * math.sqrt(1 - 0.999**step) / (1 - 0.9**step)
