"""A part of a mini-batch on the way to its gradients, in blocks that are divided among the cores.

A block goes through all that is done to it before the next one begins, so that what it needs stays in the
cache of one core.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.batches import Float32
from common.cores import Cores
from containers.ipinsights import encoder, kernels
from containers.ipinsights.model import Shape
from containers.ipinsights.negatives import Negatives
from containers.ipinsights.pairs import Addresses
from containers.ipinsights.rows import Int32


class Memory:
    """Matrices of ``width`` columns that are used again in the next mini-batch.

    New ones would be given back to the system and come anew each time, page by page.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._matrices: dict[object, Float32] = {}

    def matrix(self, name: object, rows: int) -> Float32:
        """(rows, width) of whatever was left there, 0 if nothing; the same memory for the same name."""
        found = self._matrices.get(name)
        if found is None or len(found) < rows:
            found = self._matrices[name] = np.zeros((rows, self._width), np.float32)
        return found[:rows]


@dataclass(frozen=True, slots=True)
class Partners:
    """Addresses of which each entity of a part gets one."""

    addresses: Addresses  # (n,)
    label: int  # 1 where they were observed, else 0
    shuffles: int = 0  # how often each entity is also paired with another one's, as a negative


@dataclass(frozen=True, slots=True)
class Lane:
    """The blocks of one thread, and what it adds up over them."""

    number: int
    blocks: Sequence[slice]
    layers: Float32  # gradients, as `Shape.initial_layers` has the layers
    sums: NDArray[np.float64]  # (3,) the loss, pairs told rightly, pairs


class _Entities:
    """A block's entities with what the last layer makes of them, and the gradients of both."""

    def __init__(self, memory: Memory, lane: int, count: int) -> None:
        self.vectors, self.products, self.product_slopes = (
            memory.matrix((name, lane), count) for name in ("vectors", "products", "product slopes")
        )
        self.offsets, self.slopes = np.zeros(count, np.float32), np.zeros(count, np.float32)


class Work:
    """``run`` pairs the entities of a part with addresses and adds up gradients.

    ``entities`` (n, d) are the entities' of all runs, ``prefixes`` (sets, n, d) those of the prefixes of the
    last run's addresses, and ``lanes`` hold the rest.
    """

    def __init__(
        self,
        shape: Shape,
        tables: tuple[Float32, Float32, Float32],
        slots: Int32,
        cores: Cores,
        memory: Memory,
        negatives: Negatives,
        part: slice,
    ) -> None:
        self._shape = shape
        self._table, self._prefixes, layers = tables
        self._layers = shape.layers_of(layers)
        self._slots = slots
        self._cores = cores
        self._memory = memory
        self._negatives = negatives
        self._part = part
        self.entities = memory.matrix("entities", len(slots))
        self.prefixes = np.empty((0, *self.entities.shape), np.float32)
        self._begun = False
        blocks, threads = negatives.blocks(part), cores.threads
        bounds = [len(blocks) * thread // threads for thread in range(threads + 1)]
        self.lanes = [
            Lane(number, blocks[start:stop], np.zeros_like(layers), np.zeros(3))
            for number, (start, stop) in enumerate(itertools.pairwise(bounds))
            if start < stop
        ]

    def run(self, sets: Sequence[Partners]) -> None:
        """Pairs each entity with its address of each set."""
        count = len(sets) * len(self._slots)
        self.prefixes = self._memory.matrix("prefixes", count).reshape(len(sets), *self.entities.shape)

        def learn(lane: Lane) -> None:
            # A training that diverges is told by its loss.
            with np.errstate(over="ignore", invalid="ignore"):
                for block in lane.blocks:
                    self._block(lane, block, sets)

        self._cores.map(learn, self.lanes)
        self._begun = True

    def _block(self, lane: Lane, block: slice, sets: Sequence[Partners]) -> None:
        here = slice(block.start - self._part.start, block.stop - self._part.start)
        own = _Entities(self._memory, lane.number, block.stop - block.start)
        kernels.gather(self._table, self._slots[here], own.vectors)
        own.products.fill(0)
        own.product_slopes.fill(0)
        if not self._begun:
            self.entities[here].fill(0)
        encoder.prepare(own.vectors, self._layers, own.offsets, own.products)
        for number, partners in enumerate(sets):
            self._pair(lane, block, here, own, partners, self.prefixes[number, here])
        encoder.finish(
            own.vectors,
            own.slopes,
            own.product_slopes,
            self.entities[here],
            self._layers,
            self._shape.layers_of(lane.layers),
        )

    def _pair(
        self, lane: Lane, block: slice, here: slice, own: _Entities, partners: Partners, out: Float32
    ) -> None:
        """Pairs a block's entities with one set's addresses; ``out`` becomes their prefixes' gradients."""
        count = len(own.slopes)
        prefixes = self._memory.matrix(("hidden", lane.number), count)
        kernels.gather_prefixes(self._prefixes, self._shape.bounds, partners.addresses[here], prefixes)
        hidden, inputs = encoder.forward(prefixes, self._layers[:-1])
        # Without layers between, the slopes of what is hidden are those of the prefixes.
        slopes = out if not inputs else self._memory.matrix(("slopes", lane.number), count)
        slopes.fill(0)
        pairings = [(np.arange(count, dtype=np.int32), partners.label)]
        pairings += [(self._negatives.partners(rate, block), 0) for rate in range(partners.shuffles)]
        for others, label in pairings:
            kernels.learn_pairs(
                own.offsets,
                own.vectors,
                own.products,
                hidden,
                others,
                label,
                self.entities[here],
                own.product_slopes,
                slopes,
                own.slopes,
                lane.sums,
            )
        if inputs:
            sums = self._shape.layers_of(lane.layers)
            out[:] = encoder.backward(slopes, inputs, self._layers[:-1], sums[:-1])
