"""Where the sums over a mini-batch are made: on all cores, or on a GPU."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from common.batches import CSR, Features, Float32
from containers.kmeans.distances import Prepared, nearest

# Fewer rows than these are not worth a thread of their own.
_ROWS_A_THREAD = 256

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Cores:
    """Learns on the CPU with ``threads`` threads.

    Each thread runs whole blocks from points to sums, with a BLAS of one thread: a block is too small to be
    worth dividing, and what it touches stays in the cache of one core. Close it (it is a context manager) to
    give BLAS its threads back.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, "kmeans") if threads > 1 else None
        self._limits = threadpool_limits(1, "blas")

    def totals(self, points: Features, centers: NDArray[np.floating]) -> NDArray[np.float64]:
        """Sums of the points nearest to each of (K, d) centers, and how many: (K, d + 1) float64."""
        prepared = Prepared(centers)
        parts = self._divided(points)
        sums = self.map(lambda part: _totals(part, prepared), parts)
        # In the order of the parts, so that equal runs give equal bytes.
        total = sums[0]
        for more in sums[1:]:
            total += more
        total[:, :-1] += total[:, -1:] * prepared.origin
        return total

    def squared(self, points: Features, centers: NDArray[np.floating]) -> Float32:
        """Each point's squared distance to its nearest center: (n,) float32."""
        prepared = Prepared(centers)
        return np.concatenate(self.map(lambda part: nearest(part, prepared)[1], self._divided(points)))

    def map(self, function: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
        """``function`` of each item, several at a time."""
        return list(map(function, items) if self._pool is None else self._pool.map(function, items))

    def _divided(self, points: Features) -> list[Features]:
        parts = max(1, min(self._threads, len(points) // _ROWS_A_THREAD))
        bounds = [len(points) * part // parts for part in range(parts + 1)]
        return [points[start:stop] for start, stop in itertools.pairwise(bounds)]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._limits.restore_original_limits()
        if self._pool is not None:
            self._pool.shutdown()


def _totals(points: Features, prepared: Prepared) -> NDArray[np.float64]:
    """Sums, relative to the origin, of the points of each center, and counts: (K, d + 1)."""
    from containers.kmeans.kernels import add_rows

    width, count = prepared.product.shape
    rows = max(1, min(prepared.block_rows, len(points)))
    relative, products = np.empty((rows, width), np.float32), np.empty((rows, count), np.float32)
    sums = np.zeros((count, width))
    for start in range(0, len(points), rows):
        block = points[start : start + rows]
        filled = prepared.relative(block, relative[: len(block)])
        add_rows(filled, prepared.labels(filled, products[: len(block)]), sums)
    return sums


class Torch(Cores):
    """Learns on a device of torch, such as ``cuda``; what is small stays on the CPU's cores."""

    # Floats of the largest matrix on the device.
    _BLOCK = 1 << 26

    def __init__(self, device: str, threads: int) -> None:
        super().__init__(threads)
        import torch

        self._torch = torch
        self._device = torch.device(device)

    def totals(self, points: Features, centers: NDArray[np.floating]) -> NDArray[np.float64]:
        """See `Cores`."""
        torch, prepared = self._torch, Prepared(centers)
        product = self._sent(prepared.product)
        width, count = prepared.product.shape
        sums = torch.zeros((count, width), dtype=torch.float64, device=self._device)
        for relative in self._blocks(points, prepared):
            labels = (relative @ product).argmin(dim=1)
            sums.index_add_(0, labels, relative.double())
        total: NDArray[np.float64] = sums.cpu().numpy()
        total[:, :-1] += total[:, -1:] * prepared.origin
        return total

    def squared(self, points: Features, centers: NDArray[np.floating]) -> Float32:
        """See `Cores`."""
        prepared = Prepared(centers)
        product, shifted = self._sent(prepared.product), self._sent(prepared.shifted)
        found = []
        for relative in self._blocks(points, prepared):
            labels = (relative @ product).argmin(dim=1)
            found.append(((relative[:, :-1] - shifted[labels]) ** 2).sum(dim=1).cpu().numpy())
        return np.concatenate(found) if found else np.empty(0, np.float32)

    def _blocks(self, points: Features, prepared: Prepared) -> Iterable[Any]:
        rows = max(1, self._BLOCK // max(prepared.product.shape))
        for start in range(0, len(points), rows):
            block = points[start : start + rows]
            if isinstance(block, CSR):
                yield self._sent(prepared.relative(block))
                continue
            moved = self._sent(np.ascontiguousarray(block)) - self._sent(prepared.origin)
            ones = self._torch.ones((len(block), 1), device=self._device)
            yield self._torch.cat([moved, ones], dim=1)

    def _sent(self, array: Float32) -> Any:
        return self._torch.from_numpy(array).to(self._device)


def engine(device: str, threads: int) -> Cores:
    """The engine of a device: ``cpu``, or one of torch's."""
    return Cores(threads) if device == "cpu" else Torch(device, threads)
