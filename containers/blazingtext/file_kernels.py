"""Compiled reading and writing of the dictionary in a fastText file."""

from __future__ import annotations

from typing import Any

import numpy as np

from common.compiled import compiled

BEHIND = 9  # bytes behind a name's NUL: its count and its type


@compiled
def read_entries(data: Any, at: int, offsets: Any, counts: Any, types: Any) -> Any:
    """Looks through entries of uint8 ``data`` from ``at``: NUL-ended name, int64 count, int8 type.

    ``offsets`` (int64, one more than entries) gets where names begin when they are put one after the other.
    Returns where the last entry ends, or -1 when the data end before.
    """
    size, total = len(data), np.int64(0)
    offsets[0] = 0
    for entry in range(len(counts)):
        start = at
        while at < size and data[at] != 0:
            at += 1
        if at + BEHIND >= size:
            return np.int64(-1)
        total += at - start
        offsets[entry + 1] = total
        count = np.uint64(0)
        for byte in range(8):
            count |= np.uint64(data[at + 1 + byte]) << np.uint64(8 * byte)
        counts[entry] = np.int64(count)
        types[entry] = data[at + BEHIND]
        at += 1 + BEHIND
    return np.int64(at)


@compiled
def tell_rows(data: Any, at: int, width: int, filled: Any) -> None:
    """Whether each row of ``width`` bytes holds anything but zeros."""
    for row in range(len(filled)):
        found = False
        for place in range(at, at + width):
            if data[place] != 0:
                found = True
                break
        filled[row] = found
        at += width


@compiled
def copy_names(data: Any, at: int, offsets: Any, text: Any) -> None:
    """Fills ``text`` with the names of entries that ``read_entries`` looked through."""
    for entry in range(len(offsets) - 1):
        for place in range(offsets[entry], offsets[entry + 1]):
            text[place] = data[at]
            at += 1
        at += 1 + BEHIND


@compiled
def write_entries(text: Any, offsets: Any, counts: Any, words: int, out: Any) -> None:
    """Fills uint8 ``out`` with entries, of which the first ``words`` are words and the others labels."""
    at = np.int64(0)
    for entry in range(len(counts)):
        for place in range(offsets[entry], offsets[entry + 1]):
            out[at] = text[place]
            at += 1
        out[at] = 0
        for byte in range(8):
            out[at + 1 + byte] = np.uint8(counts[entry] >> (8 * byte))
        out[at + BEHIND] = entry >= words
        at += 1 + BEHIND
