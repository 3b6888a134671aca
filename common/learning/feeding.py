"""A channel's images as a process of several gets them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from common.channels import Channel
from common.images import sources
from common.images.sources import Item
from common.learning.distributed import Group
from common.training import Run


@dataclass(frozen=True, slots=True)
class Feed:
    """Images of a channel: all ``items`` of it, or in Pipe mode (None) what ``stream`` reads in a pass."""

    channel: Channel
    items: Sequence[Item] | None
    stream: Callable[[], Iterator[Item]]

    def train(self, run: Run, group: Group, epoch: int, batch: int) -> Generator[Item, None, None]:
        """This process's part of a pass of learning, shuffled: as many whole batches as all others'."""
        if self.items is None:
            return group.dealt(self.stream)
        items = self._of_host(run, self.items)
        order = np.random.default_rng((run.seed, epoch)).permutation(len(items))
        return _each(group.share([items[index] for index in order], batch))

    def measure(self, run: Run, group: Group) -> Generator[Item, None, None]:
        """This process's part of a pass in which every image is seen once."""
        if self.items is None:
            return group.dealt(self.stream)
        return _each(self._of_host(run, self.items)[group.local :: group.locals])

    def _of_host(self, run: Run, items: Sequence[Item]) -> Sequence[Item]:
        return sources.share(items, self.channel, run.cluster.rank, run.cluster.size)


def _each(items: Iterable[Item]) -> Generator[Item, None, None]:
    yield from items
