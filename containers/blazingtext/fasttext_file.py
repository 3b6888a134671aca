"""fastText's binary file (.bin): what Facebook's command line writes and reads, version 12.

In order, all little-endian: magic number and version, the arguments of training, the dictionary (words by
falling count, then labels), and two matrices, each behind a byte that says whether it is quantised: input
rows (words, then hash buckets) and output rows (labels, or words). A quantised file (.ftz) keeps a row as one
byte for each few numbers of it and may keep some buckets only (Joulin et al., FastText.zip, 2016). The layout
is that of github.com/facebookresearch/fastText (args.cc, dictionary.cc, densematrix.cc, quantmatrix.cc).
"""

from __future__ import annotations

import itertools
import math
import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from common.batches import Float32, Int64
from common.failures import ClientError
from common.finite import LARGEST
from containers.blazingtext import vocabulary as vocabularies
from containers.blazingtext.vocabulary import Vocabulary

MAGIC, VERSION = 793712314, 12
_OLD_VERSION = 11  # the same layout; its classifiers have no subwords, whatever they say

_head = struct.Struct("<ii")
_arguments = struct.Struct("<12id")
_counts = struct.Struct("<iiiqq")
_size = struct.Struct("<qq")
_quantised = struct.Struct("<?qqi")
_quantiser = struct.Struct("<4i")

_WORD, _LABEL = 0, 1
_CENTROIDS = 256  # what a byte tells apart
_MOST_OCCURRENCES = 1e14  # of all words; fastText takes 1e15 for more than any word has
_MOST_PRUNED = 100_000_000  # buckets of a file that doesn't hold them all
_LONGEST_PART = 64  # numbers that one byte may stand for; fastText's own option is 2
_PART = 1 << 22  # numbers that are written or looked through at a time


class Loss(IntEnum):
    """What the output rows are."""

    HIERARCHICAL_SOFTMAX = 1
    NEGATIVE_SAMPLING = 2
    SOFTMAX = 3
    ONE_VS_ALL = 4


class Kind(IntEnum):
    """What was trained."""

    CBOW = 1
    SKIPGRAM = 2
    SUPERVISED = 3


@dataclass(frozen=True, slots=True)
class Arguments:
    """fastText's arguments in the order of the file; ``bucket`` 0 where no n-grams are hashed."""

    dim: int
    window: int
    epochs: int
    min_count: int
    negatives: int
    word_ngrams: int
    loss: Loss
    kind: Kind
    bucket: int
    min_char: int
    max_char: int  # 0: no subwords
    update_rate: int  # words from one change of the learning rate to the next
    sampling_threshold: float

    @property
    def hashes(self) -> bool:
        """Whether any n-gram is looked up in buckets."""
        return self.bucket > 0 and (self.word_ngrams > 1 or self.max_char > 0)


@dataclass(frozen=True, slots=True)
class Pruning:
    """The buckets that a quantised model kept, ascending, and the row of each behind those of words."""

    buckets: NDArray[np.int32]  # (n,)
    rows: NDArray[np.int32]  # (n,)


@dataclass(frozen=True, slots=True)
class Rows:
    """A matrix with ``count`` rows, of which most may be zero.

    ``numbers`` (n,) int64, ascending, are the rows that may hold something else, and ``values`` (n + 1, dim)
    what they hold. The last row of ``values`` is zeros: it stands for every other row.
    """

    count: int
    numbers: Int64
    values: Float32

    def places(self) -> NDArray[np.int32]:
        """Where in ``values`` each row is, (count,)."""
        found = np.full(self.count, len(self.numbers), np.int32)
        found[self.numbers] = np.arange(len(self.numbers), dtype=np.int32)
        return found


@dataclass(frozen=True, slots=True)
class FastText:
    """A whole file. ``inputs``: words, then buckets; ``outputs``: (labels or words, dim)."""

    arguments: Arguments
    vocabulary: Vocabulary
    pruning: Pruning | None  # None: every bucket has its row
    inputs: Rows
    outputs: Float32


# --- writing ---


