"""The loops of a random cut forest: trees grown, read from a model, and points scored by them.

A node's bounding box is kept as its 2d faces: the largest value of each dimension, then the largest of each
negated one. A point's row is doubled likewise, ``x`` and then ``-x``. How far it sticks out of a box is then
one sum, ``max(row - faces, 0)``, and the box round two boxes is the larger of each pair of faces.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from common.batches import Float32
from common.compiled import compiled

Int32 = NDArray[np.int32]

# A sum over a box's faces may be added up in several places at once.
_summing = functools.partial(compiled, fastmath=("reassoc", "contract"))

_ZERO = np.float32(0)
_TWO = np.uint64(2)


@compiled
def grow(
    points: Float32,
    uniforms: NDArray[np.float64],
    order: Int32,
    counts: Int32,
    dimensions: Int32,
    values: Float32,
    lefts: Int32,
) -> tuple[int, int]:
    """Grows one tree on (n, d) ``points``; returns how many leaves it has, and its depth.

    ``uniforms`` are n - 1 numbers from [0, 1), one for each cut. Filled are, for leaves from left to right,
    ``order`` (which point it is) and ``counts`` (how many equal ones), and for inner nodes in preorder the
    dimension and the value of the cut, and how many leaves are to the left of it.
    """
    n, d = points.shape
    low, high = np.empty(d, np.float32), np.empty(d, np.float32)
    # Ranges of ``order`` that are to become nodes, the parent where it goes right (else -1), and the depth.
    stack = np.empty((n + 1, 4), np.int64)
    stack[0, 0], stack[0, 1], stack[0, 2], stack[0, 3] = 0, n, -1, 0
    for i in range(n):
        order[i] = i
    waiting, leaves, nodes, deepest = 1, 0, 0, 0
    while waiting:
        waiting -= 1
        start, stop, parent, depth = stack[waiting]
        if parent >= 0:
            lefts[parent] = leaves - lefts[parent]
        total = _bound(points, order, start, stop, low, high)
        if total == 0:
            # All ranges before have become leaves, so the place is free.
            order[leaves] = order[start]
            counts[leaves] = stop - start
            leaves += 1
            deepest = max(deepest, depth)
            continue
        dimension, value = _cut(low, high, uniforms[nodes] * total)
        middle = start
        for i in range(start, stop):
            if points[order[i], dimension] <= value:
                order[i], order[middle] = order[middle], order[i]
                middle += 1
        dimensions[nodes], values[nodes], lefts[nodes] = dimension, value, leaves
        stack[waiting, 0], stack[waiting, 1] = middle, stop
        stack[waiting, 2], stack[waiting, 3] = nodes, depth + 1
        waiting += 1
        stack[waiting, 0], stack[waiting, 1] = start, middle
        stack[waiting, 2], stack[waiting, 3] = -1, depth + 1
        waiting += 1
        nodes += 1
    return leaves, deepest


@compiled
def _bound(points: Float32, order: Int32, start: int, stop: int, low: Float32, high: Float32) -> float:
    """Sets the bounding box of points ``order[start:stop]``, and returns the sum of its extents."""
    first = order[start]
    for j in range(low.shape[0]):
        low[j] = high[j] = points[first, j]
    for i in range(start + 1, stop):
        row = order[i]
        for j in range(low.shape[0]):
            value = points[row, j]
            low[j] = min(low[j], value)
            high[j] = max(high[j], value)
    total = 0.0
    for j in range(low.shape[0]):
        total += np.float64(high[j]) - np.float64(low[j])
    return total


@compiled
def _cut(low: Float32, high: Float32, place: float) -> tuple[int, np.float32]:
    """The dimension and the value that lie ``place`` along the extents of a box, one put after the other.

    The value is at least the dimension's lowest and below its highest, so that both sides get points.
    """
    chosen = 0
    for j in range(low.shape[0]):
        extent = np.float64(high[j]) - np.float64(low[j])
        if extent > 0:
            chosen = j
            if place < extent:
                break
            place -= extent
    value = np.float32(low[chosen] + place)
    if value >= high[chosen]:
        value = np.nextafter(high[chosen], low[chosen])
    return chosen, value


@compiled
def connect(
    lefts: Int32,
    first_node: int,
    first_leaf: int,
    leaves: int,
    children: Int32,
    parents: Int32,
    depths: Int32,
    leaf_parents: Int32,
    leaf_depths: Int32,
) -> bool:
    """Links the nodes of one tree; False when ``lefts`` can't be a tree of so many leaves.

    All arrays are the whole forest's. ``children`` are (nodes, 2): an inner node's number, or -1 - a leaf's.
    The parent of a root is -1.
    """
    stack = np.empty((leaves + 1, 4), np.int64)  # first and last leaf, parent, side
    stack[0, 0], stack[0, 1], stack[0, 2], stack[0, 3] = first_leaf, first_leaf + leaves, -1, 0
    waiting, node = 1, first_node
    while waiting:
        waiting -= 1
        start, stop, parent, side = stack[waiting]
        depth = depths[parent] + 1 if parent >= 0 else 0
        if stop - start == 1:
            leaf_parents[start], leaf_depths[start] = parent, depth
            if parent >= 0:
                children[parent, side] = -1 - start
            continue
        left = lefts[node]
        if left < 1 or left >= stop - start:
            return False
        parents[node], depths[node] = parent, depth
        if parent >= 0:
            children[parent, side] = node
        stack[waiting, 0], stack[waiting, 1] = start + left, stop
        stack[waiting, 2], stack[waiting, 3] = node, 1
        waiting += 1
        stack[waiting, 0], stack[waiting, 1] = start, start + left
        stack[waiting, 2], stack[waiting, 3] = node, 0
        waiting += 1
        node += 1
    return True


@compiled
def enclose(
    points: Float32,
    dimensions: Int32,
    values: Float32,
    children: Int32,
    faces: Float32,
    extents: Float32,
) -> bool:
    """Computes the box of each node from those below it; False where a cut is not between its two sides.

    ``points`` are (leaves, d); ``faces`` (nodes, 2d) are minus infinity before; ``extents`` become the sums
    of each box's extents.
    """
    d = points.shape[1]
    for node in range(len(extents) - 1, -1, -1):
        for side in range(2):
            _widen(faces, node, children[node, side], points)
            if side == 0 and not faces[node, dimensions[node]] <= values[node]:
                return False
        right, dimension = children[node, 1], dimensions[node]
        low = points[-1 - right, dimension] if right < 0 else -faces[right, d + dimension]
        if not low > values[node]:
            return False
        extents[node] = _total(faces, node)
    return True


@compiled
def _widen(faces: Float32, node: int, child: int, points: Float32) -> None:
    """Makes a node's box hold its child's."""
    d = points.shape[1]
    if child >= 0:
        for j in range(2 * d):
            faces[node, j] = max(faces[node, j], faces[child, j])
    else:
        for j in range(d):
            faces[node, j] = max(faces[node, j], points[-1 - child, j])
            faces[node, d + j] = max(faces[node, d + j], -points[-1 - child, j])


@compiled
def _total(faces: Float32, node: int) -> np.float32:
    """The sum of a box's extents. They are small where faces are large, so it is extents that are added."""
    d = faces.shape[1] // 2
    total = _ZERO
    for j in range(d):
        total += faces[node, j] + faces[node, d + j]
    return total


