"""Files cut into requests of whole records."""

import threading
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.batches import Batch
from common.failures import ClientError
from common.formats import encode_batch, recordio
from local import cli, transforming
from local.selecting import selection
from local.transforming import Settings, split, transform

RECORDS = encode_batch(Batch(np.arange(40, dtype=np.float32).reshape(10, 4)))


@given(st.lists(st.binary(max_size=8).map(lambda line: line.replace(b"\n", b"") + b"\n")), st.integers(9, 40))
def test_lines_stay_whole(lines, limit):
    body = b"".join(lines)
    parts = list(split(body, "text/csv", limit))
    assert b"".join(parts) == body
    assert all(len(part) <= limit and part.endswith(b"\n") for part in parts)


def test_a_last_line_without_an_end_is_kept():
    assert list(split(b"1\n2", "text/csv", 2)) == [b"1\n", b"2"]


def test_records_stay_whole():
    size = len(RECORDS) // 10
    parts = list(split(RECORDS, "application/x-recordio-protobuf", 3 * size))
    assert [len(part) // size for part in parts] == [3, 3, 3, 1]
    assert b"".join(parts) == RECORDS


def test_a_record_of_several_parts_stays_whole():
    record = recordio.frame(b"head" + recordio.MAGIC_BYTES + b"tail", split=True)
    parts = split(record * 3 + record[:12], "application/x-recordio-protobuf", single=True)
    assert list(parts) == [record, record, record, record[:12]]


def test_other_types_are_sent_whole():
    assert list(split(b"{}" * 9, "application/json", 100)) == [b"{}" * 9]


def test_a_record_beyond_the_limit_is_named():
    with pytest.raises(ClientError, match="record 2 has 21 bytes; accepted: at most 10"):
        list(split(b"1\n" + b"2" * 20 + b"\n", "text/csv", 10))


def test_answers_are_in_order_and_all_or_nothing(tmp_path):
    source, target = tmp_path / "rows.csv", tmp_path / "out" / "rows.csv.out"
    source.write_bytes(b"".join(b"%d\n" % number for number in range(100)))
    transform(source, target, lambda body: (body.strip(), "text/csv"), Settings("text/csv", limit=6))
    assert target.read_bytes() == source.read_bytes()

    def fail(body):
        if b"50" in body:
            raise ClientError("row 50 is bad")
        return body, "text/csv"

    with pytest.raises(ClientError, match=r"rows\.csv: request 24, from record 50 on: row 50 is bad"):
        transform(source, tmp_path / "out" / "second.out", fail, Settings("text/csv", limit=6))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["rows.csv.out"]


def test_a_file_may_be_larger_than_memory(tmp_path):
    source = tmp_path / "rows.csv"
    source.write_bytes((b"1," * 50_000 + b"1\n") * 100)
    settings = Settings("text/csv", limit=1 << 18)
    tracemalloc.start()
    try:
        transform(source, tmp_path / "out", lambda body: (b"", "text/csv"), settings)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < source.stat().st_size / 4


def test_a_file_that_isnt_recordio_isnt_cut_as_if_it_were():
    with pytest.raises(ClientError, match="byte 0 doesn't begin a RecordIO record"):
        list(split(b"1,2\n3,4\n", "text/csv", how="RecordIO"))
    with pytest.raises(ClientError, match=f"byte {len(RECORDS)} doesn't begin"):
        list(split(RECORDS + b"more", "application/x-recordio-protobuf"))


def done(tmp_path, content, answer, accept="application/json", **settings):
    """What a transform makes of a file; ``answer`` gets each request's body and is of type ``accept``."""
    (tmp_path / "rows").write_bytes(content)
    invoke = lambda body: (answer(body), accept)  # noqa: E731
    transform(tmp_path / "rows", tmp_path / "rows.out", invoke, Settings(**settings))
    return (tmp_path / "rows.out").read_bytes()


def sums(body):
    """A CSV answer of a number a row."""
    return b"".join(b"%g\n" % sum(map(float, line.split(b","))) for line in body.splitlines())


def test_a_record_a_request(tmp_path):
    asked = []
    options = {"content_type": "text/csv", "strategy": "SingleRecord", "concurrency": 1}
    done(tmp_path, b"1\n2\n3\n", lambda body: asked.append(body) or b"x", **options)
    assert asked == [b"1\n", b"2\n", b"3\n"]


def test_a_file_that_isnt_split_is_sent_whole(tmp_path):
    assert (
        done(tmp_path, b"1\n2\n", lambda b: b"%d" % len(b), content_type="text/csv", split_type="None")
        == b"4\n"
    )


def test_answers_are_put_together_with_or_without_lines(tmp_path):
    options = {"content_type": "application/json", "split_type": "Line", "strategy": "SingleRecord"}
    two = b"{}\n{}\n"
    assert done(tmp_path, two, lambda body: b"x", **options) == b"xx"
    assert done(tmp_path, two, lambda body: b"x", **options, assemble_with="Line") == b"x\nx\n"


def test_answers_that_are_no_text_get_no_lines(tmp_path):
    options = {"content_type": "text/csv", "accept": "application/x-recordio-protobuf", "limit": 2}
    assert done(tmp_path, b"1\n2\n", lambda body: RECORDS, **options) == RECORDS * 2
    assert done(tmp_path, b"1\n", lambda body: b"x", **options, assemble_with="Line") == b"x\n"


def test_csv_is_filtered_joined_and_filtered_again(tmp_path):
    rows = b"a,1,2\nb,3,4\n"
    options = {"content_type": "text/csv", "accept": "text/csv", "input_filter": "$[1:]"}
    assert done(tmp_path, rows, sums, **options) == b"3\n7\n"
    assert done(tmp_path, rows, sums, **options, join=True) == b"a,1,2,3\nb,3,4,7\n"
    assert done(tmp_path, rows, sums, **options, join=True, output_filter="$[0,-1]") == b"a,3\nb,7\n"
    last = {"join": True, "output_filter": "$[0,3:]", "strategy": "SingleRecord"}
    assert done(tmp_path, rows, sums, **options, **last) == b"a,3\nb,7\n"


def test_json_answers_are_joined_to_csv_rows(tmp_path):
    answer = b'{"predictions": [{"score": 1}, {"score": 2}]}'
    options = {"content_type": "text/csv", "join": True, "output_filter": "$[0,-1]"}
    found = done(tmp_path, b"a,1\nb,2\n", lambda body: answer, **options)
    assert found == b'a,"{""score"": 1}"\nb,"{""score"": 2}"\n'


@pytest.mark.parametrize("limit", [4, 12])
def test_an_answer_is_joined_alike_beside_how_many_others_it_comes(tmp_path, limit):
    answer = lambda body: b'{"predictions": [%s]}' % b", ".join([b'{"score": 1}'] * body.count(b"\n"))  # noqa: E731
    found = done(tmp_path, b"a,1\nb,2\nc,3\n", answer, content_type="text/csv", join=True, limit=limit)
    assert found == b"".join(b'%c,%d,"{""score"": 1}"\n' % (96 + number, number) for number in (1, 2, 3))


@pytest.mark.parametrize("strategy", ["MultiRecord", "SingleRecord"])
@pytest.mark.parametrize("join", [False, True])
def test_lines_without_a_record_have_no_answer(tmp_path, strategy, join):
    answer = lambda body: sums(b"\n".join(body.split()))  # noqa: E731
    options = {"content_type": "text/csv", "accept": "text/csv", "strategy": strategy, "join": join}
    answered = b"1,1\n2,2\n" if join else b"1\n2\n"
    assert done(tmp_path, b"1\n\n2\n\n", answer, **options) == answered
    assert done(tmp_path, b"\n", answer, **options) == b""


def test_an_answer_that_nothing_is_asked_of_may_be_of_any_type(tmp_path):
    """Only what is sent is filtered: the answer stands as it came."""
    options = {"content_type": "text/csv", "input_filter": "$[1:]", "accept": "image/png"}
    assert done(tmp_path, b"a,1\nb,2\n", lambda body: b"\xff" + body, **options) == b"\xff1\n2\n"


def test_a_byte_order_mark_is_passed_over(tmp_path):
    line = b'\xef\xbb\xbf{"id": 7}\n'
    assert done(tmp_path, line, lambda body: b"1\n", **JSON_LINES) == b'{"id": 7, "SageMakerOutput": 1}\n'
    options = {"content_type": "text/csv", "accept": "text/csv", "join": True, "input_filter": "$[1:]"}
    assert done(tmp_path, b"\xef\xbb\xbfa,1\n", sums, **options) == b"a,1,1\n"


def test_an_interrupt_waits_for_no_answer(tmp_path, monkeypatch):
    """A request may take minutes; whoever wants to stop ends its endpoint."""
    begun, over = threading.Event(), threading.Event()

    def answer(body):
        begun.set()
        over.wait()
        return b""

    def interrupted(answers):
        begun.wait()
        raise KeyboardInterrupt

    monkeypatch.setattr(transforming, "wait", interrupted)
    try:
        with pytest.raises(KeyboardInterrupt):
            done(tmp_path, b"1\n", answer, content_type="text/csv")
    finally:
        over.set()
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]


