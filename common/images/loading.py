"""Batches of images made by worker processes, in memory that they share with the process that trains.

A worker reads, decodes and changes an image and writes it where the batch has its row: nothing is copied
after that. Results don't depend on how many workers there are.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.failures import ClientError
from common.images.slots import COUNT, Rows, Shapes, Slots
from common.images.workers import Workers
from common.images.working import Task, Work, make

__all__ = ["Loaded", "Loader", "Rows", "Shapes", "Task", "processes"]

log = logging.getLogger("algodock")

_FEW_PIXELS = 64 * 64
_WARNINGS = 20  # images named one by one; more are only counted


@dataclass(frozen=True, slots=True)
class Loaded:
    """A batch: each array is (count, *shape of a row), a view that is valid until the next batch but one."""

    arrays: dict[str, NDArray[Any]]
    count: int


def processes(gpu: bool, threads: int, pixels: int) -> int:
    """How many workers suit a job: all cores beside a GPU, half of them beside a network on the same cores.

    Images of few ``pixels`` are decoded sooner than they are sent.
    """
    if gpu:
        return max(2, threads)
    return 0 if pixels <= _FEW_PIXELS else max(1, threads // 2)


class Loader:
    """Makes batches of at most ``batch_size`` rows with ``workers`` processes; with 0 in this one.

    ``task`` must be picklable. ``shapes`` says what a row of each array is. ``full`` fills the last batch of
    an epoch with its first items, as MXNet's ``round_batch``. An item whose task raises Undecodable is left
    out, named in a warning, and its batch is shorter; any other ClientError ends the epoch with that error.
    Use it as a context manager, or `close` it.
    """

    def __init__(
        self, task: Task, shapes: Shapes, batch_size: int, workers: int, seed: int, *, full: bool = False
    ) -> None:
        self._batch_size = batch_size
        self._full = full
        self._task = task
        self._seed = seed
        self._slots = Slots(shapes, batch_size)
        self._workers = Workers(self._slots, task, shapes, batch_size, seed, workers) if workers else None
        self._slots.close()
        self.skipped = 0

    def epoch(self, items: Iterable[Any], epoch: int) -> Generator[Loaded, None, None]:
        """The batches of ``items``, in order. ``epoch`` is a part of what seeds their randomness.

        ``items`` is read in a thread, by no more than a few batches ahead. The generator is to be closed
        before the next epoch begins. Raises ClientError when none of the items could be decoded.
        """
        self.skipped = 0
        seen = 0
        batches = self._cut(items)
        made = self._inline(batches, epoch) if self._workers is None else self._workers.run(batches, epoch)
        with closing(made):
            for slot, count, failures in made:
                seen += count - len(failures)
                self._tell(failures)
                if count > len(failures):
                    yield _compacted(self._slots.arrays[slot], count, failures)
        if self.skipped > _WARNINGS:
            log.warning("%d images in all were skipped, since they can't be decoded", self.skipped)
        if self.skipped and not seen:
            raise ClientError("none of the images can be decoded; accepted: JPEG and PNG files")

    def close(self) -> None:
        """Ends the processes."""
        if self._workers is not None:
            self._workers.close()

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def _cut(self, items: Iterable[Any]) -> Iterator[list[Any]]:
        """Items, a batch at a time."""
        source = iter(items)
        first: list[Any] = []
        while part := list(itertools.islice(source, self._batch_size)):
            if self._full:
                first = first or part
                part += itertools.islice(itertools.cycle(first), self._batch_size - len(part))
            yield part

    def _inline(
        self, batches: Iterator[list[Any]], epoch: int
    ) -> Generator[tuple[int, int, list[tuple[int, str]]], None, None]:
        position = 0
        for slot, batch in zip(itertools.cycle(range(COUNT)), batches, strict=False):
            made = make(
                self._task, self._slots.arrays[slot], Work(0, epoch, slot, 0, position, batch), self._seed
            )
            if (error := made.error()) is not None:
                raise error
            yield slot, len(batch), made.failures
            position += len(batch)

    def _tell(self, failures: Sequence[tuple[int, str]]) -> None:
        for _, text in failures:
            self.skipped += 1
            if self.skipped <= _WARNINGS:
                log.warning("Skipping an image: %s", text)


def _compacted(arrays: Rows, count: int, failures: Sequence[tuple[int, str]]) -> Loaded:
    """The rows that were made, without gaps."""
    if failures:
        kept = np.setdiff1d(np.arange(count), [row for row, _ in failures])
        for array in arrays.values():
            array[: len(kept)] = array[kept]
        count = len(kept)
    return Loaded({name: array[:count] for name, array in arrays.items()}, count)