def write(
    path: Path, arguments: Arguments, vocabulary: Vocabulary, inputs: Float32 | Rows, outputs: Float32
) -> None:
    """Writes a file that is not quantised.

    Zero rows of ``Rows`` become holes: they take no room where the file system knows of those, and next to
    none in a compressed archive.
    """
    with open(path, "wb") as file:
        file.write(_head.pack(MAGIC, VERSION))
        file.write(_arguments.pack(*_in_order(arguments)))
        size = len(vocabulary)
        file.write(_counts.pack(size, vocabulary.words, vocabulary.labels, vocabulary.tokens, -1))
        _write_entries(file, vocabulary)
        if isinstance(inputs, Rows):
            _write_rows(file, inputs)
        else:
            _write_matrix(file, inputs)
        _write_matrix(file, outputs)


def _in_order(arguments: Arguments) -> tuple[int | float, ...]:
    return tuple(getattr(arguments, name) for name in Arguments.__slots__)


def _write_entries(file: BinaryIO, vocabulary: Vocabulary) -> None:
    from containers.blazingtext.file_kernels import BEHIND, write_entries

    out = np.empty(len(vocabulary.text) + len(vocabulary) * (1 + BEHIND), np.uint8)
    write_entries(vocabulary.text, vocabulary.offsets, vocabulary.counts, vocabulary.words, out)
    file.write(out.data)


