"""Kernels on text: tokens and their hashes as fastText has them, the vocabulary's hash table, subwords."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from common.batches import Int64
from common.compiled import compiled

Bytes = NDArray[np.uint8]
Int32 = NDArray[np.int32]
Hashes = NDArray[np.uint32]

_OFFSET, _PRIME = np.uint32(2166136261), np.uint32(16777619)
_LINE_FEED = np.uint8(10)
_SIGN = np.uint32(0xFFFFFF00)


@compiled
def _separates(letter: int) -> bool:
    """Blank, line feed, carriage return, both tabs, form feed and zero."""
    return letter == 32 or 9 <= letter <= 13 or letter == 0


@compiled
def hash_step(code: np.uint32, letter: np.uint8) -> np.uint32:
    """FNV-1a of 32 bits, but a byte from 128 on counts as the negative number it is in C's signed char."""
    value = np.uint32(letter)
    if letter >= 128:
        value |= _SIGN
    return np.uint32((code ^ value) * _PRIME)


@compiled
def hash_of(data: Bytes, start: int, stop: int) -> np.uint32:
    """fastText's hash of ``data[start:stop]``."""
    code = _OFFSET
    for at in range(start, stop):
        code = hash_step(code, data[at])
    return code


@compiled
def hash_each(text: Bytes, offsets: Int64, codes: Hashes) -> None:
    """The hash of each word ``text[offsets[i]:offsets[i + 1]]``."""
    for word in range(len(codes)):
        codes[word] = hash_of(text, offsets[word], offsets[word + 1])


@compiled
def tokenise(data: Bytes, first: int, starts: Int32, stops: Int32, hashes: Hashes) -> int:
    """Splits ``data[first:]`` as fastText's readWord; how many tokens there are.

    ``data`` begins with the bytes of the end-of-sentence token, which a line feed stands for. There is room
    for as many tokens as ``data`` has bytes.
    """
    count = 0
    at, end = first, len(data)
    end_of_sentence = hash_of(data, 0, first)
    while at < end:
        letter = data[at]
        if _separates(letter):
            if letter == _LINE_FEED:
                starts[count], stops[count], hashes[count] = 0, first, end_of_sentence
                count += 1
            at += 1
            continue
        code, start = _OFFSET, at
        while at < end and not _separates(data[at]):
            code = hash_step(code, data[at])
            at += 1
        starts[count], stops[count], hashes[count] = start, at, code
        count += 1
    return count


@compiled
def _place(
    data: Bytes,
    start: int,
    stop: int,
    code: np.uint32,
    table: Int32,
    text: Bytes,
    offsets: Int64,
    codes: Hashes,
) -> np.int64:
    """Where in the hash table a token is, or would be."""
    mask = len(table) - 1
    place = np.int64(code) & mask
    length = stop - start
    while True:
        entry = table[place]
        if entry < 0:
            return place
        if codes[entry] == code and offsets[entry + 1] - offsets[entry] == length:
            at, same = offsets[entry], True
            for index in range(length):
                if text[at + index] != data[start + index]:
                    same = False
                    break
            if same:
                return place
        place = (place + 1) & mask


@compiled
def find(
    data: Bytes,
    starts: Int32,
    stops: Int32,
    hashes: Hashes,
    table: Int32,
    text: Bytes,
    offsets: Int64,
    codes: Hashes,
    found: Int32,
) -> None:
    """The entry of each token, -1 where there is none, into ``found``."""
    for token in range(len(starts)):
        place = _place(data, starts[token], stops[token], hashes[token], table, text, offsets, codes)
        found[token] = table[place]


@compiled
def count(
    data: Bytes,
    starts: Int32,
    stops: Int32,
    hashes: Hashes,
    table: Int32,
    text: Bytes,
    offsets: Int64,
    codes: Hashes,
    counts: Int64,
    size: int,
    found: Int32,
) -> int:
    """Counts each token, new ones as new entries; the number of entries, which was ``size``.

    ``found`` receives each token's entry. There must be room for all tokens to be new.
    """
    for token in range(len(starts)):
        start, stop = starts[token], stops[token]
        place = _place(data, start, stop, hashes[token], table, text, offsets, codes)
        entry = table[place]
        if entry < 0:
            entry = size
            table[place] = entry
            codes[entry] = hashes[token]
            counts[entry] = 0
            at = offsets[entry]
            for index in range(stop - start):
                text[at + index] = data[start + index]
            offsets[entry + 1] = at + stop - start
            size += 1
        counts[entry] += 1
        found[token] = entry
    return size


@compiled
def fill_table(codes: Hashes, table: Int32) -> None:
    """Puts entries that are all different into an empty hash table (-1 everywhere)."""
    mask = len(table) - 1
    for entry in range(len(codes)):
        place = np.int64(codes[entry]) & mask
        while table[place] >= 0:
            place = (place + 1) & mask
        table[place] = entry


@compiled
def gather(text: Bytes, offsets: Int64, order: Int64, target: Bytes, starts: Int64) -> None:
    """Copies the words of ``order`` into ``target``, one behind the other; ``starts`` receives where."""
    at = 0
    for index in range(len(order)):
        starts[index] = at
        for source in range(offsets[order[index]], offsets[order[index] + 1]):
            target[at] = text[source]
            at += 1
    starts[len(order)] = at
