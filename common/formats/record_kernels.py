"""Compiled reader of framed protobuf records of any layout.

It reads protobuf's wire format itself: maps, oneof, packed and unpacked repeats, fields in any order, unknown
fields (groups as well) passed over, and the rule that the last of several wins or, for messages, that they
merge. The encoding is https://protobuf.dev/programming-guides/encoding; the messages are in record.proto.
"""

# ruff: noqa: SIM109, chains of == are what compiles to the fastest code

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from common.compiled import compiled
from common.formats.borrowing import borrowed

# Why reading stopped.
MORE = 0  # the bytes end, perhaps inside a record
FULL = 1  # the arrays are full
PARTS = 2  # a record in parts (or one out of order) begins
BAD_MAGIC = 3
MALFORMED = 4
NO_FEATURES = 5
NO_LABEL = 6
BYTES_FEATURES = 7
BYTES_LABEL = 8
LABEL_SIZE = 9  # detail: how many label values there are
SPARSE_LABEL = 10
KEYS_AND_VALUES = 11  # detail: keys, other: values
WIDTH = 12  # a dense row's; detail: its width
SHAPE = 13  # a dense row's values do not fill its shape; detail: values, other: what the shape holds
SHAPE_TOO_WIDE = 14  # a sparse row's; detail: what the shape holds
KEY = 15  # detail: the key, other: the limit
NO_VALUES = 16

# Where things stand in ``state``.
AT, ROWS, ENTRIES, DETAIL, OTHER, DENSE_WIDTH, LARGEST = range(7)
STATE = 7

# Where things stand in what is known of a tensor.
_BASE, _VALUES, _KEYS, _DIMENSIONS, _SIZE, _KIND = range(6)
_TENSOR = 6
TENSORS = 2 * _TENSOR  # the features' and the label's

_MAGIC = 0xCED7230A
_LENGTH = (1 << 29) - 1
_UNKNOWN = np.int64(-1)
_HUGE = np.int64(1 << 62)
_DEEPEST = 100  # groups inside groups, protobuf's own bound
_FLOAT32, _FLOAT64, _INT32, _BYTES = 2, 3, 7, 9  # field numbers in Value
_VARINT, _EIGHT, _DELIMITED, _GROUP, _END_GROUP, _FOUR = range(6)  # wire types


# For small functions, which are then part of those that call them.
_in_place = numba.njit(nogil=True, error_model="numpy", inline="always")


@_in_place
def _varint(data: Any, at: int, stop: int) -> Any:
    """A variable-length integer as an int64 (bit 63 is its sign) and where it ends, -1 if nowhere."""
    if at < stop and data[np.uint64(at)] < 128:
        return np.int64(data[np.uint64(at)]), at + 1
    value = np.int64(0)
    shift = 0
    while at < stop and shift < 70:
        byte = np.int64(data[np.uint64(at)])
        at += 1
        if shift == 63 and byte > 1:
            return value, -1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    return value, -1


@_in_place
def _field(data: Any, at: int, stop: int) -> Any:
    """A field's (number, wire type, where its content begins, where that ends), the last -1 if it has no end.

    The content of a group ends before its end mark only if it was passed over: see ``_skip``.
    """
    tag, at = _varint(data, at, stop)
    number, wire = tag >> 3, tag & 7
    if at < 0 or tag < 8 or tag > 0xFFFFFFFF:
        return number, wire, at, -1
    if wire == _DELIMITED:
        length, at = _varint(data, at, stop)
        if at < 0 or length < 0 or length > stop - at:
            return number, wire, at, -1
        return number, wire, at, at + length
    if wire == _VARINT:
        _, end = _varint(data, at, stop)
        return number, wire, at, end
    if wire == _FOUR:
        return number, wire, at, (at + 4 if stop - at >= 4 else -1)
    if wire == _EIGHT:
        return number, wire, at, (at + 8 if stop - at >= 8 else -1)
    if wire == _GROUP:
        return number, wire, at, _after_group(data, at, stop, number)
    return number, wire, at, -1


