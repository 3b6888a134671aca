import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.failures import ClientError
from common.formats import recordio

from .sources import Drops

MAGIC = recordio.MAGIC_BYTES


def read(data: bytes, stream=io.BytesIO):
    return list(recordio.payloads(stream(data), "f.rec"))


@given(st.lists(st.binary(max_size=40)), st.booleans())
def test_what_is_framed_is_read_back(payloads, split):
    assert read(b"".join(recordio.frame(payload, split) for payload in payloads)) == payloads


@given(st.lists(st.sampled_from([MAGIC, b"abcd", b"x", MAGIC[:2]]), max_size=8).map(b"".join))
def test_split_payloads_get_their_magic_number_back(payload):
    framed = recordio.frame(payload, split=True)
    assert read(framed) == [payload]
    # What is split off never holds an aligned magic number, which is what splitting is for.
    at = 0
    while at < len(framed):
        length = struct.unpack_from("<I", framed, at + 4)[0] & recordio.LENGTH_MASK
        body = framed[at + 8 : at + 8 + length]
        assert all(body[i : i + 4] != MAGIC for i in range(0, len(body), 4))
        at += 8 + length + -length % 4


def test_an_unsplit_payload_is_the_sdks_one_frame():
    payload = b"1234" + MAGIC + b"5"
    assert recordio.frame(payload) == MAGIC + struct.pack("<I", 9) + payload + bytes(3)
    with pytest.raises(ValueError, match="at most"):
        recordio.frame(_Long())


class _Long(bytes):
    def __len__(self):
        return 1 << 29


def test_a_stream_of_single_bytes():
    payloads = [b"a" * n for n in range(9)]
    data = b"".join(map(recordio.frame, payloads))
    assert read(data, Drops) == payloads
    assert read(data, lambda data: Drops(data, 3, pauses=True)) == payloads


def test_a_record_longer_than_a_block():
    payload = bytes(range(256)) * 20000
    data = b"".join(map(recordio.frame, [b"x", payload, b"y"]))
    assert read(data) == [b"x", payload, b"y"]


def test_cut_off_anywhere():
    data = recordio.frame(b"first") + recordio.frame(b"in " + MAGIC + b"2", split=True) + recordio.frame(b"")
    whole = read(data)
    for stop in range(len(data)):
        got, fault = [], ""
        try:
            for payload in recordio.payloads(io.BytesIO(data[:stop]), "f.rec"):
                got.append(payload)  # noqa: PERF402, what came before the fault counts
        except ClientError as error:
            fault = str(error)
        assert fault in (
            "",
            f"f.rec ends in the middle of record {len(got) + 1}; files of whole records are read",
        )
        assert got == whole[: len(got)]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"abcdefgh", "record 1 of f.rec does not begin with the RecordIO magic number 0xced7230a"),
        (recordio.frame(b"a") + b"xxxxxxxx", "record 2 of f.rec does not begin"),
        (MAGIC + struct.pack("<I", 2 << 29), r"record 1 of f.rec has its parts out of order \(flag 2\)"),
        (MAGIC + struct.pack("<I", 3 << 29), "out of order"),
        (MAGIC + struct.pack("<I", 5 << 29), "out of order"),
        (MAGIC + struct.pack("<I", 1 << 29) + recordio.frame(b""), "out of order"),
        (MAGIC + struct.pack("<I", recordio.LENGTH_MASK), "f.rec ends in the middle of record 1"),
        (MAGIC, "f.rec ends in the middle of record 1"),
    ],
)
def test_wrong_framing(data, message):
    with pytest.raises(ClientError, match=message):
        read(data)


def test_padding_of_the_last_record_may_be_absent():
    assert read(recordio.frame(b"abc") + recordio.frame(b"de")[:-2]) == [b"abc", b"de"]
