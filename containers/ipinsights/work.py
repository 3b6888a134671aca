"""A part of a mini-batch on the way to its gradients, in blocks that are divided among the cores."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
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


@dataclass(frozen=True, slots=True)
class Lane:
    """The blocks of one thread, and what it adds up over them."""

    blocks: Sequence[slice]
    layers: Float32  # gradients, as `Shape.initial_layers` has the layers
    sums: NDArray[np.float64]  # (3,) the loss, pairs told rightly, pairs


class Work:
    """``begin``, then ``run`` for each set of addresses, then ``end``.

    After ``run``, ``prefixes`` (n, d) are the gradients of these addresses' prefixes; after ``end``,
    ``entities`` (n, d) are those of the entities, and ``lanes`` hold the rest.
    """

    def __init__(
        self,
        shape: Shape,
        table: Float32,
        slots: Int32,
        layers: Float32,
        cores: Cores,
        negatives: Negatives,
        part: slice,
    ) -> None:
        size = len(slots), shape.vector_dim
        self._shape = shape
        self._cores = cores
        self._negatives = negatives
        self._part = part
        self._layers = shape.layers_of(layers)
        self._table, self._slots = table, slots
        self._vectors, self._products = np.empty(size, np.float32), np.zeros(size, np.float32)
        self._product_slopes = np.zeros(size, np.float32)
        self._offsets, self._slopes = np.zeros(len(slots), np.float32), np.zeros(len(slots), np.float32)
        self.entities = np.zeros(size, np.float32)
        self.prefixes = np.empty(size, np.float32)
        blocks, threads = negatives.blocks(part), cores.threads
        bounds = [len(blocks) * thread // threads for thread in range(threads + 1)]
        self.lanes = [
            Lane(blocks[start:stop], np.zeros_like(layers), np.zeros(3))
            for start, stop in itertools.pairwise(bounds)
            if start < stop
        ]

    def begin(self) -> None:
        """Gathers the entities' vectors, and what the last layer makes of them."""

        def gather(lane: Lane, here: slice, block: slice) -> None:
            kernels.gather(self._table, self._slots[here], self._vectors[here])
            encoder.prepare(self._vectors[here], self._layers, self._offsets[here], self._products[here])

        self._each_block(gather)

    def run(self, table: Float32, addresses: Addresses, label: int, shuffles: int) -> None:
        """Pairs each entity with its address, and ``shuffles`` times with another's as a negative."""

        def learn(lane: Lane, here: slice, block: slice) -> None:
            prefixes = np.empty((here.stop - here.start, self._shape.vector_dim), np.float32)
            kernels.gather_prefixes(table, self._shape.bounds, addresses[here], prefixes)
            hidden, inputs = encoder.forward(prefixes, self._layers[:-1])
            slopes = np.zeros_like(hidden)

            def pair(partners: Int32, label: int) -> None:
                kernels.learn_pairs(
                    self._offsets[here],
                    self._vectors[here],
                    self._products[here],
                    hidden,
                    partners,
                    label,
                    self.entities[here],
                    self._product_slopes[here],
                    slopes,
                    self._slopes[here],
                    lane.sums,
                )

            pair(np.arange(len(hidden), dtype=np.int32), label)
            for rate in range(shuffles):
                pair(self._negatives.partners(rate, block), 0)
            sums = self._shape.layers_of(lane.layers)
            self.prefixes[here] = encoder.backward(slopes, inputs, self._layers[:-1], sums[:-1])

        self._each_block(learn)

    def end(self) -> None:
        """Makes gradients of the entities and of the last layer from those of `begin`'s products."""

        def finish(lane: Lane, here: slice, block: slice) -> None:
            encoder.finish(
                self._vectors[here],
                self._slopes[here],
                self._product_slopes[here],
                self.entities[here],
                self._layers,
                self._shape.layers_of(lane.layers),
            )

        self._each_block(finish)

    def _each_block(self, function: Callable[[Lane, slice, slice], None]) -> None:
        """Calls ``function`` with each block's lane, its place in the part, and itself."""
        first = self._part.start

        def run(lane: Lane) -> None:
            # A training that diverges is told by its loss.
            with np.errstate(over="ignore", invalid="ignore"):
                for block in lane.blocks:
                    function(lane, slice(block.start - first, block.stop - first), block)

        self._cores.map(run, self.lanes)
