"""Where a mini-batch becomes a step: on the CPU's cores, whatever its rows are."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from common.batches import CSR, Batch, Features, Float32, Int64
from common.cluster import Cluster
from common.cores import Cores
from containers.factorization_machines import exchange, kernels, measures, model
from containers.factorization_machines.adam import Adam, Columns, Descent
from containers.factorization_machines.exchange import Gradient
from containers.factorization_machines.model import Machine

Float64 = NDArray[np.float64]

_WORTH_IT = 1 << 17  # products of a value and a factor that are worth a thread of their own
_BLOCK = 1 << 22  # floats of a block of dense rows


class Engine(Protocol):
    """Learns from mini-batches."""

    def step(self, batch: Batch | None) -> Float64:
        """Moves the weights once, and returns the `measures` of the rows as they were scored before.

        All hosts call it together, each with a mini-batch of its own, or None where it has no more; the sums
        are those over all. Where no host has rows, nothing moves and all sums are 0.
        """
        ...

    def machine(self) -> Machine:
        """The machine as it is now."""
        ...


@dataclass(slots=True)
class _Scored:
    """A mini-batch that was scored."""

    features: Features
    slopes: Float32  # (rows,) derivatives of the loss by the scores
    sums: Float32  # (rows, k) x @ factors
    measures: Float64
    columns: Columns | None  # of a sparse one


class CoresEngine:
    """Learns on the CPU, on the threads of ``cores``, from sparse rows and from dense ones."""

    def __init__(
        self, machine: Machine, predictor_type: str, descent: Descent, cores: Cores, cluster: Cluster
    ) -> None:
        self._machine = machine
        self._predictor_type = predictor_type
        self._cores = cores
        self._cluster = cluster
        self._adam = Adam(machine, descent, cores)
        self._place: NDArray[np.int32] | None = None

    def machine(self) -> Machine:
        """See `Engine`."""
        return self._machine

    def step(self, batch: Batch | None) -> Float64:
        """See `Engine`."""
        scored = None if batch is None else self._score(batch)
        sums = np.zeros(measures.count(self._predictor_type)) if scored is None else scored.measures
        bias = 0.0 if scored is None else float(scored.slopes.sum(dtype=np.float64))
        sparse = scored is not None and scored.columns is not None
        total = self._cluster.all_reduce(np.array([*sums, bias, sparse]))
        sums, (bias, sparse_hosts) = total[:-2], total[-2:]
        if not sums[0]:
            return sums
        if self._cluster.size == 1 and scored is not None and scored.columns is not None:
            self._adam.begin(sums[0], bias)
            parts = self._divided(scored.columns.starts)
            self._adam.descend(scored.columns, scored.slopes, scored.sums, parts)
            return sums
        gradient = self._gradient(scored)
        if sparse_hosts:
            gradient = exchange.added(self._cluster, gradient)
        elif self._cluster.size > 1:
            gradient = exchange.added_all(self._cluster, gradient, self._machine.shape[0])
        self._adam.begin(sums[0], bias)
        self._adam.update(gradient.columns, gradient.values)
        return sums

    def _score(self, batch: Batch) -> _Scored:
        assert batch.labels is not None
        sums = np.empty((len(batch), self._machine.shape[1]), np.float32)
        scores = np.empty(len(batch), np.float32)
        columns = None
        if isinstance(batch.features, CSR):
            columns = self._score_sparse(batch.features, sums, scores)
        else:
            self._score_dense(batch.features, sums, scores)
        slopes, measured = measures.measure(self._predictor_type, scores, model.plain(batch.labels))
        return _Scored(batch.features, slopes, sums, measured, columns)

    def _score_sparse(self, features: CSR, sums: Float32, scores: Float32) -> Columns:
        rows = model.unique(features)
        columns: list[Columns] = []
        tasks = [
            lambda part=part: model.sparse_scores(self._machine, rows, part, sums[part], scores[part])
            for part in self._divided(rows.indptr)
        ]
        # Which columns are touched is found out meanwhile.
        self._cores.map(lambda task: task(), [lambda: columns.append(self._transposed(rows)), *tasks])
        return columns[0]

    def _transposed(self, rows: model.SparseRows) -> Columns:
        if self._place is None:
            self._place = np.zeros(self._machine.shape[0], np.int32)
        entries = len(rows.values)
        columns, starts = np.empty(entries, np.int64), np.empty(entries + 2, np.int64)
        places, values = np.empty(entries, np.int64), np.empty(entries, np.float32)
        count = kernels.transpose(
            rows.values, rows.indices, rows.indptr, self._place, columns, starts, places, values
        )
        return Columns(columns[:count], starts[: count + 1], places, values)

    def _score_dense(self, rows: Float32, sums: Float32, scores: Float32) -> None:
        lengths = model.squares(self._machine.factors)

        def some(part: slice) -> None:
            np.matmul(rows[part], self._machine.factors, out=sums[part])
            scores[part] = model.dense_scores(self._machine, rows[part], sums[part], lengths)

        self._cores.map(some, self._blocks(rows))

    def _gradient(self, scored: _Scored | None) -> Gradient:
        features, factors = self._machine.shape
        if scored is None:
            return Gradient(np.empty(0, np.int64), np.empty((0, factors + 1), np.float32))
        if scored.columns is None:
            return Gradient(np.arange(features), self._dense_gradient(scored))
        columns = scored.columns
        found = np.empty((len(columns.columns), factors + 1), np.float32)

        def some(part: slice) -> None:
            kernels.gradients(
                columns.columns[part],
                columns.starts[part.start : part.stop + 1],
                columns.rows,
                columns.entries,
                scored.slopes,
                scored.sums,
                self._machine.factors,
                found[part],
            )

        self._cores.map(some, self._divided(columns.starts))
        return Gradient(columns.columns, found)

    def _dense_gradient(self, scored: _Scored) -> Float32:
        """(d, k + 1): ``x.T @ (slope * sums) - x².T @ slope * factors``, and linear weights' last."""
        rows = scored.features
        assert not isinstance(rows, CSR)
        slopes = scored.slopes[:, None]

        def some(part: slice) -> tuple[Float32, Float32]:
            weighted = np.concatenate([slopes[part] * scored.sums[part], slopes[part]], axis=1)
            return rows[part].T @ weighted, np.square(rows[part]).T @ scored.slopes[part]

        found = self._cores.map(some, self._blocks(rows))
        gradient, curvature = found[0]
        for more, curved in found[1:]:
            gradient += more
            curvature += curved
        gradient[:, :-1] -= curvature[:, None] * self._machine.factors
        return gradient

    def _blocks(self, rows: Float32) -> list[slice]:
        """Dense rows in blocks that fit the memory and, if they are many, all threads."""
        size = max(1, _BLOCK // rows.shape[1])
        return [
            slice(start, min(start + size, part.stop))
            for part in self._cores.parts(len(rows))
            for start in range(part.start, part.stop, size)
        ]

    def _divided(self, starts: Int64) -> list[slice]:
        """Rows or columns, whose entries begin at ``starts``, with as many entries for each thread."""
        entries = int(starts[-1] - starts[0])
        count = max(1, min(self._cores.threads, entries * self._machine.shape[1] // _WORTH_IT))
        bounds = np.searchsorted(starts, starts[0] + entries * np.arange(1, count) // count)
        return [slice(*pair) for pair in pairwise([0, *bounds.tolist(), len(starts) - 1])]
