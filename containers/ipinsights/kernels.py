"""The loops that numpy can't express: rows of tables, sums over pairs, Adam on the rows that were touched.

Threads share no row: each has a part of the pairs, or the rows whose number modulo the threads is its own,
and adds in the order of the pairs, so equal runs give equal bytes.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from common.compiled import compiled
from common.prefetching import prefetch_row

# Sums of products in several lanes at once.
_summing = functools.partial(compiled, fastmath=("reassoc", "contract"))

# How many rows ahead of the one at hand memory is asked for.
_AHEAD = 8

# --- a counter to random bits ---

_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_BY_30, _BY_27, _BY_31, _BY_32, _BY_40 = (np.uint64(count) for count in (30, 27, 31, 32, 40))


@compiled
def _random(key: Any, counter: Any) -> Any:
    """64 random bits of a counter: SplitMix64 (Steele, Lea and Flood, 2014). Artifacts depend on it."""
    bits = key + (np.uint64(counter) + np.uint64(1)) * _STEP
    bits = (bits ^ (bits >> _BY_30)) * _MIX_1
    bits = (bits ^ (bits >> _BY_27)) * _MIX_2
    return bits ^ (bits >> _BY_31)


@compiled
def random_addresses(key: Any, first: int, addresses: Any) -> None:
    """Fills (n,) uint32: every octet is uniform from 0 to 255. Number i is that of counter first + i."""
    for row in range(len(addresses)):
        addresses[row] = np.uint32(_random(key, first + row) >> _BY_32)


@compiled
def initial_rows(key: Any, rows: Any, values: Any, scale: float) -> None:
    """The (n, d) ``values`` that the table's ``rows`` (int64) begin with: uniform from -scale to scale."""
    width = values.shape[1]
    for place in range(len(rows)):
        for column in range(width):
            bits = _random(key, rows[place] * width + column) >> _BY_40  # 24 bits, all that a float32 holds
            values[place, column] = (np.float64(bits) / 8388608.0 - 1.0) * scale


@compiled
def shuffle(key: Any, first: int, places: Any) -> None:
    """Makes (n,) int32 ``places`` a random permutation of 0 to n - 1 (Fisher and Yates)."""
    for row in range(len(places)):
        other = np.int64(_random(key, first + row) >> _BY_32) * (row + 1) >> 32
        places[row] = places[other]
        places[other] = row


# --- which rows ---

_EMPTY = -1


@compiled
def find_rows(rows: Any, keys: Any, slots: Any, known: Any, count: int, found: Any) -> int:
    """Looks (n,) int64 ``rows`` up in an open hash table and adds those that are new; how many it has then.

    ``keys`` (int32, -1 where empty) and ``slots`` (int32) are the table with its ``count`` entries, a power
    of 2 long and never full. New rows get the slots from ``count`` on, in the order of their coming, and are
    written to ``known`` (int64) there. ``found`` (int32) gets each row's slot.
    """
    mask = np.uint64(len(keys) - 1)
    for place in range(len(rows)):
        row = rows[place]
        at = (np.uint64(row) * _STEP >> _BY_32) & mask
        while keys[at] != row and keys[at] != _EMPTY:
            at = (at + np.uint64(1)) & mask
        if keys[at] == _EMPTY:
            keys[at] = row
            slots[at] = count
            known[count] = row
            count += 1
        found[place] = slots[at]
    return count


@compiled
def distinct(slots: Any, seen: Any, places: Any, found: Any) -> int:
    """Numbers the different ones of (n,) int32 ``slots`` in the order of their coming; how many there are.

    ``places`` gets each slot's number, ``found`` the slots by number. ``seen`` is -1 for every slot, also
    afterwards.
    """
    count = 0
    for row in range(len(slots)):
        slot = slots[row]
        if seen[slot] < 0:
            seen[slot] = count
            found[count] = slot
            count += 1
        places[row] = seen[slot]
    for row in range(count):
        seen[found[row]] = -1
    return count


# --- prefixes of addresses ---

# The first rows of the prefixes' table are those of 8 bits, then come those of 16; longer ones are hashed.
_ROWS_16 = 1 << 8
_ROWS_24 = _ROWS_16 + (1 << 16)
_ROWS_32 = _ROWS_24 + (1 << 16)
PREFIX_ROWS = _ROWS_32 + (1 << 16)
_LAST_OCTET = np.uint32(0xFF)
_LOW = np.uint32(0xFFFF)
_BY_8, _BY_13, _BY_16, _BY_24 = (np.uint32(count) for count in (8, 13, 16, 24))
_MIX_A, _MIX_B = np.uint32(0x85EBCA6B), np.uint32(0xC2B2AE35)


