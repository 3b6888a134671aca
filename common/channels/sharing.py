"""FullyReplicated data on several hosts: which records are this host's."""

from __future__ import annotations

from collections.abc import Generator, Iterable

import numpy as np

from common.batches import CSR, Batch, Features


def share(batches: Iterable[Batch], rank: int, hosts: int) -> Generator[Batch, None, None]:
    """Every ``hosts``-th record, beginning with the one numbered ``rank``.

    Records are counted through the whole epoch, so the hosts' parts are disjoint and complete however the
    blocks are cut (two hosts' FIFOs deliver at different paces), and differ by one record at most.
    """
    first = rank  # where the next of ours lies in the block at hand
    for batch in batches:
        if first < len(batch):
            yield Batch(
                _every(batch.features, first, hosts),
                None if batch.labels is None else batch.labels[first::hosts].copy(),
                None if batch.weights is None else batch.weights[first::hosts].copy(),
            )
            first += -(-(len(batch) - first) // hosts) * hosts
        first -= len(batch)


def _every(features: Features, first: int, step: int) -> Features:
    # Copies: a view would keep the other hosts' rows in memory and leave ours scattered.
    if not isinstance(features, CSR):
        return features[first::step].copy()
    counts = np.diff(features.indptr)[first::step]
    starts = features.indptr[:-1][first::step]
    indptr = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=indptr[1:])
    chosen = np.repeat(starts - indptr[:-1], counts) + np.arange(indptr[-1])
    return CSR(features.values[chosen], features.indices[chosen], indptr, (len(counts), features.shape[1]))
