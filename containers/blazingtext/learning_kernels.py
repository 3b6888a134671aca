"""Kernels that learn word vectors from a text of word numbers, by stochastic gradients of negative sampling.

The method is Mikolov et al., "Distributed Representations of Words and Phrases and their Compositionality"
(2013); subwords are those of Bojanowski et al., "Enriching Word Vectors with Subword Information" (2017);
batches with shared negatives those of Ji et al., "Parallelizing Word2Vec in Shared and Distributed Memory"
(2016). Several threads change the same matrices without locks (Hogwild).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.batches import Float32, Int64
from common.compiled import compiled
from common.prefetching import prefetch_row
from containers.blazingtext.text_kernels import Int32
from containers.blazingtext.tiles import dots, updates

Uint32 = NDArray[np.uint32]

LINE = 1024  # words: what has no line feed is cut here, as in fastText
_MULTIPLIER = np.uint64(2685821657736338717)
_LOW = np.uint64(0xFFFFFFFF)
_FLAT = np.float32(4.97)  # from here on tanh is 1 in what follows

_dots_1x6, _dots_1x3, _dots_1x1 = dots(1, 6), dots(1, 3), dots(1, 1)
_dots_2x6, _dots_2x3, _dots_2x1 = dots(2, 6), dots(2, 3), dots(2, 1)
_update_6, _update_3, _update_1 = updates(6), updates(3), updates(1)


@compiled
def _step(state: np.uint64) -> np.uint64:
    """The next state of xorshift64*; random bits are the state times _MULTIPLIER, the high ones best."""
    state ^= state >> np.uint64(12)
    state ^= state << np.uint64(25)
    state ^= state >> np.uint64(27)
    return state


@compiled
def _below(state: np.uint64, bound: int) -> np.int64:
    """A random number from 0 to ``bound`` - 1."""
    return np.int64(((state * _MULTIPLIER) >> np.uint64(32)) * np.uint64(bound) >> np.uint64(32))


@compiled
def _negative(state: np.uint64, lots: Uint32) -> np.int64:
    """A word drawn from `model.lots`."""
    bits = state * _MULTIPLIER
    word = np.int64((bits >> np.uint64(32)) * np.uint64(len(lots)) >> np.uint64(32))
    if np.uint32(bits & _LOW) < lots[word, 0]:
        return word
    return np.int64(lots[word, 1])


@compiled
def _read_line(
    text: Int32, at: int, end_of_sentence: int, keep: Uint32, state: np.uint64, line: Int32
) -> tuple[int, int, np.uint64]:
    """The next words that aren't left out by chance; where the text goes on, how many, the random state."""
    length = 0
    stop = min(len(text), at + LINE)
    while at < stop:
        word = text[at]
        at += 1
        if word >= 0:
            state = _step(state)
            if np.uint32((state * _MULTIPLIER) >> np.uint64(32)) <= keep[word]:
                line[length] = word
                length += 1
            if word == end_of_sentence:
                break
    return at, length, state


@compiled
def _context(line: Int32, length: int, place: int, reach: Any, words: Int32) -> int:
    """The words up to ``reach`` before and behind ``place`` into ``words``; how many."""
    count = 0
    for other in range(max(0, place - reach), min(length, place + reach + 1)):
        if other != place:
            words[count] = line[other]
            count += 1
    return count


@compiled
def _score(
    left: Float32, left_rows: Int32, count: int, right: Float32, right_rows: Int32, size: int,
    scores: Float32,
) -> None:  # fmt: skip
    """scores[i, k] = left[left_rows[i]] . right[right_rows[k]], i < count, k < size."""
    i = 0
    while i < count:
        pair = i + 1 < count
        k = 0
        while k < size:
            if pair:
                if k + 6 <= size:
                    _dots_2x6(left, left_rows, i, right, right_rows, k, scores)
                    k += 6
                elif k + 3 <= size:
                    _dots_2x3(left, left_rows, i, right, right_rows, k, scores)
                    k += 3
                else:
                    _dots_2x1(left, left_rows, i, right, right_rows, k, scores)
                    k += 1
            elif k + 6 <= size:
                _dots_1x6(left, left_rows, i, right, right_rows, k, scores)
                k += 6
            elif k + 3 <= size:
                _dots_1x3(left, left_rows, i, right, right_rows, k, scores)
                k += 3
            else:
                _dots_1x1(left, left_rows, i, right, right_rows, k, scores)
                k += 1
        i += 2 if pair else 1


