"""The arrays of a few batches, in memory that processes share."""

from __future__ import annotations

import itertools
import mmap
import os
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Rows = Mapping[str, NDArray[Any]]
Shapes = Mapping[str, tuple[tuple[int, ...], DTypeLike]]
"""The shape of one row of each array, and its dtype."""

COUNT = 4  # two that the consumer may look at, and two that are made
_ALIGNMENT = 64


class Slots:
    """``COUNT`` batches of ``rows`` rows each: ``arrays[slot][name]`` is (rows, *shape of a row).

    ``descriptor`` is the memory as another process has got it; without one it is taken. It has no name, so
    that nothing is left of it however a job ends, and a container's small /dev/shm doesn't matter. ``epoch``
    is a number that all processes see.
    """

    def __init__(self, shapes: Shapes, rows: int, descriptor: int | None = None) -> None:
        sizes = {
            name: int(np.prod(shape)) * np.dtype(kind).itemsize for name, (shape, kind) in shapes.items()
        }
        offsets: dict[str, list[int]] = {}
        at = _ALIGNMENT
        for _, name in itertools.product(range(COUNT), shapes):
            offsets.setdefault(name, []).append(at)
            at += -(-sizes[name] * rows // _ALIGNMENT) * _ALIGNMENT
        self.descriptor = _memory(at) if descriptor is None else descriptor
        memory = mmap.mmap(self.descriptor, at)
        self._epoch = np.frombuffer(memory, np.int64, 1)
        self.arrays: list[dict[str, NDArray[Any]]] = [
            {
                name: np.frombuffer(memory, kind, rows * int(np.prod(shape)), offsets[name][slot]).reshape(
                    rows, *shape
                )
                for name, (shape, kind) in shapes.items()
            }
            for slot in range(COUNT)
        ]

    @property
    def epoch(self) -> int:
        """The number of the epoch that is under way."""
        return int(self._epoch[0])

    @epoch.setter
    def epoch(self, number: int) -> None:
        self._epoch[0] = number

    def close(self) -> None:
        """Gives the descriptor back; the memory lasts as long as the arrays."""
        os.close(self.descriptor)


def _memory(size: int) -> int:
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("images")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size)
    return descriptor
