"""What a forest makes of points: by how much each would change it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from common.batches import Features, Float32, dense
from common.cores import Cores
from containers.randomcutforest import kernels
from containers.randomcutforest.kernels import Int32
from containers.randomcutforest.model import Forest

# Floats of a block's rows, so that they stay in a core's cache while all trees pass by.
_BLOCK = 1 << 16
_FEWEST_ROWS, _MOST_ROWS = 16, 256


class NotAForest(ValueError):
    """Arrays that no growing of trees gives."""


class Scorer:
    """A forest made ready to score points. Raises NotAForest when its arrays contradict each other.

    The score is that of Amazon's open random cut forest (aws/random-cut-forest-by-aws). A point that was put
    into a tree would be cut off at some box on its way down, with a probability that the boxes tell. There it
    counts 1 / (depth + 1); if it equals a leaf of mass m in a tree of mass M, it counts
    (1 - m / 2M) / (depth + log2(m + 1)). The expectation times log2(M + 1) is averaged over the trees.
    Nothing is put in: the forest stays as it is.
    """

    def __init__(self, forest: Forest) -> None:
        self.feature_dim = forest.feature_dim
        children, parents, depths, leaf_parents, leaf_depths = _linked(forest)
        faces, extents = _enclosed(forest, children)
        masses = np.add.reduceat(forest.counts.astype(np.int64), forest.first_leaves[:-1])
        damped = 1 - forest.counts / (2 * np.repeat(masses, forest.leaves))
        # In the order of the kernel's arguments.
        self._arrays = (
            np.where(forest.leaves > 1, forest.first_nodes[:-1], -1 - forest.first_leaves[:-1]).astype(
                np.int32
            ),
            (np.log2(masses + 1) / len(masses)).astype(np.float32),
            forest.dimensions,
            forest.values,
            children.reshape(-1),
            parents,
            faces.reshape(-1),
            extents,
            (1 / (depths + 1)).astype(np.float32),
            forest.points.reshape(-1),
            (damped / (leaf_depths + np.log2(forest.counts + 1))).astype(np.float32),
            (1 / (leaf_depths + 1)).astype(np.float32),
            leaf_parents,
        )

    def scores(self, points: Features, cores: Cores | None = None) -> Float32:
        """The score of each of (n, d) finite points, dense or CSR: (n,) float32, at most log2(M + 1)."""
        sums = np.zeros(len(points))
        parts = [slice(0, len(points))] if cores is None else cores.parts(len(points))
        if cores is None or len(parts) == 1:
            self._add(points, sums)
        else:
            cores.map(lambda part: self._add(points[part], sums[part]), parts)
        return sums.astype(np.float32)

    def _add(self, points: Features, sums: NDArray[np.float64]) -> None:
        d = self.feature_dim
        most = max(_FEWEST_ROWS, min(_MOST_ROWS, _BLOCK // (2 * d)))
        doubled = np.empty((min(most, len(points)), 2 * d), np.float32)
        for start in range(0, len(points), most):
            block = dense(points[start : start + most])
            rows = doubled[: len(block)]
            rows[:, :d] = block
            np.negative(block, out=rows[:, d:])
            kernels.score(rows.reshape(-1), len(rows), *self._arrays, sums[start : start + most])


def _linked(forest: Forest) -> tuple[Int32, Int32, Int32, Int32, Int32]:
    """Children (nodes, 2), parents and depths of all nodes, parents and depths of all leaves."""
    nodes, leaves = len(forest.lefts), len(forest.points)
    children = np.empty((nodes, 2), np.int32)
    parents, depths = np.empty(nodes, np.int32), np.empty(nodes, np.int32)
    leaf_parents, leaf_depths = np.empty(leaves, np.int32), np.empty(leaves, np.int32)
    starts = forest.first_nodes[:-1].tolist(), forest.first_leaves[:-1].tolist()
    for node, leaf, count in zip(*starts, forest.leaves.tolist(), strict=True):
        if not kernels.connect(
            forest.lefts, node, leaf, count, children, parents, depths, leaf_parents, leaf_depths
        ):
            raise NotAForest(f"its nodes from {node} on are not a tree of {count} leaves")
    return children, parents, depths, leaf_parents, leaf_depths


def _enclosed(forest: Forest, children: Int32) -> tuple[Float32, Float32]:
    """Each node's box, as its faces (nodes, 2d), and the sum of its extents."""
    nodes = len(forest.lefts)
    faces = np.full((nodes, 2 * forest.feature_dim), -np.inf, np.float32)
    extents = np.empty(nodes, np.float32)
    # Those below a node come after it, in the whole forest as in a tree.
    if not kernels.enclose(forest.points, forest.dimensions, forest.values, children, faces, extents):
        raise NotAForest("a cut is not between the points of its two sides")
    return faces, extents
