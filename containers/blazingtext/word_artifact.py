"""The files of word vectors: vectors.txt in word2vec's text form, vectors.bin in fastText's."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np

from common.batches import Float32
from containers.blazingtext import fasttext_file
from containers.blazingtext.fasttext_file import Arguments, Rows
from containers.blazingtext.learning import Parts
from containers.blazingtext.model import Matrices
from containers.blazingtext.vocabulary import Vocabulary

_ROWS = 1 << 12  # that are written at a time


def vectors(matrices: Matrices, parts: Parts) -> Float32:
    """The vector of each word, the mean of its rows, (words, dim)."""
    words = len(parts.bounds) - 1
    if not len(parts.buckets):
        return matrices.inputs[:words, : matrices.dim]
    found = np.empty((words, matrices.dim), np.float32)
    for start in range(0, words, _ROWS):
        bounds = parts.bounds[start : start + _ROWS + 1]
        rows = matrices.inputs[parts.rows[bounds[0] : bounds[-1]], : matrices.dim]
        sums = np.add.reduceat(rows, bounds[:-1] - bounds[0])
        found[start : start + _ROWS] = sums / np.diff(bounds)[:, None].astype(np.float32)
    return found


def write_text(path: Path, vocabulary: Vocabulary, values: Float32) -> None:
    """A line of the numbers of words and of a vector's numbers, then a line a word."""
    with open(path, "wb") as file:
        file.write(b"%d %d\n" % values.shape)
        _write_lines(file, vocabulary, values)


def _write_lines(file: BinaryIO, vocabulary: Vocabulary, values: Float32) -> None:
    form = " ".join(["%.5g"] * values.shape[1]).encode()
    words = iter(vocabulary)
    for start in range(0, len(values), _ROWS):
        rows = values[start : start + _ROWS].tolist()
        file.write(b"".join([b"%b %b\n" % (next(words), form % tuple(row)) for row in rows]))


def write_binary(
    path: Path, arguments: Arguments, vocabulary: Vocabulary, matrices: Matrices, parts: Parts
) -> None:
    """The whole model. Buckets that no word of the vocabulary has are rows of zeros."""
    inputs, outputs = (matrix[:, : matrices.dim] for matrix in (matrices.inputs, matrices.outputs))
    words = vocabulary.words
    if not arguments.bucket:
        fasttext_file.write(path, arguments, vocabulary, inputs, outputs)
        return
    numbers = np.concatenate([np.arange(words), words + parts.buckets])
    values = np.concatenate([inputs, np.zeros((1, matrices.dim), np.float32)])
    fasttext_file.write(path, arguments, vocabulary, Rows(words + arguments.bucket, numbers, values), outputs)
