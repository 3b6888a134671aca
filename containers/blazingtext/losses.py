"""What fastText makes of a sentence's vector: how likely each label is, by each of its losses."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from common.batches import Float32, Int64
from containers.blazingtext.fasttext_file import Loss

_LEAST = 1e-5  # which fastText adds to whatever it takes the logarithm of
_STEPS, _LARGEST = 512, 8  # of its table of the logistic function

Likelihood = Callable[[Float32], Float32]
"""(n, dim) vectors to (n, labels) probabilities as fastText tells them."""


def likelihood(loss: Loss, outputs: Float32, counts: Int64) -> Likelihood:
    """How a model with ``outputs`` (labels, dim) answers; ``counts`` are its labels', falling."""
    if loss == Loss.HIERARCHICAL_SOFTMAX:
        tree = _tree(counts)
        return lambda hidden: _by_tree(hidden @ outputs.T, tree)
    if loss == Loss.SOFTMAX:
        return lambda hidden: _softmax(hidden @ outputs.T)
    return lambda hidden: _logistic(hidden @ outputs.T)


def _softmax(scores: Float32) -> Float32:
    powers = np.exp(scores - scores.max(1, keepdims=True))
    return (powers / powers.sum(1, keepdims=True) + _LEAST).astype(np.float32)


def _table() -> Float32:
    steps = np.arange(_STEPS + 1) * (2 * _LARGEST / _STEPS) - _LARGEST
    return (1 / (1 + np.exp(-steps))).astype(np.float32)


_LOGISTIC = _table()


def _logistic(scores: Float32) -> Float32:
    """Each label on its own; from a table, as fastText computes it."""
    places = (np.clip(scores, -_LARGEST, _LARGEST) + _LARGEST) * (_STEPS / _LARGEST / 2)
    found = np.where(
        scores < -_LARGEST, 0, np.where(scores > _LARGEST, 1, _LOGISTIC[places.astype(np.int64)])
    )
    return (found + _LEAST).astype(np.float32)


def _tree(counts: Int64) -> NDArray[np.int64]:
    """The two children of each inner node of Huffman's tree, (labels - 1, 2), the root last.

    Nodes are numbered labels first, then inner ones. As fastText's buildTree: rarest first, of equally rare
    ones inner nodes.
    """
    labels = len(counts)
    weights = np.full(max(2 * labels - 1, 1), 10**15, np.int64)
    weights[:labels] = counts
    children = np.empty((labels - 1, 2), np.int64)
    leaf, node = labels - 1, labels
    for parent in range(labels, 2 * labels - 1):
        for side in range(2):
            if leaf >= 0 and weights[leaf] < weights[node]:
                children[parent - labels, side] = leaf
                leaf -= 1
            else:
                children[parent - labels, side] = node
                node += 1
        weights[parent] = weights[children[parent - labels]].sum()
    return children


def _by_tree(scores: Float32, children: NDArray[np.int64]) -> Float32:
    """Probabilities along each label's path, from the scores of inner nodes."""
    labels = len(children) + 1
    right = 1 / (1 + np.exp(-scores[:, : labels - 1].astype(np.float64)))
    found = np.zeros((2 * labels - 1, len(scores)))
    for inner in range(labels - 2, -1, -1):
        left_child, right_child = children[inner]
        found[left_child] = found[labels + inner] + np.log(1 - right[:, inner] + _LEAST)
        found[right_child] = found[labels + inner] + np.log(right[:, inner] + _LEAST)
    return np.exp(found[:labels].T).astype(np.float32)
