"""Character n-grams of words, hashed to buckets as fastText hashes them (Bojanowski et al., 2017)."""

from __future__ import annotations

import numpy as np

from common.batches import Int64
from common.compiled import compiled
from containers.blazingtext.text_kernels import Bytes, Int32, hash_of, hash_step
from containers.blazingtext.tokens import END_OF_SENTENCE

_BEGINS, _ENDS = 60, 62  # "<" and ">", which stand round a word


def subwords(text: Bytes, offsets: Int64, min_char: int, max_char: int, buckets: int) -> tuple[Int32, Int64]:
    """The buckets of all n-grams of words, in fastText's order, and where each word's begin, (words + 1,).

    Words are ``text[offsets[i]:offsets[i + 1]]``. The end-of-sentence token has none.
    """
    bounds = np.zeros(len(offsets), np.int64)
    end = np.frombuffer(bytearray(END_OF_SENTENCE), np.uint8)
    total = _subwords(text, offsets, end, min_char, max_char, buckets, np.empty(0, np.int32), bounds)
    found = np.empty(total, np.int32)
    _subwords(text, offsets, end, min_char, max_char, buckets, found, bounds)
    return found, bounds


@compiled
def _subwords(
    text: Bytes,
    offsets: Int64,
    end: Bytes,
    min_char: int,
    max_char: int,
    buckets: int,
    found: Int32,
    bounds: Int64,
) -> int:
    """Fills ``found``, if there is room, and ``bounds``; how many n-grams there are."""
    count = 0
    write = len(found) > 0
    for word in range(len(offsets) - 1):
        start, stop = offsets[word], offsets[word + 1]
        # Bytes of the word with its marks are counted from 0 to size.
        size = stop - start + 2
        for first in range(0 if _is(text, start, stop, end) else size):
            if _continues(text, start, stop, first):
                continue
            code, at = hash_of(text, 0, 0), first
            for length in range(1, max_char + 1):
                if at == size:
                    break
                code = hash_step(code, _letter(text, start, stop, at))
                at += 1
                while at < size and _continues(text, start, stop, at):
                    code = hash_step(code, _letter(text, start, stop, at))
                    at += 1
                if length >= min_char and not (length == 1 and (first == 0 or at == size)):
                    if write:
                        found[count] = np.int64(code) % buckets
                    count += 1
        bounds[word + 1] = count
    return count


@compiled
def _letter(text: Bytes, start: int, stop: int, at: int) -> np.uint8:
    """A byte of a word with its marks."""
    if at == 0:
        return np.uint8(_BEGINS)
    if at == stop - start + 1:
        return np.uint8(_ENDS)
    return text[start + at - 1]


@compiled
def _continues(text: Bytes, start: int, stop: int, at: int) -> bool:
    """Whether a byte goes on with a character of UTF-8."""
    return (_letter(text, start, stop, at) & 0xC0) == 0x80


@compiled
def _is(text: Bytes, start: int, stop: int, end: Bytes) -> bool:
    """Whether a word is the end-of-sentence token."""
    same = stop - start == len(end)
    for at in range(len(end) if same else 0):
        same &= text[start + at] == end[at]
    return same
