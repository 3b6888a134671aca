import io
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.batches import Batch
from common.content_types import MediaType, parse
from common.failures import ClientError
from common.formats import Layout, decode_bytes, lines
from common.formats import delimited as csv

from .sources import Drops, batches, rows, same

RNG = np.random.default_rng(5)
XGBOOST = {"label_size": 1, "sniff_delimiter": True, "missing": True}


def both(body: bytes, content_type="text/csv", **layout):
    """Rows as the compiled reader of streams and the Python reader of bodies alike read them."""
    streamed = rows(body, content_type, **layout)
    whole = decode_bytes(body, "rows", parse(content_type), Layout(**layout))
    assert (streamed is None) == (whole is None)
    assert streamed is None or same(streamed, whole)
    return streamed


def refused(body: bytes, content_type="text/csv", **layout) -> str:
    """The message of both readers."""
    with pytest.raises(ClientError) as streamed:
        rows(body, content_type, **layout)
    with pytest.raises(ClientError) as whole:
        decode_bytes(body, "rows", parse(content_type), Layout(**layout))
    assert str(streamed.value) == str(whole.value)
    return str(streamed.value)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("last", [True, False])
def test_plain_rows(end, last):
    body = end.join([b"1,2.5,-3", b"4,5e1,+6."]) + end * last
    assert both(body).features.tolist() == [[1, 2.5, -3], [4, 50, 6]]
    assert same(rows(Drops(body, 1, pauses=True), "text/csv"), both(body))


def test_labels_and_weights():
    found = both(b"1,2,3,4\n5,6,7,8\n", label_size=1, weights=True)
    assert same(found, Batch(np.float32([[3, 4], [7, 8]]), np.float32([1, 5]), np.float32([2, 6])))
    found = both(b"1,2,3,4\n5,6,7,8\n", label_size=2)
    assert found.labels.tolist() == [[1, 2], [5, 6]]
    assert both(b"1,2,3\n", "text/csv;label_size=1").labels.tolist() == [1]
    assert both(b"1,2,3\n", "text/csv;label_size=0").labels is None
    message = refused(b"1,2,3\n", "text/csv;label_size=0", label_size=1)
    assert message == "label_size=0 in the content type of rows is not accepted; 1 is"


def test_blank_lines_and_a_byte_order_mark_are_passed_over():
    body = b"\xef\xbb\xbf\n  \n1,2\n\n\t\r\n3,4\n\r\n\n"
    assert both(body).features.tolist() == [[1, 2], [3, 4]]
    for nothing in (b"", b"\n", b"\r\n \n", b"\xef\xbb\xbf"):
        assert both(nothing) is None


def test_blanks_and_quotes_round_cells():
    body = b' 1 ,\t2,"3" , " 4 "\n"5","6",7,8\n'
    assert both(body).features.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    message = refused(b'1,2\n1,"2\n')
    assert message == (
        "line 2 of rows has a quote that is not closed or not at the edge of a cell; cells are quoted whole"
    )
    assert refused(b'1,2"3"\n').startswith("line 1 of rows has a quote that is not closed or not at the edge")
    assert refused(b'1,2\n1,"a ""b"", c"\n') == (
        "line 2, column 2 of rows holds 'a \"b\", c'; numbers are accepted"
    )


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("nan", np.nan), ("NaN", np.nan), ("-nan", np.nan), ("inf", np.inf), ("-Inf", -np.inf),
        ("+infinity", np.inf), ("-INFINITY", -np.inf), ("1e400", np.inf), ("-1e39", -np.inf),
        ("0", 0), ("-0.0", 0), ("0e999999999999", 0), ("1e-400", 0), ("1e-45", 1e-45), ("1.5e-40", 1.5e-40),
        (".5", 0.5), ("5.", 5), ("1E5", 1e5), ("00012", 12), ("1e+2", 100), ("1e-2", 0.01),
        ("0." + "0" * 400 + "1e401", 1), ("1" + "0" * 400 + "e-400", 1),
        ("12345678901234567890123", 1.2345679e22),
        ("1.00000005960464477539", 1), ("1.00000005960464477540", 1), ("16777217", 16777216),
        ("340282356779733661637539395458142568448", np.inf), ("3.4028235e38", 3.4028235e38),
    ],
)  # fmt: skip
def test_spellings_of_numbers(cell, value):
    found = both(f"{cell},1\n1,{cell}\n".encode()).features
    for got in (found[0, 0], found[1, 1]):
        assert np.array_equal(got, np.float32(value), equal_nan=True)


@pytest.mark.parametrize(
    "cell",
    [
        "abc",
        "1_000",
        "0x10",
        "1e",
        "1e+",
        ".",
        "-",
        "+-1",
        "1 2",
        "1,",
        "infin",
        "nano",
        "1.2.3",
        "é",
        "١",
        "1\0",
    ],
)
def test_what_is_no_number(cell):
    body = f"1,2\n1,{cell}\n".encode()
    message = refused(body)
    if cell == "1,":
        assert message == "line 2 of rows has 3 columns; 2 are expected, as in the first line"
    else:
        assert message == f"line 2, column 2 of rows holds {cell!r}; numbers are accepted"


