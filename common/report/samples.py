"""Some rows of a channel, after the job: read anew from files, or kept of a FIFO that has gone by."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import cast

from common.batches import CSR, Batch, join
from common.training import Run

ROWS, NUMBERS, SECONDS = 4000, 1 << 23, 0.8  # what a sample may have (numbers where it is dense), and take


@dataclass(frozen=True)
class Sample:
    """Rows of a channel, evenly spread over the ``seen`` that were read; ``whole`` when those are all."""

    channel: str
    batch: Batch
    seen: int
    whole: bool

    @property
    def described(self) -> str:
        """Where the rows are from, for a note."""
        if self.seen == 1:
            return f"the only row of channel {self.channel}"
        rows = f"{len(self.batch):,} rows"
        if self.whole and self.seen == len(self.batch):
            return f"all {rows} of channel {self.channel}"
        spread = f" evenly spread over {'all' if self.whole else 'the first'} {self.seen:,}"
        return f"{rows} of channel {self.channel}{spread if self.seen > len(self.batch) else ''}"

    def fewer(self, most: int) -> Sample:
        """At most so many of the rows, evenly spread."""
        step = -(-len(self.batch) // most)
        return self if step == 1 else replace(self, batch=self.batch[::step])


def rows(run: Run, *names: str, weights: bool = False) -> Sample | None:
    """A sample of the first of these channels that the job has and that has rows; None without any.

    ``weights``: CSV has a column of them, as `common.channels.Channel.epoch` says.
    """
    for name in names:
        if name in run.channels:
            found = _read(run, name, weights)
            if found is not None and len(found.batch):
                return found
    return None


def _read(run: Run, name: str, weights: bool) -> Sample | None:
    channel = run.channels[name]
    if channel.piped:
        if not channel.first:
            return None
        kept = join(channel.first)[:ROWS]
        return Sample(name, kept, len(kept), False)
    parts: list[Batch] = []
    step, seen, began, whole = 1, 0, 0.0, True
    given = run.hyperparameters.get("feature_dim")
    width = given if isinstance(given, int) else None
    # A request to stop that came during training would end the pass before its first row.
    batches = channel.epoch(None, feature_dim=width, weights=weights, stoppable=False)
    with closing(cast("Generator[Batch, None, None]", batches)):
        for batch in batches:
            began = began or time.perf_counter()  # before the first, kernels are loaded
            if parts and parts[0].labels is None and batch.labels is not None:
                batch = replace(batch, labels=None)
            # Row number `step` of the channel, and every step-th after it.
            parts.append(batch[(-seen) % step :: step])
            seen += len(batch)
            dense = not isinstance(batch.features, CSR)
            most = min(ROWS, max(1, NUMBERS // max(batch.width, 1))) if dense else ROWS
            while sum(map(len, parts)) > 2 * most:
                step *= 2
                parts = [join(parts)[::2]]
            if time.perf_counter() - began > SECONDS:
                whole = False
                break
    parts = [part for part in parts if len(part)]
    return Sample(name, join(parts), seen, whole) if parts else None
