"""Compiled readers of numbers in text: CSV rows and libsvm rows.

They read what is plain and stop at the first line that is anything else; the caller then reads that one
line with the Python reader of the same format, which decides what it means or says what is wrong with it.
So every rule and every message is in one place, and these kernels only have to be right where they accept.
Pieces end with line feeds (``reading.whole_lines``), so no loop needs to look for the end of the data.
"""

# ruff: noqa: SIM109, chains of == are what compiles to the fastest code

from __future__ import annotations

from typing import Any

import numpy as np

from common.compiled import compiled
from common.formats.borrowing import borrowed

LF, CR, TAB, SPACE, QUOTE, HASH, COLON = 10, 13, 9, 32, 34, 35, 58
ZERO, POINT, PLUS, MINUS = 48, 46, 43, 45

# What a number's digits are multiplied with; beyond these powers a line goes to Python.
_FAR = 290
_POWERS = np.array([float(f"1e{power}") for power in range(-_FAR, _FAR + 1)])
_EXACT = 22  # 10**22 is the largest power of ten that a double holds exactly
_EXACT_MANTISSA = 1 << 53
_ROOM_FOR_ONE = ((1 << 63) - 10) // 10  # another digit still fits into an int64
_ROOM_FOR_EIGHT = 10**10
_FARTHER = 10**12  # no line is long enough for digits to make up for such a power
_TENS = np.array([10**count for count in range(9)], np.int64)

# Eight bytes at a time.
_ZEROS = np.uint64(0x3030303030303030)
_ABOVE_NINE = np.uint64(0x7676767676767676)  # added to 10 and more gives the highest bit
_HIGH_BITS = np.uint64(0x8080808080808080)
_BYTE_NUMBERS = np.uint64(0x0001020304050607)
_SLACK = 1e-14  # far above the error of two roundings and a power, far below half a float32 unit
_LEAST_NORMAL = 1.2e-38
_ROUNDS_TO_ZERO = 1e-46


@compiled
def _byte(data: Any, at: int) -> Any:
    """The byte at ``at``; unsigned, or numba would look whether the place counts from the end."""
    return np.int64(data[np.uint64(at)])


@compiled
def _eight(data: Any, at: int) -> Any:
    """Eight bytes as a little-endian uint64, which compiles to one load."""
    place = np.uint64(at)
    word = np.uint64(data[place])
    word |= np.uint64(data[place + np.uint64(1)]) << np.uint64(8)
    word |= np.uint64(data[place + np.uint64(2)]) << np.uint64(16)
    word |= np.uint64(data[place + np.uint64(3)]) << np.uint64(24)
    word |= np.uint64(data[place + np.uint64(4)]) << np.uint64(32)
    word |= np.uint64(data[place + np.uint64(5)]) << np.uint64(40)
    word |= np.uint64(data[place + np.uint64(6)]) << np.uint64(48)
    word |= np.uint64(data[place + np.uint64(7)]) << np.uint64(56)
    return word


@compiled
def _digits(data: Any, at: int, mantissa: Any) -> Any:
    """Appends the digits from ``at`` on to a mantissa: (mantissa, where they end, how many did not fit).

    Eight at a time without a branch for how many there are, for no branch can be foretold in such data.
    """
    while mantissa < _ROOM_FOR_EIGHT:
        word = _eight(data, at) ^ _ZEROS
        # The highest bit of each byte that is no digit, from the first of them on.
        others = (word | (word + _ABOVE_NINE)) & _HIGH_BITS
        count: Any = np.int64(8)
        if others != 0:
            first = others & (~others + np.uint64(1))
            place = ((first >> np.uint64(7)) * _BYTE_NUMBERS) >> np.uint64(56)
            count = np.int64(place)
            # Zeros in front of the digits stand in for what is behind them.
            word = (word << ((np.uint64(7) - place) * np.uint64(8))) << np.uint64(8)
        # Digits to pairs, pairs to fours, and those to all eight: the first digit is the lowest byte.
        word = (word * np.uint64(10) + (word >> np.uint64(8))) & np.uint64(0x00FF00FF00FF00FF)
        word = (word * np.uint64(100) + (word >> np.uint64(16))) & np.uint64(0x0000FFFF0000FFFF)
        word = (word * np.uint64(10000) + (word >> np.uint64(32))) & np.uint64(0x00000000FFFFFFFF)
        mantissa = mantissa * _TENS[count] + np.int64(word)
        at += count
        if count < 8:
            return mantissa, at, np.int64(0)
    dropped = np.int64(0)
    digit = _byte(data, at) - ZERO
    while 0 <= digit <= 9:
        if mantissa < _ROOM_FOR_ONE:
            mantissa = mantissa * 10 + digit
        else:
            dropped += 1
        at += 1
        digit = _byte(data, at) - ZERO
    return mantissa, at, dropped


