"""JSON objects of channels and requests: what is read, and how what is wrong is told."""

from __future__ import annotations

import io
import json
import math

import numpy as np
import pytest

from common import content_types
from common.content_types import MediaType
from common.failures import ClientError
from common.formats import objects

LINES = MediaType(content_types.JSON_LINES)
JSON = MediaType(content_types.JSON)


def read(data: bytes, media_type: MediaType = LINES):
    return list(objects.lines(io.BytesIO(data), "the file", media_type))


def test_lines_have_their_numbers_and_blank_ones_none():
    assert read(b'\xef\xbb\xbf{"a": 1}\r\n\n  \n{"b": [2]}') == [(1, {"a": 1}), (4, {"b": [2]})]


def test_numbers_as_python_writes_them():
    ((_, found),) = read(json.dumps({"target": [math.nan, 1, 2**70]}).encode())
    assert math.isnan(found["target"][0])
    assert found["target"][1:] == [1, 2**70]


def test_another_charset():
    assert read('{"wört": 1}'.encode("utf-16"), objects.MediaType(LINES.name, {"charset": "utf-16"})) == [
        (1, {"wört": 1})
    ]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"a": 1}\n{"a": }', "line 2 of the file is not JSON: Expecting value at column 7"),
        (b"[1]", "line 1 of the file is '[1]'; accepted: a JSON object"),
        (b'{"a": "\xff"}', "line 1 of the file is not UTF-8 at byte 7"),
        (b"[" * 100_000, "line 1 of the file is nested too deeply"),
        (b'{"a": ' + b"1" * 10_000 + b"}", "line 1 of the file holds a number that is too long"),
    ],
)
def test_what_is_wrong(data, message):
    with pytest.raises(ClientError, match="^" + message.replace("[", r"\[")):
        read(data)


def test_requests():
    found = objects.request(b'{"instances": [{"a": 1}, 2], "configuration": {"k": 3}}', JSON, "{}")
    assert found.instances == [{"a": 1}, 2]
    assert found.options == {"configuration": {"k": 3}}
    assert found.where(1) == "instances[1]"
    found = objects.request(b'\n{"a": 1}\n\n{"a": 2}\n', LINES, "{}")
    assert found.instances == [{"a": 1}, {"a": 2}]
    assert found.where(1) == "line 4"
    assert objects.request(b" \n", JSON, "{}") is None


@pytest.mark.parametrize("body", [b"[]", b'{"instances": {}}', b"{}"])
def test_requests_without_instances(body):
    with pytest.raises(ClientError, match=r'accepted: {"instances": \[{"in0": \[1\]}, ...\]}'):
        objects.request(body, JSON, '{"in0": [1]}')


def test_answers():
    items = [{"mean": np.array([0.1, 2], np.float32)}, {"word": "wört"}]
    assert objects.answer(items, JSON, "predictions") == (
        '{"predictions":[{"mean":[0.1,2.0]},{"word":"wört"}]}'.encode()
    )
    assert objects.answer(items, JSON, None) == '[{"mean":[0.1,2.0]},{"word":"wört"}]'.encode()
    assert objects.answer(items, LINES, "predictions") == '{"mean":[0.1,2.0]}\n{"word":"wört"}\n'.encode()