@compiled
def _update(
    left: Float32, left_rows: Int32, count: int, sums: Float32, sum_rows: Int32, right: Float32,
    right_rows: Int32, size: int, steps: Float32,
) -> None:  # fmt: skip
    """Both sides change by ``steps`` times the other side; see `tiles.updates`."""
    k = 0
    while k < size:
        if k + 6 <= size:
            _update_6(left, left_rows, count, sums, sum_rows, right, right_rows, k, steps)
            k += 6
        elif k + 3 <= size:
            _update_3(left, left_rows, count, sums, sum_rows, right, right_rows, k, steps)
            k += 3
        else:
            _update_1(left, left_rows, count, sums, sum_rows, right, right_rows, k, steps)
            k += 1


def _steps(scores: Float32, count: int, size: int, positives: int, rate: np.float32) -> None:
    """Scores to steps: rate * (1 - p) in the first ``positives`` columns, rate * -p in the others.

    p is the logistic function of the score, 1/2 + tanh(score / 2) / 2, the latter by Lambert's continued
    fraction: p is off by 5e-5 at most.
    """
    half = np.float32(0.5) * rate
    for i in range(count):
        row = scores[i]
        for k in range(size):
            x = min(max(np.float32(0.5) * row[k], -_FLAT), _FLAT)
            y = x * x
            top = x * (np.float32(135135) + y * (np.float32(17325) + y * (np.float32(378) + y)))
            low = np.float32(135135) + y * (np.float32(62370) + y * (np.float32(3150) + np.float32(28) * y))
            row[k] = -half - half * (top / low)
        for k in range(positives):
            row[k] += rate


_steps = compiled(_steps, fastmath=("nnan", "ninf", "nsz", "arcp", "contract"))


@compiled
def _draw_negatives(
    state: np.uint64, lots: Uint32, positive: int, targets: Int32, first: int, count: int
) -> np.uint64:
    """Words other than ``positive`` into ``targets[first:first + count]``; the random state."""
    for k in range(first, first + count):
        word = np.int64(positive)
        while word == positive:
            state = _step(state)
            word = _negative(state, lots)
        targets[k] = word
    return state


@compiled
def learn_batches(
    text: Int32,
    end_of_sentence: int,
    inputs: Float32,
    outputs: Float32,
    keep: Uint32,
    lots: Uint32,
    window: int,
    negatives: int,
    batch: int,
    rates: Float32,
    seed: np.uint64,
) -> None:
    """Batch skip-gram: up to ``batch`` words of a word's context against it and negatives they share.

    ``text`` are numbers of words, -1 for what is none. ``rates`` are the step sizes at its beginning and its
    end. ``inputs`` and ``outputs`` change.
    """
    line, size = np.empty(LINE, np.int32), negatives + 1
    context, targets = np.empty(2 * window, np.int32), np.empty((2, size), np.int32)
    rows = min(batch, 2 * window)
    scores, hidden = np.empty((rows, size), np.float32), np.empty((rows, inputs.shape[1]), np.float32)
    numbers = np.arange(rows).astype(np.int32)
    state, at = _step(seed), 0
    while at < len(text):
        rate = np.float32(rates[0] + (rates[1] - rates[0]) * at / len(text))
        at, length, state = _read_line(text, at, end_of_sentence, keep, state, line)
        for place in range(-1, length):
            following = place + 1
            if following < length:
                others = targets[following & 1]
                others[0] = line[following]
                state = _draw_negatives(state, lots, line[following], others, 1, negatives)
                for k in range(size):
                    prefetch_row(outputs, others[k])
                if following + window < length:
                    prefetch_row(inputs, line[following + window])
            if place < 0:
                continue
            state = _step(state)
            count = _context(line, length, place, 1 + _below(state, window), context)
            ours = targets[place & 1]
            for first in range(0, count, batch):
                rows = min(batch, count - first)
                _copy(inputs, context, first, rows, hidden)
                _score(hidden, numbers, rows, outputs, ours, size, scores)
                _steps(scores, rows, size, 1, rate)
                _update(hidden, numbers, rows, inputs, context[first:], outputs, ours, size, scores)


