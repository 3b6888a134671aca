"""The content type of what is sent, where nobody says it."""

from __future__ import annotations

import pytest

from common import manifest
from local.ui import requests


@pytest.mark.parametrize(
    ("algorithm", "body", "filename", "expected"),
    [
        ("kmeans", b"1,2,3\n", "", "text/csv"),
        ("kmeans", b'{"instances": []}', "", "application/json"),
        ("kmeans", b'{\n"instances": []}', "", "application/json"),
        ("kmeans", b'{"features": [1]}\n{"features": [2]}\n', "", "application/jsonlines"),
        ("kmeans", b"\x0a\x23\xd7\xce", "rows.pbr", "application/x-recordio-protobuf"),
        ("xgboost", b"0 1:2 3:4\n", "", "text/libsvm"),
        ("xgboost", b"1,2\n", "rows.libsvm", "text/libsvm"),
        ("image-classification", b"\xff\xd8\xff", "a.jpg", "image/jpeg"),
        ("image-classification", b"what", "", "application/x-image"),
        ("blazingtext", b"a sentence", "a.txt", "application/json"),
        ("forecasting-deepar", b'{"instances": []}', "ask.json", "application/json"),
    ],
)
def test_it_is_told_by_the_file_or_by_what_it_looks_like(algorithm, body, filename, expected):
    assert requests.content_type(manifest.load(algorithm), body, filename) == expected
