"""IP Insights: vectors of entities and of IPv4 addresses, whose dot product is the log odds of a real pair.

An entity's hash names a row of a table. An address's prefixes of 8, 16, 24 and 32 bits each have a vector of
a quarter of the width; beside each other they go through fully connected layers (`encoder`). Learnt with
negative sampling (Mikolov et al., "Distributed representations of words and phrases and their
compositionality", 2013) as the developer guide describes (ip-insights-howitworks).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.batches import Float32, Int64
from containers.ipinsights import encoder, kernels
from containers.ipinsights.pairs import Addresses, Hashes, Pairs

_BLOCK = 1 << 17  # floats of a block's matrix: half a megabyte, which an L2 cache holds
_FEWEST_ROWS, _MOST_ROWS = 64, 1024
_LEAST_BLOCKS = 16
# What rows begin with, uniform from minus to plus this: MXNet's default.
SCALE = 0.07
# The streams of random numbers that a seed gives.
ENTITIES, PREFIXES, LAYERS, BATCHES, VALIDATION = range(5)


@dataclass(frozen=True, slots=True)
class Shape:
    """What a model is made of, before it has learnt anything. ``seed`` says what its numbers begin with."""

    num_entity_vectors: int
    vector_dim: int
    layers: int
    seed: int

    @property
    def bounds(self) -> Int64:
        """The columns where the vectors of prefixes of 8, 16, 24 and 32 bits begin, and the last one ends."""
        return np.arange(5, dtype=np.int64) * self.vector_dim // 4

    def block_rows(self, pairs: int) -> int:
        """How many of so many pairs are worked on at a time: few enough for a cache, and for some threads."""
        most = min(_MOST_ROWS, max(_FEWEST_ROWS, _BLOCK // self.vector_dim))
        return min(most, max(_FEWEST_ROWS, -(-pairs // _LEAST_BLOCKS)))

    def key(self, *path: int) -> np.uint64:
        """The key of a stream of random numbers."""
        return np.random.SeedSequence([self.seed, *path]).generate_state(1, np.uint64)[0]

    def rows(self, hashes: Hashes) -> Int64:
        """The rows of (n,) entities in the table, (n,) int64."""
        return (hashes % np.uint64(self.num_entity_vectors)).astype(np.int64)

    def initial_entities(self, rows: Int64) -> Float32:
        """What rows of the entities' table begin with, (n, vector_dim), at any time."""
        values = np.empty((len(rows), self.vector_dim), np.float32)
        kernels.initial_rows(self.key(ENTITIES), rows, values, SCALE)
        return values

    def initial_prefixes(self) -> Float32:
        """What the prefixes' table begins with, (PREFIX_ROWS, the widest part)."""
        values = np.empty((kernels.PREFIX_ROWS, -(-self.vector_dim // 4)), np.float32)
        kernels.initial_rows(self.key(PREFIXES), np.arange(len(values)), values, SCALE)
        return values

    def initial_layers(self) -> Float32:
        """The layers' numbers, (layers * (d + 1), d): all weights, then all biases, which are 0.

        Layers add about as much to a vector together however many they are.
        """
        values = np.zeros((self.layers * (self.vector_dim + 1), self.vector_dim), np.float32)
        count = self.layers * self.vector_dim
        scale = math.sqrt(3.0 / (self.vector_dim * max(1, self.layers)))
        kernels.initial_rows(self.key(LAYERS), np.arange(count), values[:count], scale)
        return values

    def layers_of(self, values: Any) -> encoder.Layers:
        """Weights and biases by layer, as views of what `initial_layers` has the form of."""
        width, count = self.vector_dim, self.layers * self.vector_dim
        return [
            (values[layer * width : (layer + 1) * width], values[count + layer])
            for layer in range(self.layers)
        ]


@dataclass(frozen=True)
class Model:
    """A model that answers. Rows of the entities' table that aren't there are as they began."""

    shape: Shape
    rows: Int64  # (t,) the rows of the entities' table that were learnt, all different
    entities: Float32  # (t, vector_dim)
    prefixes: Float32  # (PREFIX_ROWS, the widest part)
    layers: Float32  # (layers * (vector_dim + 1), vector_dim): all weights, then all biases

    @functools.cached_property
    def _order(self) -> Int64:
        return np.argsort(self.rows)

    @functools.cached_property
    def _sorted(self) -> Int64:
        return self.rows[self._order]

    def entity_vectors(self, hashes: Hashes) -> Float32:
        """The vectors of (n,) entities, (n, vector_dim)."""
        rows = self.shape.rows(hashes)
        places = np.searchsorted(self._sorted, rows)
        known = places < len(self.rows)
        known[known] = self._sorted[places[known]] == rows[known]
        slots = self._order[places[known]]
        if len(slots) == len(rows):
            return self.entities[slots]
        vectors = np.empty((len(rows), self.shape.vector_dim), np.float32)
        vectors[known] = self.entities[slots]
        vectors[~known] = self.shape.initial_entities(rows[~known])
        return vectors

    def address_vectors(self, addresses: Addresses) -> Float32:
        """The vectors of (n,) addresses, (n, vector_dim)."""
        prefixes = np.empty((len(addresses), self.shape.vector_dim), np.float32)
        kernels.gather_prefixes(self.prefixes, self.shape.bounds, addresses, prefixes)
        vectors: Float32 = encoder.forward(prefixes, self.shape.layers_of(self.layers))[0]
        return vectors

    def vectors(self, pairs: Pairs) -> tuple[Float32, Float32]:
        """The vectors of (n,) pairs' entities and addresses, each (n, vector_dim)."""
        return self.entity_vectors(pairs.entities), self.address_vectors(pairs.addresses)

    def scores(self, pairs: Pairs) -> Float32:
        """The dot products of (n,) pairs, (n,) float32; memory beside them is that of a block."""
        found = np.empty(len(pairs), np.float32)
        rows = self.shape.block_rows(len(pairs))
        for start in range(0, len(pairs), rows):
            part = slice(start, start + rows)
            kernels.score(*self.vectors(pairs[part]), found[part])
        return found
