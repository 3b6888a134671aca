"""One uniform sample of rows that several hosts have seen parts of."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from common.batches import Float32


def shares(seen: Sequence[int], size: int, seed: int) -> NDArray[np.int64]:
    """How many rows of a sample of ``size`` come from each host, of which ``seen[i]`` rows were seen.

    They are distributed as in a draw without replacement from the rows of all hosts (multivariate
    hypergeometric). With fewer rows than ``size`` all are drawn.
    """
    total = sum(seen)
    # numpy's own draw stops at a billion rows.
    drawn = random.Random(seed).sample(range(total), min(size, total))
    hosts = np.searchsorted(np.cumsum(seen), np.array(drawn, np.int64), "right")
    return np.bincount(hosts, minlength=len(seen))


def chosen(rows: Float32, count: int, seed: Sequence[int]) -> Float32:
    """``count`` of (n, d) rows, each set of them equally likely; the rows themselves when that is all."""
    if count == len(rows):
        return rows
    return rows[np.random.default_rng(seed).choice(len(rows), count, replace=False)]
