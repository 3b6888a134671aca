"""FullyReplicated data on several hosts: which records are this host's."""

from __future__ import annotations

from collections.abc import Generator, Iterable

from common.batches import AnyRows


def share(batches: Iterable[AnyRows], rank: int, hosts: int) -> Generator[AnyRows, None, None]:
    """Every ``hosts``-th record, beginning with the one numbered ``rank``.

    Records are counted through the whole epoch, so the hosts' parts are disjoint and complete however the
    blocks are cut (two hosts' FIFOs deliver at different paces), and differ by one record at most.
    """
    first = rank  # where the next of ours lies in the block at hand
    for batch in batches:
        if first < len(batch):
            yield batch[first::hosts]
            first += -(-(len(batch) - first) // hosts) * hosts
        first -= len(batch)
