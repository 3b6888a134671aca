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

LF, CR, TAB, SPACE, QUOTE, HASH, COLON = 10, 13, 9, 32, 34, 35, 58
ZERO, POINT, PLUS, MINUS = 48, 46, 43, 45

# What a number's digits are multiplied with; beyond these powers a line goes to Python.
_FAR = 290
_POWERS = np.array([float(f"1e{power}") for power in range(-_FAR, _FAR + 1)])
_EXACT = 22  # 10**22 is the largest power of ten that a double holds exactly
_EXACT_MANTISSA = 1 << 53
_MORE_DIGITS = ((1 << 63) - 10) // 10  # another digit still fits into an int64
_SLACK = 1e-14  # far above the error of two roundings and a power, far below half a float32 unit
_LEAST_NORMAL = 1.2e-38
_ROUNDS_TO_ZERO = 1e-46


@compiled
def _number(data: Any, at: int) -> Any:
    """Reads a number: (its value, where it ends, whether it is certain to the last bit of a float32).

    The value is the one that rounding the decimal to a double and that to a float32 gives.
    """
    negative = data[at] == MINUS
    if negative or data[at] == PLUS:
        at += 1
    mantissa = np.int64(0)
    exponent = np.int64(0)
    start = at
    digit = np.int64(data[at]) - ZERO
    while 0 <= digit <= 9:
        if mantissa < _MORE_DIGITS:
            mantissa = mantissa * 10 + digit
        else:
            exponent += 1
        at += 1
        digit = np.int64(data[at]) - ZERO
    digits = at - start
    if data[at] == POINT:
        at += 1
        start = at
        digit = np.int64(data[at]) - ZERO
        while 0 <= digit <= 9:
            if mantissa < _MORE_DIGITS:
                mantissa = mantissa * 10 + digit
                exponent -= 1
            at += 1
            digit = np.int64(data[at]) - ZERO
        digits += at - start
    if digits == 0:
        return _word(data, at, negative)
    if data[at] | 32 == 101:  # e or E
        at += 1
        down = data[at] == MINUS
        if down or data[at] == PLUS:
            at += 1
        power = np.int64(0)
        start = at
        digit = np.int64(data[at]) - ZERO
        while 0 <= digit <= 9:
            if power < 100000:
                power = power * 10 + digit
            at += 1
            digit = np.int64(data[at]) - ZERO
        if at == start:
            return 0.0, at, False
        exponent += -power if down else power
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
    if data[at] | 32 == 110 and data[at + 1] | 32 == 97 and data[at + 2] | 32 == 110:
        return np.nan, at + 3, True
    if data[at] | 32 == 105 and data[at + 1] | 32 == 110 and data[at + 2] | 32 == 102:
        at += 3
        rest = (105, 110, 105, 116, 121)
        same = 0
        while same < 5 and data[at + same] | 32 == rest[same]:
            same += 1
        if same == 5:
            at += 5
        return (-np.inf if negative else np.inf), at, True
    return 0.0, at, False


@compiled
def _after_line(data: Any, at: int) -> int:
    """Where the next line begins, ``at`` being where this one's end is."""
    if data[at] == CR and data[at + 1] == LF:
        return at + 2
    return at + 1


@compiled
def count_line_ends(data: Any, start: int, stop: int) -> int:
    """How many LF and CR there are: at least as many as lines end."""
    count = 0
    for at in range(start, stop):
        count += data[at] == LF or data[at] == CR
    return count


@compiled
def count_bytes(data: Any, start: int, stop: int, wanted: int) -> int:
    """How many bytes are ``wanted``."""
    count = 0
    for at in range(start, stop):
        count += data[at] == wanted
    return count


@compiled
def csv_rows(
    data: Any, at: int, stop: int, delimiter: int, missing: bool, lead: Any, features: Any, row: int
) -> Any:
    """Reads CSV rows into ``lead`` (rows, leading columns) and ``features`` (rows, width) from ``row`` on.

    Stops at ``stop``, or at the beginning of a line that is not plain or not of that many columns. Returns
    (where it stopped, rows read in all, lines passed).
    """
    leading = lead.shape[1]
    width = features.shape[1]
    columns = leading + width
    lines = 0
    blank = SPACE  # what may stand around cells; a TAB only if it does not separate them
    tab = SPACE if delimiter == TAB else TAB
    runs = delimiter == SPACE  # blanks separate, any number of them
    while at < stop:
        line = at
        while data[at] == blank or data[at] == tab:
            at += 1
        if data[at] == LF or data[at] == CR:
            at = _after_line(data, at)
            lines += 1
            continue
        column = 0
        while True:
            quoted = data[at] == QUOTE
            if quoted:
                at += 1
                while data[at] == SPACE or data[at] == TAB:
                    at += 1
            byte = data[at]
            if not quoted and (byte == delimiter or byte == LF or byte == CR):
                if not missing or column < leading:
                    return line, row, lines
                value = np.nan
            else:
                value, at, certain = _number(data, at)
                if not certain:
                    return line, row, lines
                if quoted:
                    while data[at] == SPACE or data[at] == TAB:
                        at += 1
                    if data[at] != QUOTE:
                        return line, row, lines
                    at += 1
            if column < leading:
                lead[row, column] = value
            elif column < columns:
                features[row, column - leading] = value
            else:
                return line, row, lines
            column += 1
            gap = at
            while data[at] == blank or data[at] == tab:
                at += 1
            byte = data[at]
            if byte == LF or byte == CR:
                break
            if runs:
                if at == gap:
                    return line, row, lines
            elif byte == delimiter:
                at += 1
                while data[at] == blank or data[at] == tab:
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
    lines = 0
    while at < stop:
        line = at
        found: Any = largest
        while data[at] == SPACE or data[at] == TAB:
            at += 1
        byte = data[at]
        if byte == HASH:
            while data[at] != LF and data[at] != CR:
                at += 1
            byte = data[at]
        if byte == LF or byte == CR:
            at = _after_line(data, at)
            lines += 1
            continue
        entry = indptr[row]
        first = True
        while True:
            value, after, certain = _number(data, at)
            byte = data[after]
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
                digit = np.int64(data[at]) - ZERO
                while 0 <= digit <= 9 and at - start < 18:
                    index = index * 10 + digit
                    at += 1
                    digit = np.int64(data[at]) - ZERO
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
            byte = data[at]
            while data[at] == SPACE or data[at] == TAB:
                at += 1
            if data[at] == HASH:
                while data[at] != LF and data[at] != CR:
                    at += 1
            if data[at] == LF or data[at] == CR:
                break
            if byte != SPACE and byte != TAB:
                return line, row, lines, largest
        largest = found
        at = _after_line(data, at)
        lines += 1
        row += 1
        indptr[row] = entry
    return at, row, lines, largest