@compiled
def _spread(prefix: Any) -> Any:
    """16 bits of a prefix: MurmurHash3's last step of 32 bits. Artifacts depend on it."""
    prefix = np.uint32((prefix ^ (prefix >> _BY_16)) * _MIX_A)
    prefix = np.uint32((prefix ^ (prefix >> _BY_13)) * _MIX_B)
    return np.uint32((prefix ^ (prefix >> _BY_16)) & _LOW)


@compiled
def prefix_row(address: Any, octets: int) -> Any:
    """The row of an address's first ``octets`` (1 to 4) octets.

    The hash of all octets but the last is changed by the last one's bits alone, so prefixes that differ in
    it alone have different rows, and no two addresses have all four rows in common.
    """
    address = np.uint32(address)
    if octets == 1:
        return np.int64(address >> _BY_24)
    if octets == 2:
        return np.int64(_ROWS_16) + np.int64(address >> _BY_16)
    if octets == 3:
        shorter, last, first = address >> _BY_16, (address >> _BY_8) & _LAST_OCTET, _ROWS_24
    else:
        shorter, last, first = address >> _BY_8, address & _LAST_OCTET, _ROWS_32
    return np.int64(first) + np.int64(_spread(np.uint32(shorter)) ^ last)


@compiled
def prefix_rows(addresses: Any, rows: Any) -> None:
    """The rows of each address's prefixes, the shortest first: (4, n) int64 ``rows``."""
    for place in range(len(addresses)):
        for part in range(4):
            rows[part, place] = prefix_row(addresses[place], part + 1)


@compiled
def gather_prefixes(table: Any, bounds: Any, addresses: Any, out: Any) -> None:
    """Fills (n, d) ``out`` with the rows of each address's prefixes beside each other.

    ``bounds`` (int64, 5) are the columns of ``out`` where those of 8, 16, 24 and 32 bits begin and end.
    """
    for row in range(len(addresses)):
        if row + _AHEAD < len(addresses):
            for part in range(1, 4):
                prefetch_row(table, prefix_row(addresses[row + _AHEAD], part + 1))
        for part in range(4):
            source = np.uint64(prefix_row(addresses[row], part + 1))
            start = np.uint64(bounds[part])
            for column in range(np.uint64(bounds[part + 1]) - start):
                out[row, start + column] = table[source, column]


@compiled
def add_prefixes(
    gradient: Any, touched: Any, bounds: Any, addresses: Any, parts: Any, owner: int, owners: int
) -> None:
    """Adds (n, d) ``parts``, cut as `gather_prefixes` joined them, to the rows of ``gradient`` of ``owner``.

    ``touched`` (uint8) becomes 1 for these rows.
    """
    for row in range(len(addresses)):
        if row + _AHEAD < len(addresses):
            for part in range(1, 4):
                prefetch_row(gradient, prefix_row(addresses[row + _AHEAD], part + 1))
        for part in range(4):
            target = np.uint64(prefix_row(addresses[row], part + 1))
            if target % np.uint64(owners) == np.uint64(owner):
                touched[target] = 1
                start = np.uint64(bounds[part])
                for column in range(np.uint64(bounds[part + 1]) - start):
                    gradient[target, column] += parts[row, start + column]


@compiled
def gather(table: Any, rows: Any, out: Any) -> None:
    """Copies the ``rows`` (int32) of (t, d) ``table`` to (n, d) ``out``."""
    for place in range(len(rows)):
        if place + _AHEAD < len(rows):
            prefetch_row(table, rows[place + _AHEAD])
        row = rows[place]
        for column in range(out.shape[1]):
            out[place, column] = table[row, column]


@compiled
def add_rows(gradient: Any, places: Any, parts: Any, owner: int, owners: int) -> None:
    """Adds (n, d) ``parts`` to the rows ``places`` (int32) of ``gradient`` that are ``owner``'s."""
    for row in range(len(places)):
        place = places[row]
        if place % owners == owner:
            for column in range(parts.shape[1]):
                gradient[place, column] += parts[row, column]


# --- scores ---


