import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import dump_svmlight_file, load_svmlight_file

from common.content_types import MediaType
from common.failures import ClientError
from common.formats import Layout, decode_bytes

from .sources import Drops, batches, rows, same

TYPE = MediaType("text/libsvm")
RNG = np.random.default_rng(3)


def both(body: bytes, label_size=1, **layout):
    """Rows as the compiled reader of streams and the Python reader of bodies alike read them."""
    streamed = rows(body, "text/libsvm", label_size=label_size, **layout)
    whole = decode_bytes(body, "rows", TYPE, Layout(label_size, **layout))
    assert (streamed is None) == (whole is None)
    assert streamed is None or same(streamed, whole)
    return streamed


def refused(body: bytes, label_size=1, **layout) -> str:
    with pytest.raises(ClientError) as streamed:
        rows(body, "text/libsvm", label_size=label_size, **layout)
    with pytest.raises(ClientError) as whole:
        decode_bytes(body, "rows", TYPE, Layout(label_size, **layout))
    assert str(streamed.value) == str(whole.value)
    return str(streamed.value)


def test_like_scikit_learn():
    values = np.where(RNG.random((500, 90)) < 0.2, RNG.normal(size=(500, 90)), 0)
    values[:, -1] = 1
    file = io.BytesIO()
    dump_svmlight_file(values, RNG.normal(size=500), file, zero_based=True, comment="made\nfor a test")
    matrix, labels = load_svmlight_file(io.BytesIO(file.getvalue()), zero_based=True)
    found = both(file.getvalue())
    assert np.array_equal(found.features.dense(), matrix.toarray().astype(np.float32))
    assert np.array_equal(found.labels, labels.astype(np.float32))
    assert found.weights is None
    assert same(rows(Drops(file.getvalue(), 999, pauses=True), "text/libsvm", label_size=1), found)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_rows(end):
    body = end.join([b"# a comment", b"1 0:1.5\t3:-2 # 7:7", b"", b" -1.5  2:1e2 2:1 ", b"2", b"3#", b" # "])
    found = both(body)
    assert found.labels.tolist() == [1, -1.5, 2, 3]
    assert found.features.dense().tolist() == [[1.5, 0, 0, -2], [0, 0, 101, 0], [0] * 4, [0] * 4]
    assert both(b"#\n\n" + end) is None
    assert both(b"") is None
    mark = b"\xef\xbb\xbf"
    assert same(both(mark + body), found)
    assert both(mark) is None
    assert "line 2 of rows" in refused(mark + end + b"x")
    assert r"'\ufeff1' as the label" in refused(body + end + mark + b"1 0:1")


def test_weights():
    found = both(b"1:0.5 0:1\n0:2 0:2\n")
    assert found.weights.tolist() == [0.5, 2]
    assert found.labels.tolist() == [1, 0]


def test_without_labels():
    found = both(b"1 0:1\n0:2 1:3\n\n5\n", label_size=0)
    assert found.labels is None
    assert found.weights is None
    assert found.features.dense().tolist() == [[1, 0], [2, 3], [0, 0]]


def test_width():
    assert both(b"1\n").width == 1
    assert both(b"1 4:1\n1 2:1\n").width == 5
    assert both(b"1 4:1\n", feature_dim=9).width == 9


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"1 a:1", "line 1 of rows holds 'a:1'; index:value pairs with whole indices from 0 are accepted"),
        (
            b"1 0:1\n1 -1:1",
            "line 2 of rows holds '-1:1'; index:value pairs with whole indices from 0 are accepted",
        ),
        (b"1 0:1\n1 1.0:1", "line 2 of rows holds '1.0:1'; index:value pairs with whole indices from 0"),
        (b"1 0:1\n1 0", "line 2 of rows holds '0'; index:value pairs with whole indices from 0 are accepted"),
        (b"1 0:1\n1 0:x", "line 2 of rows holds 'x' at index 0; numbers are accepted"),
        (b"1 0:1\n1 0:", "line 2 of rows holds '' at index 0; numbers are accepted"),
        (b"1 0: 1", "line 1 of rows holds '' at index 0; numbers are accepted"),
        (b"x 0:1", "line 1 of rows holds 'x' as the label; numbers are accepted"),
        (b"1:y 0:1", "line 1 of rows holds 'y' as the weight; numbers are accepted"),
        (b"1_0 0:1", "line 1 of rows holds '1_0' as the label; numbers are accepted"),
        (
            b"1 qid:3 0:1",
            "line 1 of rows holds 'qid:3'; query groups are not read here, index:value pairs are",
        ),
        (b"1 0:1\n\n1:2 0:1", "line 3 of rows has a weight, which the first row has not; either all rows"),
        (b"1:2 0:1\n1 0:1", "line 2 of rows has no weight, which the first row has; either all rows"),
        (
            b"1 2147483647:1",
            "line 1 of rows has the index 2147483647; indices from 0 to 2147483646 are accepted",
        ),
        (b"1 " + b"9" * 30 + b":1", "has the index 999999999999999999999999999999; indices from 0 to"),
        (
            b"1 " + b"9" * 9999 + b":1",
            "has the index 9999999999999999999999999999999999999999…; indices from 0",
        ),
    ],
)
def test_what_users_get_wrong(body, message):
    assert message in refused(body)
    assert message.replace("line 1 ", "line 2 ") in refused(b"\n" + body) or "line 1 " not in message


def test_indices_beyond_the_declared_width():
    assert refused(b"1 0:1\n1 4:1", feature_dim=4) == (
        "line 2 of rows has the index 4; indices from 0 to 3 are accepted"
    )


def test_several_labels_are_refused():
    assert refused(b"1 0:1", label_size=2) == "rows is libsvm, whose rows have 1 label, where 2 are expected"


def test_lines_are_counted_across_pieces():
    body = b"1 0:1.5 1:2.5 7:2\n" * 300_000
    found = batches(body, "text/libsvm", label_size=1)
    assert len(found) > 3
    assert sum(map(len, found)) == 300_000
    assert {batch.width for batch in found} == {8}
    assert len(decode_bytes(body, "rows", TYPE, Layout(1))) == 300_000
    with pytest.raises(ClientError, match="line 300001 of rows holds 'x' at index 9"):
        rows(body + b"1 9:x\n" + body, "text/libsvm", label_size=1)


def test_charset():
    body = "1 0:2\n".encode("utf-16")
    type_ = MediaType("text/libsvm", {"charset": "utf-16"})
    assert decode_bytes(body, "rows", type_, Layout(1)).labels.tolist() == [1]


PIECES = b"1|2.5| |0:1|3:4| 5:6e1|1:|:|\n|\r|#|\t|-|nan|x|qid:1|_|99999999999999999999|\xff|\0|1 0:1\n"
TEXT = st.lists(st.sampled_from(PIECES.split(b"|")), max_size=30).map(b"".join)


@settings(max_examples=500)
@given(TEXT, st.sampled_from([0, 1]), st.sampled_from([None, 3]))
def test_both_readers_agree_on_anything(body, label_size, feature_dim):
    layout = {"label_size": label_size, "feature_dim": feature_dim}
    try:
        decode_bytes(body, "rows", TYPE, Layout(**layout))
    except ClientError:
        refused(body, **layout)
    else:
        found = both(body, **layout)
        assert found is None or same(rows(Drops(body, 1), "text/libsvm", **layout), found)
