"""Nearest neighbors over a FAISS index, and what their labels say."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import faiss
import numpy as np
from numpy.typing import NDArray

from common.batches import Float32, Int64
from containers.knn.projection import Projection

PredictorType = Literal["classifier", "regressor"]

PQ_BITS = 8
_LARGEST = float(np.finfo(np.float32).max)
_FEW = 64  # neighbors
_MIN_TABLE = 1 << 16
_CHUNK = 1 << 22  # neighbors looked for at once
_GPU_NEIGHBORS = 2048  # the most that FAISS finds on a GPU
_FAR = 100.0  # times the mean square of rows about their mean: how far that mean is from 0, squared
_SOME = 1000  # rows that tell


class TooFar(ValueError):
    """A row whose distances don't fit in 32-bit floats. ``row`` counts from 1."""

    def __init__(self, row: int) -> None:
        super().__init__(f"row {row} is so large that its distances don't fit in 32-bit floats")
        self.row = row


@dataclass(frozen=True, slots=True)
class IndexSettings:
    """What kind of index to build."""

    kind: Literal["faiss.Flat", "faiss.IVFFlat", "faiss.IVFPQ"] = "faiss.Flat"
    metric: Literal["L2", "INNER_PRODUCT", "COSINE"] = "L2"
    lists: int = 1  # inverted lists
    probes: int = 5  # lists visited for a query
    sub_vectors: int = 1  # of the product quantizer, one byte each; they divide the dimension
    seed: int = 0


def new_index(dimension: int, settings: IndexSettings) -> Any:
    """An empty FAISS index for rows of ``dimension`` features, to be trained and filled."""
    metric = faiss.METRIC_L2 if settings.metric == "L2" else faiss.METRIC_INNER_PRODUCT
    flat: Any = (faiss.IndexFlatL2 if settings.metric == "L2" else faiss.IndexFlatIP)(dimension)
    if settings.kind == "faiss.Flat":
        return flat
    index: Any
    if settings.kind == "faiss.IVFFlat":
        index = faiss.IndexIVFFlat(flat, dimension, settings.lists, metric)
    else:
        index = faiss.IndexIVFPQ(flat, dimension, settings.lists, settings.sub_vectors, PQ_BITS, metric)
        _set_clustering(index.pq.cp, settings.seed)
    _set_clustering(index.cp, settings.seed)
    # Means of points that are compared by angle lie inside the sphere, where inner products are too small.
    index.cp.spherical = metric == faiss.METRIC_INNER_PRODUCT
    index.nprobe = settings.probes
    index.own_fields = True  # the quantizer dies with the index,
    flat.this.disown()  # and no longer with its Python object
    return index


def _set_clustering(clustering: Any, seed: int) -> None:
    clustering.seed = seed & 0x7FFFFFFF
    # FAISS warns on stderr below 39 rows a centroid; that is a matter for the README.
    clustering.min_points_per_centroid = 1


@dataclass(frozen=True, slots=True)
class Preparation:
    """How rows become what the index holds: projected, padded with zeros, and made unit vectors."""

    input_dim: int
    dimension: int  # the index's
    projection: Projection | None = None
    normalize: bool = False
    origin: Float32 | None = None  # (dimension,) what the index's rows have lost, see `KNN.centre`

    def reduce(self, rows: Float32) -> Float32:
        """(n, input_dim) float32 rows, projected and padded to (n, dimension)."""
        if self.projection is not None:
            return self.projection(rows)
        if self.dimension == self.input_dim:
            return rows
        padded = np.zeros((len(rows), self.dimension), np.float32)
        padded[:, : self.input_dim] = rows
        return padded

    def __call__(self, rows: Float32) -> Float32:
        """(n, input_dim) float32 rows as (n, dimension) queries; ``rows`` stay as they are."""
        reduced = self.reduce(rows)
        if self.origin is not None:
            return reduced - self.origin
        return unit(reduced.copy() if reduced is rows else reduced) if self.normalize else reduced


def unit(rows: Float32) -> Float32:
    """Makes (n, d) float32 rows unit vectors, in place; rows of zeros stay so."""
    # FAISS's own normalize_L2 sums squares in 32 bits, which overflow from 1e19 on.
    largest = np.abs(rows).max(axis=1, keepdims=True)
    rows /= np.where(largest > 0, largest, 1)
    length = np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
    rows /= np.where(length > 0, length, 1)
    return rows


