"""Where the sums over a mini-batch are made: on all cores, or on a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.batches import CSR, Features, Float32
from common.cores import Cores
from containers.kmeans.distances import Prepared, nearest, stays_sparse


class Engine:
    """Sums and distances on the CPU, on the threads of ``cores``.

    ``densify`` lets sparse points become dense, a block at a time, where that is faster.
    """

    def __init__(self, cores: Cores, *, densify: bool = True) -> None:
        self.cores = cores
        self.densify = densify

    def totals(self, points: Features, centers: NDArray[np.floating]) -> NDArray[np.float64]:
        """Sums of the points nearest to each of (K, d) centers, and how many: (K, d + 1) float64."""
        prepared = Prepared(centers, sparse=stays_sparse(points, self.densify))
        parts = [points[part] for part in self.cores.parts(len(points))]
        sums = self.cores.map(lambda part: _totals(part, prepared), parts)
        total = sums[0]
        for more in sums[1:]:
            total += more
        return _absolute(total, prepared)

    def squared(self, points: Features, centers: NDArray[np.floating]) -> Float32:
        """Each point's squared distance to its nearest center: (n,) float32."""
        prepared = Prepared(centers, sparse=stays_sparse(points, self.densify))
        parts = [points[part] for part in self.cores.parts(len(points))]
        return np.concatenate(self.cores.map(lambda part: nearest(part, prepared)[1], parts))


def _totals(points: Features, prepared: Prepared) -> NDArray[np.float64]:
    """Sums of the points of each center, of dense ones relative to the origin, and counts: (K, d + 1)."""
    from containers.kmeans.kernels import add_rows, add_sparse_rows

    width, count = prepared.product.shape
    rows = max(1, min(prepared.block_rows, len(points)))
    sums = np.zeros((count, width))
    if prepared.sparse and isinstance(points, CSR):
        for start in range(0, len(points), rows):
            few = points[start : start + rows]
            labels = prepared.sparse_products(few).argmin(axis=1)
            add_sparse_rows(few.values, few.indices, few.indptr, labels, sums)
        return sums
    relative, products = np.empty((rows, width), np.float32), np.empty((rows, count), np.float32)
    for start in range(0, len(points), rows):
        block = points[start : start + rows]
        filled = prepared.relative(block, relative[: len(block)])
        add_rows(filled, prepared.labels(filled, products[: len(block)]), sums)
    return sums


def _absolute(total: NDArray[np.float64], prepared: Prepared) -> NDArray[np.float64]:
    if not prepared.sparse:
        total[:, :-1] += total[:, -1:] * prepared.origin
    return total


class TorchEngine(Engine):
    """Sums and distances on a device of torch, such as ``cuda``."""

    # Floats of the largest matrix on the device.
    _BLOCK = 1 << 26

    def __init__(self, cores: Cores, device: str, *, densify: bool = True) -> None:
        super().__init__(cores, densify=densify)
        import torch

        self._torch = torch
        self._device = torch.device(device)

    def totals(self, points: Features, centers: NDArray[np.floating]) -> NDArray[np.float64]:
        """See `Engine`."""
        if stays_sparse(points, self.densify):
            return super().totals(points, centers)
        torch, prepared = self._torch, Prepared(centers)
        product = self._sent(prepared.product)
        width, count = prepared.product.shape
        sums = torch.zeros((count, width), dtype=torch.float64, device=self._device)
        for relative in self._blocks(points, prepared):
            labels = (relative @ product).argmin(dim=1)
            sums.index_add_(0, labels, relative.double())
        return _absolute(sums.cpu().numpy(), prepared)

    def squared(self, points: Features, centers: NDArray[np.floating]) -> Float32:
        """See `Engine`."""
        if stays_sparse(points, self.densify):
            return super().squared(points, centers)
        prepared = Prepared(centers)
        product, shifted = self._sent(prepared.product), self._sent(prepared.shifted)
        found = []
        for relative in self._blocks(points, prepared):
            labels = (relative @ product).argmin(dim=1)
            found.append(((relative[:, :-1] - shifted[labels]) ** 2).sum(dim=1).cpu().numpy())
        return np.concatenate(found) if found else np.empty(0, np.float32)

    def _blocks(self, points: Features, prepared: Prepared) -> Iterator[Any]:
        rows = max(1, self._BLOCK // max(prepared.product.shape))
        for start in range(0, len(points), rows):
            block = points[start : start + rows]
            if isinstance(block, CSR):
                yield self._sent(prepared.relative(block))
                continue
            moved = self._sent(block) - self._sent(prepared.origin)
            ones = self._torch.ones((len(block), 1), device=self._device)
            yield self._torch.cat([moved, ones], dim=1)

    def _sent(self, array: Float32) -> Any:
        return self._torch.from_numpy(np.require(array, requirements=["C", "W"])).to(self._device)


def engine(cores: Cores, device: str, *, densify: bool = True) -> Engine:
    """The engine of a device: ``cpu``, or one of torch's."""
    if device == "cpu":
        return Engine(cores, densify=densify)
    return TorchEngine(cores, device, densify=densify)
