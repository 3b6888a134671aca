"""Gradients of several hosts as one: of tables only the rows that a mini-batch touched travel."""

from __future__ import annotations

import numpy as np

from common.batches import Float32, Int64
from common.cluster import Cluster
from containers.ipinsights.learning import Combine, Gradients


def over(cluster: Cluster) -> Combine | None:
    """What sums gradients over the hosts of ``cluster``, equal on all of them; None for a single one."""

    def combine(own: Gradients) -> Gradients:
        rows, entities = summed(cluster, own.rows, own.entities)
        own.entities.fill(0)  # its memory is the next mini-batch's
        touched = np.flatnonzero(own.touched)
        touched, prefixes = summed(cluster, touched, own.prefixes[touched])
        own.prefixes[touched] = prefixes
        own.touched[touched] = 1
        return Gradients(
            rows,
            entities,
            own.prefixes,
            own.touched,
            cluster.all_reduce(own.layers),
            cluster.all_reduce(own.sums),
        )

    return combine if cluster.size > 1 else None


def summed(cluster: Cluster, rows: Int64, values: Float32) -> tuple[Int64, Float32]:
    """Rows that any host has, in ascending order, and the sums of all hosts' (n, d) values of them.

    A host's own rows are all different. The leader adds in the order of ranks.
    """
    all_rows, all_values = cluster.gather(rows), cluster.gather(values)
    union = np.unique(np.concatenate(all_rows)) if all_rows else rows
    count = int(cluster.broadcast(np.array([len(union)]))[0])
    total = np.zeros((count, values.shape[1]), np.float32)
    for theirs, parts in zip(all_rows, all_values, strict=True):
        total[np.searchsorted(union, theirs)] += parts
    return cluster.broadcast(union if all_rows else np.empty(count, np.int64)), cluster.broadcast(total)
