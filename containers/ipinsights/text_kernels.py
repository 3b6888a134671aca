"""Compiled readers of pairs in text: a row of bytes becomes a hash and an address, never a Python string.

They read what is right and stop at the first row that is not; `reading` then says what is wrong with it.
Text ends with line feeds (``reading.whole_lines``), so no loop needs to look for the end of the data.
"""

# ruff: noqa: SIM109, chains of == are what compiles to the fastest code

from __future__ import annotations

from typing import Any

import numpy as np

from common.compiled import compiled
from common.formats.borrowing import borrowed

LF, CR, TAB, SPACE, QUOTE, COMMA, POINT, ZERO = 10, 13, 9, 32, 34, 44, 46, 48

_FNV_START = np.uint64(0xCBF29CE484222325)
_FNV_PRIME = np.uint64(0x100000001B3)
_MIX_1 = np.uint64(0xFF51AFD7ED558CCD)
_MIX_2 = np.uint64(0xC4CEB9FE1A85EC53)
_HALF = np.uint64(33)
_NO_ADDRESS = -1


@compiled
def _byte(data: Any, at: int) -> Any:
    """The byte at ``at``; unsigned, or numba would look whether the place counts from the end."""
    return np.int64(data[np.uint64(at)])


@compiled
def _finished(state: Any) -> Any:
    """MurmurHash3's last step (Appleby): every bit of the state moves every bit of the hash."""
    state = (state ^ (state >> _HALF)) * _MIX_1
    state = (state ^ (state >> _HALF)) * _MIX_2
    return state ^ (state >> _HALF)


@compiled
def hashed(data: Any, at: int, stop: int) -> Any:
    """The hash of the bytes from ``at`` to ``stop``: FNV-1a of 64 bits, mixed by MurmurHash3's last step.

    Artifacts depend on it: it must never change.
    """
    state = _FNV_START
    for place in range(at, stop):
        state = (state ^ np.uint64(data[np.uint64(place)])) * _FNV_PRIME
    return _finished(state)


@compiled
def _hashed_quoted(data: Any, at: int, stop: int) -> Any:
    """The hash of a quoted cell's content, in which two quotes are one."""
    state = _FNV_START
    while at < stop:
        byte = data[np.uint64(at)]
        state = (state ^ np.uint64(byte)) * _FNV_PRIME
        at += 2 if byte == QUOTE else 1
    return _finished(state)


@compiled
def _address(data: Any, at: int) -> Any:
    """Reads four octets: (the address, or -1 where there is none, where it ends)."""
    address = np.int64(0)
    for octet in range(4):
        if octet:
            if _byte(data, at) != POINT:
                return np.int64(_NO_ADDRESS), at
            at += 1
        value = _byte(data, at) - ZERO
        if value < 0 or value > 9:
            return np.int64(_NO_ADDRESS), at
        at += 1
        digit = _byte(data, at) - ZERO
        # A leading zero would be read as octal by some programs and as decimal by others: neither is right.
        if value and 0 <= digit <= 9:
            value = value * 10 + digit
            at += 1
            digit = _byte(data, at) - ZERO
            if 0 <= digit <= 9:
                value = value * 10 + digit
                at += 1
        if value > 255:
            return np.int64(_NO_ADDRESS), at
        address = address << np.int64(8) | value
    return address, at


@compiled
def _entity(data: Any, at: int) -> Any:
    """Reads a cell: (its hash, whether it holds anything, where it ends; -1 for a quote in a wrong place)."""
    if _byte(data, at) != QUOTE:
        start = at
        byte = _byte(data, at)
        while byte != COMMA and byte != LF and byte != CR:
            at += 1
            byte = _byte(data, at)
        end = at
        while end > start and (_byte(data, end - 1) == SPACE or _byte(data, end - 1) == TAB):
            end -= 1
        return hashed(data, start, end), end > start, at
    at += 1
    while _byte(data, at) == SPACE or _byte(data, at) == TAB:
        at += 1
    start = at
    while True:
        byte = _byte(data, at)
        if byte == LF or byte == CR:
            return np.uint64(0), False, -1
        if byte == QUOTE:
            if _byte(data, at + 1) != QUOTE:
                break
            at += 1
        at += 1
    end = at
    while end > start and (_byte(data, end - 1) == SPACE or _byte(data, end - 1) == TAB):
        end -= 1
    return _hashed_quoted(data, start, end), end > start, at + 1


@compiled
def csv_pairs(data: Any, at: int, stop: int, hashes: Any, addresses: Any, row: int) -> Any:
    """Reads rows of two cells into ``hashes`` (uint64) and ``addresses`` (uint32) from ``row`` on.

    Stops at ``stop``, or at the beginning of a line that is no such row. Returns (where it stopped, rows read
    in all, lines passed).
    """
    data, hashes, addresses = borrowed(data), borrowed(hashes), borrowed(addresses)
    lines = 0
    while at < stop:
        line = at
        while _byte(data, at) == SPACE or _byte(data, at) == TAB:
            at += 1
        if _byte(data, at) != LF and _byte(data, at) != CR:
            code, some, at = _entity(data, at)
            if at < 0 or not some:
                return line, row, lines
            while _byte(data, at) == SPACE or _byte(data, at) == TAB:
                at += 1
            if _byte(data, at) != COMMA:
                return line, row, lines
            at += 1
            while _byte(data, at) == SPACE or _byte(data, at) == TAB:
                at += 1
            quoted = _byte(data, at) == QUOTE
            if quoted:
                at += 1
                while _byte(data, at) == SPACE or _byte(data, at) == TAB:
                    at += 1
            address, at = _address(data, at)
            if address < 0:
                return line, row, lines
            while _byte(data, at) == SPACE or _byte(data, at) == TAB:
                at += 1
            if quoted:
                if _byte(data, at) != QUOTE:
                    return line, row, lines
                at += 1
                while _byte(data, at) == SPACE or _byte(data, at) == TAB:
                    at += 1
            if _byte(data, at) != LF and _byte(data, at) != CR:
                return line, row, lines
            hashes[np.uint64(row)] = code
            addresses[np.uint64(row)] = np.uint32(address)
            row += 1
        at += 2 if _byte(data, at) == CR and _byte(data, at + 1) == LF else 1
        lines += 1
    return at, row, lines


@compiled
def hash_each(data: Any, ends: Any, hashes: Any) -> None:
    """Hashes stretches of ``data`` that end at ``ends`` (int64), each where the one before it ended."""
    start: Any = 0
    for row in range(len(ends)):
        hashes[row] = hashed(data, start, ends[row])
        start = ends[row]


@compiled
def read_addresses(data: Any, stop: int, addresses: Any) -> bool:
    """Reads (n,) uint32 ``addresses`` from as many lines, which end at ``stop``; whether all are right."""
    at: Any = 0
    for row in range(len(addresses)):
        address, at = _address(data, at)
        if address < 0 or _byte(data, at) != LF:
            return False
        addresses[row] = np.uint32(address)
        at += 1
    return at == stop