@compiled
def _after_group(data: Any, at: int, stop: int, number: int) -> int:
    """Where the group that begins ``at`` has ended, -1 if it does not."""
    open_groups = np.empty(_DEEPEST, np.int64)
    open_groups[0] = number
    depth = 1
    while depth > 0:
        tag, at = _varint(data, at, stop)
        if at < 0 or tag < 8 or tag > 0xFFFFFFFF:
            return -1
        wire = tag & 7
        if wire == _GROUP:
            if depth == _DEEPEST:
                return -1
            open_groups[depth] = tag >> 3
            depth += 1
        elif wire == _END_GROUP:
            depth -= 1
            if open_groups[depth] != tag >> 3:
                return -1
        elif wire == _VARINT:
            _, at = _varint(data, at, stop)
            if at < 0:
                return -1
        elif wire == _DELIMITED:
            length, at = _varint(data, at, stop)
            if at < 0 or length < 0 or length > stop - at:
                return -1
            at += length
        elif wire == _FOUR or wire == _EIGHT:
            at += 4 if wire == _FOUR else 8
            if at > stop:
                return -1
        else:
            return -1
    return at


@_in_place
def _word(data: Any, at: int) -> Any:
    """Four bytes as a uint32, which compiles to one load: an unsigned place does not count from the end."""
    place = np.uint64(at)
    word = np.uint32(data[place])
    word |= np.uint32(data[place + np.uint64(1)]) << np.uint32(8)
    word |= np.uint32(data[place + np.uint64(2)]) << np.uint32(16)
    word |= np.uint32(data[place + np.uint64(3)]) << np.uint32(24)
    return np.uint32(word)


@compiled
def _integers(data: Any, at: Any, end: int, room: Any, filled: int) -> Any:
    """Appends variable-length integers to ``room``: (how far it is filled, -1 if malformed, -2 if full).

    Up to four bytes, which is what keys mostly take, are read at once without a branch for how many they are.
    """
    while at < end:
        if filled == len(room):
            return -2
        if end - at >= 4:
            word = np.uint64(_word(data, at))
            stops = ~word & np.uint64(0x80808080)
            if stops != 0:
                last = stops & (~stops + np.uint64(1))  # the mark of the first byte that ends a number
                word &= last - np.uint64(1)
                value = word & np.uint64(0x7F)
                value |= (word >> np.uint64(1)) & np.uint64(0x3F80)
                value |= (word >> np.uint64(2)) & np.uint64(0x1FC000)
                value |= (word >> np.uint64(3)) & np.uint64(0xFE00000)
                room[np.uint64(filled)] = np.int64(value)
                filled += 1
                at += 1 + (last > 0x80) + (last > 0x8000) + (last > 0x800000)
                continue
        key, at = _varint(data, at, end)
        if at < 0:
            return -1
        room[np.uint64(filled)] = key
        filled += 1
    return filled


@compiled
def _values(data: Any, at: int, end: int, kind: int, values: Any, tensor: Any) -> int:
    """Appends the packed numbers of ``data[at:end]`` to ``values``."""
    filled = tensor[_VALUES]
    if kind == _FLOAT32:
        count = (end - at) >> 2
        if (end - at) & 3:
            return MALFORMED
        if count > len(values) - filled:
            return FULL
        words = values.view(np.uint32)
        for index in range(count):
            words[np.uint64(filled + index)] = _word(data, at + 4 * index)
        tensor[_VALUES] = filled + count
    elif kind == _FLOAT64:
        count = (end - at) >> 3
        if (end - at) & 7:
            return MALFORMED
        if count > len(values) - filled:
            return FULL
        pair = np.empty(2, np.uint32)
        number = pair.view(np.float64)
        for index in range(count):
            pair[0] = _word(data, at + 8 * index)
            pair[1] = _word(data, at + 8 * index + 4)
            values[np.uint64(filled + index)] = number[0]
        tensor[_VALUES] = filled + count
    else:
        while at < end:
            value, at = _varint(data, at, end)
            if at < 0:
                return MALFORMED
            if filled == len(values):
                return FULL
            values[filled] = np.int32(value)
            filled += 1
        tensor[_VALUES] = filled
    return MORE