@_summing
def score(entities: Any, addresses: Any, out: Any) -> None:
    """The dot products of (n, d) vectors, row by row, to (n,) float32 ``out``."""
    for row in range(len(out)):
        total = np.float32(0)
        for column in range(entities.shape[1]):
            total += entities[row, column] * addresses[row, column]
        out[row] = total


@_summing
def learn_pairs(
    offsets: Any,
    entities: Any,
    products: Any,
    hidden: Any,
    partners: Any,
    label: int,
    entity_slopes: Any,
    product_slopes: Any,
    hidden_slopes: Any,
    slopes: Any,
    sums: Any,
) -> None:
    """Scores entity i with address ``partners[i]`` (int32) and adds the log loss's gradients.

    A score is ``offsets + entities . hidden + products . relu(hidden)``, see `encoder`. The last three are
    (n, d), and so are the sums of their gradients; ``slopes`` (n,) are those of the offsets. ``label`` is 1
    for observed pairs, else 0. To ``sums`` (float64, 3) the loss, the number of scores on the right side of
    0, and the number of pairs are added.
    """
    width = entities.shape[1]
    loss, right = 0.0, 0
    zero = np.float32(0)
    for row in range(len(partners)):
        other = np.uint64(partners[row])
        total = offsets[row]
        for column in range(width):
            value = hidden[other, column]
            total += entities[row, column] * value + products[row, column] * max(value, zero)
        found = np.float64(total)
        # log(1 + exp(-|s|)), which can't overflow, serves the loss and the slope.
        small = math.exp(-abs(found))
        wrong = -found if label else found
        loss += max(wrong, 0.0) + math.log1p(small)
        right += (found > 0) == (label == 1)
        probability = 1.0 / (1.0 + small) if found >= 0 else small / (1.0 + small)
        slope = np.float32(probability - label)
        slopes[row] += slope
        for column in range(width):
            value = hidden[other, column]
            entity_slopes[row, column] += slope * value
            product_slopes[row, column] += slope * max(value, zero)
            inner = products[row, column] if value > zero else zero
            hidden_slopes[other, column] += slope * (entities[row, column] + inner)
    sums[0] += loss
    sums[1] += right
    sums[2] += len(partners)


# --- Adam ---

_MEAN_DECAY, _SQUARE_DECAY, _EPSILON = np.float32(0.9), np.float32(0.999), np.float32(1e-8)
_MEAN_SHARE, _SQUARE_SHARE = np.float32(0.1), np.float32(0.001)


@compiled
def adam(
    values: Any,
    means: Any,
    squares: Any,
    rows: Any,
    gradient: Any,
    places: Any,
    rate: float,
    scale: float,
    decay: float,
) -> None:
    """One step of Adam on the ``rows`` of a (t, d) table, as MXNet's optimiser makes it.

    ``gradient[places[i]]`` is that of row ``rows[i]`` (both int32) and becomes 0. It is multiplied by
    ``scale``; ``decay`` times the value is added (L2). ``rate`` holds the correction of the moments' bias.
    """
    step, share, penalty = np.float32(rate), np.float32(scale), np.float32(decay)
    for index in range(len(rows)):
        if index + _AHEAD < len(rows):
            following = rows[index + _AHEAD]
            prefetch_row(values, following)
            prefetch_row(means, following)
            prefetch_row(squares, following)
            prefetch_row(gradient, places[index + _AHEAD])
        row, place = np.uint64(rows[index]), np.uint64(places[index])
        for column in range(values.shape[1]):
            slope = gradient[place, column] * share + penalty * values[row, column]
            gradient[place, column] = np.float32(0)
            mean = _MEAN_DECAY * means[row, column] + _MEAN_SHARE * slope
            square = _SQUARE_DECAY * squares[row, column] + _SQUARE_SHARE * slope * slope
            means[row, column] = mean
            squares[row, column] = square
            values[row, column] -= step * mean / (np.sqrt(square) + _EPSILON)


# --- the ROC curve ---

_SIGN = np.uint32(1 << 31)
_BY_10 = np.uint32(10)


@compiled
def count_scores(bits: Any, counts: Any) -> None:
    """Counts (n,) float32 scores, given as their bits (uint32), by their first 22 bits in ascending order."""
    for row in range(len(bits)):
        pattern = bits[row] if bits[row] != _SIGN else np.uint32(0)  # -0 is 0
        ordered = np.uint32(~pattern) if pattern & _SIGN else np.uint32(pattern | _SIGN)
        counts[ordered >> _BY_10] += 1