@compiled
def _number(data: Any, at: int) -> Any:
    """Reads a number: (its value, where it ends, whether it is certain to the last bit of a float32).

    The value is the one that rounding the decimal to a double and that to a float32 gives.
    """
    sign = _byte(data, at)
    negative = sign == MINUS
    if negative or sign == PLUS:
        at += 1
    start = at
    mantissa, at, exponent = _digits(data, at, np.int64(0))
    count = at - start
    if _byte(data, at) == POINT:
        at += 1
        start = at
        mantissa, at, dropped = _digits(data, at, mantissa)
        count += at - start
        exponent += dropped - (at - start)
    if count == 0:
        return _word(data, at, negative)
    if _byte(data, at) | 32 == 101:  # e or E
        at += 1
        sign = _byte(data, at)
        if sign == MINUS or sign == PLUS:
            at += 1
        start = at
        power, at, dropped = _digits(data, at, np.int64(0))
        if at == start:
            return 0.0, at, False
        if dropped:
            power = np.int64(_FARTHER)
        power = min(power, np.int64(_FARTHER))
        exponent += -power if sign == MINUS else power
    value = float(mantissa)
    certain = True
    if mantissa < _EXACT_MANTISSA and -_EXACT <= exponent <= _EXACT:
        if exponent < 0:
            value /= _POWERS[_FAR - exponent]
        elif exponent > 0:
            value *= _POWERS[_FAR + exponent]
    elif mantissa != 0:
        if -_FAR <= exponent <= _FAR:
            value *= _POWERS[_FAR + exponent]
            if value < _LEAST_NORMAL:
                certain = value < _ROUNDS_TO_ZERO
            else:
                certain = np.float32(value * (1 - _SLACK)) == np.float32(value * (1 + _SLACK))
        else:
            certain = False
    return (-value if negative else value), at, certain


@compiled
def _word(data: Any, at: int, negative: bool) -> Any:
    """Reads nan, inf or infinity in any case, as ``_number`` does."""
    if _byte(data, at) | 32 == 110 and _byte(data, at + 1) | 32 == 97 and _byte(data, at + 2) | 32 == 110:
        return np.nan, at + 3, True
    if _byte(data, at) | 32 == 105 and _byte(data, at + 1) | 32 == 110 and _byte(data, at + 2) | 32 == 102:
        at += 3
        rest = (105, 110, 105, 116, 121)
        same = 0
        while same < 5 and _byte(data, at + same) | 32 == rest[same]:
            same += 1
        if same == 5:
            at += 5
        return (-np.inf if negative else np.inf), at, True
    return 0.0, at, False


@compiled
def _after_line(data: Any, at: int) -> int:
    """Where the next line begins, ``at`` being where this one's end is."""
    if _byte(data, at) == CR and _byte(data, at + 1) == LF:
        return at + 2
    return at + 1


@compiled
def count_line_ends(data: Any, start: int, stop: int) -> int:
    """How many LF and CR there are: at least as many as lines end."""
    count = 0
    for at in range(start, stop):
        count += _byte(data, at) == LF or _byte(data, at) == CR
    return count


@compiled
def count_bytes(data: Any, start: int, stop: int, wanted: int) -> int:
    """How many bytes are ``wanted``."""
    count = 0
    for at in range(start, stop):
        count += _byte(data, at) == wanted
    return count


