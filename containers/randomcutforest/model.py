"""A random cut forest: trees grown by cuts at random, each on its own points.

S. Guha, N. Mishra, G. Roy and O. Schrijvers, "Robust random cut forest based anomaly detection on streams",
ICML 2016. A tree cuts the bounding box of its points in a dimension drawn in proportion to the box's extents,
at a place uniform in it, and so on in both parts until each holds one distinct point.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.batches import Float32
from common.cores import Cores
from containers.randomcutforest.kernels import Int32, grow


@dataclass(frozen=True, slots=True)
class Forest:
    """Trees one after the other. Of a tree with m leaves there are m - 1 inner nodes, in preorder."""

    leaves: Int32  # (trees,) distinct points of each tree
    points: Float32  # (all leaves, d) from left to right
    counts: Int32  # (all leaves,) how many equal points of the sample a leaf stands for
    dimensions: Int32  # (all inner nodes,) where a node cuts
    values: Float32  # (all inner nodes,) points up to this value go left
    lefts: Int32  # (all inner nodes,) how many leaves are left of the cut

    @property
    def feature_dim(self) -> int:
        """How wide points are."""
        return self.points.shape[1]

    @property
    def first_leaves(self) -> NDArray[np.int64]:
        """(trees + 1,) where each tree's leaves begin, and where the last one's end."""
        return np.concatenate([[0], np.cumsum(self.leaves, dtype=np.int64)])

    @property
    def first_nodes(self) -> NDArray[np.int64]:
        """(trees + 1,) the same for inner nodes."""
        return self.first_leaves - np.arange(len(self.leaves) + 1)

    @property
    def nbytes(self) -> int:
        """What the arrays take."""
        arrays = self.leaves, self.points, self.counts, self.dimensions, self.values, self.lefts
        return sum(array.nbytes for array in arrays)


def grow_forest(sample: Float32, trees: int, seed: int, cores: Cores) -> tuple[Forest, list[int]]:
    """Grows ``trees`` trees on equal parts of (n, d) points, n at least ``trees``; returns their depths too.

    Points are dealt at random; the remainder of n / trees is left out. ``sample`` is used up: the forest
    lives in its memory. All values are finite and their differences fit in 32 bits.
    """
    np.random.default_rng(seed).shuffle(sample)
    size = len(sample) // trees
    width = max(size - 1, 0)
    counts = np.empty((trees, size), np.int32)
    dimensions, lefts = np.empty((trees, width), np.int32), np.empty((trees, width), np.int32)
    values = np.empty((trees, width), np.float32)

    def one(tree: int) -> tuple[int, int]:
        points = sample[tree * size : (tree + 1) * size]
        order = np.empty(size, np.int32)
        uniforms = np.random.default_rng([seed, tree]).random(width)
        leaves, depth = grow(
            points, uniforms, order, counts[tree], dimensions[tree], values[tree], lefts[tree]
        )
        points[:leaves] = points[order[:leaves]]
        return leaves, depth

    grown = cores.map(one, range(trees))
    leaves = np.array([count for count, _ in grown], np.int32)
    used = np.arange(size) < leaves[:, None]
    inner = np.arange(width) < leaves[:, None] - 1
    forest = Forest(
        leaves, _packed(sample, leaves, size), counts[used], dimensions[inner], values[inner], lefts[inner]
    )
    return forest, [depth for _, depth in grown]


def _packed(sample: Float32, leaves: Int32, size: int) -> Float32:
    """The first ``leaves`` rows of each ``size``, moved together in place."""
    stop = 0
    for tree, count in enumerate(leaves.tolist()):
        start = tree * size
        if start != stop:
            sample[stop : stop + count] = sample[start : start + count]
        stop += count
    return sample[:stop]
