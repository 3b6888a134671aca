import pytest

from common.content_types import CSV, JSON, JSON_LINES, RECORDIO_PROTOBUF, MediaType, negotiate, parse
from common.failures import ClientError

OFFERED = (JSON, JSON_LINES, CSV, RECORDIO_PROTOBUF)


@pytest.mark.parametrize(
    ("text", "name", "parameters"),
    [
        ("text/csv", CSV, {}),
        ("text/CSV", CSV, {}),
        (" application/JSON ", JSON, {}),
        ("csv", CSV, {}),
        ("application/x-jsonlines", JSON_LINES, {}),
        ("text/csv; label_size=1", CSV, {"label_size": "1"}),
        ("text/csv;Label_Size=1;charset=UTF-8", CSV, {"label_size": "1", "charset": "UTF-8"}),
        ('text/csv; charset="utf-8"', CSV, {"charset": "utf-8"}),
        (r'text/csv; note="a;b\"c"; label_size=2', CSV, {"note": 'a;b"c', "label_size": "2"}),
        ("text/csv;", CSV, {}),
        ("text/csv; flag", CSV, {}),
        ("", "", {}),
    ],
)
def test_parse(text, name, parameters):
    assert parse(text) == MediaType(name, parameters)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, "text/csv; verbose=true"),
        ("", "text/csv; verbose=true"),
        ("*/*", "text/csv; verbose=true"),
        ("*", "text/csv; verbose=true"),
        ("text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", "text/csv; verbose=true"),
        ("application/json", JSON),
        ("application/JSON", JSON),
        ("application/*", JSON),
        ("text/*", "text/csv; verbose=true"),
        ("text/csv", CSV),
        ("text/csv; verbose=false", "text/csv; verbose=false"),
        ("application/json;verbose=true", "application/json; verbose=true"),
        ('application/json; note="a,b"', "application/json; note=a,b"),
        ("application/json;q=0.2, application/jsonlines;q=0.8", JSON_LINES),
        ("application/json;q=0.2, application/jsonlines; Q=0.8", JSON_LINES),
        ("application/json, text/csv", CSV),
        ("application/json, application/jsonlines", JSON),
        ("text/csv;q=0, */*", JSON),
        ("*/*;q=0.1, application/x-recordio-protobuf", RECORDIO_PROTOBUF),
        ("image/png, application/jsonlines;q=0.1", JSON_LINES),
        ("application/*;q=0.9, application/json;q=0.1", JSON_LINES),
        ("image/png", None),
        ("application/json;q=0", None),
        ("*/*;q=0", None),
        ("application/json;q=nonsense", None),
        (",", None),
    ],
)
def test_negotiate(accept, expected):
    found = negotiate(accept, OFFERED, MediaType(CSV, {"verbose": "true"}))
    assert (None if found is None else str(found)) == expected


def test_flags_and_numbers():
    media = parse("application/json; verbose=True; label_size=2; bad=maybe")
    assert media.flag("verbose")
    assert not media.flag("absent")
    assert media.integer("label_size", 0) == 2
    assert media.integer("absent", 7) == 7
    with pytest.raises(ClientError, match=r"bad=maybe .* true or false"):
        media.flag("bad")
    with pytest.raises(ClientError, match=r"verbose=True .* whole number"):
        media.integer("verbose", 0)
    with pytest.raises(ClientError, match=r"label_size=9{40} .* whole number from 0 to 999999999"):
        parse(f"text/csv; label_size={'9' * 5000}").integer("label_size", 0)