@compiled
def _tensor(data: Any, at: int, stop: int, kind: int, values: Any, keys: Any, tensor: Any) -> int:
    """Appends a tensor message's values and keys."""
    whole = _FOUR if kind == _FLOAT32 else (_EIGHT if kind == _FLOAT64 else _VARINT)
    while at < stop:
        number, wire, at, end = _field(data, at, stop)
        if end < 0:
            return MALFORMED
        if number == 1 and (wire == _DELIMITED or wire == whole):
            problem = _values(data, at, end, kind, values, tensor)
            if problem != MORE:
                return problem
        elif number == 2 and (wire == _DELIMITED or wire == _VARINT):
            filled = _integers(data, at, end, keys, tensor[_KEYS])
            if filled < 0:
                return MALFORMED if filled == -1 else FULL
            tensor[_KEYS] = filled
        elif number == 3 and (wire == _DELIMITED or wire == _VARINT):
            place = at
            while place < end:
                size, place = _varint(data, place, end)
                if place < 0:
                    return MALFORMED
                tensor[_DIMENSIONS] += 1
                product = tensor[_SIZE]
                if size < 0 or (size > 0 and product > _HUGE // size):
                    tensor[_SIZE] = _HUGE
                else:
                    tensor[_SIZE] = product * size
        at = end
    return MORE


@_in_place
def _reset(tensor: Any, kind: int) -> None:
    tensor[_VALUES] = tensor[_KEYS] = tensor[_BASE]
    tensor[_DIMENSIONS] = 0
    tensor[_SIZE] = 1
    tensor[_KIND] = kind


@compiled
def _value(data: Any, at: int, stop: int, values: Any, keys: Any, tensor: Any) -> int:
    """Merges a Value message into ``tensor``: the last kind of tensor wins, several of one kind add up."""
    while at < stop:
        number, wire, at, end = _field(data, at, stop)
        if end < 0:
            return MALFORMED
        if wire == _DELIMITED and (
            number == _FLOAT32 or number == _FLOAT64 or number == _INT32 or number == _BYTES
        ):
            if tensor[_KIND] != number:
                _reset(tensor, number)
            if number != _BYTES:
                problem = _tensor(data, at, end, number, values, keys, tensor)
                if problem != MORE:
                    return problem
        at = end
    return MORE


@compiled
def _entry(data: Any, at: int, stop: int, values: Any, keys: Any, tensor: Any) -> int:
    """Reads a map's entry; if its key is ``values``, its tensor replaces what was read before."""
    place = at
    wanted = False
    while place < stop:
        number, wire, place, end = _field(data, place, stop)
        if end < 0:
            return MALFORMED
        if number == 1 and wire == _DELIMITED:
            wanted = (
                end - place == 6
                and _word(data, place) == 0x756C6176  # "valu"
                and data[place + 4] == 101
                and data[place + 5] == 115
            )
        place = end
    if not wanted:
        return MORE
    _reset(tensor, 0)
    while at < stop:
        number, wire, at, end = _field(data, at, stop)
        if number == 2 and wire == _DELIMITED:
            problem = _value(data, at, end, values, keys, tensor)
            if problem != MORE:
                return problem
        at = end
    return MORE


@compiled
def _record(
    data: Any,
    at: int,
    stop: int,
    labelled: bool,
    values: Any,
    keys: Any,
    labels: Any,
    label_keys: Any,
    features: Any,
    label: Any,
) -> int:
    """Reads a record's features and, if wanted, its label."""
    while at < stop:
        number, wire, at, end = _field(data, at, stop)
        if end < 0:
            return MALFORMED
        if wire == _DELIMITED:
            problem = MORE
            if number == 1:
                problem = _entry(data, at, end, values, keys, features)
            elif number == 2 and labelled:
                problem = _entry(data, at, end, labels, label_keys, label)
            if problem != MORE:
                return problem
        at = end
    return MORE


@compiled
def read_records(
    data: Any,
    stop: int,
    final: bool,
    most: int,
    label_size: int,
    feature_dim: int,
    values: Any,
    keys: Any,
    labels: Any,
    label_keys: Any,
    starts: Any,
    sparse: Any,
    tensors: Any,
    state: Any,
) -> int:
    """Reads framed records from ``state[AT]`` on, at most until there are ``most`` rows; why it stopped.

    Row r's values are ``values[starts[r]:starts[r + 1]]``, with ``keys`` in the same places if ``sparse[r]``.
    ``state`` goes on from call to call: where the next record begins, how many rows and values there are, two
    numbers about what is wrong, the width of dense rows (-1 before the first) and the largest key or, where
    rows have shapes, the largest shape less one. ``tensors`` is room for TENSORS numbers.
    """
    data, state, starts, sparse = borrowed(data), borrowed(state), borrowed(starts), borrowed(sparse)
    values, keys = borrowed(values), borrowed(keys)
    labels, label_keys = borrowed(labels), borrowed(label_keys)
    features, label = borrowed(tensors)[:_TENSOR], borrowed(tensors)[_TENSOR:]
    while state[ROWS] < most:
        at = state[AT]
        row = state[ROWS]
        if row + 1 >= len(starts):
            return FULL
        if stop - at < 8:
            return MORE
        if _word(data, at) != _MAGIC:
            return BAD_MAGIC
        header = np.int64(_word(data, at + 4))
        if header > _LENGTH:
            return PARTS
        end = at + 8 + header
        padded = end + (-header & 3)
        if stop < (end if final else padded):
            return MORE
        base = state[ENTRIES]
        features[_BASE] = base
        features[_KIND] = _UNKNOWN
        label[_BASE] = row * label_size
        label[_KIND] = _UNKNOWN
        problem = _record(
            data, at + 8, end, label_size > 0, values, keys, labels, label_keys, features, label
        )
        if problem == MORE:
            problem = _check(features, label, label_size, feature_dim, keys, state)
        if problem != MORE:
            return problem
        starts[row] = base
        starts[row + 1] = features[_VALUES]
        sparse[row] = features[_KEYS] > base or features[_VALUES] == base
        state[ENTRIES] = features[_VALUES]
        state[ROWS] = row + 1
        state[AT] = min(padded, stop)
    return MORE


@compiled
def cut(data: Any, at: Any, cuts: Any) -> int:
    """Looks for frames that begin after equal shares of ``data[at:]``, and puts them into ``cuts``.

    Returns how many there are; less than asked for where a share holds a record in parts, or no whole one.
    """
    count = len(cuts)
    share = (len(data) - at) // (count + 1)
    found = 0
    stop = len(data)
    wanted = at + share
    while found < count:
        if at >= wanted:
            cuts[found] = at
            found += 1
            wanted += share
            continue
        if stop - at < 8 or _word(data, at) != _MAGIC:
            return found
        header = np.int64(_word(data, at + 4))
        if header > _LENGTH:
            return found
        at += 8 + header + (-header & 3)
        if at > stop:
            return found
    return found


@compiled
def _check(features: Any, label: Any, label_size: int, feature_dim: int, keys: Any, state: Any) -> int:
    """What is wrong with a record whose parts were read, MORE if nothing; notes its width."""
    base = features[_BASE]
    count = features[_VALUES] - base
    key_count = features[_KEYS] - base
    shaped = features[_DIMENSIONS] > 0
    size = features[_SIZE]
    if features[_KIND] == _UNKNOWN:
        return NO_FEATURES
    if features[_KIND] == _BYTES:
        return BYTES_FEATURES
    if features[_KIND] == 0 or (count == 0 and key_count == 0 and not shaped):
        return NO_VALUES
    if label_size > 0:
        if label[_KIND] == _UNKNOWN or label[_KIND] == 0:
            return NO_LABEL
        if label[_KIND] == _BYTES:
            return BYTES_LABEL
        if label[_KEYS] > label[_BASE]:
            return SPARSE_LABEL
        if label[_VALUES] - label[_BASE] != label_size:
            state[DETAIL] = label[_VALUES] - label[_BASE]
            return LABEL_SIZE
    if key_count == 0 and count > 0:
        state[DETAIL] = count
        if shaped and size != count:
            state[OTHER] = size
            return SHAPE
        if (feature_dim >= 0 and count != feature_dim) or (
            state[DENSE_WIDTH] >= 0 and count != state[DENSE_WIDTH]
        ):
            return WIDTH
        state[DENSE_WIDTH] = count
        return MORE
    if key_count != count:
        state[DETAIL] = key_count
        state[OTHER] = count
        return KEYS_AND_VALUES
    limit = size if shaped else _HUGE
    if feature_dim >= 0:
        if shaped and size > feature_dim:
            state[DETAIL] = size
            return SHAPE_TOO_WIDE
        limit = min(limit, feature_dim)
    largest = state[LARGEST]
    if shaped:
        largest = max(largest, size - 1)
    lowest, highest = np.int64(0), np.int64(-1)
    for place in range(base, base + count):
        key = keys[np.uint64(place)]
        lowest = min(lowest, key)
        highest = max(highest, key)
    if lowest < 0 or highest >= limit:
        place = base
        while 0 <= keys[place] < limit:
            place += 1
        state[DETAIL] = keys[place]
        state[OTHER] = limit
        return KEY
    largest = max(largest, highest)
    state[LARGEST] = largest
    return MORE