@compiled
def _descend(
    rows: Float32,
    width: np.uint64,
    count: int,
    root: int,
    dimensions: Int32,
    values: Float32,
    children: Int32,
    at: Int32,
    active: Int32,
) -> None:
    """Finds the leaf of each of ``count`` rows; ``at`` becomes -1 - its number.

    All rows go down a step at a time: they don't wait for one another, as the steps of one row do.
    """
    for i in range(count):
        at[i] = root
        active[i] = i
    going = count if root >= 0 else 0
    while going:
        kept = 0
        for a in range(going):
            row = np.uint64(active[np.uint64(a)])
            node = np.uint64(at[row])
            right = rows[row * width + np.uint64(dimensions[node])] > values[node]
            child = children[_TWO * node + np.uint64(right)]
            at[row] = child
            active[np.uint64(kept)] = row
            kept += child >= 0
        going = kept


@_summing
def _outside(rows: Float32, row: np.uint64, faces: Float32, box: np.uint64, width: np.uint64) -> np.float32:
    """How far a row sticks out of a box, added up over the faces; 0 inside."""
    total = _ZERO
    for j in range(width):
        total += max(rows[row + j] - faces[box + j], _ZERO)
    return total


@compiled
def _arrive(
    rows: Float32,
    width: np.uint64,
    count: int,
    points: Float32,
    seen: Float32,
    unseen: Float32,
    leaf_parents: Int32,
    at: Int32,
    active: Int32,
    scores: Float32,
) -> int:
    """What rows score in their leaves; those that aren't equal to it become active, and ``at`` its parent."""
    dimension = width // _TWO
    kept = 0
    for i in range(count):
        row = np.uint64(i)
        leaf = np.uint64(-1 - at[row])
        equal = True
        for j in range(dimension):
            if rows[row * width + j] != points[leaf * dimension + j]:
                equal = False
                break
        scores[row] = seen[leaf] if equal else unseen[leaf]
        parent = leaf_parents[leaf]
        at[row] = parent
        active[np.uint64(kept)] = row
        kept += (not equal) & (parent >= 0)
    return kept


