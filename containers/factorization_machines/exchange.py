"""What hosts tell each other of a mini-batch: gradients of the features that any of them touched."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.batches import Float32, Int64
from common.cluster import Cluster


@dataclass(frozen=True, slots=True)
class Gradient:
    """Gradients of some features."""

    columns: Int64  # (n,) which, none of them twice
    values: Float32  # (n, k + 1) of factors, and of the linear weight


def added(cluster: Cluster, own: Gradient) -> Gradient:
    """The sum of all hosts' gradients, each of features of its own; columns ascend."""
    columns, values = cluster.gather(own.columns), cluster.gather(own.values)
    total = own
    if cluster.leader and cluster.size > 1:
        union, places = np.unique(np.concatenate(columns), return_inverse=True)
        sums = np.zeros((len(union), own.values.shape[1]), np.float32)
        start = 0
        # In the order of hosts, so that equal runs round alike.
        for part in values:
            sums[places[start : start + len(part)]] += part
            start += len(part)
        total = Gradient(union, sums)
    count = int(cluster.broadcast(np.array([len(total.columns)]))[0])
    if not cluster.leader:
        total = Gradient(np.empty(count, np.int64), np.empty((count, own.values.shape[1]), np.float32))
    return Gradient(cluster.broadcast(total.columns), cluster.broadcast(total.values))


def added_all(cluster: Cluster, own: Gradient, features: int) -> Gradient:
    """The sum of all hosts' gradients, each of all features or, where a host has no rows, of none."""
    values = own.values
    if not len(values):
        values = np.zeros((features, values.shape[1]), np.float32)
    return Gradient(np.arange(features), cluster.all_reduce(values))
