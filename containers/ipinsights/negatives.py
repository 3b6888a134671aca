"""Pairs that were never observed: random addresses, and addresses of other pairs of the mini-batch.

Both are functions of a key and of where in the mini-batch a pair is, so a part of them can be made at any
time, anywhere, and is the same.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from containers.ipinsights import kernels
from containers.ipinsights.pairs import Addresses


class Negatives:
    """The negatives of a mini-batch of ``pairs`` pairs in blocks of ``block_rows``."""

    def __init__(self, key: np.uint64, pairs: int, block_rows: int) -> None:
        self._random, self._shuffled, order = np.random.SeedSequence(int(key)).generate_state(3, np.uint64)
        self.order = np.random.Generator(np.random.PCG64(int(order))).permutation(pairs)
        self.pairs = pairs
        self.block_rows = block_rows

    def addresses(self, rate: int, part: slice) -> Addresses:
        """The ``rate``-th random address (from 0) of each pair of a part, (n,) uint32."""
        return random_addresses(self._random, rate * self.pairs + part.start, part.stop - part.start)

    def partners(self, rate: int, block: slice) -> NDArray[np.int32]:
        """Whose address each pair of a block gets at the ``rate``-th shuffle, (n,) int32 within the block."""
        places = np.empty(block.stop - block.start, np.int32)
        kernels.shuffle(self._shuffled, rate * self.pairs + block.start, places)
        return places

    def blocks(self, part: slice) -> list[slice]:
        """The blocks of a part that begins where a block begins."""
        return [
            slice(start, min(start + self.block_rows, part.stop))
            for start in range(part.start, part.stop, self.block_rows)
        ]


def random_addresses(key: np.uint64, first: int, count: int) -> Addresses:
    """The addresses of counters from ``first`` on, (count,) uint32: each of all there are is as likely."""
    addresses = np.empty(count, np.uint32)
    kernels.random_addresses(key, first, addresses)
    return addresses