def _write_matrix(file: BinaryIO, matrix: Float32) -> None:
    file.write(b"\0" + _size.pack(*matrix.shape))
    step = max(1, _PART // max(1, matrix.shape[1]))
    file.writelines(
        np.ascontiguousarray(matrix[start : start + step], "<f4").data
        for start in range(0, len(matrix), step)
    )


def _write_rows(file: BinaryIO, rows: Rows) -> None:
    dim = rows.values.shape[1]
    file.write(b"\0" + _size.pack(rows.count, dim))
    start, width = file.tell(), 4 * dim
    for first, stop in _runs(rows.numbers):
        file.seek(start + int(rows.numbers[first]) * width)
        file.write(np.ascontiguousarray(rows.values[first:stop], "<f4").data)
    end = start + rows.count * width
    file.truncate(end)
    file.seek(end)


def _runs(numbers: Int64) -> Iterator[tuple[int, int]]:
    """Where in ``numbers`` each run of rows that follow each other begins and ends."""
    breaks = np.flatnonzero(np.diff(numbers) != 1) + 1
    bounds = [0, *breaks.tolist(), len(numbers)] if len(numbers) else []
    return itertools.pairwise(bounds)


# --- reading ---


def read(path: Path) -> FastText:
    """The model in a file, quantised or not.

    Raises ClientError for what is no such file, or is damaged. Nothing larger is allocated than what the
    file's size bears out.
    """
    with open(path, "rb") as file, _mapped(file, path.name) as mapped:
        reader = _Reader(file, np.frombuffer(mapped, np.uint8), path.name)
        try:
            return _model(reader)
        finally:
            reader.data = np.empty(0, np.uint8)  # or the map could not be closed


def _mapped(file: BinaryIO, name: str) -> mmap.mmap:
    try:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except ValueError:
        raise ClientError(f"{name} is empty; accepted: a binary file of fastText") from None


class _Reader:
    """A place in a file, whose bytes are mapped too."""

    def __init__(self, file: BufferedReader, data: NDArray[np.uint8], name: str) -> None:
        self.data = data
        self.name = name
        self.at = 0
        self._file = file
        self._bytes = len(data)

    def unpack(self, layout: struct.Struct) -> tuple[int, ...]:
        """The numbers here."""
        self.need(layout.size)
        found = layout.unpack_from(self.data.data, self.at)
        self.at += layout.size
        return found

    def array(self, kind: type[Any], *shape: int) -> NDArray[Any]:
        """An array here, in memory of its own: aligned, and shared by processes that fork later."""
        self.need(math.prod(shape) * np.dtype(kind).itemsize)
        found = np.empty(shape, kind)
        self.fill(found)
        return found

    def fill(self, array: NDArray[Any]) -> None:
        """Fills an array with what is here, which is known to be there."""
        self._file.seek(self.at)
        if array.nbytes and self._file.readinto(array.data.cast("B")) != array.nbytes:
            raise self.broken("ends early")
        self.at += array.nbytes

    def need(self, size: int) -> None:
        """Raises ClientError where fewer bytes are left."""
        if size < 0 or size > self._bytes - self.at:
            raise self.broken(f"ends early: {size} bytes are due at byte {self.at} of {self._bytes}")

    def broken(self, problem: str) -> ClientError:
        """What to raise."""
        return ClientError(f"{self.name} {problem}; accepted: a whole binary file of fastText")


def _model(reader: _Reader) -> FastText:
    magic, version = reader.unpack(_head)
    if magic != MAGIC:
        raise reader.broken("does not begin with fastText's magic number")
    if version not in (_OLD_VERSION, VERSION):
        raise reader.broken(f"has version {version}, and {_OLD_VERSION} and {VERSION} are read")
    arguments = _read_arguments(reader, version)
    vocabulary, pruned = _read_vocabulary(reader, arguments)
    pruning = None if pruned < 0 else _read_pruning(reader, pruned, arguments.bucket)
    inputs, quantised = _read_inputs(reader, arguments.dim)
    if pruning is not None and not quantised:
        raise reader.broken("has a pruned dictionary but is not quantised")
    due = vocabulary.words
    if pruning is not None:
        due += int(pruning.rows.max(initial=-1)) + 1
    elif arguments.hashes:
        due += arguments.bucket
    if inputs.count < due:
        raise reader.broken(f"has {inputs.count} input rows where {due} are due")
    outputs = _read_outputs(reader, arguments.dim)
    due = vocabulary.labels if arguments.kind == Kind.SUPERVISED else vocabulary.words
    if len(outputs) != due:
        raise reader.broken(f"has {len(outputs)} output rows where {due} are due")
    return FastText(arguments, vocabulary, pruning, inputs, outputs)


def _read_arguments(reader: _Reader, version: int) -> Arguments:
    values = dict(zip(Arguments.__slots__, reader.unpack(_arguments), strict=True))
    try:
        values["loss"], values["kind"] = Loss(values["loss"]), Kind(values["kind"])
    except ValueError:
        raise reader.broken("has a loss or a kind of model that is unknown") from None
    if values["dim"] < 1 or values["bucket"] < 0 or not 0 <= values["word_ngrams"] <= 1 << 20:
        raise reader.broken("has arguments out of range")
    if values["kind"] == Kind.SUPERVISED and version == _OLD_VERSION:
        values["max_char"] = 0
    values["max_char"] = max(0, values["max_char"])
    if values["max_char"] and not values["bucket"]:
        raise reader.broken("has subwords and no buckets for them")
    if not values["max_char"] and not values["bucket"]:
        values["word_ngrams"] = 1
    return Arguments(**values)  # type: ignore[arg-type]


def _read_vocabulary(reader: _Reader, arguments: Arguments) -> tuple[Vocabulary, int]:
    """The words and labels, and how many buckets were kept, negative for all."""
    from containers.blazingtext.file_kernels import BEHIND, copy_names, read_entries

    size, words, labels, tokens, pruned = reader.unpack(_counts)
    if min(size, words, labels) < 0 or words + labels != size:
        raise reader.broken(f"has {size} entries, {words} words and {labels} labels, which don't add up")
    reader.need(size * (1 + BEHIND))
    offsets, counts = np.empty(size + 1, np.int64), np.empty(size, np.int64)
    types = np.empty(size, np.uint8)
    stop = read_entries(reader.data, reader.at, offsets, counts, types)
    if stop < 0:
        raise reader.broken("ends early, within its dictionary")
    if size and (counts.min() < 0 or counts.sum(dtype=np.float64) > _MOST_OCCURRENCES):
        raise reader.broken("has counts out of range")
    if (types[:words] != _WORD).any() or (types[words:] != _LABEL).any():
        raise reader.broken("has words and labels out of order")
    if arguments.kind == Kind.SUPERVISED and not labels:
        raise reader.broken("is a classifier without labels")
    text = np.empty(offsets[-1], np.uint8)
    copy_names(reader.data, reader.at, offsets, text)
    reader.at = int(stop)
    return vocabularies.of_text(text, offsets, counts, words, tokens), pruned


def _read_pruning(reader: _Reader, count: int, buckets: int) -> Pruning:
    if buckets > _MOST_PRUNED:
        raise reader.broken(
            f"has {buckets} buckets, and up to {_MOST_PRUNED} are read where some were pruned"
        )
    pairs = reader.array(np.int32, count, 2)
    if count and (pairs.min() < 0 or pairs[:, 0].max() >= buckets):
        raise reader.broken("has a pruned dictionary with numbers out of range")
    pairs = pairs[np.argsort(pairs[:, 0], kind="stable")]
    return Pruning(np.ascontiguousarray(pairs[:, 0]), np.ascontiguousarray(pairs[:, 1]))


def _read_inputs(reader: _Reader, dim: int) -> tuple[Rows, bool]:
    """The matrix here, without its rows of zeros, and whether it is quantised."""
    if _quantised_next(reader):
        matrix = _read_quantised(reader, dim)
        values = np.concatenate([matrix, np.zeros((1, dim), np.float32)])
        return Rows(len(matrix), np.arange(len(matrix)), values), True
    from containers.blazingtext.file_kernels import tell_rows

    count = _read_size(reader, dim)
    filled = np.empty(count, np.bool_)
    tell_rows(reader.data, reader.at, 4 * dim, filled)
    numbers = np.flatnonzero(filled)
    values = np.empty((len(numbers) + 1, dim), np.float32)
    values[-1] = 0
    start = reader.at
    for first, stop in _runs(numbers):
        reader.at = start + int(numbers[first]) * 4 * dim
        reader.fill(values[first:stop])
    reader.at = start + count * 4 * dim
    _check_finite(reader, values)
    return Rows(count, numbers, values), False


def _read_outputs(reader: _Reader, dim: int) -> Float32:
    if _quantised_next(reader):
        return _read_quantised(reader, dim)
    matrix = np.empty((_read_size(reader, dim), dim), np.float32)
    reader.fill(matrix)
    _check_finite(reader, matrix)
    return matrix


def _quantised_next(reader: _Reader) -> bool:
    return reader.unpack(struct.Struct("<B")) != (0,)


def _read_size(reader: _Reader, dim: int) -> int:
    """How many rows the matrix here has, which are all there."""
    rows, columns = reader.unpack(_size)
    if rows < 0 or columns != dim:
        raise reader.broken(f"has a matrix of {rows} x {columns} where {dim} columns are due")
    reader.need(rows * columns * 4)
    return rows


def _read_quantised(reader: _Reader, dim: int) -> Float32:
    """A quantised matrix, as the numbers that it stands for."""
    with_norms, rows, columns, size = reader.unpack(_quantised)
    if rows < 0 or columns != dim or size < 0:
        raise reader.broken(f"has a quantised matrix of {rows} x {columns} where {dim} columns are due")
    codes = reader.array(np.uint8, size)
    parts = _read_quantiser(reader, dim)
    if size != rows * len(parts):
        raise reader.broken(f"has {size} codes for {rows} rows of {len(parts)}")
    codes = codes.reshape(rows, len(parts))
    matrix = np.empty((rows, dim), np.float32)
    start = 0
    for number, part in enumerate(parts):
        matrix[:, start : start + part.shape[1]] = part[codes[:, number]]
        start += part.shape[1]
    if with_norms:
        norms = reader.array(np.uint8, rows)
        (lengths,) = _read_quantiser(reader, 1)
        matrix *= lengths[norms]
    _check_finite(reader, matrix)
    return matrix


def _read_quantiser(reader: _Reader, dim: int) -> list[Float32]:
    """The centroids (256, numbers) of each part of a row."""
    width, count, part, last = reader.unpack(_quantiser)
    if width != dim or not 1 <= part <= _LONGEST_PART or count != -(-dim // part):
        raise reader.broken(f"has a quantiser of {count} parts of {part} for {dim} columns")
    if last != dim - (count - 1) * part:
        raise reader.broken("has a quantiser whose last part has a wrong size")
    centroids = reader.array(np.float32, dim * _CENTROIDS)
    bounds = [min(number * part, dim) * _CENTROIDS for number in range(count + 1)]
    return [centroids[start:stop].reshape(_CENTROIDS, -1) for start, stop in itertools.pairwise(bounds)]


def _check_finite(reader: _Reader, matrix: Float32) -> None:
    flat = matrix.reshape(-1)
    for start in range(0, len(flat), _PART):
        part = flat[start : start + _PART]
        # One number tells that all is well, as in common.finite.
        with np.errstate(over="ignore", invalid="ignore"):
            fine = np.dot(part, part) <= LARGEST * LARGEST
        if not fine and not (np.abs(part) <= LARGEST).all():
            raise reader.broken(f"has values that are no numbers from {-LARGEST:g} to {LARGEST:g}")
