"""Products of dense rows with themselves and with signs: all of PCA's work, on all cores or on a GPU."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.batches import Float32
from common.cores import Cores

Float64 = NDArray[np.float64]

# Columns of a tile of the matrix of products. Fewer features than two tiles are divided by rows instead.
TILE = 256


class Products:
    """Products in 64 bits for exact PCA, in 32 for the sketch, on the threads of ``cores``."""

    def __init__(self, cores: Cores) -> None:
        self.cores = cores

    def add_gram(self, block: Float32, origin: Float64, gram: Float64) -> Float64:
        """Adds ``(x - origin)^T (x - origin)`` of (n, d) rows to the (d, d) ``gram``.

        What is below the diagonal is left undefined. Returns the sum of ``x - origin``: (d,).
        """
        if len(gram) < 2 * TILE:
            return self._by_rows(block, origin, gram)
        relative = np.empty(block.shape)
        sums = self.cores.map(
            lambda part: np.subtract(block[part], origin, out=relative[part]).sum(axis=0),
            self.cores.parts(len(block)),
        )
        self._by_tiles(relative, gram)
        return np.asarray(np.sum(sums, axis=0))

    def collect(self, gram: Float64) -> None:
        """Completes what `add_gram` began, where it keeps sums of its own."""

    def sketch(self, block: Float32, origin: Float32, signs: Float32) -> tuple[Float64, Float64]:
        """``(x - origin)^T H^T`` of (n, d) rows and (n, l) signs, (d, l); and the sum of ``x - origin``."""

        def part(chosen: slice) -> tuple[Float32, Float64]:
            relative = block[chosen] - origin
            product: Float32 = np.matmul(relative.T, signs[chosen])
            return product, relative.sum(axis=0, dtype=np.float64)

        found = self.cores.map(part, self.cores.parts(len(block)))
        product = np.zeros((block.shape[1], signs.shape[1]))
        for more, _ in found:
            product += more
        return product, np.asarray(np.sum([sums for _, sums in found], axis=0))

    def _by_rows(self, block: Float32, origin: Float64, gram: Float64) -> Float64:
        """Each thread makes a whole matrix, of some rows."""

        def part(chosen: slice) -> tuple[Float64, Float64]:
            relative = block[chosen] - origin
            # Numpy sees that both factors are one, and computes half of the product only.
            return relative.T @ relative, relative.sum(axis=0)

        found = self.cores.map(part, self.cores.parts(len(block)))
        for product, _ in found:
            gram += product
        return np.asarray(np.sum([sums for _, sums in found], axis=0))

    def _by_tiles(self, relative: Float64, gram: Float64) -> None:
        """Each thread makes tiles of the upper triangle, of all rows: memory is for one matrix only."""
        tiles = [slice(start, start + TILE) for start in range(0, len(gram), TILE)]

        def tile(pair: tuple[slice, slice]) -> None:
            gram[pair] += relative[:, pair[0]].T @ relative[:, pair[1]]

        self.cores.map(tile, list(itertools.combinations_with_replacement(tiles, 2)))


class TorchProducts(Products):
    """Products on a device of torch in 32 bits, added up in 64."""

    # Rows of a product in 32 bits: few enough for its rounding not to add up.
    _ROWS = 4096

    def __init__(self, cores: Cores, device: str) -> None:
        super().__init__(cores)
        import torch

        self._torch = torch
        self._device = torch.device(device)
        self._total: Any = None

    def add_gram(self, block: Float32, origin: Float64, gram: Float64) -> Float64:
        """See `Products`; the sum stays on the device until `collect`."""
        torch = self._torch
        if self._total is None:
            self._total = torch.zeros(gram.shape, dtype=torch.float64, device=self._device)
        sums = torch.zeros(len(gram), dtype=torch.float64, device=self._device)
        for start in range(0, len(block), self._ROWS):
            relative = self._sent(block[start : start + self._ROWS]).double() - self._sent(origin)
            single = relative.float()
            self._total += (single.T @ single).double()
            sums += relative.sum(dim=0)
        return np.asarray(sums.cpu().numpy())

    def collect(self, gram: Float64) -> None:
        """See `Products`."""
        if self._total is not None:
            gram += self._total.cpu().numpy()
            self._total = None

    def sketch(self, block: Float32, origin: Float32, signs: Float32) -> tuple[Float64, Float64]:
        """See `Products`."""
        relative = self._sent(block) - self._sent(origin)
        product = (relative.T @ self._sent(signs)).double()
        return product.cpu().numpy(), relative.double().sum(dim=0).cpu().numpy()

    def _sent(self, array: NDArray[Any]) -> Any:
        return self._torch.from_numpy(np.require(array, requirements=["C", "W"])).to(self._device)


def products(cores: Cores, device: str) -> Products:
    """The products of a device: ``cpu``, or one of torch's."""
    return Products(cores) if device == "cpu" else TorchProducts(cores, device)
