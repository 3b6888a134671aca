"""Several hosts grow the same trees, through the library's own collective communication."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np

from common.cluster import Cluster
from common.failures import AlgorithmError
from containers.xgboost.faults import translated
from containers.xgboost.library import xgb

_LOST = "/collective/"  # where the library's errors about connections come from


@contextmanager
def joined(cluster: Cluster) -> Iterator[None]:
    """Connects the library's workers for the block; with one host does nothing.

    The leader runs the tracker that introduces the workers to each other. When a host is lost, the others
    raise an AlgorithmError that names it, and a ClientError of one host is raised on all.
    """
    if cluster.size == 1:
        with translating():
            yield
        return
    from xgboost import collective, tracker

    introducer = None
    arguments: dict[str, str | int] = {}
    if cluster.leader:
        introducer = tracker.RabitTracker(
            cluster.size, socket.gethostbyname(cluster.hosts.names[0]), sortby="task"
        )
        introducer.start()
        arguments = introducer.worker_args()
    arguments = json.loads(broadcast(cluster, json.dumps(arguments).encode()))
    try:
        with translating():
            # The order of task names is that of the ranks.
            collective.init(dmlc_task_id=f"{cluster.rank:06d}", **arguments)
            yield
            collective.finalize()
            if introducer is not None:
                introducer.wait_for()
    except BaseException as error:
        # What is left open would crash the process at its end, and keep the other hosts waiting.
        with suppress(xgb.core.XGBoostError):
            collective.finalize()
        if introducer is not None:
            with suppress(xgb.core.XGBoostError):
                introducer.free()
        if isinstance(error, AlgorithmError) and _LOST in str(error):
            # Whoever failed has said why, or is missing: this raises which.
            cluster.any(False)
        raise


@contextmanager
def translating() -> Iterator[None]:
    """Raises the library's errors as ClientError or AlgorithmError."""
    try:
        yield
    except xgb.core.XGBoostError as error:
        if _LOST in str(error):
            raise AlgorithmError(f"the hosts lost each other: {' '.join(str(error).split())[:300]}") from None
        raise translated(error) from None
    except ValueError as error:
        # What the library's Python half has to say of labels and values.
        if error.__traceback__ and "xgboost" in _origin(error):
            raise translated(error) from None
        raise


def _origin(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else str(trace.tb_frame.f_globals.get("__name__", ""))


def broadcast(cluster: Cluster, data: bytes) -> bytes:
    """The leader's bytes on every host."""
    size = int(cluster.broadcast(np.array([len(data)], np.int64))[0])
    array = np.frombuffer(data, np.uint8) if cluster.leader else np.empty(size, np.uint8)
    return bytes(cluster.broadcast(array.copy()))
