"""FullyReplicated data on several hosts: parts that are disjoint, complete and even."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.batches import CSR, Batch, to_csr
from common.channels.sharing import share
from tests.unit.channels.conftest import encode, numbers


def blocks(sizes: list[int], sparse: bool) -> list[Batch]:
    """Rows numbered through all blocks; row i holds i in a column of its own making."""
    made, start = [], 0
    for size in sizes:
        matrix = np.zeros((size, 4), np.float32)
        rows = np.arange(start, start + size)
        matrix[np.arange(size), rows % 3] = rows
        matrix[:, 3] = 1
        labels = rows.astype(np.float32)
        made.append(Batch(to_csr(matrix) if sparse else matrix, labels, labels + 1))
        start += size
    return made


@settings(max_examples=100)
@given(
    sizes=st.lists(st.integers(0, 9), max_size=8),
    hosts=st.integers(1, 5),
    sparse=st.booleans(),
    others=st.integers(1, 7),
)
def test_parts_are_disjoint_complete_and_even_however_blocks_are_cut(sizes, hosts, sparse, others):
    total = sum(sizes)
    parts = []
    for rank in range(hosts):
        # Each host's decoder cuts blocks of its own.
        cut = sizes if rank % 2 == 0 else [min(others, total - at) for at in range(0, total, others)]
        rows = []
        for batch in share(blocks(cut, sparse), rank, hosts):
            matrix = batch.features.dense() if isinstance(batch.features, CSR) else batch.features
            assert len(matrix) == len(batch.labels) == len(batch.weights) > 0
            expected = np.zeros_like(matrix)
            expected[np.arange(len(batch)), batch.labels.astype(int) % 3] = batch.labels
            expected[:, 3] = 1
            assert (matrix == expected).all()
            assert (batch.weights == batch.labels + 1).all()
            rows += batch.labels.tolist()
        parts.append(rows)
    assert sorted(row for part in parts for row in part) == list(range(total))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_one_small_file_is_divided(make, data, rank):
    (data / "train").mkdir()
    (data / "train" / "rows").write_bytes(encode(range(7)))
    channel = make(rank=rank, hosts=3)
    assert numbers(channel.epoch(2, share=True)) == list(range(7))[rank::3]
    assert numbers(channel.epoch(2)) == list(range(7))


def test_the_platforms_own_division_is_trusted(make, data):
    (data / "train").mkdir()
    (data / "train" / "rows").write_bytes(encode(range(7)))
    channel = make(rank=1, hosts=2, distribution="ShardedByS3Key")
    assert numbers(channel.epoch(2, share=True)) == list(range(7))
