"""Word vectors: their matrices, and what chance decides about a word.

An input row is a word's, or a bucket's that character n-grams are hashed to; an output row is a word's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.batches import Float32, Int64
from containers.blazingtext.tiles import LANES

_LINE = 64  # bytes: rows that begin where cache lines do are read fastest
_WHOLE = (1 << 32) - 1
_POWER = 0.75


@dataclass(frozen=True, slots=True)
class Matrices:
    """Input and output rows, float32, wider than ``dim`` by columns of zeros."""

    inputs: Float32
    outputs: Float32
    dim: int


def initial(inputs: int, words: int, dim: int, seed: int) -> Matrices:
    """Random input rows within 1 / (2 dim) of zero, as word2vec has them, and output rows of zeros."""
    random = np.random.Generator(np.random.SFC64(seed))
    matrix = aligned(inputs, dim)
    for start in range(0, inputs, 1 << 14):
        part = matrix[start : start + (1 << 14), :dim]
        part[:] = (random.random(part.shape, np.float32) - np.float32(0.5)) / np.float32(dim)
    return Matrices(matrix, aligned(words, dim), dim)


def aligned(rows: int, dim: int) -> Float32:
    """A matrix of zeros, at least ``dim`` wide, as kernels want it."""
    width = -(-dim // LANES) * LANES
    memory = np.zeros(rows * width * 4 + _LINE, np.uint8)
    start = -memory.ctypes.data % _LINE
    return memory[start : start + rows * width * 4].view(np.float32).reshape(rows, width)


def keeping(counts: Int64, tokens: int, threshold: float) -> NDArray[np.uint32]:
    """How likely an occurrence of a word is learnt from, of 2**32: sqrt(t / f) + t / f for a share f."""
    share = counts / max(tokens, 1)
    ratio = threshold / np.maximum(share, 1e-300)
    return (np.minimum(np.sqrt(ratio) + ratio, 1) * _WHOLE).astype(np.uint32)


def lots(counts: Int64) -> NDArray[np.uint32]:
    """A table to draw words from with probabilities as their counts to the power of 3/4 are.

    Walker's alias method: of row w, drawn evenly, word w is taken with the first number, of 2**32, as
    probability, else the word that the second number names. (words, 2) uint32.
    """
    weights = np.maximum(counts, 1) ** _POWER
    shares = (weights * (len(weights) / weights.sum())).tolist()
    table = np.empty((len(shares), 2), np.uint32)
    table[:, 0], table[:, 1] = _WHOLE, np.arange(len(shares))
    small = [word for word, share in enumerate(shares) if share < 1]
    large = [word for word, share in enumerate(shares) if share >= 1]
    while small and large:
        word, giver = small.pop(), large[-1]
        table[word] = int(shares[word] * _WHOLE), giver
        shares[giver] -= 1 - shares[word]
        if shares[giver] < 1:
            small.append(large.pop())
    return table
