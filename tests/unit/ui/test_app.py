"""The pages, asked as a browser would."""

from __future__ import annotations

import html
import io
import re
import shlex

import pytest

from common.failures import AlgorithmError, ClientError
from local.ui.app import create
from tests.unit.ui.conftest import quality
from tests.unit.ui.test_jobs import tuned

HOSTILE = '<img src=x onerror="alert(1)">'


def text(response):
    return response.get_data(as_text=True)


def test_the_list_has_jobs_and_tunings(folder, store, client):
    folder("a").begin().log(quality(0, 5.5)).end()
    folder("group/b").begin().end(model=False, failure="ClientError: no").age()
    tuned(folder, store)
    page = text(client.get("/"))
    for words in ("group/b", "failed", "completed", "5.5", 'href="/jobs/t/t-001"', 'href="/jobs/a/try"'):
        assert words in page
    assert "5 shown" in page


def test_an_empty_folder_tells_what_to_do(client):
    assert "algodock train" in text(client.get("/"))


def test_the_list_is_filtered_by_every_word(folder, store, client):
    folder("digits").begin().end()
    folder("other").begin()
    tuned(folder, store)
    assert re.findall(r'id="row-([^"]+)"', text(client.get("/?q=kmeans+digits"))) == ["digits"]
    assert re.findall(r'id="row-([^"]+)"', text(client.get("/?q=t-002"))) == ["t", "t/t-002"]
    assert "No job is like that" in text(client.get("/?q=none"))


def test_of_many_jobs_the_newest_are_listed_and_the_filter_finds_the_others(folder, client, monkeypatch):
    monkeypatch.setattr("local.ui.app._SHOWN", 2)
    for hours, name in enumerate(("new", "middle", "old")):
        folder(name).begin().age(3600 * hours)
    page = text(client.get("/"))
    assert re.findall(r'id="row-([^"]+)"', page) == ["new", "middle"]
    assert "older ones" in page
    assert "old" in re.findall(r'id="row-([^"]+)"', text(client.get("/?q=old")))


def test_a_job_page_has_all_that_is_known(folder, client):
    made = folder("a").begin(k="2", feature_dim="3").log(quality(0, 5.0), quality(1, 4.5))
    page = text(client.get("/jobs/a"))
    for words in ("running", "feature_dim", "File, text/csv", "<svg", "4.5", "#quality_metric"):
        assert words in page
    assert "/try" not in page
    made.end(report="<p>done")
    page = text(client.get("/jobs/a"))
    for words in ("completed", "train.csv", "/jobs/a/try", "/jobs/a/report", "/jobs/a/files/model.tar.gz"):
        assert words in page


def test_long_names_of_metrics_break_where_their_words_end(folder, client):
    folder("a").begin().log(quality(0, 5.0).replace("msd", "a_<b>"))
    assert "train:<wbr>a_<wbr>&lt;b&gt;</th>" in text(client.get("/jobs/a"))


def test_the_command_to_serve_it_can_be_pasted_into_a_shell(folder, client):
    made = folder("it's 50% #1").begin().end()
    (command,) = re.findall(r"<code>(algodock serve .*?)</code>", text(client.get("/jobs/it's 50% %231")))
    assert shlex.split(html.unescape(command)) == ["algodock", "serve", str(made.place)]


def test_a_job_that_ended_without_a_word_says_so(folder, client):
    folder("a").begin().age()
    assert "ended without a word" in text(client.get("/jobs/a"))


def test_a_tuning_page_has_its_trials_the_best_first(folder, store, client):
    tuned(folder, store)
    page = text(client.get("/jobs/t"))
    assert page.index("t-001") < page.index("t-002")
    assert "All jobs" in page
    assert 'href="/jobs/t"' in text(client.get("/jobs/t/t-001"))
    assert client.get("/jobs/t/log").status_code == 404
    assert client.get("/jobs/t/try").status_code == 404


