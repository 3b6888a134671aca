"""Observed pairs as arrays: what the decoder yields, the model learns from and the endpoint answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.batches import cut

Hashes = NDArray[np.uint64]
Addresses = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Some pairs of an entity and an address."""

    entities: Hashes  # (rows,) uint64: hashes of the entities' UTF-8 bytes, see `text_kernels.hashed`
    addresses: Addresses  # (rows,) uint32: the first octet is the highest

    def __len__(self) -> int:
        return len(self.entities)

    def __getitem__(self, rows: slice) -> Pairs:
        return Pairs(cut(self.entities, rows), cut(self.addresses, rows))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the table that they were."""
        return len(self), 2


def join(parts: Sequence[Pairs]) -> Pairs:
    """Several in a row as one."""
    if len(parts) == 1:
        return parts[0]
    return Pairs(
        np.concatenate([part.entities for part in parts]), np.concatenate([part.addresses for part in parts])
    )


def none() -> Pairs:
    """No pairs at all."""
    return Pairs(np.empty(0, np.uint64), np.empty(0, np.uint32))
