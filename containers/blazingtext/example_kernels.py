"""Compiled steps from tokens to a classifier's features: kinds of tokens, n-grams, rows of the tables.

A feature is a word's number, or ``~bucket`` (below zero) for an n-gram, until it is settled which table rows
these have.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from common.batches import Int64
from common.compiled import compiled
from containers.blazingtext.text_kernels import Bytes, Hashes, Int32

UInt8 = NDArray[np.uint8]

WORD, LABEL, END = 0, 1, 2
_MULTIPLIER = np.uint64(116049371)


@compiled
def tell_kinds(
    data: Bytes, starts: Int32, stops: Int32, numbers: Int32, words: int, prefix: Bytes, kinds: UInt8
) -> None:
    """Whether each token is a word, a label, or a word that ends an example.

    Tokens with a number below ``words`` are words and those with a higher one labels. Without a number, or
    where ``words`` is -1, labels are what begins with ``prefix``. ``data`` begins with the end-of-sentence
    token.
    """
    size = len(prefix)
    for token in range(len(kinds)):
        start, stop = starts[token], stops[token]
        if words >= 0 and numbers[token] >= 0:
            label = numbers[token] >= words
        else:
            label = stop - start >= size
            for at in range(size if label else 0):
                label &= data[start + at] == prefix[at]
        if label:
            kinds[token] = LABEL
        else:
            end = stop - start == 4
            for at in range(4 if end else 0):
                end &= data[start + at] == data[at]
            kinds[token] = END if end else WORD


@compiled
def count_features(kinds: UInt8, numbers: Int32, word_ngrams: int) -> int:
    """How many features the tokens have, at most."""
    total = words = 0
    for token in range(len(kinds)):
        if kinds[token] != LABEL:
            words += 1
            # This word ends an n-gram with each of the words before it.
            total += (numbers[token] >= 0) + min(words - 1, word_ngrams - 1)
        if kinds[token] == END:
            words = 0
    return total


@compiled
def to_examples(
    numbers: Int32,
    hashes: Hashes,
    kinds: UInt8,
    subwords: Int32,
    subword_bounds: Int64,
    word_ngrams: int,
    buckets: int,
    keep_all: bool,
    features: Int32,
    bounds: Int64,
    labels: Int32,
    label_bounds: Int64,
) -> int:
    """Fills examples ``features[bounds[i]:bounds[i + 1]]`` with their labels alike; how many there are.

    As fastText's Dictionary::getLine: known words in order, each before its subwords, then the n-grams that
    begin at each word, known or not. Token ``i`` has the buckets ``subwords[subword_bounds[i]:...]``; where
    there are no subwords, both are empty. Labels without a number are -1. Examples without labels are left
    out unless ``keep_all``.
    """
    count, start, token = 0, 0, 0
    at = label_at = 0
    bounds[0] = label_bounds[0] = 0
    while start < len(kinds):
        token = start
        while token < len(kinds):
            if kinds[token] == LABEL:
                labels[label_at] = numbers[token]
                label_at += 1
            else:
                if numbers[token] >= 0:
                    features[at] = numbers[token]
                    at += 1
                if len(subword_bounds):
                    for place in range(subword_bounds[token], subword_bounds[token + 1]):
                        features[at] = ~subwords[place]
                        at += 1
            token += 1
            if kinds[token - 1] == END:
                break
        if label_at == label_bounds[count] and not keep_all:
            at = int(bounds[count])
        else:
            if word_ngrams > 1:
                at = _ngrams(hashes, kinds, start, token, word_ngrams, buckets, features, at)
            count += 1
            bounds[count], label_bounds[count] = at, label_at
        start = token
    return count


@compiled
def _ngrams(
    hashes: Hashes,
    kinds: UInt8,
    start: int,
    stop: int,
    word_ngrams: int,
    buckets: int,
    features: Int32,
    at: int,
) -> int:
    """Appends the n-grams of two words or more of ``start:stop``; where they end."""
    for first in range(start, stop):
        if kinds[first] == LABEL:
            continue
        # Hashes count as signed numbers, as fastText keeps them.
        code = np.uint64(np.int64(np.int32(hashes[first])))
        words = 1
        for token in range(first + 1, stop):
            if words == word_ngrams:
                break
            if kinds[token] == LABEL:
                continue
            words += 1
            code = code * _MULTIPLIER + np.uint64(np.int64(np.int32(hashes[token])))
            features[at] = ~np.int32(code % np.uint64(buckets))
            at += 1
    return at


@compiled
def mark(features: Int32, seen: UInt8) -> None:
    """Sets ``seen[bucket]`` of each n-gram."""
    for at in range(len(features)):
        if features[at] < 0:
            seen[~features[at]] = 1


@compiled
def settle(
    features: Int32,
    bounds: Int64,
    word_rows: Int32,
    bucket_rows: Int32,
    settled: Int32,
    settled_bounds: Int64,
) -> None:
    """The table rows of features: ``word_rows`` of words, -1 for those to leave out; ``bucket_rows``."""
    at = np.int64(0)
    settled_bounds[0] = 0
    for example in range(len(bounds) - 1):
        for place in range(bounds[example], bounds[example + 1]):
            feature = features[place]
            row = word_rows[feature] if feature >= 0 else bucket_rows[~feature]
            if row >= 0:
                settled[at] = row
                at += 1
        settled_bounds[example + 1] = at
