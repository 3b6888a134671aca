"""What of a channel's images each process learns from, or is measured on."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from common.failures import ClientError
from common.images import sources
from common.images.sources import Item
from common.learning.distributed import Group
from common.training import Run
from containers.image_classification import reading
from containers.image_classification.reading import Labels

Items = Generator[Item, None, None]


class Feed:
    """The images of channel ``name``: all of them, or in Pipe mode a pass after the other.

    What passes give out is to be closed or read to its end; see `Group.dealt`. Raises ClientError for what is
    wrong with the data.
    """

    def __init__(self, run: Run, group: Group, name: str, labels: Labels) -> None:
        self._channel = run.channels[name]
        self._run, self._group, self._labels = run, group, labels
        self._items: Sequence[Item] | None = None
        self._seen = 0  # by this process in the last pass of a FIFO
        if not self._channel.piped:
            found = reading.items(self._channel, run.channels.get(f"{name}_lst"), labels)
            self._items = sources.share(found, self._channel, run.cluster.rank, run.cluster.size)

    def learning(self, epoch: int, batch: int) -> Items:
        """This process's part of a pass: as many batches of ``batch`` as all others get."""
        if self._items is None:
            return self._group.dealt(self._stream)
        order = np.random.default_rng((self._run.seed, epoch)).permutation(len(self._items))
        return _each(self._group.share([self._items[index] for index in order], batch))

    def measuring(self) -> Items:
        """This process's part of a pass in which every image is seen once."""
        if self._items is None:
            return self._group.dealt(self._stream)
        return _each(self._items[self._group.local :: self._group.locals])

    def count(self) -> int:
        """How many images all hosts have; in Pipe mode how many the last pass had."""
        here = self._seen if self._items is None else len(self._items)
        return int(self._group.sum(np.array([here if self._group.local == 0 else 0]))[0])

    def labels(self) -> tuple[NDArray[np.float64], int]:
        """How many images of all hosts have each label, (labels.width,), and how many there are.

        In Pipe mode this is a pass of its own.
        """
        counts = np.zeros(self._labels.width + 1)
        if self._group.local == 0:
            for item in self._stream() if self._items is None else self._items:
                counts[:-1] += item.label
                counts[-1] += 1
        total = self._group.sum(counts)
        return total[:-1], int(total[-1])

    def check(self, least: int) -> None:
        """Raises ClientError where the hosts have fewer images than a mini-batch."""
        if (found := self.count()) < least and not self._group.any(self._run.stop.requested):
            raise ClientError(
                "The number of input images must be bigger or equal to the mini_batch_size. "
                f"Channel {self._channel.name} has {found}, and mini_batch_size is {least}"
            )

    def _stream(self) -> Items:
        self._seen = 0
        for item in reading.stream(self._channel, self._labels):
            self._seen += 1
            yield item


def _each(items: Iterable[Item]) -> Items:
    yield from items
