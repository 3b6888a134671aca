"""Files cut into requests of whole records."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.batches import Batch
from common.failures import ClientError
from common.formats import encode_batch
from local.transforming import split, transform

RECORDS = encode_batch(Batch(np.arange(40, dtype=np.float32).reshape(10, 4)))


@given(st.lists(st.binary(max_size=8).map(lambda line: line.replace(b"\n", b"") + b"\n")), st.integers(9, 40))
def test_lines_stay_whole(lines, limit):
    body = b"".join(lines)
    parts = list(split(body, "text/csv", limit))
    assert b"".join(parts) == body
    assert all(len(part) <= limit and part.endswith(b"\n") for part in parts)


def test_a_last_line_without_an_end_is_kept():
    assert list(split(b"1\n2", "text/csv", 2)) == [b"1\n", b"2"]


def test_records_stay_whole():
    size = len(RECORDS) // 10
    parts = list(split(RECORDS, "application/x-recordio-protobuf", 3 * size))
    assert [len(part) // size for part in parts] == [3, 3, 3, 1]
    assert b"".join(parts) == RECORDS


def test_other_types_are_sent_whole():
    assert list(split(b"{}" * 9, "application/json", 100)) == [b"{}" * 9]


def test_a_record_beyond_the_limit_is_named():
    with pytest.raises(ClientError, match="record 2 has 21 bytes; accepted: at most 10"):
        list(split(b"1\n" + b"2" * 20 + b"\n", "text/csv", 10))


def test_answers_are_in_order_and_all_or_nothing(tmp_path):
    source, target = tmp_path / "rows.csv", tmp_path / "out" / "rows.csv.out"
    source.write_bytes(b"".join(b"%d\n" % number for number in range(100)))
    transform(source, target, lambda body: body.strip(), "text/csv", limit=6)
    assert target.read_bytes() == source.read_bytes()

    def fail(body):
        if b"50" in body:
            raise ClientError("row 50 is bad")
        return body

    with pytest.raises(ClientError, match=r"rows\.csv: row 50 is bad"):
        transform(source, tmp_path / "out" / "second.out", fail, "text/csv", limit=6)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["rows.csv.out"]
