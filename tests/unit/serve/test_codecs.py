import json

import numpy as np
import pytest

from common.batches import CSR, Batch, dense
from common.content_types import CSV, JSON, JSON_LINES, RECORDIO_PROTOBUF, MediaType, parse
from common.failures import ClientError
from common.formats import encode_batch, record_pb2
from serve.codecs import StandardCodec


class Fake:
    def __init__(self, feature_dim=3):
        self.feature_dim = feature_dim


def decode(body, content_type=JSON, width=3):
    if not isinstance(body, bytes | str):
        body = json.dumps(body)
    if isinstance(body, str):
        body = body.encode()
    return StandardCodec("predictions", Fake(width)).decode(body, parse(content_type))


def one(features):
    return {"instances": [features]}


def sparse(**features):
    return {"data": {"features": features}}


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ({"instances": [{"features": [0.5, 2, 0]}, {"features": [1, 0, 3.5]}]}, JSON),
        (
            {
                "configuration": {},
                "instances": [
                    {"features": [0.5, 2, 0], "configuration": {"k": 1}},
                    {"data": {"features": {"values": [1, 0, 3.5]}}},
                ],
            },
            JSON,
        ),
        (
            {
                "instances": [
                    sparse(keys=[1, 0], values=[2, 0.5], shape=[3]),
                    sparse(values=[1, 0, 3.5], shape=[3]),
                ]
            },
            JSON,
        ),
        ('{"features":[0.5,2.0,0]}\n\n{"data":{"features":{"values":[1,0,3.5]}}}\n', JSON_LINES),
        ('{"features":[0.5,2.0,0]}\r\n{"features":[1,0,3.5]}', JSON_LINES),
        ('\ufeff{"instances": [{"features": [0.5, 2, 0]}, {"features": [1, 0, 3.5]}]}', JSON),
        ("0.5,2.0,0\n1,0,3.5\n", CSV),
        ("9,0.5,2.0,0\n9,1,0,3.5", "text/csv; label_size=1"),
        ("8,9,0.5,2.0,0\n8,9,1,0,3.5", "text/CSV;label_size=2;charset=utf-8"),
        ("0.5,2.0,0\n1,0,3.5\n".encode("utf-16"), "text/csv; charset=utf-16"),
        (
            encode_batch(
                Batch(np.array([[0.5, 2, 0], [1, 0, 3.5]], np.float32), np.array([7, 8], np.float32))
            ),
            RECORDIO_PROTOBUF,
        ),
    ],
)
def test_decode(body, content_type):
    rows = decode(body, content_type)
    assert dense(rows).dtype == np.float32
    np.testing.assert_array_equal(dense(rows), [[0.5, 2, 0], [1, 0, 3.5]])


def test_sparse_rows_stay_sparse():
    rows = decode(one(sparse(keys=[10**6], values=[2], shape=[10**9])), width=10**9)
    assert isinstance(rows, CSR)
    assert rows.shape == (1, 10**9)
    assert (rows.values.tolist(), rows.indices.tolist()) == ([2.0], [10**6])


def test_a_shape_of_several_dimensions_is_flat():
    assert decode(one(sparse(keys=[5], values=[2], shape=[2, 3])), width=6).shape == (1, 6)


def test_an_empty_sparse_row_is_all_zeros():
    for features in ({"keys": [], "values": [], "shape": [3]}, {"values": [], "shape": [3]}):
        np.testing.assert_array_equal(dense(decode(one(sparse(**features)))), [[0, 0, 0]])


def test_dense_and_sparse_rows_keep_their_order():
    instances = [
        {"features": [1, 0, 0]},
        sparse(keys=[1], values=[2], shape=[3]),
        sparse(keys=[2], values=[3], shape=[3]),
        {"features": [4, 0, 0]},
    ]
    expected = [[1, 0, 0], [0, 2, 0], [0, 0, 3], [4, 0, 0]]
    for width in (3, None):
        np.testing.assert_array_equal(dense(decode({"instances": instances}, width=width)), expected)


@pytest.mark.parametrize("content_type", [JSON, JSON_LINES, CSV, RECORDIO_PROTOBUF])
def test_nothing_is_none(content_type):
    assert decode(b"", content_type) is None
    if content_type != RECORDIO_PROTOBUF:
        assert decode(b"\n\n", content_type) is None


def test_no_instances_are_no_rows():
    assert len(decode({"instances": []})) == 0


