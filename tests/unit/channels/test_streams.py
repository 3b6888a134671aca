"""Gzip taken off whatever the reads' and the chunks' sizes, and plain bytes left alone."""

from __future__ import annotations

import gzip
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.channels.streams import Inflating
from common.failures import ClientError


class Chunked(io.BytesIO):
    """A stream that gives at most ``size`` bytes a read."""

    def __init__(self, content: bytes, size: int) -> None:
        super().__init__(content)
        self._size = size

    def readinto(self, buffer):
        return super().readinto(memoryview(buffer)[: self._size])


def read(content: bytes, chunk: int, size: int) -> bytes:
    stream = Inflating(Chunked(content, chunk), "file a")
    whole = b""
    buffer = bytearray(size)
    while count := stream.readinto(memoryview(buffer)):
        whole += buffer[:count]
    assert stream.readinto(memoryview(buffer)) == 0
    return whole


sizes = st.integers(1, 40)


@settings(max_examples=200)
@given(content=st.binary(max_size=60), chunk=sizes, size=sizes)
def test_plain_bytes_stay(content, chunk, size):
    if content.startswith(b"\x1f\x8b"):
        content = b"+" + content
    assert read(content, chunk, size) == content
    almost = b"\x1f" + content[1:].lstrip(b"\x8b")  # gzip's first byte without its second
    assert read(almost, chunk, size) == almost


@settings(max_examples=200)
@given(
    members=st.lists(st.binary(max_size=200), min_size=1, max_size=3),
    padding=st.integers(0, 3),
    chunk=sizes,
    size=sizes,
)
def test_members_are_joined(members, padding, chunk, size):
    content = b"".join(gzip.compress(member) + bytes(padding) for member in members)
    assert read(content, chunk, size) == b"".join(members)


@settings(max_examples=200)
@given(content=st.binary(max_size=200), cut=st.integers(2, 10_000), chunk=sizes, size=sizes)
def test_every_truncation_is_told(content, cut, chunk, size):
    packed = gzip.compress(content)
    with pytest.raises(ClientError, match="file a: the gzip data end early"):
        read(packed[: min(cut, len(packed) - 1)], chunk, size)


@settings(max_examples=200)
@given(junk=st.binary(min_size=1, max_size=50), chunk=sizes, size=sizes)
def test_junk_is_a_clear_refusal(junk, chunk, size):
    with pytest.raises(ClientError, match="file a: the gzip data"):
        read(b"\x1f\x8b" + b"\xff" + junk, chunk, size)
