"""The images that a job learns from, or is measured on, and how many they are."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
from numpy.typing import NDArray

from common.failures import ClientError
from common.images.sources import Item, share
from common.learning.distributed import Group
from common.learning.feeding import Feed
from common.training import Run
from containers.image_classification import reading
from containers.image_classification.reading import Labels

Items = Generator[Item, None, None]


class Counted:
    """The images of channel ``name`` for this process, divided as `common.learning.feeding` does it.

    What passes give out is to be closed or read to its end; see `Group.dealt`. Raises ClientError for what is
    wrong with the data.
    """

    def __init__(self, run: Run, group: Group, name: str, labels: Labels) -> None:
        self._channel = run.channels[name]
        self._run, self._group, self._labels = run, group, labels
        self._seen = 0  # by this process in the last pass of a FIFO
        self._items = None
        if not self._channel.piped:
            self._items = reading.items(self._channel, run.channels.get(f"{name}_lst"), labels)
        self._feed = Feed(self._channel, self._items, self._stream)

    def learning(self, epoch: int, batch: int) -> Items:
        """This process's part of a pass: as many batches of ``batch`` as all others get."""
        return self._feed.train(self._run, self._group, epoch, batch)

    def measuring(self) -> Items:
        """This process's part of a pass in which every image is seen once."""
        return self._feed.measure(self._run, self._group)

    def labels(self) -> tuple[NDArray[np.float64], int]:
        """How many images of all hosts have each label, (labels.width,), and how many there are.

        In Pipe mode this is a pass of its own.
        """
        counts = np.zeros(self._labels.width + 1)
        if self._group.local == 0:
            for item in self._stream() if self._items is None else self._here():
                counts[:-1] += item.label
                counts[-1] += 1
        total = self._group.sum(counts)
        return total[:-1], int(total[-1])

    def check(self, least: int) -> None:
        """Raises ClientError where all hosts together have fewer images than a mini-batch.

        In Pipe mode those of the last pass count.
        """
        here = 0
        if self._group.local == 0:
            here = self._seen if self._items is None else len(self._here())
        found = int(self._group.sum(np.array([here]))[0])
        if found < least:
            raise ClientError(
                "The number of input images must be bigger or equal to the mini_batch_size. "
                f"Channel {self._channel.name} has {found}, and mini_batch_size is {least}"
            )

    def _here(self) -> list[Item]:
        assert self._items is not None
        return list(share(self._items, self._channel, self._run.cluster.rank, self._run.cluster.size))

    def _stream(self) -> Items:
        self._seen = 0
        for item in reading.stream(self._channel, self._labels):
            self._seen += 1
            yield item