@compiled
def _ascend(
    rows: Float32,
    width: np.uint64,
    going: int,
    faces: Float32,
    extents: Float32,
    unseen: Float32,
    parents: Int32,
    at: Int32,
    active: Int32,
    scores: Float32,
) -> None:
    """Weighs in, from the leaf up, that a cut parts the row from each box it is outside of.

    Once it is inside a box it is inside all those above.
    """
    while going:
        kept = 0
        for a in range(going):
            row = np.uint64(active[np.uint64(a)])
            node = np.uint64(at[row])
            outside = _outside(rows, row * width, faces, node * width, width)
            # Far outside, where the sum is infinite, this is 0 as it should be.
            together = extents[node] / (extents[node] + outside)
            scores[row] = unseen[node] + together * (scores[row] - unseen[node])
            parent = parents[node]
            at[row] = parent
            active[np.uint64(kept)] = row
            kept += (outside > _ZERO) & (parent >= 0)
        going = kept


@compiled
def score(
    rows: Float32,
    count: int,
    roots: Int32,
    scales: Float32,
    dimensions: Int32,
    values: Float32,
    children: Int32,
    parents: Int32,
    faces: Float32,
    extents: Float32,
    unseen: Float32,
    points: Float32,
    leaf_seen: Float32,
    leaf_unseen: Float32,
    leaf_parents: Int32,
    sums: NDArray[np.float64],
) -> None:
    """Adds to (count,) ``sums`` what each tree scores ``count`` doubled rows, tree by tree.

    All arrays are flat: ``rows`` (count * 2d), ``children`` (nodes * 2), ``faces`` (nodes * 2d), ``points``
    (leaves * d). ``roots`` are numbered as children are.
    """
    width = np.uint64(rows.shape[0] // count)
    at, active = np.empty(count, np.int32), np.empty(count, np.int32)
    scores = np.empty(count, np.float32)
    for tree in range(roots.shape[0]):
        _descend(rows, width, count, roots[tree], dimensions, values, children, at, active)
        going = _arrive(rows, width, count, points, leaf_seen, leaf_unseen, leaf_parents, at, active, scores)
        _ascend(rows, width, going, faces, extents, unseen, parents, at, active, scores)
        for i in range(count):
            sums[i] += scores[i] * scales[tree]