def test_parts_are_tagged_so_that_nothing_is_sent_twice(folder, client):
    made = folder("a").begin().end()
    first = client.get("/jobs/a?part=1")
    assert "<html" not in text(first)
    again = client.get("/jobs/a?part=1", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    made.log(quality(0, 1.0))
    assert client.get("/jobs/a?part=1", headers={"If-None-Match": first.headers["ETag"]}).status_code == 200


def test_whatever_is_on_disk_is_text(folder, client):
    name = HOSTILE.replace("/", "")
    made = folder(name).begin(**{HOSTILE: HOSTILE}).log(HOSTILE + "</pre><script>alert(1)</script>\n")
    folder("b").begin().end(model=False, failure=HOSTILE, algorithm=HOSTILE, channels={HOSTILE: HOSTILE})
    assert made.place.is_dir()
    for address in ("/", "/jobs/b", f"/jobs/{name}", "/?q=%3Cimg", f"/jobs/{HOSTILE}/try"):
        page = text(client.get(address))
        assert "<img" not in page
        assert "<script>alert" not in page
    assert client.get(f"/jobs/{name}").status_code == 200


def test_links_lead_to_names_of_any_letters(folder, client):
    folder("a b?&#%é\"'").begin()
    (link,) = re.findall(r'id="link-[^"]*" href="([^"]*)"', text(client.get("/")))
    assert client.get(link).status_code == 200


@pytest.mark.parametrize(
    "address",
    [
        *("/jobs/..", "/jobs/../x", "/jobs/%2e%2e/x", "/jobs/a/../../x", "/jobs//etc", "/jobs/a%00"),
        *(
            "/jobs/a/files/passwd",
            "/jobs/a/files/..%2fx",
            "/jobs/a/files/ml",
            "/jobs/none",
            "/static/../app.py",
        ),
        *("/static/", "/jobs/", "/jobs/a/report", "/jobs/a/files/model.tar.gz", "/jobs/a/try"),
    ],
)
def test_nothing_else_is_shown(folder, client, tmp_path, address):
    folder("a").begin()
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "train.log").write_text("secret")
    answer = client.get(address)
    assert answer.status_code in (404, 308)
    assert "secret" not in text(answer)


def test_a_report_from_disk_can_do_nothing(folder, client):
    folder("a").begin().end(report="<script>alert(1)</script>")
    answer = client.get("/jobs/a/report")
    assert text(answer) == "<script>alert(1)</script>"
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox; default-src 'none';")
    assert "script" not in policy


def test_logs_and_files_are_no_pages(folder, client):
    folder("a").begin().end().log("<script>alert(1)</script>\n")
    log = client.get("/jobs/a/log")
    assert log.mimetype == "text/plain"
    assert log.headers["X-Content-Type-Options"] == "nosniff"
    model = client.get("/jobs/a/files/model.tar.gz")
    assert model.data == b"m"
    assert model.headers["Content-Disposition"] == "attachment; filename=model.tar.gz"


def test_pages_run_no_script_but_their_own(client):
    answer = client.get("/")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert not re.search(r"<script(?! src)|\son\w+=", text(answer))


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "", "[::1", "a@b"]
)
def test_names_that_lead_here_by_rebinding_are_refused(client, host):
    assert client.get("/", headers={"Host": host}).status_code in (400, 403)


@pytest.mark.parametrize(
    "host", ["localhost:8000", "127.0.0.1:8000", "[::1]:8000", "localhost:9000", "LOCALHOST"]
)
def test_the_machines_own_names_are_known(client, host):
    assert client.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(("host", "status"), [("192.0.2.7:8000", 200), ("evil.example:8000", 403)])
def test_who_listens_on_every_address_is_asked_by_any_but_not_by_foreign_names(
    store, endpoints, host, status
):
    client = create(store, endpoints, "0.0.0.0").test_client()
    assert client.get("/", headers={"Host": host}).status_code == status


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1234"},
        {"Origin": "https://localhost"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": ""},
    ],
)
@pytest.mark.parametrize("address", ["/jobs/a/try", "/jobs/a/try/start", "/jobs/a/try/stop"])
def test_forms_of_other_sites_start_nothing(folder, client, endpoints, headers, address):
    folder("a").begin().end()
    assert client.post(address, headers=headers, data={"body": "1"}).status_code == 403
    assert (endpoints.requests, endpoints.started, endpoints.stopped) == ([], [], [])


