import struct
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from common.failures import ClientError
from common.formats import ndarray

TYPES = ["float32", "float64", "float16", "uint8", "int32", "int8", "int64"]
ARRAYS = st.sampled_from(TYPES).flatmap(
    lambda dtype: arrays_of.arrays(
        dtype, arrays_of.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=3)
    )
)


def same(left, right):
    return left.dtype == right.dtype and np.array_equal(left, right, equal_nan=left.dtype.kind == "f")


@given(st.lists(ARRAYS, max_size=4))
def test_lists_round_trip(values):
    found = ndarray.load(ndarray.dumps(values))
    assert isinstance(found, list)
    assert all(map(same, found, values))
    assert len(found) == len(values)


@given(st.dictionaries(st.text(max_size=5), ARRAYS, min_size=1, max_size=4))
def test_dicts_round_trip(values):
    found = ndarray.load(ndarray.dumps(values))
    assert isinstance(found, dict)
    assert list(found) == list(values)
    assert all(same(found[name], values[name]) for name in values)


def test_files_round_trip(tmp_path):
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    ndarray.save(tmp_path / "model", [values.T, values[::-1]])
    found = ndarray.load(tmp_path / "model")
    assert same(found[0], values.T)
    assert same(found[1], values[::-1])
    assert found[0].flags.writeable


def test_the_very_bytes_that_mxnet_writes():
    # mx.nd.save("x", {"w": mx.nd.array([[1, 2]])}) with mxnet 1.9.1
    expected = bytes.fromhex(
        "1201000000000000" "0000000000000000" "0100000000000000"
        "c9fa93f9" "00000000" "02000000" "0100000000000000" "0200000000000000"
        "01000000" "00000000" "00000000" "0000803f" "00000040"
        "0100000000000000" "0100000000000000" "77"
    )  # fmt: skip
    assert ndarray.dumps({"w": np.float32([[1, 2]])}) == expected


def container(array: bytes, names: bytes = struct.pack("<Q", 0)) -> bytes:
    return struct.pack("<QQQ", 0x112, 0, 1) + array + names


CONTEXT = struct.pack("<ii", 1, 0)
FLOATS = CONTEXT + struct.pack("<i2f", 0, 1, 2)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (struct.pack("<III", 2, 1, 2) + FLOATS, [[1, 2]]),
        (struct.pack("<IIqq", ndarray.V1_MAGIC, 2, 1, 2) + FLOATS, [[1, 2]]),
        (struct.pack("<IiIqq", ndarray.V2_MAGIC, 0, 2, 1, 2) + FLOATS, [[1, 2]]),
        (struct.pack("<IiIqq", ndarray.V3_MAGIC, 0, 2, 1, 2) + FLOATS, [[1, 2]]),
        (struct.pack("<IiI", ndarray.V3_MAGIC, 0, 0) + CONTEXT + struct.pack("<if", 0, 5), 5),
        (struct.pack("<IiIq", ndarray.V3_MAGIC, 0, 1, 0) + CONTEXT + struct.pack("<i", 0), []),
        (struct.pack("<IiIq", ndarray.V3_MAGIC, 0, 1, -1), []),
        (struct.pack("<Iii", ndarray.V3_MAGIC, 0, -1), []),
        (struct.pack("<IiI", ndarray.V2_MAGIC, 0, 0), []),
        (struct.pack("<II", ndarray.V1_MAGIC, 0), []),
        (struct.pack("<I", 0), []),
    ],
)
def test_versions(array, expected):
    assert ndarray.load(container(array))[0].tolist() == expected


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "ends early"),
        (b"12345678" * 4, "does not begin with the number 0x112"),
        (struct.pack("<QQQ", 0x112, 0, 1 << 60), "announces 1152921504606846976 arrays or names"),
        (container(struct.pack("<II", 1, 1 << 31) + FLOATS), "ends early"),
        (container(struct.pack("<IiIq", ndarray.V2_MAGIC, 0, 1, 1 << 62) + FLOATS), "ends early"),
        (container(struct.pack("<IiIqq", ndarray.V2_MAGIC, 0, 2, 0, 1 << 62) + FLOATS), "of the shape"),
        (container(struct.pack("<IiIq", ndarray.V2_MAGIC, 0, 1, -1) + FLOATS), "of the shape"),
        (container(struct.pack("<Ii", ndarray.V2_MAGIC, 1)), "holds a sparse array"),
        (container(struct.pack("<I", 33)), "has an array of 33 dimensions"),
        (container(struct.pack("<II", 1, 1) + CONTEXT + struct.pack("<i", 99)), "of element type 99"),
        (container(struct.pack("<I", 0), struct.pack("<QQ", 1, 1 << 40)), "ends early"),
        (container(struct.pack("<I", 0), struct.pack("<QQQ", 2, 0, 0)), "has 2 names for 1 arrays"),
        (container(struct.pack("<I", 0), struct.pack("<QQ", 1, 1) + b"\xff"), "a name that is not UTF-8"),
    ],
)
def test_what_is_no_such_file(data, message, tmp_path):
    with pytest.raises(ClientError, match=message):
        ndarray.load(data)
    (tmp_path / "model").write_bytes(data)
    with pytest.raises(ClientError, match="model "):
        ndarray.load(tmp_path / "model")


def test_cut_off_anywhere():
    data = ndarray.dumps({"a": np.ones((2, 2), np.float32), "b": np.ones(3, np.int64)})
    for stop in range(len(data)):
        with pytest.raises(ClientError):
            ndarray.load(data[:stop])


def test_what_cannot_be_written():
    with pytest.raises(TypeError, match="complex"):
        ndarray.dumps([np.ones(1, np.complex64)])
    with pytest.raises(TypeError, match="bool"):
        ndarray.dumps([np.ones(1, np.bool_)])
    with pytest.raises(ValueError, match="without dimensions"):
        ndarray.dumps([np.float32(1)])


@given(st.binary(max_size=120), st.integers(0, 120), st.binary(max_size=4))
def test_damaged_bytes_never_end_otherwise(noise, at, patch):
    data = ndarray.dumps({"a": np.ones((2, 2), np.float32), "b": np.ones(3, np.int64)})
    for broken in (noise, container(noise), data[:at] + patch + data[at + len(patch) :]):
        with suppress(ClientError):
            ndarray.load(broken)