@settings(max_examples=300)
@given(st.lists(st.floats(allow_nan=False) | st.floats(width=32, allow_nan=False), min_size=1, max_size=20))
def test_numbers_are_pythons_floats_rounded_to_float32(values):
    with np.errstate(over="ignore"):
        expected = np.array(values, np.float64).astype(np.float32)
    for form in (repr, "{:.7g}".format, "{:.20e}".format, "{:.25g}".format):
        text = "\n".join(form(value) for value in values)
        with np.errstate(over="ignore"):
            exact = np.array([float(line) for line in text.split("\n")]).astype(np.float32)
        found = both(text.encode()).features[:, 0]
        assert np.array_equal(found.view(np.uint32), exact.view(np.uint32))
        if form is repr:
            assert np.array_equal(found, expected)


def test_numbers_next_to_a_rounding_boundary():
    bits = RNG.integers(0, 0x7F000000, 3000).astype(np.uint32)
    low = bits.view(np.float32).astype(np.float64)
    high = (bits + np.uint32(1)).view(np.float32).astype(np.float64)
    middle = (low + high) / 2
    for values in (middle, np.nextafter(middle, 0), np.nextafter(middle, np.inf)):
        found = rows("\n".join(map(repr, values.tolist())).encode(), "text/csv").features[:, 0]
        assert np.array_equal(found, values.astype(np.float32))


def test_empty_cells():
    body = b"1,,3\n4,5,\n"
    found = both(body, **XGBOOST)
    assert np.array_equal(found.features, np.float32([[np.nan, 3], [5, np.nan]]), equal_nan=True)
    assert refused(body) == "line 1, column 2 of rows is empty; a number is expected"
    assert refused(b"1,2\n3, \n") == "line 2, column 2 of rows is empty; a number is expected"
    assert refused(b"1,2\n,2\n", **XGBOOST) == "line 2, column 1 of rows is empty; a number is expected"
    assert np.isnan(both(b'1,2\n1,""\n', **XGBOOST).features[1, 0])


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|", " "])
def test_the_first_line_tells_the_delimiter(delimiter):
    body = "1,2.5,-3\n4,5e1,nan\n".replace(",", delimiter).encode()
    found = both(body, **XGBOOST)
    assert np.array_equal(found.features, np.float32([[2.5, -3], [50, np.nan]]), equal_nan=True)
    assert found.labels.tolist() == [1, 4]


def test_delimiters_that_look_like_blanks():
    assert np.isnan(both(b"1\t\t3\n4\t5\t\n", **XGBOOST).features[[0, 1], [0, 1]]).all()
    assert both(b" 1   2 3 \n4 5\t6\n", **XGBOOST).features.tolist() == [[2, 3], [5, 6]]
    assert both(b'"1" "2" 3\n4 "5"  6\n', **XGBOOST).features.tolist() == [[2, 3], [5, 6]]
    assert both(b"7\n8\n", sniff_delimiter=True).features.tolist() == [[7], [8]]


@pytest.mark.parametrize(
    ("body", "layout", "message"),
    [
        (b"1,2\n3\n", {}, "line 2 of rows has 1 column; 2 are expected, as in the first line"),
        (b"1,2\n\n3,4,5\n", {}, "line 3 of rows has 3 columns; 2 are expected, as in the first line"),
        (b"1,2\n", {"feature_dim": 3}, "line 1 of rows has 2 columns; 3 are expected (3 of features)"),
        (
            b"1,2\n",
            {"feature_dim": 2, "label_size": 1},
            "line 1 of rows has 2 columns; 3 are expected (1 of labels, 2 of features); "
            "with label_size=0 this line is read",
        ),
        (
            b"1,2,3\n",
            {"feature_dim": 2},
            "line 1 of rows has 3 columns; 2 are expected (2 of features); "
            "with label_size=1 this line is read",
        ),
        (
            b"\n1,2\n",
            {"feature_dim": 3, "label_size": 1, "weights": True},
            "line 2 of rows has 2 columns; 5 are expected (1 of labels, 1 of weights, 3 of features)",
        ),
        (
            b"1\n",
            {"label_size": 1},
            "line 1 of rows has 1 column; 1 of labels and at least 1 of features are expected",
        ),
        (
            b"age,height\n1,2\n",
            {},
            "line 1 of rows looks like a header ('age', 'height'); remove it: CSV of numbers without a "
            "header is read",
        ),
        (
            b"1;2.5;3\n1;2;3\n",
            {},
            "line 1 of rows has ';' between its columns; columns separated by commas are read",
        ),
        (
            b"1\t2\n",
            {"feature_dim": 2},
            "line 1 of rows has '\\t' between its columns; columns separated by commas are read",
        ),
        (
            b"\x0a\x23\xd7\xce4\0\0\0x\n",
            {},
            "line 2 of rows holds bytes that are no text; CSV of numbers is read",
        ),
        (b"age,1\n1,2\n", {}, "line 1, column 1 of rows holds 'age'; numbers are accepted"),
        (b"1,2\nage,height\n", {}, "line 2, column 1 of rows holds 'age'; numbers are accepted"),
        (b"1," + b"x" * 99, {}, f"line 1, column 2 of rows holds '{'x' * 40}…'; numbers are accepted"),
    ],
)
def test_what_users_get_wrong(body, layout, message):
    assert refused(body, **layout) == message


