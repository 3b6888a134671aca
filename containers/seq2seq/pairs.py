"""Pairs of integer-coded sequences: from RecordIO-protobuf to arrays.

Each record has int32 tensors ``source`` and ``target`` among its features, as long as the sequences are and
without the symbols of beginning and end.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from common.batches import cut
from common.channels.streams import Stream
from common.failures import ClientError
from common.formats import recordio
from common.formats.record_pb2 import Record

Ids = NDArray[np.int32]
Int64 = NDArray[np.int64]

_BLOCK = 4096  # records that are decoded before they are checked and handed on


@dataclass(frozen=True, slots=True)
class Sequences:
    """Sequences one after the other: sequence ``i`` is ``ids[starts[i]:starts[i + 1]]``."""

    ids: Ids
    starts: Int64  # (sequences + 1,); the first need not be 0

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, rows: slice) -> Sequences:
        first, stop, step = rows.indices(len(self))
        if step != 1:
            raise ValueError("sequences are cut without a step")
        return Sequences(self.ids, cut(self.starts, slice(first, max(first, stop) + 1)))

    @property
    def lengths(self) -> Int64:
        """(sequences,) how many ids each has."""
        return np.diff(self.starts)

    def one(self, row: int) -> Ids:
        """The ids of one sequence."""
        return self.ids[self.starts[row] : self.starts[row + 1]]


@dataclass(frozen=True, slots=True)
class Pairs:
    """As many sources as targets."""

    source: Sequences
    target: Sequences

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, rows: slice) -> Pairs:
        return Pairs(self.source[rows], self.target[rows])


def join(parts: Sequence[Pairs]) -> Pairs:
    """Several in a row as one."""
    return Pairs(_joined([part.source for part in parts]), _joined([part.target for part in parts]))


def _joined(parts: Sequence[Sequences]) -> Sequences:
    ids = [part.ids[part.starts[0] : part.starts[-1]] for part in parts]
    lengths = [part.lengths for part in parts]
    return packed(np.concatenate([*ids, np.empty(0, np.int32)]), np.concatenate([*lengths, _NONE]))


_NONE = np.empty(0, np.int64)


def packed(ids: Ids, lengths: Int64) -> Sequences:
    """Sequences of these ``lengths`` in ``ids``, one after the other from the first."""
    return Sequences(ids, np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]))


def decode(
    stream: Stream, name: str, vocabularies: tuple[int, int], most: tuple[int, int]
) -> Iterator[Pairs]:
    """The pairs of a RecordIO stream in blocks; ``most`` ids of a source and a target are kept.

    ``vocabularies`` are the sizes of both. Raises ClientError with the record's number, counted from 1, for
    what isn't a pair of sequences of their ids.
    """
    payloads = recordio.payloads(stream, name)
    before = 0
    while True:
        sides = [_Side("source", vocabularies[0], most[0]), _Side("target", vocabularies[1], most[1])]
        count = 0
        for count, payload in enumerate(payloads, 1):
            features = _features(payload, name, before + count)
            for side in sides:
                side.add(features, name, before + count)
            if count == _BLOCK:
                break
        if not count:
            return
        yield Pairs(*(side.sequences(name, before) for side in sides))
        before += count


def _features(payload: bytes, name: str, number: int) -> Any:
    record = Record()
    try:
        record.ParseFromString(payload)
    except DecodeError:
        raise ClientError(
            f"record {number} of {name} is no protobuf message; accepted: records with int32 tensors "
            "source and target"
        ) from None
    return record.features


class _Side:
    """One of both sequences of some records."""

    def __init__(self, key: str, vocabulary: int, most: int) -> None:
        self._key, self._vocabulary, self._most = key, vocabulary, most
        self._ids = array("i")
        self._lengths: list[int] = []

    def add(self, features: Any, name: str, number: int) -> None:
        """Takes the sequence of a record. Raises ClientError when there is none."""
        if self._key not in features:
            raise ClientError(
                f"record {number} of {name} has no feature {self._key}; accepted: records with int32 tensors "
                "source and target"
            )
        value = features[self._key]
        kind = value.WhichOneof("value")
        if kind not in ("int32_tensor", None):
            raise ClientError(
                f"record {number} of {name}: its feature {self._key} is a {kind}; accepted: an int32_tensor"
            )
        ids = value.int32_tensor.values
        if not ids:
            raise ClientError(
                f"record {number} of {name}: its {self._key} is empty; accepted: at least one token"
            )
        self._ids.extend(ids)
        self._lengths.append(len(ids))

    def sequences(self, name: str, before: int) -> Sequences:
        """What was taken, cut to the longest that is kept. Raises ClientError for ids of no token."""
        whole = packed(np.array(self._ids, np.int32), np.array(self._lengths, np.int64))
        wrong = np.flatnonzero((whole.ids < 0) | (whole.ids >= self._vocabulary))
        if len(wrong):
            row = int(np.searchsorted(whole.starts, wrong[0], "right")) - 1
            raise ClientError(
                f"record {before + row + 1} of {name}: its {self._key} has the id {whole.ids[wrong[0]]}; "
                f"accepted: the vocabulary's ids, 0 to {self._vocabulary - 1}"
            )
        return truncated(whole, self._most)


def truncated(sequences: Sequences, most: int) -> Sequences:
    """The first ``most`` ids of each sequence."""
    lengths = sequences.lengths
    if not len(lengths) or lengths.max() <= most:
        return sequences
    kept = np.minimum(lengths, most)
    within = np.arange(len(sequences.ids)) - np.repeat(sequences.starts[:-1], lengths)
    return packed(sequences.ids[within < most], kept)