@compiled
def _copy(matrix: Float32, rows: Int32, first: int, count: int, target: Float32) -> None:
    """Copies the rows ``rows[first:first + count]`` to the top of ``target``."""
    for index in range(count):
        row = rows[first + index]
        for column in range(matrix.shape[1]):
            target[index, column] = matrix[row, column]


@compiled
def _mean(matrix: Float32, rows: Int32, count: int, hidden: Float32) -> None:
    """The mean of ``count`` rows into ``hidden[0]``."""
    if count == 1:
        for column in range(matrix.shape[1]):
            hidden[0, column] = matrix[rows[0], column]
        return
    scale = np.float32(1 / count)
    hidden[0] = 0
    for index in range(count):
        row = rows[index]
        for column in range(matrix.shape[1]):
            hidden[0, column] += matrix[row, column]
    for column in range(matrix.shape[1]):
        hidden[0, column] *= scale


@compiled
def _spread(matrix: Float32, rows: Int32, count: int, gradient: Float32) -> None:
    """Adds ``gradient[0]`` to each of ``count`` rows."""
    for index in range(count):
        row = rows[index]
        for column in range(matrix.shape[1]):
            matrix[row, column] += gradient[0, column]


@compiled
def _parts_of(word: int, parts: Int32, bounds: Int64, rows: Int32, count: int) -> int:
    """A word's rows of the input matrix behind ``rows[:count]``; how many there are then."""
    for index in range(bounds[word], bounds[word + 1]):
        rows[count] = parts[index]
        count += 1
    return count


@compiled
def learn(
    cbow: bool,
    text: Int32,
    end_of_sentence: int,
    inputs: Float32,
    outputs: Float32,
    parts: Int32,
    bounds: Int64,
    longest: int,
    keep: Uint32,
    lots: Uint32,
    window: int,
    negatives: int,
    rates: Float32,
    seed: np.uint64,
) -> None:
    """Skip-gram, or with ``cbow`` continuous bag of words; `learn_batches` tells of the other arguments.

    Word w's vector is the mean of the rows ``parts[bounds[w]:bounds[w + 1]]``, at most ``longest``, of
    ``inputs``. In skip-gram a word's vector is scored against each word of its context and fresh negatives,
    in CBOW the mean of all rows of the context against the word and its negatives; a step is taken for all
    of these at once.
    """
    line, context = np.empty(LINE, np.int32), np.empty(2 * window, np.int32)
    most = negatives + 1 if cbow else 2 * window * (negatives + 1)
    targets, scores = np.empty(most, np.int32), np.empty((1, most), np.float32)
    rows = np.empty(longest * (2 * window if cbow else 1), np.int32)
    hidden = np.empty((1, inputs.shape[1]), np.float32)
    gradient, zero = np.empty_like(hidden), np.zeros(1, np.int32)
    state, at = _step(seed), 0
    while at < len(text):
        rate = np.float32(rates[0] + (rates[1] - rates[0]) * at / len(text))
        at, length, state = _read_line(text, at, end_of_sentence, keep, state, line)
        for place in range(length):
            state = _step(state)
            count = _context(line, length, place, 1 + _below(state, window), context)
            if not count:
                continue
            word, used = line[place], 0
            if cbow:
                positives = 1
                targets[0] = word
                for index in range(count):
                    used = _parts_of(context[index], parts, bounds, rows, used)
            else:
                positives = count
                targets[:count] = context[:count]
                used = _parts_of(word, parts, bounds, rows, used)
            size = positives
            for index in range(positives):
                state = _draw_negatives(state, lots, targets[index], targets, size, negatives)
                size += negatives
            for k in range(size):
                prefetch_row(outputs, targets[k])
            _mean(inputs, rows, used, hidden)
            gradient[0] = 0
            _score(hidden, zero, 1, outputs, targets, size, scores)
            _steps(scores, 1, size, positives, rate)
            _update(hidden, zero, 1, gradient, zero, outputs, targets, size, scores)
            _spread(inputs, rows, used, gradient)
