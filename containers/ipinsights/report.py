"""What the report shows of IP Insights: scores of pairs that were seen, beside those of random addresses."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from typing import cast

import numpy as np

from common.channels.streams import Stream
from common.report import supervised
from common.report.page import Section
from common.training import Run
from containers.ipinsights import predict, reading
from containers.ipinsights.negatives import random_addresses
from containers.ipinsights.pairs import Pairs, join

_PAIRS = 4000


def sections(run: Run) -> Iterator[Section]:
    """Of the validation pairs, or else of the training pairs."""
    name = "validation" if "validation" in run.channels else "train"
    pairs = _sample(run, name)
    if pairs is None or not len(pairs):
        return
    model = predict.load(run.job.model)
    others = Pairs(pairs.entities, random_addresses(np.uint64(run.seed), 0, len(pairs)))
    scores = np.concatenate([model.predict(some, {})["dot_product"] for some in (pairs, others)])
    labels = np.repeat([1, 0], len(pairs))
    source = f"{len(pairs):,} pairs of channel {name}, and as many of the same entities with random addresses"
    yield from supervised.binary(labels, scores, None, source, "1, a pair that was seen")


def _sample(run: Run, name: str) -> Pairs | None:
    channel = run.channels[name]
    if channel.piped:
        return join(channel.first)[:_PAIRS] if channel.first else None

    def decode(stream: Stream, shown: str) -> Iterator[Pairs]:
        return reading.decode(stream, shown, channel.media_type)

    batches = channel.read(decode, join, _PAIRS, stoppable=False)
    with closing(cast("Generator[Pairs, None, None]", batches)):
        return next(batches, None)
