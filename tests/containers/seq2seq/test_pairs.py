"""RecordIO of pairs to arrays, what is cut, and what is refused with its record's number."""

from __future__ import annotations

import io

import numpy as np
import pytest

from common.failures import ClientError
from common.formats import recordio
from common.formats.record_pb2 import Record
from containers.seq2seq import pairs
from tests.containers.seq2seq.tasks import as_pairs, listed, record, records, turned

SIZES, MOST = (12, 12), (100, 100)


def decoded(data: bytes, most: tuple[int, int] = MOST) -> pairs.Pairs:
    return pairs.join(list(pairs.decode(io.BytesIO(data), "train.rec", SIZES, most)))


def test_pairs_are_those_of_the_records():
    coded = turned(5000)  # several blocks
    found = decoded(records(coded))
    assert listed(found) == coded
    assert found.source.ids.dtype == np.int32
    assert len(list(pairs.decode(io.BytesIO(records(coded)), "train.rec", SIZES, MOST))) == 2


def test_no_records_are_no_pairs():
    assert len(decoded(b"")) == 0


def test_slices_and_joins_keep_pairs():
    coded = turned(50)
    whole = as_pairs(coded)
    parts = [whole[:7], whole[7:7], whole[7:30], whole[30:]]
    assert listed(pairs.join(parts)) == coded
    assert listed(whole[10:20]) == coded[10:20]
    assert whole[7:30].target.lengths.tolist() == [len(target) for _, target in coded[7:30]]
    with pytest.raises(ValueError, match="step"):
        whole[::2]


def test_long_sequences_are_cut():
    coded = turned(200, longest=9)
    found = decoded(records(coded), (3, 5))
    assert listed(found) == [(source[:3], target[:5]) for source, target in coded]


def test_values_that_are_not_packed_are_read_too():
    # Field 1 of Int32Tensor as single varints, which protobuf allows for a packed field.
    tensor = bytes([0x08, 5, 0x08, 6])
    value = bytes([0x3A, len(tensor)]) + tensor
    entries = b""
    for key in (b"source", b"target"):
        entry = bytes([0x0A, len(key)]) + key + bytes([0x12, len(value)]) + value
        entries += bytes([0x0A, len(entry)]) + entry
    assert listed(decoded(recordio.frame(entries))) == [([5, 6], [5, 6])]


def float_source() -> bytes:
    made = Record()
    made.features["source"].float32_tensor.values.extend([5.0])
    made.features["target"].int32_tensor.values.extend([5])
    return recordio.frame(made.SerializeToString(deterministic=True))


GOOD = record(source=[5, 6], target=[7])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (record(source=[5]), "record 3 of train.rec has no feature target; accepted: records with int32"),
        (record(target=[5]), "record 3 of train.rec has no feature source"),
        (record(source=[], target=[5]), "record 3 of train.rec: its source is empty; accepted: at least one"),
        (record(source=[5], target=[]), "record 3 of train.rec: its target is empty"),
        (
            record(source=[5, 12], target=[5]),
            "record 3 of train.rec: its source has the id 12; accepted: the voc",
        ),
        (record(source=[5], target=[-1]), "record 3 of train.rec: its target has the id -1; .* 0 to 11"),
        (float_source(), "record 3 of train.rec: its feature source is a float32_tensor; accepted: an int32"),
        (recordio.frame(b"\xff\xff\xff"), "record 3 of train.rec is no protobuf message"),
        (b"source,target\n1,2\n", "record 3 of train.rec does not begin with the RecordIO magic"),
        (GOOD[:-5], "train.rec ends in the middle of record 3"),
    ],
)
def test_what_is_wrong_is_told_with_its_record(bad, message):
    with pytest.raises(ClientError, match=message):
        decoded(GOOD + GOOD + bad)


def test_records_are_counted_through_blocks():
    with pytest.raises(ClientError, match=r"record 4201 of train.rec: its target has the id 99"):
        decoded(records([*turned(4200), ([4], [4, 99])]))
