"""vectors.txt read back: word2vec's text form, a line of counts and then a word and its numbers a line."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from common.failures import ClientError
from containers.blazingtext import vocabulary as vocabularies
from containers.blazingtext.fasttext_file import Arguments, FastText, Kind, Loss, Rows

_LONGEST_HEAD = 64


def read(path: Path) -> FastText:
    """The words and vectors of a file, with nothing else of a model's.

    Raises ClientError for what is no such file.
    """
    content = path.read_bytes()
    head, _, rest = content.partition(b"\n")
    count, dim = _counts(head, path.name)
    # A word and its numbers take two bytes each at least.
    if len(rest) < count * (2 + 2 * dim) - 1:
        raise ClientError(f"{path.name} ends early; accepted: {count} words with {dim} numbers each")
    lines = rest.removesuffix(b"\n").split(b"\n") if rest else []
    if len(lines) != count:
        raise ClientError(f"{path.name} has {len(lines)} words; accepted: {count}, as its first line says")
    pairs = [line.partition(b" ") for line in lines]
    words = [word for word, _, _ in pairs]
    values = np.zeros((count + 1, dim), np.float32)
    for number, (_, _, numbers) in enumerate(pairs):
        values[number] = _vector(numbers, dim, f"line {number + 2} of {path.name}")
    found = vocabularies.of_entries(words, np.zeros(count, np.int64), count, 0)
    rows = Rows(count, np.arange(count), values)
    return FastText(_arguments(dim), found, None, rows, np.empty((0, dim), np.float32))


def _counts(head: bytes, name: str) -> tuple[int, int]:
    parts = head[:_LONGEST_HEAD].split()
    if len(parts) != 2 or not all(part.isdigit() and len(part) < 10 for part in parts) or int(parts[1]) < 1:
        raise ClientError(f"{name} does not begin with two counts; accepted: vectors in word2vec's text form")
    return int(parts[0]), int(parts[1])


def _vector(numbers: bytes, dim: int, where: str) -> np.ndarray:
    try:
        vector = np.array(numbers.split(), np.float32)
    except ValueError:
        vector = np.empty(0, np.float32)
    if vector.shape != (dim,) or not np.isfinite(vector).all():
        raise ClientError(f"{where} is not a word and {dim} finite numbers")
    return vector


def _arguments(dim: int) -> Arguments:
    return Arguments(dim, 5, 1, 0, 5, 1, Loss.NEGATIVE_SAMPLING, Kind.SKIPGRAM, 0, 0, 0, 100, 1e-4)