DEEP = "[" * 100_000


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("{", "the payload is not JSON: .* at line 1, column 2"),
        ('{"instances": [1,]}', "the payload is not JSON"),
        ("[1, 2]", 'the payload is a list; accepted: an object with the key "instances"'),
        ('"text"', "the payload is a string"),
        ('{"rows": []}', '"instances" is missing from the payload, which has "rows"'),
        ("{}", "which has no key"),
        ('{"instances": {}}', '"instances" is an object; accepted: a list'),
        ('{"instances": [[1, 2, 3]]}', r"instances\[0\] is a list; accepted: an object"),
        ('{"instances": [null]}', r"instances\[0\] is null"),
        ('{"instances": [{"feature": [1, 2, 3]}]}', r'instances\[0\] has neither "features" nor "data"'),
        ('{"instances": [{"features": 1}]}', r'"features" of instances\[0\] is a number; accepted: a list'),
        ('{"instances": [{"features": {"values": [1, 2, 3]}}]}', "is an object; accepted: a list of numbers"),
        ('{"instances": [{"data": [1, 2, 3]}]}', r'"data" in instances\[0\] is a list; accepted: an object'),
        (
            '{"instances": [{"data": {"features": [1, 2, 3]}}]}',
            r'"features" in data of instances\[0\] is a list',
        ),
        ('{"instances": [{"data": {}}]}', r'"features" is missing from data of instances\[0\]'),
        ('{"instances": [{"data": {"features": {}}}]}', r'"values" is missing from data.features of inst'),
        ('{"instances": [{"features": [1], "data": {}}]}', 'has both "features" and "data"'),
        (
            '{"instances": [{"features": [1, 2, 3]}, {"features": [1, 2]}]}',
            r"instances\[1\] has 2 features; the model takes 3",
        ),
        ('{"instances": [{"features": []}]}', "has 0 features; the model takes 3"),
        (
            '{"instances": [{"features": [1, "2", 3]}]}',
            r'value 1 in features of instances\[0\] is "2"; accepted: a number',
        ),
        ('{"instances": [{"features": [1, null, 3]}]}', r"value 1 in features of instances\[0\] is null"),
        ('{"instances": [{"features": [1, true, 3]}]}', "is true; accepted: a number"),
        ('{"instances": [{"features": [1, [2], 3]}]}', "is a list; accepted: a number"),
        ('{"instances": [{"features": [1, NaN, 3]}]}', "NaN is not a number of JSON"),
        ('{"instances": [{"features": [1, -Infinity, 3]}]}', "-Infinity is not a number of JSON"),
        ('{"instances": [{"features": [1, 1e39, 3]}]}', "value 1 in .* is too large for a 32-bit float"),
        ('{"instances": [{"features": [1, 1e999, 3]}]}', "value 1 in .* is too large for a 32-bit float"),
        (f'{{"instances": [{{"features": [1, {"9" * 400}, 3]}}]}}', "too large for a 32-bit float"),
        (f'{{"instances": [{{"features": [1, {"9" * 5000}, 3]}}]}}', "holds a number that is too long"),
        ('{"instances": [{"features": [1, 2, 3], "features": [3]}]}', 'the key "features" appears twice'),
        ('{"instances": [], "instances": []}', 'the key "instances" appears twice'),
        (DEEP, "the payload is nested too deeply"),
        (b'{"instances": "\xff"}', "byte 15 of the payload is not utf-8"),
    ],
)
def test_json_refused(body, message):
    with pytest.raises(ClientError, match=message) as caught:
        decode(body)
    assert caught.value.status == 400
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (
            {"keys": [3], "values": [1], "shape": [3]},
            r"keys\[0\] of instances\[0\] is 3; accepted: .* 0 to 2",
        ),
        ({"keys": [-1], "values": [1], "shape": [3]}, "is -1"),
        ({"keys": [1.0], "values": [1], "shape": [3]}, r"keys\[0\] of .* is 1.0"),
        ({"keys": ["1"], "values": [1], "shape": [3]}, 'is "1"'),
        ({"keys": [10**30], "values": [1], "shape": [3]}, "is a longer number"),
        ({"keys": [1, 1], "values": [1, 2], "shape": [3]}, "key 1 appears twice"),
        ({"keys": [1], "values": [], "shape": [3]}, 'has 1 "keys" and 0 "values"'),
        ({"keys": 1, "values": [1], "shape": [3]}, '"keys" in .* is a number; accepted: a list'),
        ({"keys": [1], "values": ["x"], "shape": [3]}, 'value 0 in values of .* is "x"'),
        ({"keys": [1], "values": [1e300], "shape": [3]}, "too large for a 32-bit float"),
        ({"keys": [1], "values": [1]}, '"shape" is missing'),
        ({"keys": [1], "values": [1], "shape": []}, '"shape" of .* is not a list of'),
        ({"keys": [1], "values": [1], "shape": ["3"]}, '"shape" of .* is not a list of'),
        ({"keys": [1], "values": [1], "shape": [4]}, r'"shape" of .* says 4 features; the model takes 3'),
        ({"keys": [1], "values": [1], "shape": [10**18]}, "says 1000000000000000000 features"),
        ({"values": [1, 2, 3], "shape": [4]}, 'says 4 features and "values" has 3'),
    ],
)
def test_sparse_refused(features, message):
    with pytest.raises(ClientError, match=message):
        decode(one(sparse(**features)))


