"""libsvm rows with query groups: ``label[:weight] qid:N index:value ...``.

The groups are taken out of the stream, and the rest is read like any libsvm, so that all that can be wrong
with a row is told the same way. Rows of one group follow each other, as the library's own reader wants it.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import closing

import numpy as np

from common.batches import CSR, Batch, Features, Int64, stack
from common.channels import Channel, files
from common.channels.interrupts import Interrupt
from common.channels.streams import Inflating
from common.failures import ClientError
from common.formats import Layout, Stream, decode
from containers.xgboost.matrices import Table, gather

_ROW = re.compile(rb"^[ \t]*([^\s#]+)[ \t]+qid:(\d{1,18})(?=[ \t\r\n]|$)", re.MULTILINE)
_ROW_START = re.compile(rb"^[ \t]*[^\s#]", re.MULTILINE)
_BLOCK = 1 << 20


def has_groups(channel: Channel) -> bool:
    """Whether the first row of a libsvm channel has a ``qid``."""
    interrupt = Interrupt(None)
    for file in files.find(channel.folder, channel.name):
        with files.opened(file, interrupt) as stream:
            start = bytearray(1 << 16)
            count = Inflating(stream, file.name).readinto(start) or 0
        if row := _ROW_START.search(start[:count]):
            return _ROW.match(start[row.start() : count].partition(b"\n")[0]) is not None
    return False


def read(channel: Channel, interrupt: Interrupt, rank: int, hosts: int) -> Table:
    """A channel's rows with their groups; of several hosts, each takes every ``hosts``-th group.

    Raises ClientError when some rows have a group and others none, and for whatever is wrong with a row.
    """
    batches: list[Batch] = []
    found: list[Int64] = []
    for file in files.find(channel.folder, channel.name):
        with files.opened(file, interrupt) as stream:
            ungrouped = Ungrouped(Inflating(stream, file.name))
            layout = Layout(label_size=1)
            rows = 0
            with closing(_decoded(ungrouped, file.name, channel, layout)) as decoded:
                for batch in decoded:
                    rows += len(batch)
                    batches.append(batch)
        if rows != len(ungrouped.groups):
            raise ClientError(
                f"{file.name}: {len(ungrouped.groups)} of its {rows} rows have a qid; accepted: all or none"
            )
        found.append(np.array(ungrouped.groups, np.int64))
    table = gather(batches)
    queries = np.concatenate(found) if found else np.empty(0, np.int64)
    starts = np.flatnonzero(np.diff(queries, prepend=queries[:1] - 1))
    table.groups = np.diff(starts, append=len(queries))
    if len(np.unique(queries[starts])) != len(starts):
        raise ClientError(f"channel {channel.name}: rows of one qid are apart; accepted: one after the other")
    return _share(table, rank, hosts) if hosts > 1 else table


def _decoded(stream: Stream, name: str, channel: Channel, layout: Layout) -> Generator[Batch, None, None]:
    yield from decode(stream, name, channel.media_type, layout)


def _share(table: Table, rank: int, hosts: int) -> Table:
    """Whole groups, since a row is ranked against the others of its own."""
    import scipy.sparse

    assert table.groups is not None
    groups = table.groups
    mine = np.arange(len(groups)) % hosts == rank
    rows = np.repeat(mine, groups)
    parts = stack(table.parts) if table.parts else None
    chosen: list[Features] = []
    if isinstance(parts, CSR):
        matrix = scipy.sparse.csr_matrix((parts.values, parts.indices, parts.indptr), shape=parts.shape)[rows]
        chosen = [
            CSR(matrix.data, matrix.indices.astype(np.int64), matrix.indptr.astype(np.int64), parts.shape)
        ]
    return Table(
        chosen,
        table.labels[rows],
        None if table.weights is None else table.weights[rows],
        groups[mine],
        table.one_based,
    )


class Ungrouped:
    """A stream without its ``qid:N`` tokens, which are kept in ``groups`` in the order of the rows."""

    def __init__(self, stream: Stream) -> None:
        self.groups: list[int] = []
        self._stream = stream
        self._kept = b""  # after the last whole line
        self._ready = memoryview(b"")
        self._ended = False

    def readinto(self, buffer: memoryview | bytearray, /) -> int:
        """Fills the start of ``buffer``, as `common.formats.Stream` has it."""
        while not self._ready and not self._ended:
            self._fill()
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def _fill(self) -> None:
        block = bytearray(_BLOCK)
        count = self._stream.readinto(block) or 0
        text = self._kept + bytes(block[:count])
        self._ended = count == 0
        cut = len(text) if self._ended else text.rfind(b"\n") + 1
        self._kept = text[cut:]
        self._ready = memoryview(_ROW.sub(self._take, text[:cut]))

    def _take(self, match: re.Match[bytes]) -> bytes:
        self.groups.append(int(match[2]))
        return match[1]
