"""RecordIO records taken apart: parts joined, truncation named."""

from __future__ import annotations

import io
import struct

import pytest

from common.channels.wrapping import objects
from common.failures import ClientError
from common.formats.recordio import MAGIC


def part(flag: int, payload: bytes) -> bytes:
    return struct.pack("<II", MAGIC, flag << 29 | len(payload)) + payload + bytes(-len(payload) % 4)


class Slow(io.BytesIO):
    """A stream of short reads."""

    def readinto(self, buffer):
        return super().readinto(memoryview(buffer)[:3])


def payloads(content: bytes) -> list[bytes]:
    read = []
    for _, item in objects(Slow(content), "train"):
        whole = b""
        buffer = bytearray(5)
        while count := item.readinto(memoryview(buffer)):
            whole += buffer[:count]
        read.append(whole)
    return read


def test_records_of_any_length():
    contents = [b"", b"a", b"abcd", b"abcdefghi"]
    assert payloads(b"".join(part(0, content) for content in contents)) == contents


def test_parts_are_joined_by_the_magic_number_that_split_them():
    magic = struct.pack("<I", MAGIC)
    content = part(1, b"abcd") + part(2, b"") + part(3, b"efg") + part(0, b"next")
    assert payloads(content) == [b"abcd" + magic + magic + b"efg", b"next"]


def test_what_is_not_read_is_skipped():
    stream = io.BytesIO(part(0, b"abcde") + part(0, b"f"))
    assert [name for name, _ in objects(stream, "train")] == ["train, object 0", "train, object 1"]


@pytest.mark.parametrize("cut", [3, 8, 10, 13])
def test_truncation(cut):
    with pytest.raises(ClientError, match="train, object 1: the data end in the middle"):
        payloads(part(0, b"x") + part(0, b"abcde")[:cut])


@pytest.mark.parametrize(
    "content", [b"1,2,3\n4,5,6\n", part(2, b"x"), part(3, b"x"), part(1, b"x") + part(0, b"y")]
)
def test_what_is_not_recordio(content):
    with pytest.raises(ClientError, match="train, object 0 does not begin as a RecordIO record"):
        payloads(content)