def test_json_lines_are_joined_under_awss_names(tmp_path):
    lines = b'{"id": 7, "features": [1, 2]}\n{"id": 8, "features": [3]}\n'
    options = {
        "content_type": "application/jsonlines",
        "accept": "application/jsonlines",
        "input_filter": "$.features",
        "join": True,
    }
    answers = lambda body: b"".join(b'{"n": %d}\n' % line.count(b"1") for line in body.splitlines())  # noqa: E731
    kept = done(tmp_path, lines, answers, **options, output_filter="$['id','SageMakerOutput']")
    assert kept == b'{"id": 7, "SageMakerOutput": {"n": 1}}\n{"id": 8, "SageMakerOutput": {"n": 0}}\n'
    bare = done(tmp_path, b"[1]\n", answers, **{**options, "input_filter": "$"})
    assert bare == b'{"SageMakerInput": [1], "SageMakerOutput": {"n": 1}}\n'


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"strategy": "Other"}, "strategy 'Other' is unknown"),
        ({"split_type": "TFRecord"}, "split type 'TFRecord' is unknown"),
        ({"limit": 0}, "1 requests at once of 0 MB are asked for; accepted: 1 or more, of 1 to 100 MB"),
        ({"concurrency": 0}, "0 requests at once of 6 MB are asked for; accepted: 1 or more"),
        (
            {"limit": 60 << 20, "concurrency": 2},
            "2 requests of 60 MB are under way at once; accepted: 100 MB",
        ),
        (
            {"content_type": "application/x-recordio-protobuf", "join": True},
            "filters and joins are for CSV and JSON",
        ),
    ],
)
def test_settings_that_cant_be_are_refused(settings, told):
    with pytest.raises(ClientError, match=told):
        Settings(**{"content_type": "text/csv", **settings})


