import io
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.batches import CSR, Batch, dense, to_csr
from common.content_types import parse
from common.failures import ClientError
from common.formats import Layout, decode_bytes, encode_batch, encode_records, recordio
from common.formats.record_pb2 import Record

from .sources import Drops, batches, frames, record, reference, rows, same

RNG = np.random.default_rng(7)
_TYPE = parse("application/x-recordio-protobuf")


def matrix(rows=40, columns=5):
    return RNG.normal(size=(rows, columns)).astype(np.float32)


# Protobuf by hand, for what the protobuf package does not write.


def varint(value):
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def delimited(number, *contents):
    content = b"".join(contents)
    return varint(number << 3 | 2) + varint(len(content)) + content


def floats(*values):
    return struct.pack(f"<{len(values)}f", *values)


def features(*value_fields, key=b"values"):
    return delimited(1, delimited(1, key), delimited(2, *value_fields))


def float_tensor(*values):
    return delimited(2, delimited(1, floats(*values)))


@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 500])
def test_uniform_dense_records(kind, size):
    values = matrix(size)
    labels = np.arange(size, dtype=np.float32)
    data = frames(*(record(v, [y], kind=kind) for v, y in zip(values.tolist(), labels.tolist(), strict=True)))
    found = rows(data, label_size=1)
    assert found is None if size == 0 else same(found, Batch(values, labels))
    assert found is None or same(rows(Drops(data, 7, pauses=True), label_size=1), found)