@compiled
def csv_rows(
    data: Any, at: int, stop: int, delimiter: int, missing: bool, lead: Any, features: Any, row: int
) -> Any:
    """Reads CSV rows into ``lead`` (rows, leading columns) and ``features`` (rows, width) from ``row`` on.

    Stops at ``stop``, or at the beginning of a line that is not plain or not of that many columns. Returns
    (where it stopped, rows read in all, lines passed).
    """
    data, lead, features = borrowed(data), borrowed(lead), borrowed(features)
    leading = lead.shape[1]
    width = features.shape[1]
    columns = leading + width
    lines = 0
    blank = SPACE  # what may stand around cells; a TAB only if it does not separate them
    tab = SPACE if delimiter == TAB else TAB
    runs = delimiter == SPACE  # blanks separate, any number of them
    while at < stop:
        line = at
        while _byte(data, at) == blank or _byte(data, at) == tab:
            at += 1
        if _byte(data, at) == LF or _byte(data, at) == CR:
            at = _after_line(data, at)
            lines += 1
            continue
        column = 0
        while True:
            quoted = _byte(data, at) == QUOTE
            if quoted:
                at += 1
                while _byte(data, at) == SPACE or _byte(data, at) == TAB:
                    at += 1
            byte = _byte(data, at)
            if not quoted and (byte == delimiter or byte == LF or byte == CR):
                if not missing or column < leading:
                    return line, row, lines
                value = np.nan
            else:
                value, at, certain = _number(data, at)
                if not certain:
                    return line, row, lines
                if quoted:
                    while _byte(data, at) == SPACE or _byte(data, at) == TAB:
                        at += 1
                    if _byte(data, at) != QUOTE:
                        return line, row, lines
                    at += 1
            if column < leading:
                lead[np.uint64(row), np.uint64(column)] = value
            elif column < columns:
                features[np.uint64(row), np.uint64(column - leading)] = value
            else:
                return line, row, lines
            column += 1
            gap = at
            while _byte(data, at) == blank or _byte(data, at) == tab:
                at += 1
            byte = _byte(data, at)
            if byte == LF or byte == CR:
                break
            if runs:
                if at == gap:
                    return line, row, lines
            elif byte == delimiter:
                at += 1
                while _byte(data, at) == blank or _byte(data, at) == tab:
                    at += 1
            else:
                return line, row, lines
        if column != columns:
            return line, row, lines
        at = _after_line(data, at)
        lines += 1
        row += 1
    return at, row, lines


@compiled
def libsvm_rows(
    data: Any,
    at: int,
    stop: int,
    labelled: bool,
    weighted: bool,
    limit: int,
    labels: Any,
    weights: Any,
    values: Any,
    indices: Any,
    indptr: Any,
    row: int,
    largest: int,
) -> Any:
    """Reads libsvm rows from ``row`` on into labels, weights (if ``weighted``), values, indices and indptr.

    Stops at ``stop``, or at the beginning of a line that is not plain, whose label is without a weight where
    one is ``weighted`` or the other way round, or that has an index not below ``limit``. Returns (where it
    stopped, rows read in all, lines passed, the largest index so far).
    """
    data, labels, weights = borrowed(data), borrowed(labels), borrowed(weights)
    values, indices, indptr = borrowed(values), borrowed(indices), borrowed(indptr)
    lines = 0
    while at < stop:
        line = at
        found: Any = largest
        while _byte(data, at) == SPACE or _byte(data, at) == TAB:
            at += 1
        byte = _byte(data, at)
        if byte == HASH:
            while _byte(data, at) != LF and _byte(data, at) != CR:
                at += 1
            byte = _byte(data, at)
        if byte == LF or byte == CR:
            at = _after_line(data, at)
            lines += 1
            continue
        entry = indptr[row]
        first = True
        while True:
            value, after, certain = _number(data, at)
            byte = _byte(data, after)
            if not certain:
                return line, row, lines, largest
            if first and (labelled or byte != COLON):
                labels[row] = value
                if labelled and weighted != (byte == COLON):
                    return line, row, lines, largest
                if byte == COLON:
                    value, after, certain = _number(data, after + 1)
                    if not certain:
                        return line, row, lines, largest
                    weights[row] = value
            else:
                index = np.int64(0)
                start = at
                digit = np.int64(_byte(data, at)) - ZERO
                while 0 <= digit <= 9 and at - start < 18:
                    index = index * 10 + digit
                    at += 1
                    digit = np.int64(_byte(data, at)) - ZERO
                if at == start or at != after or byte != COLON or index >= limit:
                    return line, row, lines, largest
                value, after, certain = _number(data, at + 1)
                if not certain:
                    return line, row, lines, largest
                values[entry] = value
                indices[entry] = index
                entry += 1
                if index > found:
                    found = index
            first = False
            at = after
            byte = _byte(data, at)
            while _byte(data, at) == SPACE or _byte(data, at) == TAB:
                at += 1
            if _byte(data, at) == HASH:
                while _byte(data, at) != LF and _byte(data, at) != CR:
                    at += 1
            if _byte(data, at) == LF or _byte(data, at) == CR:
                break
            if byte != SPACE and byte != TAB:
                return line, row, lines, largest
        largest = found
        at = _after_line(data, at)
        lines += 1
        row += 1
        indptr[row] = entry
    return at, row, lines, largest