def test_what_cant_be_joined_is_told_with_its_request(tmp_path):
    options = {"content_type": "text/csv", "accept": "text/csv", "join": True}
    with pytest.raises(ClientError, match="rows: request 1: 2 records have 1 answers"):
        done(tmp_path, b"1\n2\n", lambda body: b"1\n", **options)
    with pytest.raises(ClientError, match=r"request 1: record 1: \$\[5\]: there is no place 5; there are 1"):
        done(tmp_path, b"1\n2\n", sums, **options, input_filter="$[5]")
    assert not (tmp_path / "rows.out").exists()


JSON_LINES = {"content_type": "application/jsonlines", "accept": "application/jsonlines", "join": True}


def test_what_other_writings_take_for_a_lines_end_cuts_no_record(tmp_path):
    line = '{"text": "a\u2028b\x85c"}\n'.encode()
    found = done(tmp_path, line * 2, lambda body: b"1\n2\n", **JSON_LINES, output_filter="$.SageMakerOutput")
    assert found == b"1\n2\n"


def test_a_cell_may_be_long(tmp_path):
    row = b"a" * 200_000 + b",1\n"
    found = done(tmp_path, row, lambda body: body, content_type="text/csv", input_filter="$[1:]", join=True)
    assert found == row.replace(b",1", b",1,1")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (b"{}\n\n{\n", "request 1: record 3 isn't JSON"),
        (b"\xff\n", "request 1: record 1 isn't JSON"),
        (b"[" * 100_000, "request 1: record 1 isn't JSON"),
        (b"{}\n", "request 1: of the answer, record 1 isn't JSON: .*; accepted: --accept text/csv"),
    ],
)
def test_a_record_that_cant_be_read_is_named(tmp_path, rows, message):
    with pytest.raises(ClientError, match=message):
        done(tmp_path, rows, lambda body: b"\xff", **JSON_LINES)


RECORD = {"a": {"b": [1, 2, 3]}, "c": 4, "d e": 5}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("$", RECORD),
        ("$.c", 4),
        ("$['d e']", 5),
        ("$.a.b[0]", 1),
        ("$.a.b[-1]", 3),
        ("$.a.b[1:]", [2, 3]),
        ("$.a.b[:-1]", [1, 2]),
        ("$.a.b[0,1:]", [1, 2, 3]),
        ("$['c','d e']", {"c": 4, "d e": 5}),
        ("$.a.*", [[1, 2, 3]]),
        ("$.a.b[*]", [1, 2, 3]),
    ],
)
def test_paths_pick_what_they_say(path, found):
    assert selection(path)(RECORD) == found


@pytest.mark.parametrize("path", ["", "a", "$a", "$[", "$[?(@.x)]", "$..a", "$[1:2:3]", "$." + "a" * 70])
def test_paths_that_arent_read_are_refused(path):
    with pytest.raises(ClientError, match="isn't read; accepted"):
        selection(path)


@pytest.mark.parametrize("path", ["$.x", "$['c','x']", "$[0]", "$.a.b[9]"])
def test_what_isnt_there_is_told(path):
    with pytest.raises(ClientError, match=r"there is no|that is no list"):
        selection(path)(RECORD)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, {"concurrency": 3, "limit": 20 << 20, "strategy": "SingleRecord"}),
        ({"max_concurrent": 1, "max_payload": 2, "strategy": "MultiRecord"}, {}),
    ],
    ids=["the container's", "the user's"],
)
def test_what_is_not_asked_for_is_what_the_container_says(asked, found):
    """The platform's order: the request, /execution-parameters, defaults."""
    chosen = SimpleNamespace(**{"max_concurrent": None, "max_payload": None, "strategy": None, **asked})
    told = {"MaxConcurrentTransforms": 3, "MaxPayloadInMB": 20, "BatchStrategy": "SINGLE_RECORD"}
    assert cli._offered(chosen, told) == found
    assert cli._offered(chosen, {}) == {}


def test_large_requests_need_no_number_of_them():
    """The platform's defaults are one request at once of 6 MB, each by itself."""
    assert Settings("text/csv", limit=100 << 20).concurrency == 1