def test_uniform_dense_records_need_no_compiler():
    import subprocess
    import sys

    code = (
        "import io, sys, numpy as np\n"
        "from common.batches import Batch\nfrom common.content_types import parse\n"
        "from common.formats import Layout, decode, decode_bytes, encode_batch\n"
        "data = encode_batch(Batch(np.ones((1000, 9), np.float32), np.ones(1000, np.float32)))\n"
        "protobuf, csv = parse('application/x-recordio-protobuf'), parse('text/csv')\n"
        "assert sum(map(len, decode(io.BytesIO(data), '', protobuf, Layout(label_size=1)))) == 1000\n"
        "assert len(decode_bytes(b'1,2\\n', '', csv, Layout())) == 1\n"
        "assert len(decode_bytes(data[:len(data) // 1000], '', protobuf, Layout())) == 1\n"
        "print([name for name in ('numba', 'pyarrow', 'google.protobuf', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_no_batch_shares_memory_with_the_stream():
    values = matrix(60000, 20)
    found = batches(encode_batch(Batch(values)))
    assert len(found) > 2
    assert np.array_equal(np.concatenate([batch.features for batch in found]), values)
    sparse = batches(encode_batch(Batch(to_csr(values))))
    assert np.array_equal(np.concatenate([dense(batch.features) for batch in sparse]), values)


def test_texts_and_unwanted_labels_may_differ_in_uniform_records():
    values = matrix(30)
    data = frames(*(record(v, [i, i], uid=f"{i:04}") for i, v in enumerate(values.tolist())))
    assert same(rows(data), Batch(values))


def test_records_of_changing_layout():
    values = matrix(300)
    records = [
        record(v, [i], kind=["float32", "float64"][i % 2], uid="u" * (i % 9 * (i > 100)))
        for i, v in enumerate(values.tolist())
    ]
    found = rows(frames(*records), label_size=1)
    assert same(found, Batch(values, np.arange(300, dtype=np.float32)))


def test_whole_numbers():
    data = frames(*(record([i, -i, 1 << 30], [i], kind="int32", label_kind="int32") for i in range(300)))
    found = rows(data, label_size=1)
    assert found.features.tolist() == [[i, -i, 1 << 30] for i in range(300)]
    assert found.labels.tolist() == list(range(300))


def test_several_labels():
    data = frames(*(record([1.0], [i, i + 1]) for i in range(40)))
    assert rows(data, label_size=2).labels.tolist() == [[i, i + 1] for i in range(40)]


def test_sparse_records():
    values = np.where(RNG.random((200, 300)) < 0.1, matrix(200, 300), 0).astype(np.float32)
    records = []
    for row in values:
        keys = np.flatnonzero(row)
        records.append(record(row[keys].tolist(), [1], keys=keys.tolist(), shape=[300]))
    found = rows(frames(*records), label_size=1)
    assert isinstance(found.features, CSR)
    assert found.features.shape == (200, 300)
    assert np.array_equal(found.features.dense(), values)
    assert same(rows(encode_batch(Batch(to_csr(values), found.labels)), label_size=1), found)


def test_repeated_keys_add_up():
    found = rows(frames(record([1.0, 2.0, 4.0], keys=[3, 0, 3], shape=[4])))
    assert found.features.dense().tolist() == [[2, 0, 0, 5]]


def test_the_width_of_sparse_rows():
    data = frames(record([1.0], keys=[2]), record([1.0], keys=[7]))
    assert rows(data).width == 8
    assert rows(data, feature_dim=20).width == 20
    assert rows(frames(record([1.0], keys=[2], shape=[3, 4]))).width == 12
    assert rows(frames(record([1.0], keys=[2], shape=[3])), feature_dim=5).width == 5


def test_a_shape_alone_is_a_row_of_zeros():
    found = rows(frames(record([], shape=[5]), record([1.0], keys=[1], shape=[5])))
    assert found.features.dense().tolist() == [[0] * 5, [0, 1, 0, 0, 0]]


def test_dense_and_sparse_rows_together_are_sparse_and_keep_written_zeros():
    records = [record([1.0, 0.0, 2.0]), record([5.0], keys=[1], shape=[3])] * 3
    found = rows(frames(*records))
    assert found.features.dense().tolist() == [[1, 0, 2], [0, 5, 0]] * 3
    assert len(found.features.values) == 12
    uniform = frames(*[record([1.0, 0.0, 2.0])] * 20, record([5.0], keys=[1], shape=[3]))
    found = rows(uniform)
    assert found.features.shape == (21, 3)
    assert len(found.features.values) == 61


def test_records_in_parts():
    magic = struct.unpack("<f", recordio.MAGIC_BYTES)[0]
    plain = [record([1.0, float(i), 3.0], [2.0]).SerializeToString() for i in range(40)]
    parted = record([magic] * 3, [2.0], uid="four" * 5).SerializeToString()
    for shift in range(4):  # somewhere the values are at a multiple of 4
        payload = delimited(15, bytes(shift)) + parted
        data = b"".join([recordio.frame(p) for p in plain] + [recordio.frame(payload, split=True)] * 3)
        data += recordio.frame(plain[0])
        found = rows(data, label_size=1)
        assert len(found) == 44
        assert found.features[40:43].tolist() == [[magic] * 3] * 3
        assert same(rows(Drops(data, 11), label_size=1), found)


def test_protobuf_rules():
    one_way = features(float_tensor(1, 2))
    others = {
        "unpacked": features(delimited(2, b"\x0d" + floats(1), b"\x0d" + floats(2))),
        "in two packs": features(delimited(2, delimited(1, floats(1)), delimited(1, floats(2)))),
        "merged tensors": features(float_tensor(1), float_tensor(2)),
        "last kind wins": features(float_tensor(5), delimited(7, b"\x08\x05"), float_tensor(1, 2)),
        "value before key": delimited(1, delimited(2, float_tensor(1, 2)), delimited(1, b"values")),
        "last entry wins": features(float_tensor(9, 9, 9)) + one_way,
        "last key of an entry wins": delimited(
            1, delimited(1, b"other"), delimited(2, float_tensor(1, 2)), delimited(1, b"values")
        ),
        "merged values of an entry": delimited(
            1, delimited(1, b"values"), delimited(2, float_tensor(1)), delimited(2, float_tensor(2))
        ),
        "another entry": features(float_tensor(7), key=b"others") + one_way,
        "unknown fields": b"\x98\x06\x01" + one_way + delimited(99, b"x") + b"\x9d\x06abcd\x99\x06abcdefgh",
        "an unknown group": b"\x9b\x06\x08\x01\x13\x14\x1a\x01a\x9c\x06" + one_way,
        "a known field of another type": b"\x08\x01" + one_way,
        "ten bytes for a number": features(delimited(7, delimited(1, b"\x81" + b"\x80" * 8 + b"\x00\x02"))),
    }
    for what, payload in {"plain": one_way, **others}.items():
        values, keys, _ = reference(payload)
        assert values.tolist() == [1, 2], what
        assert keys is None
        assert rows(recordio.frame(payload)).features.tolist() == [[1, 2]], what
        assert rows(recordio.frame(one_way) * 3 + recordio.frame(payload)).features.tolist() == [[1, 2]] * 4


@pytest.mark.parametrize(
    "payload",
    [
        b"\x0a",
        b"\x0a\x05a",
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x00\x01",
        b"\x07",
        b"\x0b\x0c\x0c",
        b"\x0b\x14",
        b"\x0b" * 200 + b"\x0c" * 200,
        b"\x08" + b"\xff" * 9 + b"\x02",
        b"\xff\xff\xff\xff\xff\x01\x01",
        b"\x0dabc",
        b"\x09abcdefg",
        features(delimited(2, delimited(1, b"abc"))),
        features(delimited(3, delimited(1, b"abcd"))),
        features(delimited(7, delimited(1, b"\x80"))),
        features(delimited(2, delimited(2, b"\x80"))),
        features(delimited(2, delimited(3, b"\x80"))),
        features(b"\x12\x05"),
    ],
)
def test_malformed_records(payload):
    with pytest.raises(ClientError, match="record 2 of rows is not a protobuf message; aialgs"):
        rows(frames(record([1.0]), payload))


@pytest.mark.parametrize(
    ("wrong", "layout", "message"),
    [
        (Record(), {}, "record 2 of rows has no features under the key 'values'"),
        (features(float_tensor(1), key=b"value"), {}, "has no features under the key 'values'"),
        (delimited(1, delimited(1, b"values")), {}, "has no feature values; values are needed, or a shape"),
        (record([]), {}, "has no feature values"),
        (
            record([1.0, 2.0]),
            {"label_size": 1},
            "record 2 of rows has no label under the key 'values'; 1 number",
        ),
        (record([1.0, 2.0], [1, 2]), {"label_size": 1}, "has 2 label values; 1 number is expected"),
        (record([1.0, 2.0], [1]), {"label_size": 2}, "has 1 label values; 2 numbers are expected"),
        (record([1.0, 2.0, 3.0], [1]), {}, "has 3 features; 2 are expected, as in the records before it"),
        (record([1.0, 2.0, 3.0], [1]), {"feature_dim": 2}, "has 3 features; 2 are expected$"),
        (record([1.0, 2.0], [1], shape=[3]), {}, "has 2 values in a shape of 3; a dense row fills its shape"),
        (record([1.0, 2.0], [1], keys=[0]), {}, "has 1 keys for 2 values; a sparse row has one for each"),
        (record([1.0], [1], keys=[2], shape=[2]), {}, "has the key 2; keys from 0 to 1 are accepted"),
        (record([1.0], [1], keys=[2]), {"feature_dim": 2}, "has the key 2; keys from 0 to 1 are accepted"),
        (record([1.0], [1], keys=[(1 << 64) - 1]), {}, "has the key 18446744073709551615; keys from 0"),
        (record([1.0], [1], keys=[0], shape=[3]), {"feature_dim": 2}, "has a shape of 3 features; at most 2"),
        (record([1.0], [1], keys=[0], shape=[1 << 40] * 2), {"feature_dim": 2}, "has a shape of"),
        (
            features(delimited(9, delimited(1, b"jpeg"))),
            {},
            "holds bytes as features; a float32, float64 or int32",
        ),
        (
            features(float_tensor(1, 2)) + b"\x12" + features(delimited(9, b""))[1:],
            {"label_size": 1},
            "holds bytes as label; a float32",
        ),
        (
            features(float_tensor(1, 2)) + b"\x12" + features(delimited(2, b"\x10\x01\x0d" + floats(1)))[1:],
            {"label_size": 1},
            "has a sparse label; a dense one is read",
        ),
    ],
)
def test_what_users_get_wrong(wrong, layout, message):
    good = record([1.0, 2.0], [1] * layout.get("label_size", 1))
    with pytest.raises(ClientError, match=message):
        rows(frames(good, wrong), **layout)
    with pytest.raises(ClientError, match=message.replace("record 2", "record 41")):
        rows(frames(*[good] * 40, wrong, *[good] * 40), **layout)


def test_the_first_wrong_record_is_named_across_blocks():
    good = encode_batch(Batch(matrix(50000, 20)))
    with pytest.raises(ClientError, match="record 50001 of rows does not begin with the RecordIO magic"):
        rows(good + b"12345678")
    with pytest.raises(ClientError, match="record 50001 of rows has 19 features; 20 are expected"):
        rows(good + encode_batch(Batch(matrix(5, 19))))
    with pytest.raises(ClientError, match="rows ends in the middle of record 50000"):
        rows(good[:-1])


@pytest.mark.parametrize("uniform", [True, False])
def test_cut_off_anywhere(uniform):
    values = matrix(3).tolist()
    data = frames(*(record(v, [1], uid=None if uniform else "x" * i) for i, v in enumerate(values)))
    whole = rows(data, label_size=1)
    bounds = 0
    for stop in range(len(data) + 1):
        fault = ""
        try:
            found = rows(data[:stop], label_size=1)
            bounds += 1
            assert found is None or same(found, whole[: len(found)])
        except ClientError as error:
            fault = str(error)
        if fault:
            assert "rows ends in the middle of record" in fault
            with pytest.raises(ClientError):
                decode_bytes(data[:stop], "rows", _TYPE, Layout(label_size=1))
    assert bounds >= 4


@pytest.mark.parametrize("threads", ["1", "2", "5"])
def test_records_read_side_by_side(monkeypatch, threads):
    monkeypatch.setenv("ALGODOCK_NUM_THREADS", threads)
    many = 30_000
    values = matrix(many, 20)
    labels = np.arange(many, dtype=np.float32)
    sparse = encode_batch(Batch(to_csr(values), labels))
    size = len(sparse) // many
    found = batches(sparse, label_size=1)
    assert np.array_equal(np.concatenate([dense(batch.features) for batch in found]), values)
    assert np.array_equal(np.concatenate([batch.labels for batch in found]), labels)
    for at in (12_345, 23_456, 29_999):
        head = sparse[: at * size]
        with pytest.raises(ClientError, match=f"record {at + 1} of rows has no label"):
            rows(head + frames(record([1.0], keys=[0], shape=[20])) + sparse, label_size=1)
        with pytest.raises(ClientError, match=f"record {at + 1} of rows does not begin with the RecordIO"):
            rows(head + b"12345678" + sparse, label_size=1)
        with pytest.raises(ClientError, match=f"rows ends in the middle of record {at}"):
            rows(head[:-5], label_size=1)
        magic = recordio.MAGIC_BYTES
        parted = magic + struct.pack("<I", 1 << 29) + magic + struct.pack("<II", 3 << 29 | 4, 0x1234567A)
        with pytest.raises(ClientError, match=f"record {at + 1} of rows is not a protobuf message"):
            rows(head + parted + sparse, label_size=1)
        # A dense row of one width and, some blocks later, one of another.
        wide = frames(record([1.0] * 20, [1])), frames(record([1.0] * 19, [1]))
        with pytest.raises(
            ClientError, match=f"record {2 * at + 2} of rows has 19 features; 20 are expected"
        ):
            rows(wide[0] + head + head + wide[1] + sparse, label_size=1)
        mixed = rows(head + wide[0] + sparse, label_size=1)
        assert mixed.features.shape == (at + 1 + many, 20)
        assert np.array_equal(mixed.features[at : at + 1].dense(), np.ones((1, 20)))


def test_a_false_length_takes_no_memory():
    import tracemalloc

    tracemalloc.start()
    with pytest.raises(ClientError, match="ends in the middle of record 1"):
        rows(recordio.MAGIC_BYTES + struct.pack("<I", recordio.LENGTH_MASK) + bytes(100))
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()


def test_a_record_longer_than_a_block():
    values = matrix(3, 1_500_000)
    assert np.array_equal(rows(encode_batch(Batch(values))).features, values)
    sparse = rows(encode_batch(Batch(to_csr(values))))
    assert np.array_equal(sparse.features.values, values.reshape(-1))


def test_encoded_records_are_what_the_protobuf_package_reads():
    scores = matrix(4, 3)
    data = encode_records({"score": scores, "predicted_label": [1, 2, 3, 4]})
    for row, payload in enumerate(recordio.payloads(io.BytesIO(data), "")):
        message = Record.FromString(payload)
        assert not message.features
        assert np.array_equal(message.label["score"].float32_tensor.values, scores[row])
        assert list(message.label["predicted_label"].float32_tensor.values) == [row + 1]
    assert encode_records({}) == b""
    assert encode_records({"score": np.empty(0)}) == b""
    with pytest.raises(ValueError, match="do not go together"):
        encode_records({"a": np.ones(2), "b": np.ones(3)})


def test_encoded_batches_are_what_the_protobuf_package_reads():
    values = matrix(6, 200) * (RNG.random((6, 200)) < 0.3)
    values[2] = 0
    labels = np.arange(6, dtype=np.float32)
    for batch in (Batch(values, labels), Batch(to_csr(values), labels), Batch(values), Batch(to_csr(values))):
        payloads = list(recordio.payloads(io.BytesIO(encode_batch(batch)), ""))
        assert len(payloads) == 6
        for row, payload in enumerate(payloads):
            found, keys, label = reference(payload)
            line = np.zeros(200, np.float32)
            line[slice(None) if keys is None else keys] = found
            assert np.array_equal(line, values[row])
            assert label == ([] if batch.labels is None else [row])


@given(st.lists(st.integers(0, (1 << 63) - 1), max_size=20))
def test_large_keys_round_trip(keys):
    if not keys:
        return
    features = CSR(
        np.ones(len(keys), np.float32), np.array(keys, np.int64), np.array([0, len(keys)]), (1, max(keys) + 1)
    )
    payload = next(recordio.payloads(io.BytesIO(encode_batch(Batch(features))), ""))
    assert reference(payload)[1] == keys


NUMBERS = st.lists(st.floats(width=32, allow_nan=False), min_size=3, max_size=3)


@st.composite
def any_records(draw):
    kind = draw(st.sampled_from(["float32", "float64", "int32"]))
    values = draw(
        NUMBERS
        if kind != "int32"
        else st.lists(st.integers(-(1 << 31), (1 << 31) - 1), min_size=3, max_size=3)
    )
    keys = draw(st.none() | st.lists(st.integers(0, 2), min_size=3, max_size=3))
    label = [draw(st.integers(-5, 1000))]
    return record(
        values, label, keys, draw(st.sampled_from([None, [3], [1, 3]])), kind,
        draw(st.sampled_from(["float32", "float64", "int32"])), draw(st.none() | st.text(max_size=5)),
    ).SerializeToString()  # fmt: skip


@given(st.lists(any_records(), min_size=1, max_size=40), st.booleans())
def test_any_records_read_as_the_protobuf_package_reads_them(payloads, split):
    found = rows(b"".join(recordio.frame(p, split) for p in payloads), label_size=1, feature_dim=3)
    for row, payload in enumerate(payloads):
        values, keys, label = reference(payload)
        line = np.zeros(3, np.float32)
        np.add.at(line, [0, 1, 2] if keys is None else keys, values)
        got = dense(found[row : row + 1].features)[0]
        assert np.array_equal(got, line, equal_nan=True)
        assert found.labels[row] == label[0]