def test_what_is_pasted_is_asked_and_the_answer_shown(folder, client, endpoints):
    folder("a").begin().end()
    endpoints.answer = b'{"predictions": [{"closest_cluster": 3.0}]}'
    answer = client.post("/jobs/a/try?part=1", data={"body": "1,2\r\n3,4\r\n"})
    assert endpoints.requests == [(b"1,2\n3,4\n", "text/csv", None)]
    assert "closest_cluster" in text(answer)
    assert "<html" not in text(answer)
    whole = text(client.post("/jobs/a/try", data={"body": "<1>"}, headers={"Origin": "http://localhost"}))
    assert "<html" in whole
    assert "&lt;1&gt;</textarea>" in whole


def test_half_letters_of_json_are_shown_as_something_else(folder, client, endpoints):
    folder("a").begin().end(channels={"\ud800": "\ud801"})
    endpoints.answer = b'{"predictions": [{"\\ud800": "\\udfff"}]}'
    assert client.get("/jobs/a").status_code == 200
    assert client.post("/jobs/a/try?part=1", data={"body": "1"}).status_code == 200


def test_a_file_goes_before_the_text_and_types_may_be_chosen(folder, client, endpoints):
    folder("a").begin().end()
    data = {
        "body": "1",
        "file": (io.BytesIO(b"{}"), "rows.json"),
        "accept": "text/csv",
        "content_type": "x\r\ny",
    }
    client.post("/jobs/a/try", data=data)
    chosen = {"body": "1", "content_type": "application/jsonlines", "accept": "evil\r\nheader"}
    client.post("/jobs/a/try", data=chosen)
    assert endpoints.requests == [
        (b"{}", "application/json", "text/csv"),
        (b"1", "application/jsonlines", None),
    ]


@pytest.mark.parametrize(
    ("error", "status"),
    [(ClientError("the endpoint answered 400: <no>"), 400), (AlgorithmError("it has ended"), 500)],
)
def test_errors_are_shown_as_they_are(folder, client, endpoints, error, status):
    folder("a").begin().end()
    endpoints.answer = error
    answer = client.post("/jobs/a/try?part=1", data={"body": "1"})
    assert answer.status_code == status
    assert str(error).replace("<", "&lt;").replace(">", "&gt;") in text(answer)
    assert "Sent as text/csv" in text(answer)


@pytest.mark.parametrize("body", ["", " \r\n"])
def test_nothing_is_not_sent(folder, client, endpoints, body):
    folder("a").begin().end()
    answer = client.post("/jobs/a/try?part=1", data={"body": body})
    assert (answer.status_code, endpoints.requests) == (400, [])
    assert "nothing was sent" in text(answer)


@pytest.mark.parametrize(
    ("size", "status"), [(0, 400), (6 << 20, 200), ((6 << 20) + 1, 413), (20 << 20, 413)]
)
@pytest.mark.parametrize("as_file", [True, False])
def test_bodies_are_as_large_as_an_endpoint_takes_them(folder, client, endpoints, size, status, as_file):
    folder("a").begin().end()
    endpoints.answer = b"1\n"
    body = b"1" * size
    data = {"file": (io.BytesIO(body), "rows.csv")} if as_file else {"body": body.decode()}
    answer = client.post("/jobs/a/try?part=1", data=data, content_type="multipart/form-data")
    assert answer.status_code == status
    assert status != 413 or "accepted: up to 6 MB" in text(answer)
    assert len(endpoints.requests) == (status == 200)


def test_an_endpoint_can_be_started_and_stopped_by_hand(folder, client, endpoints):
    folder("a").begin().end()
    assert "asking starts it" in text(client.get("/jobs/a/try"))
    answer = client.post("/jobs/a/try/start?part=1")
    assert (answer.status_code, endpoints.started) == (303, ["a"])
    assert client.get(answer.headers["Location"]).status_code in (200, 404)
    client.post("/jobs/a/try/stop")
    assert endpoints.stopped == ["a"]
