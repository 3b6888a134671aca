"""Whatever the bytes are, decoders yield rows or raise ClientError, the same from streams and from bodies."""

import io
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.batches import Batch, to_csr
from common.content_types import MediaType
from common.failures import ClientError
from common.formats import DECODERS, Layout, decode, decode_bytes, encode_batch, recordio

from .sources import Drops, record, rows, same

VALUES = np.float32([[1, 0, 2], [0, 0, 3], [4, 5, 0]])
LABELS = np.float32([1, 0, 1])
SEEDS = {
    "application/x-recordio-protobuf": [
        encode_batch(Batch(VALUES, LABELS)),
        encode_batch(Batch(to_csr(VALUES), LABELS)),
        recordio.frame(record([1.0, 2.0, 3.0], [1], kind="float64", uid="u").SerializeToString()) * 20,
        recordio.frame(b"\x7a\x0a" + recordio.MAGIC_BYTES * 2 + b"xy", split=True),
    ],
    "text/csv": [b"1,2.5,-3e1,nan\n" * 4 + b'4,"5",6,7'],
    "text/libsvm": [b"1 0:1.5 2:3\n0:1 1:2e1 # no\n" * 3],
}
LAYOUTS = [
    Layout(),
    Layout(label_size=1),
    Layout(label_size=1, feature_dim=3, missing=True, sniff_delimiter=True),
    Layout(label_size=1, weights=True),
]


def outcome(read):
    """What reading gave: a batch, None or the text of a ClientError; other errors come through."""
    try:
        return read()
    except ClientError as error:
        return str(error)


def check(content_type, body, layout):
    media_type = MediaType(content_type)
    whole = outcome(lambda: decode_bytes(body, "rows", media_type, layout))
    for stream in (io.BytesIO(body), Drops(body, 1)):
        found = outcome(lambda stream=stream: rows(stream, content_type, **_fields(layout)))
        if isinstance(whole, Batch):
            assert isinstance(found, Batch)
            assert same(found, whole)
            assert len(whole) > 0
        else:
            assert found == whole


def _fields(layout):
    return {name: getattr(layout, name) for name in layout.__slots__}


@st.composite
def mutations(draw, content_type):
    body = bytearray(draw(st.sampled_from(SEEDS[content_type])))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(body)))
        cut = draw(st.integers(0, 6))
        body[at : at + cut] = draw(st.binary(max_size=6))
    return bytes(body[: draw(st.integers(0, len(body)))] if draw(st.booleans()) else body)


@pytest.mark.parametrize("content_type", SEEDS)
@settings(max_examples=200)
@given(data=st.data(), layout=st.sampled_from(LAYOUTS))
def test_damaged_files(content_type, data, layout):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(content_type, data.draw(mutations(content_type)), layout)


@pytest.mark.parametrize("content_type", DECODERS)
@settings(max_examples=100)
@given(body=st.binary(max_size=200), layout=st.sampled_from(LAYOUTS))
def test_noise(content_type, body, layout):
    if content_type == "application/x-parquet":
        assert isinstance(outcome(lambda: rows(body, content_type)), str)
    else:
        check(content_type, body, layout)
        if content_type == "application/x-recordio-protobuf":
            check(content_type, recordio.frame(body), layout)


def test_content_types_without_a_decoder():
    with pytest.raises(
        ClientError, match="the content type 'image/png' of rows is not accepted; applic"
    ) as caught:
        decode(io.BytesIO(), "rows", MediaType("image/png"), Layout())
    assert caught.value.status == 415
    with pytest.raises(ClientError):
        decode_bytes(b"", "rows", MediaType("image/png"), Layout())


def test_the_cache_can_be_filled():
    from common.formats.warm import compile_all

    compile_all()


def test_kernels_run_as_python_for_the_fuzzer():
    import os
    import subprocess
    import sys

    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    subprocess.run([sys.executable, "-m", "common.formats.warm"], env=environment, check=True)
