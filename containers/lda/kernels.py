"""The loops over documents' words: what they cost follows from the entries alone, not from the vocabulary.

Counts are (entries,) float32, indices (entries,) int32 and indptr (rows + 1,) int64, the rows being documents
or words. Each kernel does the rows from ``first`` to ``last`` and writes what is theirs alone, so that parts
run at once and give the same numbers however many there are.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from common.batches import Float32, Int64
from common.compiled import compiled

Int32 = NDArray[np.int32]
Float64 = NDArray[np.float64]

# Sums over topics are added up in several places at once.
_summing = functools.partial(compiled, fastmath=("reassoc", "contract"))

# What the likelihood of a word is above, so that one no topic has does not divide by 0.
TINY = np.float32(1e-30)


@compiled
def transpose(
    counts: Float32, indices: Int32, indptr: Int64, starts: Int64, turned: Float32, rows: Int32
) -> None:
    """Sorts entries by their index, rows in order within one.

    ``starts`` is (columns,) where each index's entries begin, and is used up. Writes each entry's count and
    row to ``turned`` and ``rows``.
    """
    for row in range(indptr.shape[0] - 1):
        for entry in range(indptr[row], indptr[row + 1]):
            place = starts[indices[entry]]
            starts[indices[entry]] = place + 1
            turned[place] = counts[entry]
            rows[place] = row


@compiled
def products(
    counts: Float32, indices: Int32, indptr: Int64, matrix: Float64, out: Float64, first: int, last: int
) -> None:
    """Row ``i`` of ``out`` becomes the sum of the rows of ``matrix`` that row i has, times their counts."""
    for row in range(first, last):
        out[row] = 0
        for entry in range(indptr[row], indptr[row + 1]):
            count, index = np.float64(counts[entry]), indices[entry]
            for column in range(matrix.shape[1]):
                out[row, column] += count * matrix[index, column]


@_summing
def expect(
    counts: Float32, indices: Int32, indptr: Int64, topics: Float32, alpha: Float32, mixtures: Float32,
    better: Float32, logs: Float64, first: int, last: int,
) -> None:  # fmt: skip
    """One step of each document's mixture towards its best, for topics that stand.

    ``topics`` is (words, k), ``alpha`` (k,), ``mixtures`` and ``better``, the result, (documents, k).
    ``logs`` (documents,) becomes the log-likelihood of a document's words under ``mixtures``.
    """
    k = topics.shape[1]
    gathered = np.empty(k, np.float32)
    for row in range(first, last):
        gathered[:] = 0
        total, product = np.float64(0), np.float64(1)
        for entry in range(indptr[row], indptr[row + 1]):
            word, count = indices[entry], counts[entry]
            likely = TINY
            for topic in range(k):
                likely += mixtures[row, topic] * topics[word, topic]
            if count == 1:
                # One logarithm for many words: it costs as much as the rest of a word.
                product *= likely
                if product < 1e-200:
                    total += np.log(product)
                    product = np.float64(1)
            else:
                total += count * np.log(likely)
            ratio = count / likely
            for topic in range(k):
                gathered[topic] += ratio * topics[word, topic]
        logs[row] = total + np.log(product)
        mass = np.float32(0)
        for topic in range(k):
            better[row, topic] = alpha[topic] + mixtures[row, topic] * gathered[topic]
            mass += better[row, topic]
        for topic in range(k):
            better[row, topic] /= mass


@_summing
def collect(
    counts: Float32, indices: Int32, indptr: Int64, topics: Float32, mixtures: Float32, found: Float32,
    first: int, last: int,
) -> None:  # fmt: skip
    """How many of each word's occurrences belong to each topic: (words, k) ``found``.

    Rows are words here, and indices documents.
    """
    k = topics.shape[1]
    gathered = np.empty(k, np.float32)
    for word in range(first, last):
        gathered[:] = 0
        for entry in range(indptr[word], indptr[word + 1]):
            document = indices[entry]
            likely = TINY
            for topic in range(k):
                likely += mixtures[document, topic] * topics[word, topic]
            ratio = counts[entry] / likely
            for topic in range(k):
                gathered[topic] += ratio * mixtures[document, topic]
        for topic in range(k):
            found[word, topic] = topics[word, topic] * gathered[topic]


@_summing
def mix(
    counts: Float32, indices: Int32, indptr: Int64, topics: Float32, alpha: Float32, rounds: int,
    tolerance: float, mixtures: Float32, first: int, last: int,
) -> None:  # fmt: skip
    """Each document's best mixture for topics that stand, from ``alpha`` on: (documents, k) ``mixtures``.

    Ends when the entries of a mixture change by no more than ``tolerance`` in sum, or after ``rounds``.
    """
    k = topics.shape[1]
    gathered = np.empty(k, np.float32)
    for row in range(first, last):
        mixture = mixtures[row]
        mixture[:] = alpha / alpha.sum()
        for _ in range(rounds if indptr[row + 1] > indptr[row] else 0):
            gathered[:] = 0
            for entry in range(indptr[row], indptr[row + 1]):
                word = indices[entry]
                likely = TINY
                for topic in range(k):
                    likely += mixture[topic] * topics[word, topic]
                ratio = counts[entry] / likely
                for topic in range(k):
                    gathered[topic] += ratio * topics[word, topic]
            mass = np.float32(0)
            for topic in range(k):
                gathered[topic] = alpha[topic] + mixture[topic] * gathered[topic]
                mass += gathered[topic]
            change = np.float32(0)
            for topic in range(k):
                better = gathered[topic] / mass
                change += abs(better - mixture[topic])
                mixture[topic] = better
            if change <= tolerance:
                break


@_summing
def score(
    counts: Float32, indices: Int32, indptr: Int64, topics: Float32, mixtures: Float32, logs: Float64,
    first: int, last: int,
) -> None:  # fmt: skip
    """The log-likelihood of each document's words under its mixture: (documents,) ``logs``."""
    for row in range(first, last):
        total = 0.0
        for entry in range(indptr[row], indptr[row + 1]):
            likely = TINY
            for topic in range(topics.shape[1]):
                likely += mixtures[row, topic] * topics[indices[entry], topic]
            total += counts[entry] * np.log(likely)
        logs[row] = total
