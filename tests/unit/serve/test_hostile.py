"""Whatever bytes come, rows or one sentence are the answer."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.batches import dense
from common.content_types import CSV, JSON, JSON_LINES, RECORDIO_PROTOBUF, MediaType
from common.failures import ClientError
from serve.codecs import StandardCodec

WIDTH = 3


class Fake:
    feature_dim = WIDTH


CODEC = StandardCodec("predictions", Fake())

numbers = st.one_of(
    st.integers(-5, 5), st.floats(), st.integers(), st.sampled_from([10**400, -(10**40), 1e38, 4e38])
)
leaves = st.one_of(numbers, st.none(), st.booleans(), st.text(max_size=5))
lists = st.lists(st.one_of(numbers, leaves), max_size=5)
values = st.one_of(
    leaves, lists, st.recursive(leaves, lambda inner: st.lists(inner, max_size=3), max_leaves=5)
)
tensors = st.dictionaries(st.sampled_from(["values", "keys", "shape"]), values, max_size=3)
instances = st.one_of(
    st.fixed_dictionaries({"features": values}),
    st.fixed_dictionaries({"features": st.lists(numbers, min_size=WIDTH, max_size=WIDTH)}),
    st.fixed_dictionaries({"data": st.one_of(values, st.fixed_dictionaries({"features": tensors}))}),
    values,
)
bodies = st.one_of(
    st.fixed_dictionaries({"instances": st.one_of(values, st.lists(instances, max_size=4))}), instances
)


def check(body, content_type):
    refused = rows = None
    try:
        rows = CODEC.decode(body, content_type)
    except ClientError as error:
        refused = error
    if refused is not None:
        assert refused.status == 400
        assert len(str(refused)) < 1000
    elif rows is not None and len(rows):
        assert rows.shape[1] == WIDTH
        assert np.isfinite(dense(rows)).all()


@settings(max_examples=300)
@given(bodies)
def test_json(body):
    check(json.dumps(body).encode(), MediaType(JSON))


@settings(max_examples=100)
@given(st.lists(instances, max_size=3))
def test_json_lines(found):
    check("\n".join(map(json.dumps, found)).encode(), MediaType(JSON_LINES))


@settings(max_examples=100)
@given(st.binary(max_size=60), st.sampled_from([JSON, JSON_LINES, CSV, RECORDIO_PROTOBUF]))
def test_any_bytes(body, content_type):
    check(body, MediaType(content_type))


@pytest.mark.parametrize("content_type", [JSON, JSON_LINES, CSV])
@pytest.mark.parametrize(
    "charset", ["hex", "rot13", "idna", "punycode", "utf-16", "a\0b", "unicode_escape", "x" * 500]
)
def test_any_charset(content_type, charset):
    check(b'{"features": [1, 2, 3]}\xff\xe4', MediaType(content_type, {"charset": charset}))
