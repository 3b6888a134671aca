"""CSV of pairs: every spelling of a row, hashes that never change, faults told by line."""

from __future__ import annotations

import csv
import io
import ipaddress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.content_types import parse
from common.failures import ClientError
from containers.ipinsights.reading import decode, decode_bytes

CSV = parse("text/csv")
MASK = (1 << 64) - 1


def hashed(entity: str) -> int:
    """FNV-1a of 64 bits and MurmurHash3's last step, in plain Python."""
    state = 0xCBF29CE484222325
    for byte in entity.encode():
        state = (state ^ byte) * 0x100000001B3 & MASK
    state = (state ^ state >> 33) * 0xFF51AFD7ED558CCD & MASK
    state = (state ^ state >> 33) * 0xC4CEB9FE1A85EC53 & MASK
    return state ^ state >> 33


def read(body: bytes, content_type: str = "text/csv") -> list[tuple[int, str]]:
    pairs = decode_bytes(body, "the payload", parse(content_type))
    if pairs is None:
        return []
    assert (pairs.entities.dtype, pairs.addresses.dtype) == (np.uint64, np.uint32)
    addresses = [str(ipaddress.IPv4Address(address)) for address in pairs.addresses.tolist()]
    return list(zip(pairs.entities.tolist(), addresses, strict=True))


def test_the_hash_of_artifacts_that_exist():
    assert read(b"user_1,192.0.2.7\n") == [(12397126756057140059, "192.0.2.7")]
    assert hashed("user_1") == 12397126756057140059


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        ("a,1.2.3.4\nb,5.6.7.8\n", [("a", "1.2.3.4"), ("b", "5.6.7.8")]),
        ("entity_id_1, 192.168.1.2\nentity_id_2, 10.10.1.2", [("entity_id_1", "192.168.1.2"),
                                                              ("entity_id_2", "10.10.1.2")]),
        ("a,1.2.3.4\r\n\r\nb,5.6.7.8\r\n", [("a", "1.2.3.4"), ("b", "5.6.7.8")]),
        ("a,1.2.3.4\rb,5.6.7.8\r", [("a", "1.2.3.4"), ("b", "5.6.7.8")]),
        ("\ufeffa,0.0.0.0", [("a", "0.0.0.0")]),
        (" \t\n\n  a b \t, 255.255.255.255 \t\n", [("a b", "255.255.255.255")]),
        ('"x, ""y""" , "1.2.3.4"\n', [('x, "y"', "1.2.3.4")]),
        ('" a ", " 1.2.3.4 "', [("a", "1.2.3.4")]),
        ('he said "no",1.2.3.4', [('he said "no"', "1.2.3.4")]),
        ("Grüße,1.2.3.4\n", [("Grüße", "1.2.3.4")]),
        ("1,10.200.99.0\n", [("1", "10.200.99.0")]),
        ("", []),
        ("\n \r\n\t\n", []),
    ],
)  # fmt: skip
def test_rows(body, rows):
    assert read(body.encode()) == [(hashed(entity), address) for entity, address in rows]


@pytest.mark.parametrize("charset", ["utf-8", "utf-16", "iso-8859-1", "windows-1252", "utf-32"])
def test_an_entity_is_the_same_in_every_encoding(charset):
    body = "Grüße,1.2.3.4\n".encode(charset)
    assert read(body, f"text/csv; charset={charset}; label_size=0") == [(hashed("Grüße"), "1.2.3.4")]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("a", "has 1 column; two are expected"),
        ("a,1.2.3.4,1", "has 3 columns; two are expected"),
        (",1.2.3.4", "has an empty entity"),
        ('"",1.2.3.4', "has an empty entity"),
        ("a,", "holds '' in column 2; an IPv4 address such as 192.0.2.7 is accepted"),
        ("user,ip", "holds 'ip' in column 2"),
        ("a,1.2.3", "holds '1.2.3' in column 2"),
        ("a,1.2.3.4.5", "holds '1.2.3.4.5'"),
        ("a,1.2.3.256", "octets from 0 to 255 without leading zeros"),
        ("a,1.2.3.04", "octets from 0 to 255 without leading zeros"),
        ("a,1.2.3.4x", "holds '1.2.3.4x'"),
        ("a,2001:db8::1", "IPv6 addresses are not supported"),
        ("a,::ffff:1.2.3.4", "IPv6 addresses are not supported"),
        ('"a,1.2.3.4', "has a quote that is not closed"),
        ('"a"b,1.2.3.4', "has a quote that is not closed or has something behind it"),
        ('a,"1.2.3.4"5', "has a quote that is not closed or has something behind it"),
        ("\0\xff\x80", "has 1 column"),
    ],
)
def test_faults_are_told_with_their_line(row, problem):
    for before in ("", "ok,1.2.3.4\n\nok,1.2.3.4\r\n" * 3):
        with pytest.raises(ClientError) as fault:
            read(f"{before}{row}\nok,1.2.3.4\n".encode())
        assert str(fault.value).startswith(f"line {10 if before else 1} of the payload {problem}") or (
            problem in str(fault.value)
        )
        assert f"line {10 if before else 1} of the payload" in str(fault.value)


@pytest.mark.parametrize("size", [1, 20])
def test_label_columns_are_refused(size):
    with pytest.raises(ClientError, match="pairs have no labels"):
        read(b"a,1.2.3.4\n", f"text/csv;label_size={size}")


class Slow(io.BytesIO):
    """Gives a few bytes at a time."""

    def readinto(self, buffer: bytearray) -> int:
        return super().readinto(memoryview(buffer)[:7])


def test_any_cut_of_the_stream_and_large_cells_are_the_same_rows():
    entity = "x" * (3 << 20)
    body = f"{entity},1.2.3.4\n".encode() + b"a,5.6.7.8\n" * 300_000 + b"last,9.9.9.9"
    blocks = list(decode(io.BytesIO(body), "the file", CSV))
    assert len(blocks) > 1
    rows = [(entity, "1.2.3.4"), *[("a", "5.6.7.8")] * 300_000, ("last", "9.9.9.9")]
    hashes = np.concatenate([block.entities for block in blocks])
    assert len(hashes) == len(rows)
    assert hashes[[0, 1, -1]].tolist() == [hashed("x" * (3 << 20)), hashed("a"), hashed("last")]
    few = body[-200:].partition(b"\n")[2]
    slow = [block.entities for block in decode(Slow(few), "the file", CSV)]
    assert np.concatenate(slow).tolist() == hashes[-few.count(b"\n") - 1 :].tolist()
    with pytest.raises(ClientError, match="line 300003 of the file has 1 column"):
        list(decode(io.BytesIO(body + b"\nbad"), "the file", CSV))


@settings(max_examples=150)
@given(
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_characters="\r\n\ufeff", exclude_categories=["Cs"]), max_size=8),
            st.one_of(
                st.ip_addresses(v=4).map(str),
                st.lists(st.integers(0, 300), min_size=3, max_size=5).map(lambda n: ".".join(map(str, n))),
                st.text("0123456789.:x", max_size=9),
            ),
        ),
        max_size=6,
    )
)
def test_agrees_with_python_on_any_rows(rows):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    expected = []
    try:
        for entity, address in rows:
            if not entity.strip(" \t"):
                raise ValueError
            expected.append((hashed(entity.strip(" \t")), str(ipaddress.IPv4Address(address))))
    except ValueError:
        with pytest.raises(ClientError):
            read(text.getvalue().encode())
        return
    # Blanks before a quote are this reader's alone; csv writes none.
    assert read(text.getvalue().encode()) == expected