def test_widths_must_agree_where_the_model_takes_any():
    with pytest.raises(ClientError, match=r"instances\[1\] has 2 features; instances\[0\] has 3"):
        decode({"instances": [{"features": [1, 2, 3]}, {"features": [1, 2]}]}, width=None)
    with pytest.raises(ClientError, match=r"instances\[1\] has 4 features; the rows before it have 3"):
        decode({"instances": [{"features": [1, 2, 3]}, sparse(keys=[1], values=[1], shape=[4])]}, width=None)
    rows = [sparse(keys=[1], values=[1], shape=[size]) for size in (3, 4)]
    with pytest.raises(ClientError, match=r"instances\[1\] says 4 features; instances\[0\] says 3"):
        decode({"instances": rows}, width=None)
    with pytest.raises(ClientError, match="accepted: up to 2147483647"):
        decode(one(sparse(keys=[1], values=[1], shape=[10**6, 10**6])), width=None)
    with pytest.raises(ClientError, match="has no features"):
        decode(one({"features": []}), width=None)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"features": [1, 2, 3]}\n{"features": [1, 2]}', "line 2 has 2 features"),
        ('{"features": [1, 2, 3]}\n\n{"features": [1, 2, "x"]}', 'value 2 in features of line 3 is "x"'),
        ('{"features": [1, 2, 3]}\n{"features"', "line 2 is not JSON: .* at line 2, column"),
        ("[1, 2, 3]", "line 1 is a list"),
        ('{"features": [1, 2, 3]} {"features": [1, 2, 3]}', "line 1 is not JSON: Extra data"),
        (DEEP, "line 1 is nested too deeply"),
    ],
)
def test_json_lines_refused(body, message):
    with pytest.raises(ClientError, match=message):
        decode(body, JSON_LINES)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ("1,2", CSV),
        ("1,2,3\n1,2", CSV),
        ("1,2,x", CSV),
        ("a,b,c\n1,2,3", CSV),
        ("1,,3", CSV),
        ("1,2,nan", CSV),
        ("1,2,1e99", CSV),
        ("1,2,3", "text/csv; label_size=x"),
        ("1,2,3", "text/csv; label_size=1"),
        ("1,2,3", "text/csv; charset=klingon"),
        (b"\xff,2,3", CSV),
        (b"no records at all", RECORDIO_PROTOBUF),
        (encode_batch(Batch(np.ones((1, 4), np.float32))), RECORDIO_PROTOBUF),
        (encode_batch(Batch(np.ones((1, 3), np.float32)))[:-4], RECORDIO_PROTOBUF),
        (encode_batch(Batch(np.full((1, 3), np.nan, np.float32))), RECORDIO_PROTOBUF),
    ],
)
def test_other_formats_refused(body, content_type):
    with pytest.raises(ClientError) as caught:
        decode(body, content_type)
    assert caught.value.status == 400


def test_a_number_that_is_none_is_located():
    with pytest.raises(ClientError, match=r"feature 1 \(counted from 0\) of row 2 is not a finite number"):
        decode("1,2,3\n1,inf,3", CSV)


COLUMNS = {
    "closest_cluster": np.array([2, 0], np.float32),
    "distance_to_cluster": np.array([4.1, np.nan], np.float32),
}


class Ordered(Fake):
    json_keys = ("distance_to_cluster", "closest_cluster", "never")


def encode(columns, accept, predictor=None, root="predictions"):
    return StandardCodec(root, predictor or Fake()).encode(columns, MediaType(accept))


def test_encode_json():
    text = encode(COLUMNS, JSON, Ordered())
    assert text == (
        b'{"predictions": [{"distance_to_cluster": 4.099999904632568, "closest_cluster": 2.0}, '
        b'{"distance_to_cluster": NaN, "closest_cluster": 0.0}]}'
    )
    assert encode({"a": np.array([[1, 2]], np.float32)}, JSON, root="projections") == (
        b'{"projections": [{"a": [1.0, 2.0]}]}'
    )
    assert encode({}, JSON) == b'{"predictions": []}'


def test_encode_json_lines():
    assert encode(COLUMNS, JSON_LINES) == (
        b'{"closest_cluster": 2.0, "distance_to_cluster": 4.099999904632568}\n'
        b'{"closest_cluster": 0.0, "distance_to_cluster": NaN}\n'
    )
    assert encode({}, JSON_LINES) == b""


def test_encode_csv():
    columns = {"label": np.array([1, 2], np.float32), "score": np.array([[0.5, 0.25], [1, 0]], np.float32)}
    assert encode(columns, CSV) == b"1.0,0.5,0.25\n2.0,1.0,0.0\n"
    assert encode({}, CSV) == b""


def test_encode_records():
    body = encode(COLUMNS | {"more": np.array([[1, 2], [3, 4]], np.float32)}, RECORDIO_PROTOBUF)
    labels = []
    while body:
        size = int.from_bytes(body[4:8], "little")
        record = record_pb2.Record.FromString(body[8 : 8 + size])
        assert not record.features
        labels.append({key: list(value.float32_tensor.values) for key, value in record.label.items()})
        body = body[8 + (size + 3) // 4 * 4 :]
    assert labels[0] == {
        "closest_cluster": [2],
        "distance_to_cluster": [np.float32(4.1)],
        "more": [1, 2],
    }
    assert len(labels) == 2
    assert encode({}, RECORDIO_PROTOBUF) == b""