@pytest.mark.parametrize("ends", [b"\n", b"\r\n", b"\r"])
def test_lines_are_counted_across_pieces(ends):
    line = b"1.25,2.5,3.75" + ends
    many = 300_000
    with pytest.raises(ClientError, match=f"line {many + 1}, column 2 of rows holds 'x'"):
        rows(line * many + b"1,x,3" + ends + line * 100_000, "text/csv")
    assert len(rows(line * many, "text/csv")) == many
    with pytest.raises(ClientError, match=f"line {many + 1} of rows looks like a header"):
        rows(ends * many + b"x,y" + ends, "text/csv")


@pytest.mark.parametrize("threads", ["1", "3"])
def test_order_stays_with_any_number_of_threads(monkeypatch, threads):
    monkeypatch.setenv("ALGODOCK_NUM_THREADS", threads)
    values = np.arange(900_000, dtype=np.float32).reshape(-1, 3)
    body = "\n".join(f"{a:.0f},{b:.0f},{c:.0f}" for a, b, c in values.tolist()).encode()
    found = batches(body, "text/csv")
    assert len(found) > 3
    assert np.array_equal(np.concatenate([batch.features for batch in found]), values)
    assert np.array_equal(decode_bytes(body, "rows", MediaType("text/csv"), Layout()).features, values)


def test_reading_may_stop_early():
    body = b"1,2\n" * 3_000_000
    stream = io.BytesIO(body)
    reader = csv.decode(stream, "rows", MediaType("text/csv"), Layout())
    assert len(next(reader)) > 1000
    reader.close()
    assert stream.tell() < len(body)


def test_like_pandas():
    frame = pd.DataFrame(RNG.normal(size=(2000, 7)) * 10.0 ** RNG.integers(-20, 20, (2000, 7)))
    body = frame.to_csv(header=False, index=False).encode()
    found = rows(body, "text/csv")
    expected = pd.read_csv(io.BytesIO(body), header=None, dtype=np.float32)
    assert np.allclose(found.features, expected.to_numpy(), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    "charset", ["utf-16", "UTF-16LE", "utf-32-be", "utf-8", "us-ascii", "ISO-8859-1", "latin-1"]
)
def test_charsets(charset):
    body = "1,2\n3,4\n".encode(charset)
    for stream in (io.BytesIO(body), Drops(body, 1)):
        assert rows(stream, f"text/csv; charset={charset}").features.tolist() == [[1, 2], [3, 4]]
    assert both(body, f"text/csv; charset={charset}").features.tolist() == [[1, 2], [3, 4]]


def test_unknown_and_wrong_charsets():
    for charset in ("klingon", "zlib", "utf-7", "idna", "a\0b"):
        message = refused(b"1,2\n", f"text/csv; charset={charset}")
        assert message.startswith(f"the charset '{charset}' of rows is not accepted; utf-8, us-ascii,")
    message = refused("1,2".encode("utf-16")[:-1], "text/csv; charset=utf-16")
    assert message == "rows is not text in utf-16, which its content type says it is"


def test_a_line_without_end(monkeypatch):
    monkeypatch.setattr("common.formats.reading.LONGEST_LINE", 1 << 22)

    class Endless(io.RawIOBase):
        def readinto(self, buffer):
            buffer[:] = b"1" * len(buffer)
            return len(buffer)

    with pytest.raises(ClientError, match="line 1 of rows is longer than"):
        rows(Endless(), "text/csv")


def test_a_long_line_is_read():
    values = np.arange(1_000_000, dtype=np.float32)
    body = ",".join(map(str, values.tolist())).encode()
    found = rows(body + b"\n" + body, "text/csv")
    assert np.array_equal(found.features, [values, values])


def test_a_thread_count_that_is_none_is_passed_over(monkeypatch):
    monkeypatch.setenv("ALGODOCK_NUM_THREADS", "many")
    assert lines.thread_count() >= 1


PIECES = b'1|2.5|,|,|\n|\r|"| |\t|-|e5|nan|x|;|#|_|:|0:1| 3:4|99999999999999999999|\xef\xbb\xbf|\xff|\0'
TEXT = st.lists(st.sampled_from([b"|", *PIECES.split(b"|")]), max_size=30).map(b"".join)


@settings(max_examples=500)
@given(TEXT, st.sampled_from([{}, XGBOOST, {"weights": True}, {"feature_dim": 2}, {"label_size": 2}]))
def test_both_readers_agree_on_anything(body, layout):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            expected = decode_bytes(body, "rows", MediaType("text/csv"), Layout(**layout))
        except ClientError:
            refused(body, **layout)
        else:
            found = both(body, **layout)
            assert (found is None) == (expected is None)
            assert found is None or same(rows(Drops(body, 1), "text/csv", **layout), found)