def far(rows: Float32) -> Float32 | None:
    """The mean (d,) of (n, d) rows that lie far from 0 for how far they lie apart; None for others.

    To compare many rows FAISS takes ``|x|^2 + |y|^2 - 2 x.y``, there a small difference of large numbers
    (its issue 5285).
    """
    some = rows[:: max(1, len(rows) // _SOME)].astype(np.float64)
    mean = some.mean(axis=0)
    spread = np.square(some - mean).sum(axis=1).mean()
    return mean.astype(np.float32) if mean @ mean > _FAR * spread else None


def compare_directly() -> None:
    """Has FAISS sum squared differences, however many rows it compares; slower, for this process' life."""
    faiss.cvar.distance_compute_blas_threshold = (1 << 31) - 1


def _stored(flat: Any) -> Float32:
    """The (n, d) rows of a flat index, in its memory."""
    rows: Float32 = faiss.rev_swig_ptr(flat.get_xb(), flat.ntotal * flat.d).reshape(flat.ntotal, flat.d)
    return rows


def majority(codes: Int64, classes: int) -> Int64:
    """The most frequent of each row of (n, k) class codes below ``classes``; (n,).

    Neighbors come nearest first: among classes that are equally frequent the one whose nearest member comes
    first wins.
    """
    rows, k = codes.shape
    if k == 1:
        return codes[:, 0]
    keys = codes + np.arange(0, rows * classes, classes)[:, None]
    if rows * classes <= max(_MIN_TABLE, 8 * keys.size):
        counts = np.bincount(keys.ravel(), minlength=rows * classes)[keys]
    else:  # a table of all classes would be mostly empty
        _, places, found = np.unique(keys, return_inverse=True, return_counts=True)
        counts = found[places].reshape(rows, k)
    return codes[np.arange(rows), counts.argmax(axis=1)]


def _finite(distances: Float32) -> bool:
    """Whether all of (n, k) sorted distances or inner products are numbers that FAISS computed."""
    if len(distances) == 1:
        return -_LARGEST < distances.item(0) < _LARGEST and -_LARGEST < distances.item(-1) < _LARGEST
    return bool((np.abs(distances[:, [0, -1]]) < _LARGEST).all())


@dataclass(frozen=True, slots=True)
class Answer:
    """What neighbors say of some rows, and who they are."""

    predicted: Float32  # (n,)
    distances: Float32  # (n, k), ascending
    labels: Float32  # (n, k), in the order of distances


class KNN:
    """A filled index with the labels of its rows.

    ``labels`` is (rows of the index,) float32. Distances are squared for L2, minus the inner product for
    INNER_PRODUCT, one minus the cosine for COSINE (an inner product of unit vectors): small is near.
    """

    def __init__(
        self,
        index: Any,
        labels: Float32,
        k: int,
        predictor_type: PredictorType,
        preparation: Preparation,
        device: str = "cpu",
    ) -> None:
        self.k = k
        self.predictor_type = predictor_type
        self.preparation = preparation
        self.index = index
        self.labels = labels
        self._inner = index.metric_type == faiss.METRIC_INNER_PRODUCT
        self._inverted = isinstance(index, faiss.IndexIVF)
        self._classes: Float32 = labels[:0]
        self._codes: Int64 = np.empty(0, np.int64)
        if predictor_type == "classifier":
            self._classes, self._codes = np.unique(labels, return_inverse=True)
        on_gpu = device == "cuda" and k <= _GPU_NEIGHBORS
        self._search: Callable[[Float32, int], Any] = _OnGpu(index) if on_gpu else index.search

    def centre(self) -> None:
        """Makes L2 distances of rows far from 0 right. The index changes: no file is to be made of it later.

        A flat index moves to where its rows' mean is 0, and queries with it. Rows in lists stay: they are
        compared by differences, and the lists' few centroids can be, on a CPU.
        """
        if self._inner:
            return
        rows = _stored(faiss.downcast_index(self.index.quantizer) if self._inverted else self.index)
        origin = far(rows)
        if origin is None:
            return
        if self._inverted:
            compare_directly()
            self._search = self.index.search
            return
        rows -= origin
        self.preparation = replace(self.preparation, origin=origin)

    def neighbors(self, rows: Float32) -> tuple[Float32, Int64]:
        """Distances, ascending, and places in the index of the k nearest; (n, k) each. Raises TooFar."""
        queries = self.preparation(rows)
        distances, places = self._search(queries, self.k)
        if not _finite(distances):
            self._complete(queries, distances, places)
        if self._inner:
            np.negative(distances, out=distances)
            if self.preparation.normalize:
                distances += 1
        return distances, places

    def _complete(self, queries: Float32, distances: Float32, places: Int64) -> None:
        """Finds neighbors where FAISS, in place of some, put none and the largest distance there is."""
        lacking = places[:, -1] < 0
        if self._inverted and lacking.any():
            # The lists that were visited hold fewer than k rows: all lists are, for these queries alone.
            every: Any = faiss.SearchParametersIVF()
            every.nprobe = self.index.nlist
            found = self.index.search(queries[lacking], self.k, params=every)
            distances[lacking], places[lacking] = found
        far = ~(np.abs(distances) < _LARGEST).all(axis=1)
        if far.any():
            raise TooFar(int(far.argmax()) + 1)

    def predict(self, rows: Float32) -> Float32:
        """(n,) float32 predictions for (n, input_dim) float32 rows. Raises TooFar."""
        if len(rows) == 1 and self.k <= _FEW:
            return self._predict_one(rows)
        step = max(1, _CHUNK // self.k)  # many short rows and a large k must not add up
        if len(rows) <= step:
            return self._decide(self.neighbors(rows)[1])
        return np.concatenate([self._part(rows, start, step) for start in range(0, len(rows), step)])

    def _part(self, rows: Float32, start: int, step: int) -> Float32:
        try:
            return self._decide(self.neighbors(rows[start : start + step])[1])
        except TooFar as error:
            raise TooFar(start + error.row) from None

    def _predict_one(self, rows: Float32) -> Float32:
        # For a handful of labels Python is faster than numpy, whose every call takes a microsecond.
        labels = self.labels[self.neighbors(rows)[1][0]].tolist()
        if self.predictor_type == "regressor":
            return np.array([sum(labels) / self.k], np.float32)
        votes: dict[float, int] = {}
        for label in labels:
            votes[label] = votes.get(label, 0) + 1
        # The first of the most frequent: a dictionary keeps the order in which neighbors came.
        return np.array([max(votes, key=votes.__getitem__)], np.float32)

    def answer(self, rows: Float32) -> Answer:
        """Predictions with their neighbors' distances and labels. Raises TooFar."""
        distances, places = self.neighbors(rows)
        return Answer(self._decide(places), distances, self.labels[places])

    def _decide(self, places: NDArray[np.int64]) -> Float32:
        if self.predictor_type == "regressor":
            return self.labels[places].mean(axis=1, dtype=np.float64).astype(np.float32)
        return self._classes[majority(self._codes[places], len(self._classes))]


class _OnGpu:
    """Searches a copy of an index on the GPU, made at the first search: CUDA doesn't survive a fork."""

    def __init__(self, index: Any) -> None:
        self._index = index
        self._copy: Any = None
        self._lock = threading.Lock()  # FAISS's GPU indexes answer one thread at a time

    def __call__(self, queries: Float32, k: int) -> tuple[Float32, Int64]:
        with self._lock:
            if self._copy is None:
                self._copy = to_gpu(self._index)
            distances, places = self._copy.search(queries, k)
        return distances, places


def to_gpu(index: Any) -> Any:
    """A copy of the index on the first GPU, or the index itself where FAISS sees none or can't hold it."""
    if not hasattr(faiss, "StandardGpuResources") or not faiss.get_num_gpus():
        return index
    try:
        return faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)
    except RuntimeError:  # a product quantizer of a shape that the GPU's kernels don't have
        return index


def to_cpu(index: Any) -> Any:
    """The index in main memory, for writing."""
    on_gpu = hasattr(faiss, "GpuIndex") and isinstance(index, faiss.GpuIndex)
    return faiss.index_gpu_to_cpu(index) if on_gpu else index
